import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import tlkeras.studies.auto
from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    StageConfig,
    TasksConfig,
)
from tlkeras.errors import UserError
from tlkeras.studies.alarm import TimeUp
from tlkeras.studies.candidates import Candidate, parse_candidates
from tlkeras.studies.rank import rank
from tlkeras.studies.recommendation import recommend

pytestmark = pytest.mark.usefixtures("without_reports")


def digits(folder):
    return ExperimentConfig(
        name="digits",
        data=DataConfig(source="digits", image_size=8, limit=120),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [8, 16]}),
        stages=[StageConfig(name="all", train="all", bn="train", epochs=3)],
        cache={"dir": str(folder / "cache"), "extractor": "exact"},
    )


@pytest.fixture
def config(tmp_path):
    return digits(tmp_path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run on the data that are ranked for."""
    folder = tmp_path_factory.mktemp("ranked")
    run_experiment(digits(folder), folder / "source")
    return folder / "source"


def test_ranking_of_backbones_and_a_run(config, source, tmp_path, capsys):
    file = tmp_path / "config.json"
    file.write_text(config.model_dump_json())
    words = ["rank", f"--config={file}", f"--workdir={tmp_path / 'ranking'}"]
    assert main([*words, f"--candidates=small_cnn,dann_dig*:none,{source.parent}/sour*"]) == 0
    with open(tmp_path / "ranking" / "ranking.csv") as lines:
        rows = list(csv.DictReader(lines))
    by_name = {row["candidate"]: row for row in rows}
    assert by_name.keys() == {"small_cnn", str(source), "dann_digits"}
    run = by_name[str(source)]
    assert {"logme", "leep", "nce", "h_score", "transrate", "probe_accuracy", "weights"} <= run.keys()
    assert float(run["leep"]) <= 0 and by_name["small_cnn"]["leep"] == ""
    assert by_name["dann_digits"]["error"]  # 8 pixels are too few for it
    assert (tmp_path / "ranking" / "ranking.png").stat().st_size > 1000
    said = capsys.readouterr().out
    assert "Start from" in said
    (heading,) = [line for line in said.splitlines() if line.startswith("candidate")]
    assert "logme" in heading and "h_score" not in heading


def test_features_that_know_the_task_come_first(config, tmp_path):
    known = tmp_path / "known"
    stage = StageConfig(name="all", train="all", bn="train", epochs=25, optimizer={"learning_rate": 0.01})
    run_experiment(config.model_copy(update={"stages": (stage,)}), known)
    table = rank(config, f"small_cnn:none,{known}", tmp_path / "ranking")
    assert [row["weights"] for row in table] == ["run", "none"]
    assert table[0]["probe_accuracy"] > table[1]["probe_accuracy"]
    assert table[0]["logme"] > table[1]["logme"]


def test_a_ranking_by_another_metric(config, tmp_path):
    judged = config.model_copy(update={"judged_by": "macro_f1"})
    (row,) = rank(judged, "small_cnn", tmp_path / "ranking")
    assert 0 < row["probe_macro_f1"] < 1 and row["probe_macro_f1"] != row["probe_accuracy"]
    assert "has macro_f1 0." in (tmp_path / "ranking" / "recommendation.txt").read_text()
    with pytest.raises(UserError, match="mae is a metric for regression"):
        rank(config.model_copy(update={"judged_by": "mae"}), "small_cnn", tmp_path / "other")
    facts = {"weights": "run", "error": "", "probe_accuracy": 0.5, "logme": 0.0, "parameters": 9}
    low, high = (
        facts | {"candidate": name, "probe_macro_f1": f1} for name, f1 in (("low", 0.2), ("high", 0.8))
    )
    said = recommend([high, low], {"low": np.zeros(50), "high": np.ones(50)}, "macro_f1")
    assert "has macro_f1 0.800 on 50 held-out" in said and "low is 60.0 points worse" in said


def test_weights_of_a_run_bring_its_head(config, source, tmp_path):
    (row,) = rank(config, f"small_cnn:{source}", tmp_path / "ranking")
    (whole,) = rank(config, str(source), tmp_path / "second")
    assert row["leep"] == pytest.approx(whole["leep"], abs=1e-6)
    assert row["probe_accuracy"] == pytest.approx(whole["probe_accuracy"], abs=0.02)


@pytest.fixture
def damaged(tmp_path):
    """Folders of pictures for a source and a target, a picture in each damaged."""
    rng = np.random.default_rng(0)
    for domain in ("here", "there"):
        for number in range(40):
            file = tmp_path / domain / ("dark", "light")[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 99, (16, 16, 3)) + 99 * (number % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(file)
        file.write_bytes(file.read_bytes()[:60])
    return {domain: f"folder:{tmp_path / domain}" for domain in ("here", "there")}


@pytest.mark.parametrize("command", ["rank", "auto", "train"])
def test_damaged_pictures_are_named_or_left_out(config, damaged, tmp_path, capsys, monkeypatch, command):
    if command == "auto":
        pytest.importorskip("optuna")
    data = config.data.model_copy(update={"source": damaged["here"], "limit": None, "batch_size": 8})
    target = AdaptationConfig(target=DataConfig(source=damaged["there"]), method="mcc", twin=False)
    update = {"data": data} if command == "auto" else {"data": data, "adaptation": target}
    config = config.model_copy(update=update)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    words = [command, f"--config={tmp_path / 'config.json'}", f"--workdir={tmp_path / 'out'}"]
    words += {
        "rank": ["--candidates=small_cnn:none,mlp"],
        "auto": ["--candidates=small_cnn:none"],
        "train": [],
    }[command]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "39.png" in said and "data.on_error=skip" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()
    words += ["--set", "data.on_error=skip"]
    if command == "auto":
        monkeypatch.setattr(tlkeras.studies.auto, "run_experiment", out_of_time)
        assert main(words) == 2
        ended = capsys.readouterr()
        assert "No trial was completed" in ended.err and "With a larger --budget" in ended.err
        assert "1 unreadable files are left out" in ended.out
        assert (tmp_path / "out/ranking/ranking.csv").is_file()
    else:
        assert main(words) == 0
    if command == "rank":
        shown = capsys.readouterr().out
        assert shown.count("source: 1 unreadable files are left out. The first is light/39.png, which") == 1


def out_of_time(config, folder):
    raise TimeUp


def test_scores_are_computed_once_and_failures_are_tried_again(config, tmp_path, monkeypatch):
    (row,) = rank(config, "small_cnn", tmp_path / "ranking")
    scored = []

    def score(self, candidate):
        scored.append(candidate.title)
        if len(scored) == 1:
            raise UserError("no luck")
        return row | {"candidate": candidate.name}, np.ones(100)

    monkeypatch.setattr("tlkeras.studies.rank._Scorer.score", score)
    assert rank(config, "small_cnn", tmp_path / "ranking") == [row] and scored == []
    words = "small_cnn,dann_digits:none"
    table = rank(config, words, tmp_path / "ranking")
    assert [found["error"] for found in table] == ["", "no luck"]
    table = rank(config, words, tmp_path / "ranking")
    assert [found["error"] for found in table] == ["", ""] and scored == ["dann_digits:none"] * 2
    with pytest.raises(
        UserError, match=r"another ranking.*config\.seed: received 3, there 0; rows: received 50"
    ):
        rank(config.model_copy(update={"seed": 3}), words, tmp_path / "ranking", rows=50)


def test_a_target_brings_distances(config, tmp_path):
    target = AdaptationConfig(target=DataConfig(source="synthetic:shapes?n=40&size=16&shift=1"))
    data = DataConfig(source="synthetic:shapes?n=40&size=16")
    config = config.model_copy(update={"data": data, "adaptation": target})
    (row,) = rank(config, "small_cnn", tmp_path / "ranking")
    assert row["distance_mean"] > 0 and 0 <= row["distance_a_distance"] <= 2


def test_a_source_task_brings_distances(config, tmp_path):
    tasks = TasksConfig(source=DataConfig(source="synthetic:shapes?n=40&size=16&shift=1"))
    data = DataConfig(source="synthetic:shapes?n=40&size=16")
    far = rank(config.model_copy(update={"data": data, "tasks": tasks}), "small_cnn", tmp_path / "far")
    same = rank(
        config.model_copy(update={"data": data, "tasks": TasksConfig(source=data)}),
        "small_cnn",
        tmp_path / "same",
    )
    assert far[0]["distance_mean"] > 0 == same[0]["distance_mean"]
    assert far[0]["distance_frechet"] > same[0]["distance_frechet"]


def test_tasks_of_other_width_have_no_distance(config, tmp_path):
    for name, width in (("wide", 6), ("narrow", 4)):
        rng = np.random.default_rng(0)
        arrays = {"x_train": rng.normal(size=(40, width)), "y_train": np.arange(40) % 2}
        np.savez(tmp_path / f"{name}.npz", **arrays)
    update = {
        "data": DataConfig(source=f"npz:{tmp_path / 'wide.npz'}"),
        "tasks": TasksConfig(source=DataConfig(source=f"npz:{tmp_path / 'narrow.npz'}")),
        "model": ModelConfig(backbone="mlp", weights=None),
    }
    (row,) = rank(config.model_copy(update=update), "mlp", tmp_path / "ranking")
    assert "distance_mean" not in row and row["probe_accuracy"] >= 0


def test_a_checkpoint_of_another_library_is_a_candidate(config, tmp_path):
    originals = json.loads((Path(__file__).parents[1] / "models" / "tiny_originals.json").read_text("utf-8"))
    original = next(x for x in originals if (x["backbone"], x["library"]) == ("swin_tiny", "timm"))
    rng = np.random.default_rng(0)
    tensors = {k: rng.normal(0, 0.3, v).astype("float32") for k, v in original["shapes"].items()}
    file = tmp_path / "swin.safetensors"
    save_file(tensors, file)
    data = config.data.model_copy(update={"image_size": 32})
    model = ModelConfig(backbone="swin_tiny", weights=None, backbone_options=original["options"])
    config = config.model_copy(update={"data": data, "model": model})
    rank(config, f"swin_tiny:{file},swin_tiny:none", tmp_path / "ranking")
    with open(tmp_path / "ranking" / "ranking.csv") as lines:
        rows = {row["weights"]: row for row in csv.DictReader(lines)}
    assert [row["error"] for row in rows.values()] == ["", ""]
    assert rows[str(file)]["probe_accuracy"] != rows["none"]["probe_accuracy"]


def test_candidates_are_named_once(config):
    found = parse_candidates("small_cnn, small_cnn:none,small*", config)
    assert found == [Candidate("small_cnn", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("small_cn", "Did you mean 'small_cnn'"),
        (" , ", "names nothing"),
        ("runs/none*", "No run directory"),
        ("efficientnet_lite0:imagnet", "Did you mean 'imagenet'"),
        ("small_*:nome", "Did you mean 'none'"),
        ("dann_digits:/nowhere", "do not exist"),
        ("dann_digits:.", "hold no weights"),
    ],
)
def test_names_that_nothing_fits(config, text, message):
    with pytest.raises(UserError, match=message):
        parse_candidates(text, config)


def test_a_foreign_folder_is_left_alone(config, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(UserError, match="holds no ranking"):
        rank(config, "small_cnn", tmp_path / "letters")


def test_words_say_when_random_weights_lead_and_when_a_smaller_one_does():
    def row(name, weights, accuracy, parameters):
        return {"candidate": name, "weights": weights, "probe_accuracy": accuracy, "logme": accuracy,
                "parameters": parameters, "error": ""}  # fmt: skip

    rng = np.random.default_rng(0)
    good, same = rng.random(500) < 0.9, rng.random(500) < 0.89
    weak = rng.random(500) < 0.5
    table = [
        row("big", "imagenet", 0.9, 10_000),
        row("small", "imagenet", 0.89, 1000),
        row("big", "none", 0.5, 1),
    ]
    said = recommend(table, {"big:imagenet": good, "small:imagenet": same, "big:none": weak})
    assert "Start from big:imagenet" in said and "small:imagenet does as well" in said
    assert "40.0 points better than random weights" in said
    right = {"big:imagenet": weak, "big:none": good}
    said = recommend([table[2], table[0]], right)
    assert "Random weights are best: big:imagenet has nothing" in said
    failed = {"candidate": "other", "weights": "imagenet", "error": "the file is broken"}
    said = recommend([table[2], failed], right)
    assert (
        "only random weights could be scored (big:none)" in said and "see the table: other:imagenet." in said
    )
    assert "Start from" not in said and "are best" not in said
    assert "only random weights were offered" in recommend([table[2]], right)
    said = recommend([table[0], failed], right)
    assert "Start from big:imagenet" in said and "see the table: other:imagenet." in said
