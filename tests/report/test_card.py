"""The model card of a run, and the folder beside it that can be published."""

import json
import subprocess
import sys

import numpy as np
import yaml

from tlkeras import load_run
from tlkeras.cli.main import main
from tlkeras.report.rendering import cell

WITHOUT_TLKERAS = """
import sys
sys.modules["tlkeras"] = None
import keras, numpy as np
model = keras.models.load_model("model.keras", compile=False)
np.save("answers.npy", model.predict(np.load("x.npy"), verbose=0))
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
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    np.save(folder / "x.npy", x.astype(np.float32))
    subprocess.run([sys.executable, "-c", WITHOUT_TLKERAS], cwd=folder, check=True, capture_output=True)
    expected = load_run(run_copy).predict(x).probabilities
    np.testing.assert_allclose(np.load(folder / "answers.npy"), expected, atol=1e-5)
    assert (folder / "labels.txt").read_text().split() == ["circle", "square", "triangle", "cross"]


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
