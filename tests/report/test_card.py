"""The model card of a run, and the folder beside it that can be published."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from ends_at_once import AT_ONCE
from PIL import Image

from tlkeras import load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.report.rendering import cell

WITHOUT_TLKERAS = """
import sys
sys.modules["tlkeras"] = None
{code}
np.save("probabilities.npy", probabilities)
"""


def test_a_card_has_the_numbers_and_a_model_that_keras_opens(run_copy, tmp_path, capsys):
    folder = tmp_path / "published"
    assert main(["card", str(run_copy), f"--output={folder}", "--license=mit"]) == 0
    assert capsys.readouterr().out.strip().endswith("README.md")
    _, head, text = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    fields = yaml.safe_load(head)
    measured = json.loads((run_copy / "evaluation/metrics.json").read_text())["source"]["test"]
    (result,) = fields["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": measured["accuracy"]}]
    assert fields["license"] == "mit" and fields["pipeline_tag"] == "image-classification"
    assert f"| source test accuracy | {measured['accuracy']:.4g} |" in text
    assert str(run_copy) not in text and "gain from the transfer is not known" in text
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)).save(
        folder / "PICTURE.png"
    )
    code = text.partition("```python\n")[2].partition("```")[0].replace("PICTURE.jpg", "PICTURE.png")
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE + WITHOUT_TLKERAS.format(code=f"import numpy as np\n{code}")],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    expected, _ = load_run(run_copy).predict_files(folder / "PICTURE.png")
    np.testing.assert_allclose(np.load(folder / "probabilities.npy"), expected.probabilities, atol=1e-5)
    assert done.stdout.split()[-2] == expected.class_names[expected.predicted[0]]
    assert (folder / "labels.txt").read_text().split() == ["circle", "square", "triangle", "cross"]


def test_the_card_passes_the_checks_of_the_hubs_client(run_copy):
    hub = pytest.importorskip("huggingface_hub")
    assert main(["card", str(run_copy), "--license=mit"]) == 0
    card = hub.ModelCard.load(run_copy / "card/README.md")
    (result,) = card.data.eval_results  # is None where the client could not read the results
    assert (result.metric_type, result.dataset_name) == ("accuracy", "source test")
    assert card.data.license == "mit" and card.data.library_name == "keras"


@pytest.mark.parametrize("backbone", ["mlp", "small_cnn"])
def test_the_task_of_a_regression_is_that_of_its_inputs(tmp_path, backbone):
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    y = x.mean(axis=(1, 2, 3)) / 255
    x = x.reshape(40, -1).astype(np.float32) / 255 if backbone == "mlp" else x
    run_experiment(
        {
            "data": {"source": "arrays", "task": "regression", "batch_size": 20},
            "model": {"backbone": backbone, "weights": None},
            "stages": [{"name": "all", "train": "all", "epochs": 1}],
        },
        tmp_path / "run",
        {"train": (x[:20], y[:20]), "test": (x[20:], y[20:])},
    )
    assert main(["card", str(tmp_path / "run"), "--license=mit"]) == 0
    text = (tmp_path / "run/card/README.md").read_text("utf-8")
    fields = yaml.safe_load(text.split("---\n", 2)[1])
    task = {"mlp": "tabular-regression", "small_cnn": "image-regression"}[backbone]
    assert fields["model-index"][0]["results"][0]["task"] == {"type": task}
    # the Hub has no name for the regression of pictures, and a wrong one would list it among tables
    assert (fields.get("pipeline_tag"), task in fields["tags"]) == {
        "mlp": (task, False), "small_cnn": (None, True)
    }[backbone]  # fmt: skip


def test_weak_classes_and_few_rows_are_limits(run_copy):
    path = run_copy / "evaluation/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["source"]["test"]["per_class"]["circle"]["recall"] = 0.25
    metrics["source"]["test"]["rows"] = 12
    path.write_text(json.dumps(metrics))
    assert main(["card", str(run_copy)]) == 0
    text = (run_copy / "card/README.md").read_text("utf-8")
    assert "Its recall on source test is below 50 % for: circle (25.0 %)." in text
    assert "few rows in source test" in text


def test_a_name_cannot_break_the_page():
    assert cell("a|b\n<script>[x](y) `c`") == r"a\|b \<script\>\[x\](y) \`c\`"


def test_a_run_that_is_not_finished_has_no_card(run_copy, capsys):
    (run_copy / "evaluation/metrics.json").unlink()
    assert main(["card", str(run_copy)]) == 2
    assert "needs a finished run" in capsys.readouterr().err
    assert not (run_copy / "card").exists() and not (run_copy / "export").exists()
    assert main(["card"]) == 2 and "Name one run directory" in capsys.readouterr().err
