"""The Colab notebook runs from top to bottom, here on CPU with its small experiment."""

import json
import os
from pathlib import Path

import pytest

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
    assert "Found no accelerator" in text
    assert "20 steps on one batch" in text
    assert "synthetic_smoke on none" in text


def test_the_notebook_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert os.path.getsize(NOTEBOOK) < 50_000
