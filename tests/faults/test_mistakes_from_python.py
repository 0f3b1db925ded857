"""What a user of Keras tries first from Python: it works, or one `UserError` says why."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkeras import ExperimentConfig, load_config, load_run, predict, run_experiment
from tlkeras.config import DataConfig, StageConfig
from tlkeras.data import read_image
from tlkeras.errors import UserError
from tlkeras.runs.retrieval import embed_files
from tlkeras.studies.auto import auto
from tlkeras.studies.experiment import rehearse
from tlkeras.studies.rank import rank

X = np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), np.uint8)
Y = np.arange(24) % 2
TINY = {
    "name": "tiny",
    "data": {"source": "synthetic:shapes", "batch_size": 8, "limit": 24, "image_size": 16},
    "model": {"backbone": "small_cnn", "weights": None},
    "stages": [{"name": "all", "train": "all", "epochs": 1}],
    "tensorboard": {"images": False},
}


def changed(name, value):
    """Assigns to a field, as to an attribute of a Keras model."""
    setattr(load_config("digits"), name, value)


CONFIGS = {
    "a name with a typo": (lambda: run_experiment("synthetic_smok", "run"), "Did you mean 'synthetic_smoke'"),
    "no experiment": (lambda: run_experiment(None, "run"), "name of a shipped one.*Received: NoneType"),
    "a dict with a typo": (lambda: run_experiment({"dat": {}}, "run"), "'dat'.*Did you mean 'data'"),
    "a dict with a typo deep in it": (
        lambda: run_experiment(TINY | {"stages": [{"name": "a", "epoch": 3}]}, "run"),
        r"'stages\.0\.epoch'.*Did you mean 'epochs'",
    ),
    "a part with a typo": (lambda: StageConfig(name="a", epoch=3), "'epoch'.*Did you mean 'epochs'"),
    "a typo and a missing field": (lambda: StageConfig(epoch=3), "'epoch'.*Did you mean 'epochs'"),
    "a missing part": (lambda: ExperimentConfig(stages=[]), "ExperimentConfig.*data.*required"),
    "a wrong value": (lambda: DataConfig(source="digits", batch_size=-1), "DataConfig: batch_size.*-1"),
    "a field without its name": (lambda: DataConfig("digits"), "fields by name.*'digits'"),
    "an assignment": (lambda: changed("seed", 3), "apply_overrides.*Received: seed=3"),
    "an assignment with a typo": (lambda: changed("sed", 3), "'sed'.*Did you mean 'seed'"),
    "one override with a typo": (lambda: load_config("digits", "sed=1"), "'sed'.*Did you mean 'seed'"),
    "overrides as a dict": (lambda: load_config("digits", {"seed": 1}), "texts.*path=value.*{'seed': 1}"),
    "a number as overrides": (lambda: load_config("digits", 3), "texts.*path=value.*Received: 3"),
    "a number as a run": (lambda: load_run(3), "named by its path. Received: int 3"),
    "a number as a workdir": (lambda: run_experiment("synthetic_smoke", 3), "by its path.*int 3"),
    "a number among overrides": (lambda: load_config("digits", [3]), "path=value.*3"),
}
NO_PLACE = "/proc/nowhere" if Path("/proc/self").exists() else "file/run"
WORLD = {
    "no such folder": (
        lambda: run_experiment(load_config(TINY, "data.source=folder:/nowhere")),
        "no such folder",
    ),
    "no such weights": (lambda: run_experiment(load_config(TINY, "model.weights=no.keras")), "no such file"),
    "a rehearsal without data": (
        lambda: rehearse(load_config(TINY, "data.source=folder:x")),
        "no such folder",
    ),
    "a workdir that cannot be made": (
        lambda: run_experiment(TINY, NO_PLACE),
        f"cannot be a path here.*Received: {NO_PLACE}",
    ),
    "a ranking that cannot be kept": (
        lambda: rank(load_config(TINY), "small_cnn", NO_PLACE),
        "cannot be a path",
    ),
    "a search that cannot be kept": (lambda: auto(load_config(TINY), NO_PLACE, budget=9), "cannot be a path"),
    "a picture beyond the limit": (
        lambda: read_image("a/large.png", SMALL),
        r"900 pixels.*data\.max_pixels=100",
    ),
}
SMALL = DataConfig(source="folder:x", image_size=(8, 8), max_pixels=100)
ARRAYS = {
    "the tuple of keras.datasets": ((X, Y), "dict of splits.*Received: tuple"),
    "arrays alone": (X, "dict of splits.*Received: ndarray"),
    "too few sample weights": ({"train": (X, Y, np.ones(23))}, "weights differ in length.*24 and 23"),
    "sample weights of a wrong shape": ({"train": (X, Y, np.ones((3, 2)))}, r"one number per row.*\(3, 2\)"),
    "sample weights of a wrong type": (
        {"train": (X, Y, ["heavy"] * 24)},
        "row 0: a weight must be .*'heavy'",
    ),
    "five in a tuple": ({"train": (X, Y, Y, Y, Y)}, "a tuple of 5"),
    "pictures of several sizes": ({"train": ([X[0], X[1][:9]], Y[:2])}, "x is not one array"),
    "labels of several lengths": ({"train": (X[:2], [[0], [1, 2]])}, "y is not one array"),
    "one label": ({"train": (X, 1)}, "differ in length. Received: 24 and 1"),
    "a dict of labels": ({"train": (X, {"a": 1})}, "differ in length"),
    "nothing": ({"train": (None, Y)}, "must hold numbers, paths, texts"),
    "no split": ({}, "no training rows"),
    "nothing in a list": ({"train": ([None, None], Y[:2])}, "row 0: x must.*NoneType in it"),
    "a path that is missing": ({"train": (["a.png", float("nan")], Y[:2])}, "row 1: x must.*float in it"),
    "a label that is missing": (
        {"train": (X[:3], ["a", float("nan"), "b"])},
        "row 1: the label is missing.*Received: 1 rows",
    ),
    "a group in two splits": (
        {"train": (X[:2], Y[:2], None, ["a", "b"]), "test": (X[:2], Y[:2], None, ["c", "b"])},
        "test:1: a group must not be in two splits. Received: group 'b' in train and test",
    ),
    "too few groups": ({"train": (X[:2], Y[:2], None, ["a"])}, "x and groups differ in length.*2 and 1"),
    "a number as groups": ({"train": (X[:2], Y[:2], None, 3)}, "one name per row. Received: int"),
    "no rows": ({"train": (X[:0], Y[:0])}, r"x has no rows. Received: shape \(0, 16, 16, 3\)"),
    "a split of another size": (
        {"train": (X, Y), "test": (X[:, :8], Y)},
        r"same shape. Received: train \(16, 16, 3\), test \(8, 16, 3\)",
    ),
    "a split with a typo, in 0..1": ({"trian": (X / 255, Y)}, "'trian'.*Did you mean 'train'"),
    "a split with a typo": ({"trian": (X, Y)}, "'trian'.*Did you mean 'train'"),
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("mistake", WORLD)
def test_what_is_not_there_or_cannot_be(mistake):
    if "search" in mistake:
        pytest.importorskip("optuna")
    Path("file").write_text("")
    Path("a").mkdir()
    Image.new("RGB", (30, 30)).save("a/large.png")
    refused(*WORLD[mistake])
    assert sorted(path.name for path in Path().iterdir()) == ["a", "file"]


def refused(call, words) -> None:
    with pytest.raises(UserError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_mistakes_in_configs(name):
    refused(*CONFIGS[name])
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ARRAYS)
def test_mistakes_in_arrays(name):
    data, words = ARRAYS[name]
    refused(lambda: run_experiment(TINY, "run", data=data), words)
    assert not list(Path().iterdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on arrays, whose config names a source that is not used, made from a dict."""
    workdir = tmp_path_factory.mktemp("arrays") / "run"
    return run_experiment(TINY, workdir, data={"train": (X, Y), "test": (X, Y, None)})


