import json
import shutil

import numpy as np
import pytest

from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.config import ExperimentConfig, apply_overrides
from tlkeras.run_dir import RunDir
from tlkeras.runs.model_file import load_model
from tlkeras.studies.reproduce import _difference

pytestmark = pytest.mark.usefixtures("without_reports")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    config = ExperimentConfig(
        name="again",
        data={"source": "digits", "image_size": 8, "limit": 64},
        model={
            "backbone": "small_cnn",
            "weights": None,
            "backbone_options": {"filters": [4], "dropout": 0.2},
        },
        stages=[{"name": "all", "train": "all", "bn": "train", "epochs": 2, "augment": {"crop": 0.7}}],
    )
    return run_experiment(config, tmp_path_factory.mktemp("reproduce") / "run").path


@pytest.fixture
def run(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def _result(run):
    return json.loads((run / "reproduction.json").read_text())


def test_a_run_that_was_evaluated_again_comes_out_equal_to_the_bit(run, capsys):
    before = (run / "evaluation" / "metrics.json").read_bytes()
    assert main(["evaluate", str(run)]) == 0
    assert (run / "evaluation" / "metrics.json").read_bytes() == before
    assert main(["reproduce", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "equal: weights of best.keras, to the bit" in printed and "Reproduced." in printed
    assert _result(run)["equal"] and _result(run)["weights"] == {"best.keras": 0.0}
    assert (run / "reproduction" / "best.keras").is_file()


def test_changed_weights_metrics_and_versions_are_named(run, tmp_path, capsys):
    model = load_model(run / "best.keras")
    kernel = model.get_layer("logits").kernel
    kernel.assign(kernel + 0.25)
    model.save(run / "best.keras")
    for name, change in {
        "evaluation/metrics.json": lambda m: m["source"]["test"].update(accuracy=0.98765),
        "manifest.json": lambda m: m["versions"].update(keras="2.0"),
    }.items():
        values = json.loads((run / name).read_text())
        change(values)
        (run / name).write_text(json.dumps(values))
    assert main(["reproduce", str(run), f"--workdir={tmp_path / 'again'}"]) == 1
    printed = capsys.readouterr().out
    assert "versions.keras: now" in printed and 'then "2.0"' in printed
    assert "source.test.accuracy" in printed and "then 0.98765" in printed and "Not reproduced." in printed
    assert _result(run)["weights"]["best.keras"] == pytest.approx(0.25, rel=1e-5)
    assert not (run / "reproduction").exists()


def test_other_data_end_it_before_training(run, capsys):
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["data_fingerprint"]["source"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert main(["reproduce", str(run)]) == 1
    assert "cannot be reproduced" in capsys.readouterr().err
    assert not (run / "reproduction").exists()


def test_an_unfinished_run_is_a_mistake(run, capsys):
    ledger = (run / "ledger.jsonl").read_text().splitlines()
    (run / "ledger.jsonl").write_text("\n".join(line for line in ledger if '"run"' not in line) + "\n")
    assert main(["reproduce", str(run)]) == 2
    assert "not finished" in capsys.readouterr().err


def test_signed_zero_is_a_difference(run, tmp_path):
    # bit-identical means the bits, not only equal numbers
    model = load_model(run / "best.keras")
    for value, name in ((0.0, "plus"), (-0.0, "minus")):
        model.get_layer("logits").bias.assign(np.full(10, value, np.float32))
        model.save(tmp_path / f"{name}.keras")
    assert _difference(tmp_path / "plus.keras", tmp_path / "plus.keras") == 0.0
    assert _difference(tmp_path / "plus.keras", tmp_path / "minus.keras") != 0.0


@pytest.fixture
def frozen(tmp_path):
    return ExperimentConfig(
        name="frozen",
        data={"source": "digits", "image_size": 8, "limit": 64},
        model={"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4]}},
        stages=[{"name": "head", "epochs": 2}, {"name": "probe", "probe": {"name": "logistic_regression"}}],
        cache={"dir": str(tmp_path / "cache")},
    )


def extractors(path):
    records = RunDir(path).ledger.records()
    return [record["extractor"] for record in records if record["event"] == "completed"]


def test_a_run_is_reproduced_whatever_was_done_with_its_cache_since(frozen, tmp_path, capsys):
    path = run_experiment(frozen, tmp_path / "run").path
    assert extractors(path) == ["exact", "exact"]
    file = tmp_path / "config.json"
    file.write_text(frozen.model_dump_json())
    assert main(["evaluate", str(path)]) == 0
    words = [f"--config={file}", "--candidates=small_cnn:none", f"--workdir={tmp_path / 'ranking'}"]
    assert main(["rank", *words]) == 0
    other = apply_overrides(frozen, ["cache.extractor=folded"])
    assert extractors(run_experiment(other, tmp_path / "other").path) == ["folded", "folded"]
    assert main(["reproduce", str(path)]) == 0, capsys.readouterr().out
    assert "Reproduced." in capsys.readouterr().out


def test_what_a_run_found_out_for_itself_is_taken_again(frozen, tmp_path, monkeypatch, capsys):
    """The extractor by `auto` and the batch size, of the run and of its twin."""
    change = ["cache.extractor=auto", "data.batch_size=auto", 'verdict.twins=["frozen_probe"]']
    config = apply_overrides(frozen, change)
    find, named = "tlkeras.models.batch_size.find_batch_size", "tlkeras.features.cache.named_by"
    monkeypatch.setattr(find, lambda *_, **__: 16)
    monkeypatch.setattr(named, lambda *_: "folded")
    path = run_experiment(config, tmp_path / "run").path
    monkeypatch.setattr(find, lambda *_, **__: 8)  # as on a machine with other work
    monkeypatch.setattr(named, lambda *_: "exact")
    assert main(["reproduce", str(path)]) == 0, capsys.readouterr().out
    for part in (".", "twins/frozen_probe"):
        assert set(extractors(path / "reproduction" / part)) == {"folded"}
        assert RunDir(path / "reproduction" / part).read_json("manifest.json")["batch_size"] == 16
