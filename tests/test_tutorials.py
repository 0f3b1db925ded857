"""The tutorials run from top to bottom with small settings."""

import ast
import json
from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parents[1] / "docs/tutorials"
TINY = {"data__image_size": 16, "data__batch_size": 16, "model__weights": None, "stages__1__train": "last:1"}
SMALL = {  # values of the cell `parameters`
    "fine_tune": {"BACKBONE": "small_cnn", "EPOCHS": 1, "SETTINGS": TINY},
    "adapt": {"STEPS": 18},
    "dann_in_plain_keras": {"EPOCHS": 1, "STRENGTHS": (6.0,)},
    "compare": {"CANDIDATES": "small_cnn:none,dann_digits:none", "SIZE": 28, "EPOCHS": 1},
    "texts_and_sounds": {"ROWS": 32, "EPOCHS": 1},
}


# What a run writes at its end. The tutorials do not show it, and other tests check it.
LEFT_OUT = (
    "tlkeras.report.page.write_report",
    "tlkeras.report.tensorboard_summaries.write_tensorboard",
    "tlkeras.evaluation.embedding.write_embedding",
    "tlkeras.evaluation.evidence.write_evidence",
)
BEGIN = f"""%reset -f
%cd -q FOLDER
import importlib
for name in {LEFT_OUT}:
    module, _, function = name.rpartition(".")
    setattr(importlib.import_module(module), function, lambda run, *rest, **named: run)
%reset -f"""


def notebook(name: str):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def tagged(cells, tag: str):
    (cell,) = [cell for cell in cells if tag in cell.metadata.get("tags", ())]
    return cell


def test_the_tutorials_run(tmp_path, monkeypatch):
    """As one notebook, because a kernel takes seconds to import TensorFlow."""
    cells = []
    for name, values in SMALL.items():
        (tmp_path / name).mkdir()
        book = notebook(name)
        at = book.cells.index(tagged(book.cells, "parameters")) + 1
        small = "\n".join(f"{key} = {value!r}" for key, value in values.items())
        begin = nbformat.v4.new_code_cell(BEGIN.replace("FOLDER", str(tmp_path / name)))
        cells += [begin, *book.cells[:at], nbformat.v4.new_code_cell(small), *book.cells[at:]]
    whole = nbformat.v4.new_notebook(cells=cells)
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for threads in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(threads, "1")  # waiting threads take the time of other tests
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(whole, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs = [output for cell in whole.cells if cell.cell_type == "code" for output in cell.outputs]
    complaints = [output.text for output in outputs if output.get("name") == "stderr"]
    assert len(outputs) > 10 and not complaints


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.ipynb")))
def test_a_tutorial_is_kept_clean(name):
    """Without outputs, which would grow old; with all parameters that the tests make small."""
    book = notebook(name)
    for cell in book.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    parameters = ast.parse(tagged(book.cells, "parameters").source).body
    assert {target.id for node in parameters for target in node.targets} >= set(SMALL[name])


def test_the_dann_is_forty_lines():
    source = tagged(notebook("dann_in_plain_keras").cells, "dann").source
    tree = ast.parse(source)
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert function.end_lineno - function.lineno + 1 <= 40
    modules = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert [module for module in modules if module.startswith("tlkeras")] == ["tlkeras.adaptation"]


def test_the_overview_names_every_tutorial():
    text = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"({path.name})" in text for path in FOLDER.glob("*.ipynb"))
    assert json.loads((FOLDER / "adapt.ipynb").read_text("utf-8"))["nbformat"] == 4
