"""Targets that really have no labels: the normal case, from the data to the last line."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from variants import further

from tlkeras.cli.main import main
from tlkeras.config import AdaptationConfig, DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.embedding_file import read_embedding
from tlkeras.evaluation.predictions import shown_split
from tlkeras.evaluation.unlabelled import unlabelled_verdict
from tlkeras.runs.saved_run import load_run
from tlkeras.studies.experiment import run_experiment

ROWS = 60


def blobs(folder, **arrays) -> DataConfig:
    """A target of two blobs; by default one array without any labels."""
    np.savez(folder / "target.npz", **(arrays or {"x": points()[0]}))
    return DataConfig(source=f"npz:{folder / 'target.npz'}")


def points(seed=0):
    rng, y = np.random.default_rng(seed), np.arange(ROWS) % 2
    return (np.stack([y + 0.2, 0.1 * y], axis=1) + 0.2 * rng.normal(size=(ROWS, 2))).astype("float32"), y


def pictures(folder) -> DataConfig:
    """A flat folder of pictures, no class folders."""
    rng = np.random.default_rng(0)
    (folder / "flat").mkdir()
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(folder / f"flat/{i:02d}.png")
    return DataConfig(source=f"folder:{folder / 'flat'}")


def config(target: DataConfig, twin: bool = True, **changes) -> ExperimentConfig:
    flat = target.source.startswith("folder:")
    data = {"source": "synthetic:shapes", "image_size": 12, "limit": 60} if flat else {
        "source": f"synthetic:blobs?n={ROWS}&shift=0,0"}  # fmt: skip
    mlp = {"backbone": "mlp", "backbone_options": {"units": [8]}}
    cnn = {"backbone": "small_cnn", "backbone_options": {"filters": [4, 8]}}
    return ExperimentConfig(
        name="bare",
        data=DataConfig(**data, batch_size=16),
        model=ModelConfig(weights=None, **cnn if flat else mlp),
        stages=[StageConfig(name="adapt", train="all", epochs=2, optimizer={"learning_rate": 0.02})],
        adaptation=AdaptationConfig(target=target, options={"units": [8]}, twin=twin),
        **changes,
    )


def verdict_of(run) -> dict:
    return json.loads((run / "evaluation/verdict.json").read_text())


@pytest.mark.parametrize(
    ("target", "twin"), [(pictures, True), (blobs, False), further(blobs, True), further(pictures, False)]
)
def test_the_command_ends_with_all_that_needs_no_labels(target, twin, tmp_path, capsys):
    made = config(target(tmp_path), twin)
    (tmp_path / "config.json").write_text(made.model_dump_json())
    words = ["train", f"--config={tmp_path / 'config.json'}", f"--workdir={tmp_path / 'run'}"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert (
        "no labels in target. The rows are predicted (evaluation/target/predictions.csv), but no metrics"
        in said
    )
    assert "source test: accuracy" in said and "target test" not in said
    run = tmp_path / "run"
    metrics = json.loads((run / "evaluation/metrics.json").read_text())
    assert metrics["target"] == {} and metrics["source"]["test"]["accuracy"] >= 0
    _check_predictions(run)
    assert read_embedding(run / "evaluation/embedding_after.npz")["domain_names"] == ["source", "target"]
    page = (run / "report.html").read_text()
    assert "No labels, so nothing is measured here" in page
    assert ("not judged" in page) == ("Not judged:" in said) == twin
    assert (run / "evaluation/verdict.json").is_file() == twin
    if twin:
        found = verdict_of(run)
        assert found["verdict"] == "not_judged" and found["gain"] is None and found["interval"] is None
        scores = found["information_maximization"]
        assert (found["warning"] is not None) == (scores["run"] < scores["twin"])
        assert found["twins"]["source_only"]["sentence"] in said
    assert main(words) == 0
    assert "is finished already" in capsys.readouterr().out


def _check_predictions(run):
    folder = run / "evaluation/target"
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    kept = Predictions.load(folder / "predictions_test.npz")
    assert len(rows) == len(kept) > 0 and kept.labels is None
    assert {row["label"] for row in rows} == {""} and not (folder / "confusion.csv").exists()
    assert {path.name for path in folder.glob("*.npz")} == {
        f"predictions_{split}.npz" for split in ("train", "val", "test")
    }
    domains = json.loads((run / "evaluation/domains.json").read_text())
    assert 0 <= domains["after"]["a_distance"] <= 2
    for name, share in domains["target_predictions"].items():
        assert share == pytest.approx(np.mean([row["prediction"] == name for row in rows]))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return run_experiment(config(blobs(folder)), folder / "run")


def test_a_run_that_stopped_before_its_verdict_goes_on_to_it(finished):
    path, before = finished.path, verdict_of(finished.path)
    ledger = finished.run_dir.ledger.path
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if '"finished"' not in line))
    assert not finished.run_dir.is_finished
    for name in ("evaluation/verdict.json", "evaluation/metrics.json", "report.html"):
        (path / name).unlink()
    run_experiment(finished.config, path)
    assert verdict_of(path) == before and (path / "report.html").is_file()


def test_it_can_be_evaluated_compared_and_reported_again(finished, tmp_path, capsys):
    run = str(finished.path)
    assert main(["evaluate", run]) == 0
    said = capsys.readouterr().out
    assert "source" in said and "no labels in target" in said
    assert main(["compare", run, f"{run}/twin", f"--output={tmp_path / 'compare.html'}"]) == 0
    assert main(["report", run]) == 0
    x, y = points()
    labelled = blobs(tmp_path, x=x, y=y).source
    assert main(["evaluate", run, "--set", f"adaptation.target.source={labelled}"]) == 0
    assert "No labels" not in capsys.readouterr().out
    found = load_run(run).evaluate([f"adaptation.target.source={labelled}"])
    assert 0 <= found["target"]["test"]["accuracy"] <= 1


@pytest.mark.usefixtures("without_report")
def test_labels_of_another_split_are_judged_by(tmp_path):
    x, y = points()
    target = blobs(tmp_path, x_train=x[:40], y_train=y[:40], x_test=x[40:])
    run = run_experiment(config(target), tmp_path / "run")
    assert set(run.metrics["target"]) == {"train", "val"}
    found = verdict_of(run.path)
    assert found["verdict"] != "not_judged" and found["rows"] == run.metrics["target"]["val"]["rows"]
    assert Predictions.load(run.path / "evaluation/target/predictions_test.npz").labels is None


@pytest.mark.usefixtures("without_report")
def test_several_seeds_and_twins_without_labels(tmp_path):
    made = config(blobs(tmp_path), verdict={"twins": ["scratch"]})
    made = made.model_copy(update={"adaptation": made.adaptation.model_copy(update={"seeds": 2})})
    run = run_experiment(made, tmp_path / "run")
    found = verdict_of(run.path)["twins"]
    assert [item["verdict"] for item in found.values()] == ["not_judged"] * 2
    assert found["source_only"]["seeds"] == 2 and found["scratch"]["information_maximization"] is None


def bare(count: int) -> Predictions:
    return Predictions.from_logits(np.zeros((count, 2)), task="multiclass")


@pytest.mark.parametrize(("run", "warns"), [(0.2, True), (0.6, False), (0.5, False)])
def test_the_warning_needs_no_labels(run, warns):
    scores = (run, 0.5)
    found = unlabelled_verdict([bare(1)], twin_name="source only", information_maximization=scores)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert ("negative transfer" in (content["warning"] or "")) == warns
    assert content["information_maximization"] == {"run": run, "twin": 0.5}
    assert f"{run:.3f} against 0.500 (source only)" in content["sentence"] and "\n" not in content["sentence"]
    assert "no labels for 1 test row," in content["sentence"] and content["gains"] == []


def test_a_labelled_split_says_most():
    labelled = Predictions.from_logits(np.zeros((2, 2)), task="multiclass", labels=[0, 1])
    assert shown_split({"train": labelled, "val": labelled, "test": bare(3)}) == "val"
    assert shown_split({"train": bare(1), "val": bare(1)}) == "val"
    assert shown_split({"train": bare(1), "test": bare(0)}) == "train"
    assert shown_split({}) is None
