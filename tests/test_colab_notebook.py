"""The Colab notebook runs from top to bottom, here on CPU with its small experiment."""

import fnmatch
import glob
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tlkeras.backend import environment, start, tpu_probe
from tlkeras.config import RuntimeConfig
from tlkeras.errors import UserError
from tlkeras.run_dir import RunDir

SHORT = ["data.limit=64", "stages.0.epochs=1", "stages.1.epochs=1", "tensorboard.images=false"]
NOTEBOOK = Path(__file__).parents[1] / "experiments" / "colab_tpu.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook after its execution, and its run's folder."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    folder = tmp_path_factory.mktemp("notebook")
    settings = {
        "TLKERAS_WORKDIR": str(folder / "run"),
        "TLKERAS_SET": " ".join(SHORT),
        "PYTHONPATH": str(NOTEBOOK.parents[1]),
        "CUDA_VISIBLE_DEVICES": "",
        "IPYTHONDIR": str(folder / "ipython"),
    }
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        client.execute()
    return notebook, folder / "run"


def said(notebook) -> str:
    """Returns everything that the cells printed."""
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


def test_every_cell_ran(executed):
    notebook, _ = executed
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_the_training_cell_trained(executed):
    notebook, workdir = executed
    (cell,) = [c for c in notebook.cells if "training" in c.metadata.get("tags", [])]
    assert "run_experiment(" in cell.source and cell.outputs
    assert RunDir(workdir).is_finished
    assert json.loads((workdir / "evaluation" / "metrics.json").read_text())["source"]["test"]["rows"]


def test_it_names_the_device_and_tests_it(executed):
    text = said(executed[0])
    assert "No accelerator was found" in text
    assert "20 steps on one batch" in text
    assert "synthetic_smoke on none" in text


def install(monkeypatch, *, missing, source="", exit_code=0, **environ):
    """Runs the cell that installs, without anything being installed; returns pip's words and its names."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    (cell,) = [
        "".join(c["source"]) for c in cells if "pip" in "".join(c["source"]) and c["cell_type"] == "code"
    ]
    calls, find = [], importlib.util.find_spec
    with monkeypatch.context() as patch:
        for name in environment.TPU_NAMES:
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        patch.setattr(importlib.util, "find_spec", lambda n, *a: None if n in missing else find(n, *a))
        patch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if k != "tensorflow"})
        done = SimpleNamespace(returncode=exit_code)
        patch.setattr(subprocess, "run", lambda words, **how: calls.append(words) or done)
        names = {"os": os, "SOURCE": source, "WORKDIR": "runs/a", "DATA_FOLDER": ""}
        exec(compile(cell, "cell", "exec"), names)
    return [words[-1] for words in calls], names


@pytest.mark.parametrize("missing", ["tlkeras", "tensorflow"])
def test_without_a_source_it_installs_the_checkout_or_asks_for_one(monkeypatch, tmp_path, missing):
    monkeypatch.chdir(NOTEBOOK.parent)
    assert install(monkeypatch, missing=[missing])[0] == [f"{NOTEBOOK.parents[1]}[tensorflow]"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="on no package index: set SOURCE"):
        install(monkeypatch, missing=[missing])
    wheel, address = "tlkeras.whl", "git+https://host.example/tlkeras"
    assert install(monkeypatch, missing=[missing], source=wheel)[0] == ["tlkeras.whl[tensorflow]"]
    assert install(monkeypatch, missing=[missing], source=address)[0] == [f"tlkeras[tensorflow] @ {address}"]
    assert install(monkeypatch, missing=[])[0] == []
    with pytest.raises(SystemExit, match="cannot be installed: set SOURCE"):
        install(monkeypatch, missing=[missing], source=wheel, exit_code=1)


@pytest.mark.parametrize("name", environment.TPU_NAMES)
def test_it_knows_a_tpu_by_the_names_that_tlkeras_knows(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    called, names = install(monkeypatch, missing=["tensorflow"], source="tlkeras.whl", **{name: "0"})
    assert called == ["tlkeras.whl[tpu]"]
    assert (names["TPU_NAMES"], names["TPU_DEVICES"]) == (environment.TPU_NAMES, environment.TPU_DEVICES)


@pytest.mark.parametrize(("device", "has_tpu"), [
    ("/dev/accel0", True), ("/dev/accel3", True), ("/dev/vfio/0", True), ("/dev/vfio/12", True),
    ("/dev/vfio/vfio", False), ("/dev/accel", False), ("/dev/nvidia0", False),
])  # fmt: skip
def test_it_knows_a_tpu_by_its_device_files(monkeypatch, device, has_tpu):
    """v2 to v4 show /dev/accel*, v5e and later a number beside /dev/vfio/vfio, which others have too."""
    monkeypatch.setattr(glob, "glob", lambda pattern: fnmatch.filter([device], pattern))
    assert environment.has_tpu({}) == has_tpu
    called, names = install(monkeypatch, missing=["tensorflow"], source="tlkeras.whl")
    assert called == [f"tlkeras.whl[{'tpu' if has_tpu else 'tensorflow'}]"] and names["HAS_TPU"] == has_tpu


def device_cell(monkeypatch, reason, **names):
    """Runs the cell that names the device, where a TPU is there and `reason` says why it is not reached."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    (cell,) = ["".join(c["source"]) for c in cells if "unreached_tpu()" in "".join(c["source"])]
    monkeypatch.setattr(tpu_probe, "unreached_tpu", lambda: reason)
    exec(compile(cell, "cell", "exec"), names)
    return names


def test_it_stops_where_tensorflow_does_not_reach_the_tpu(monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"No driver\. Nothing is trained.*CPU_INSTEAD"):
        device_cell(monkeypatch, "No driver.", HAS_TPU=True, CPU_INSTEAD=False)
    assert "Found" not in capsys.readouterr().out
    for has_tpu, cpu_instead in ((True, True), (False, False)):
        names = device_cell(monkeypatch, "No driver.", HAS_TPU=has_tpu, CPU_INSTEAD=cpu_instead)
        assert names["runtime"].name == "none"


def test_a_tpu_runtime_without_tensorflow_is_said(monkeypatch):
    """By `start`, which the notebook calls before it asks for a report of the accelerators."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TPU_WORKER_ID", "0")
    with pytest.raises(UserError, match=r"TPU runtimes come without TensorFlow.*'\.\[tpu\]'.*estart"):
        start(RuntimeConfig(strategy="auto"), seed=0)


def test_the_notebook_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert os.path.getsize(NOTEBOOK) < 50_000