INPUTS = {
    "one picture": (X[0], r"\(n, 16, 16, 3\).*x\[0:1\].*Received: \(16, 16, 3\)"),
    "pictures of another size": (X[:, :9], r"Received: \(24, 9, 16, 3\)"),
    "pictures of several sizes": ([X[0], X[1][:9]], "different shapes"),
    "no picture": (X[:0], r"Received: \(0, 16, 16, 3\)"),
    "a path": ("ONE.jpg", "numbers"),
    "nothing": (None, "numbers"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_mistakes_in_what_is_predicted(run, name):
    x, words = INPUTS[name]
    refused(lambda: run.predict(x), words)


def test_one_path_stands_for_a_list_of_one(run):
    from PIL import Image

    Image.fromarray(X[3]).save("ONE.png")
    for found in (run.predict_files("ONE.png")[0], predict(run.path, Path("ONE.png"))):
        assert list(found.ids) == ["ONE.png"] and found.predicted == run.predict(X[3:4]).predicted
    assert embed_files(run, "ONE.png").names == ["ONE.png"]
    refused(lambda: run.predict_files("TWO.png"), "no such file or folder. Received: TWO.png")
    refused(lambda: run.predict_files(3), "given as one path.*Received: int 3")
    refused(lambda: run.predict_files(["ONE.png", None]), "given as one path.*Received: NoneType None")
    refused(lambda: run.predict_files([]), "no file or folder to read.*Received: no path")
    refused(lambda: run.evaluate(3), "texts.*path=value.*Received: 3")


def test_a_name_a_dict_and_one_override_are_experiments():
    assert load_config("synthetic_smoke", "seed=7").seed == 7
    assert load_config(TINY) == load_config(load_config(TINY))
    assert load_config(Path("digits")) == load_config("digits")


def test_a_run_on_arrays_says_so_and_is_exported_without_them(run):
    from tlkeras.cli.main import main

    assert run.config.data.source == "arrays"
    page = (run.path / "report.html").read_text()
    assert "arrays from Python, 16 x 16 x 3: 22 train, 2 val, 24 test" in page
    assert "synthetic:shapes" not in page
    assert main(["export", str(run.path), "--format=keras"]) == 0
    facts = (run.path / "export/keras/model.json").read_text()
    assert re.search(r'"rows": 2,', facts) and '"agreement": 1.0' in facts
    assert load_run(run.path).predict(X[:2]).predicted.shape == (2,)


@pytest.mark.parametrize("command", ["inspect", "train", "reproduce", "evaluate"])
def test_data_that_nothing_can_read_again_are_named(run, capsys, command):
    from tlkeras.cli.main import main

    given = str(run.path) if command in ("reproduce", "evaluate") else f"--config={run.path / 'config.json'}"
    assert main([command, given]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tlkeras: ")]
    assert "arrays that were given from Python" in line and "Received: data.source=arrays" in line
    assert ("data.source=npz:FILE" in line) == (command != "reproduce")  # which takes no other data
    assert "again (data=...)" not in line


def test_plan_and_inspect_take_the_arrays():
    from tlkeras.plan import plan
    from tlkeras.prepare import inspect_data

    data = {"train": (X, Y)}
    planned = plan(load_config(TINY), data)
    assert (
        "input 16 x 16 x 3" in planned.model
        and "2 outputs" in planned.model
        and planned.rows[0]["steps"] == 2
    )
    seen = inspect_data(load_config(TINY), data)["source"]
    assert (seen.source, seen.rows) == ("arrays", {"train": 17, "val": 2, "test": 5})


def test_kept_rows_are_few_and_spread(tmp_path):
    from tlkeras.data import load_domain
    from tlkeras.data.kept_rows import ROWS, read_kept_rows, write_kept_rows

    x, y = np.arange(1000, dtype=np.float32)[:, None] * np.ones(3, np.float32), np.arange(1000) // 500
    domain = load_domain(DataConfig(source="arrays"), seed=0, arrays={"train": (x, y)})
    write_kept_rows(tmp_path / "rows.npz", domain)
    again = read_kept_rows(tmp_path / "rows.npz", domain)
    assert len(again.splits["train"]) == ROWS and set(again.splits["train"].labels) == {0, 1}
    (tmp_path / "rows.npz").write_bytes(b"PK")
    refused(lambda: read_kept_rows(tmp_path / "rows.npz", domain), "cannot be read")
