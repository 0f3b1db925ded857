import contextlib
import json
import sys
import time
from types import SimpleNamespace

import pytest

import tlkeras.studies.alarm
import tlkeras.studies.auto
from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    NestedConfig,
    StageConfig,
    TasksConfig,
    load_config,
)
from tlkeras.errors import Interrupted, RunError, UserError
from tlkeras.run_dir import RunDir
from tlkeras.studies.alarm import TimeUp, alarm
from tlkeras.studies.auto import auto, parse_budget
from tlkeras.studies.candidates import Candidate
from tlkeras.studies.search_space import StartingPoint, starting_point
from tlkeras.studies.search_storage import Storage

pytestmark = pytest.mark.usefixtures("without_reports")

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


@pytest.fixture
def clock(monkeypatch):
    """The time of a search, moved on by hand: `clock.now`. No alarm rings."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(tlkeras.studies.auto, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(tlkeras.studies.auto, "alarm", lambda seconds: contextlib.nullcontext())
    return clock


def test_search_ends_in_time_goes_on_and_keeps_the_best(config, tmp_path, clock, monkeypatch):
    train, trained = tlkeras.studies.auto.run_experiment, []

    def takes_ten_seconds(config, folder):
        run = train(config, folder)
        clock.now += 10
        trained.append(folder.name)
        return run

    monkeypatch.setattr(tlkeras.studies.auto, "run_experiment", takes_ten_seconds)
    auto(config, tmp_path / "auto", budget=45.0, candidates="small_cnn:none")
    assert len(trained) == 5, trained
    rows = RunDir(tmp_path / "auto").read_rows("trials.csv")
    assert rows[0]["state"] == "complete" and len(rows) > 1
    best = load_config(str(tmp_path / "auto" / "best.json"))
    scores = [float(row["val_accuracy"]) for row in rows if row["state"] == "complete"]
    number = next(r["trial"] for r in rows if r["val_accuracy"] and float(r["val_accuracy"]) == max(scores))
    kept = load_config(str(tmp_path / "auto" / "trials" / f"{int(number):03d}" / "config.json"))
    assert best == kept
    assert {"half", "all"} >= {row["depth"] for row in rows[1:3]}  # recipes before the sampler's own
    assert rows[1]["learning_rate"] == "0.0005" and rows[1]["bn"] == "frozen"
    assert f"accuracy {max(scores):.3f}" in (tmp_path / "auto" / "auto.md").read_text()
    again = auto(config, tmp_path / "auto", budget=1.0, candidates="small_cnn:none")  # spent already
    assert again["val_accuracy"] == max(scores)


@pytest.fixture
def training(monkeypatch):
    """Stands in for training: `training(answer)`, where `answer(config, folder)` is an accuracy.

    A search has ranked nothing then, and ends after eight trials. Returns the folders that were asked for.
    """

    def replace(answer, trials=8):
        asked = []

        def run_experiment(config, folder):
            asked.append(folder.name)
            if len(asked) > trials:
                raise TimeUp
            metrics = {"source": {"val": {"accuracy": answer(config, folder)}}}
            (folder / "evaluation").mkdir(parents=True, exist_ok=True)
            (folder / "config.json").write_text(config.model_dump_json())
            (folder / "evaluation" / "metrics.json").write_text(json.dumps(metrics))
            return SimpleNamespace(metrics=metrics)

        monkeypatch.setattr(tlkeras.studies.auto, "run_experiment", run_experiment)
        return asked

    ranked = [{"candidate": "small_cnn", "weights": "none", "error": ""}]
    write = lambda config, words, folder, **more: RunDir(folder).write_rows("ranking.csv", ranked)  # noqa: E731
    monkeypatch.setattr(tlkeras.studies.auto, "rank", write)
    return replace


def searched(config, folder, budget=900.0):
    auto(config, folder, budget=budget, candidates="small_cnn:none")
    return RunDir(folder).read_rows("trials.csv")


def test_alarm_that_is_lost_rings_again_without_a_word(monkeypatch, capfd):
    class Slow:
        def __del__(self):  # what a signal raises in here is lost
            time.sleep(0.5)

    monkeypatch.setattr(tlkeras.studies.alarm, "RING_AGAIN", 0.6)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # pytest's makes a failure of it
    with pytest.raises(TimeUp), alarm(0.2):
        Slow()
        time.sleep(3)
        pytest.fail("the second alarm did not ring")
    assert "TimeUp" not in capfd.readouterr().err
    assert sys.unraisablehook is sys.__unraisablehook__


def test_pictures_too_small_for_every_backbone_with_weights(config, tmp_path, monkeypatch, clock):
    monkeypatch.setattr(tlkeras.studies.auto, "parse_candidates", lambda *words: [Candidate("vgg16", None)])
    search = tlkeras.studies.auto._Search(config, tmp_path / "auto", 900.0, None, None)
    assert [source.title for source in search.ranked_starting_points()] == ["small_cnn:none"]


def test_search_without_any_alarm_ends_after_its_budget(config, tmp_path, training, clock):
    def takes_a_second(config, folder):
        clock.now += 1
        return 0.5

    asked = training(takes_a_second, trials=200)
    searched(config, tmp_path / "auto", budget=4.0)
    assert len(asked) == 4, asked


def test_interrupted_trial_is_taken_up_again(config, tmp_path, training):
    """Trial 0 is the config as it was written: without it the result might be worse."""
    stop = {"000": True, "002": True}

    def answer(config, folder):
        if stop.pop(folder.name, False):
            raise Interrupted(15, "Stopped by SIGTERM.")
        return 0.9 if folder.name == "000" else 0.5

    asked = training(answer)
    for _ in stop.copy():
        with pytest.raises(Interrupted):
            searched(config, tmp_path / "auto")
    begun = (tmp_path / "auto" / "study.journal").read_text()
    rows = searched(config, tmp_path / "auto")
    assert asked[:2] == ["000", "000"] and asked[-1] != "000"
    assert asked.count("002") == 2 and "002_short" in asked
    assert [row["state"] for row in rows[:3]] == ["complete"] * 3
    assert load_config(str(tmp_path / "auto" / "best.json")).stages == config.stages
    rate = float(rows[2]["head_learning_rate"])
    assert str(rate)[:12] in begun  # its settings are those that it had


def test_failed_trials_are_counted_in_a_line_each(config, tmp_path, training, capfd):
    def answer(config, folder):
        if folder.name in ("000", "001"):
            raise RunError("The loss is not a number\nat step 3.")
        return 0.4

    training(answer)
    rows = searched(config, tmp_path / "auto")
    assert [row["state"] for row in rows[:3]] == ["fail", "fail", "complete"]
    said = "".join(capfd.readouterr())
    assert said.count("The loss is not a number at step 3.") == 2 and "Traceback" not in said


def test_mistake_in_the_config_itself_ends_the_search(config, tmp_path, training):
    def answer(config, folder):
        raise UserError("no such block")

    asked = training(answer)
    with pytest.raises(UserError, match="no such block"):
        searched(config, tmp_path / "auto")
    assert asked == ["000"]


def test_nothing_but_failures_ends_the_search(config, tmp_path, training):
    def answer(config, folder):
        if folder.name != "000":
            raise ValueError("a bug")
        return 0.4

    rows_of = training(answer, trials=100)
    rows = searched(config, tmp_path / "auto")
    assert len(rows) == 1 + tlkeras.studies.auto.FAILURES == len(rows_of)


@pytest.mark.parametrize(
    ("update", "word"),
    [
        ({"tasks": TasksConfig(source=DataConfig(source="digits"))}, "tasks"),
        ({"adaptation": AdaptationConfig(target=DataConfig(source="digits"))}, "adaptation"),
        ({"data": DataConfig(source="digits", folds=3)}, "data.folds"),
        ({"data": DataConfig(source="digits", pretext={"name": "rotation"})}, "data.pretext"),
        ({"data": DataConfig(source="digits", task="regression")}, "data.task=regression"),
        ({"data": DataConfig(source="digits", val_fraction=0)}, "data.val_fraction=0"),
        ({"model": ModelConfig(nested=NestedConfig(source="runs/x"))}, "model.nested"),
        ({"model": ModelConfig(head=HeadConfig(name="neighbors"))}, "model.head.name=neighbors"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_written(config, tmp_path, update, word):
    with pytest.raises(UserError, match=f"Received: {word}"):
        auto(config.model_copy(update=update), tmp_path / "auto", budget=20)
    assert not (tmp_path / "auto").exists()


@pytest.mark.parametrize("words", ["small_cn:none", "small_cnn:imagnet", "runs/none"])
def test_typo_in_the_candidates_is_refused_before_anything_is_written(config, tmp_path, words):
    with pytest.raises(UserError, match="Received"):
        auto(config, tmp_path / "auto", budget=20, candidates=words)
    assert not (tmp_path / "auto").exists()


def test_runs_among_the_candidates_are_searched_over(config, tmp_path, training, monkeypatch):
    run = tmp_path / "run"
    run.mkdir()
    model = config.model.model_copy(update={"backbone_options": {"filters": [2, 3]}})
    (run / "config.json").write_text(config.model_copy(update={"model": model}).model_dump_json())
    (run / "best.keras").touch()
    ranked = [{"candidate": str(run), "weights": "run", "error": ""}]
    write = lambda config, words, folder, **more: RunDir(folder).write_rows("ranking.csv", ranked)  # noqa: E731
    monkeypatch.setattr(tlkeras.studies.auto, "rank", write)
    seen = []
    training(lambda config, folder: seen.append(config.model) or 0.5, trials=20)
    auto(config, tmp_path / "auto", budget=900, candidates=str(run))
    taken = [model for model in seen if model.weights == str(run)]
    assert taken and all(model.backbone_options == {"filters": [2, 3]} for model in taken)


def test_blocks_of_a_transformer_are_searched_over(config, tmp_path, training, monkeypatch):
    ranked = [{"candidate": "swinv2_tiny", "weights": "none", "error": ""}]
    write = lambda config, words, folder, **more: RunDir(folder).write_rows("ranking.csv", ranked)  # noqa: E731
    monkeypatch.setattr(tlkeras.studies.auto, "rank", write)
    seen = set()

    def answer(config, folder):
        if config.model.backbone == "swinv2_tiny":
            seen.update(stage.train for stage in config.stages)
        return 0.5

    training(answer, trials=20)
    auto(config, tmp_path / "auto", budget=900, candidates="swinv2_tiny")
    assert seen >= {"head", "last:5"} and seen <= {"head", "all", "last:5", "last:8"}  # of 16 blocks


def test_run_of_more_than_a_backbone_is_refused(config, tmp_path):
    model = ModelConfig(backbone="none", weights=None, nested=NestedConfig(source="x", join="alone"))
    (tmp_path / "config.json").write_text(config.model_copy(update={"model": model}).model_dump_json())
    with pytest.raises(UserError, match=r"a run with model\.nested"):
        starting_point(Candidate(str(tmp_path), "run"), config)


def test_second_search_in_the_same_folder_helps(config, tmp_path, training, monkeypatch):
    """It begins while trial 0 is trained, and leaves that trial to the first process."""
    monkeypatch.setattr(tlkeras.studies.auto, "WAIT_FOR_OTHERS", 0.0)

    seen = []

    def answer(_, folder):
        if folder.name == "000":
            seen.extend(row["state"] for row in searched(config, tmp_path / "auto"))
        return 0.5

    asked = training(answer)
    rows = searched(config, tmp_path / "auto")
    assert seen[:3] == ["out of time", "complete", "complete"]
    assert [row["state"] for row in rows][:3] == ["complete"] * 3 and asked.count("000") == 1


def test_first_trials_of_a_killed_process_are_completed(config, tmp_path):
    search = tlkeras.studies.auto._Search(config, tmp_path / "auto", 900.0, None, Storage(None))
    with search.shared:
        search.open()
        search.study.enqueue_trial({})  # then it was killed
        search._begin([StartingPoint("small_cnn", None)])
        settings = [trial.system_attrs["fixed_params"] for trial in search.study.get_trials()]
        assert [fixed.get("depth") for fixed in settings] == [None, "half", "all"]
        assert [start.title for start in search.chosen_starting_points()] == ["small_cnn:none"]


def test_another_search_in_the_folder_is_refused(config, tmp_path, training):
    training(lambda *_: 0.5, trials=1)
    searched(config, tmp_path / "auto")
    before = sorted(path for path in (tmp_path / "auto").rglob("*"))
    with pytest.raises(UserError, match=r"holds another search.*config\.seed: received 7, there 0"):
        searched(config.model_copy(update={"seed": 7}), tmp_path / "auto")
    assert sorted(path for path in (tmp_path / "auto").rglob("*")) == before


def test_trials_in_a_database(config, tmp_path, training):
    url = f"sqlite:///{tmp_path / 'search.db'}"
    asked = training(lambda *_: 0.5, trials=3)
    auto(config, tmp_path / "auto", budget=900.0, candidates="small_cnn:none", storage=url)
    assert asked[0] == "000" and not (tmp_path / "auto/study.journal").exists()
    with pytest.raises(UserError, match=r"with the same --storage as before\. Received: --storage=none"):
        searched(config, tmp_path / "auto")
    auto(config, tmp_path / "auto", budget=900.0, candidates="small_cnn:none", storage=url)
    training(lambda *_: 0.5, trials=1)
    auto(config, tmp_path / "second", budget=900.0, candidates="small_cnn:none", storage=url)  # its own study
    assert RunDir(tmp_path / "second").read_rows("trials.csv")[0]["trial"] == "0"


@pytest.mark.parametrize(
    "url", ["study.db", "nosql://me:secret@host/x", "sqlite:////nowhere/x.db", "redis://x"]
)
def test_storage_that_cannot_be_opened(config, tmp_path, url):
    with pytest.raises(UserError, match=r"sqlite:////home/me/search\.db\. Received: --storage=") as error:
        auto(config, tmp_path / "auto", budget=9.0, candidates="small_cnn:none", storage=url)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "auto").exists()


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("7", 7)])
def test_budget_is_a_time(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["0m", "soon", "-3s", ""])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(UserError, match="such as 90s"):
        parse_budget(text)


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"extra 'search': pip install -e '\.\[search\]' in the clone"):
        Storage(None)
