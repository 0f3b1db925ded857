import subprocess
import sys
import time

import pytest

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig, load_config
from tlkeras.errors import UserError
from tlkeras.run_dir import RunDir
from tlkeras.search.auto import auto, parse_budget

pytest.importorskip("optuna")


@pytest.fixture
def config(tmp_path):
    return ExperimentConfig(
        name="digits",
        data=DataConfig(source="digits", image_size=8, limit=60),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [4, 8]}),
        stages=[StageConfig(name="head", epochs=1)],
        cache={"dir": str(tmp_path / "cache"), "extractor": "exact"},
    )


def test_search_ends_in_time_goes_on_and_keeps_the_best(config, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json())
    words = ["auto", f"--config={file}", f"--workdir={tmp_path / 'auto'}", "--candidates=small_cnn:none"]
    program = "import sys; from tlkeras.cli.main import main; sys.exit(main())"
    began = time.monotonic()
    # a process of its own: in one that has run a thousand tests, each trial waits for the garbage collector
    subprocess.run([sys.executable, "-c", program, *words, "--budget=25s"], check=True)
    assert time.monotonic() - began < 60
    rows = RunDir(tmp_path / "auto").read_rows("trials.csv")
    assert rows[0]["state"] == "complete" and len(rows) > 1
    best = load_config(str(tmp_path / "auto" / "best.json"))
    scores = [float(row["val_accuracy"]) for row in rows if row["state"] == "complete"]
    number = next(r["trial"] for r in rows if r["val_accuracy"] and float(r["val_accuracy"]) == max(scores))
    kept = load_config(str(tmp_path / "auto" / "trials" / f"{int(number):03d}" / "config.json"))
    assert best == kept
    assert f"accuracy {max(scores):.3f}" in (tmp_path / "auto" / "auto.md").read_text()
    again = auto(config, tmp_path / "auto", budget=1.0, candidates="small_cnn:none")  # spent already
    assert again["val_accuracy"] == max(scores)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("7", 7)])
def test_budget_is_a_time(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["0m", "soon", "-3s", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match="such as 90s"):
        parse_budget(text)
