"""Sample weights: what they change in training and in probes, where they come from, what is refused."""

import os
import signal

import keras
import numpy as np
import pandas
import pytest

from tlkeras import fine_tune, run_experiment
from tlkeras.config import ProbeConfig
from tlkeras.config.data import DataConfig
from tlkeras.data.domains import load_domain
from tlkeras.data.python_data import source_or_arrays
from tlkeras.data.rows import Rows
from tlkeras.errors import Interrupted, UserError
from tlkeras.methods.probe.probes import linear_weights

pytestmark = pytest.mark.usefixtures("without_reports")


class Stop(keras.callbacks.Callback):
    """Sends a signal to its own process after the sixth batch."""

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == 6:
            os.kill(os.getpid(), signal.SIGTERM)


def config(**changes):
    return {
        "name": "weighted", "data": {"source": "arrays", "batch_size": 16},
        "model": {"backbone": "mlp", "weights": None}, "runtime": {"strategy": "none"},
        "tensorboard": {"images": False},
    } | changes  # fmt: skip


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(96, 6)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
WEIGHTS = RANDOM.uniform(0.2, 2.0, 96).astype("float32")
WEIGHTS[::3] = 0.0
WRONG = np.where(WEIGHTS == 0, 1 - Y, Y)  # other labels in the rows that do not count


def splits(labels=Y, weights=WEIGHTS, at=64):
    train = (X[:at], labels[:at]) if weights is None else (X[:at], labels[:at], weights[:at])
    return {"train": train, "val": (X[at:80], Y[at:80]), "test": (X[80:], Y[80:])}


def trained(folder, data, callbacks=(), rate=0.1, **changes):
    stage = {"name": "all", "train": "all", "epochs": 3} | changes
    stage["optimizer"] = {"name": "sgd", "learning_rate": rate}
    run = run_experiment(config(stages=[stage]), folder, data, callbacks=callbacks)
    return run.model.get_weights()


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("weighted") / "run", splits())


def test_rows_of_weight_0_do_not_count_and_others_count_as_much_as_they_weigh(weighted, tmp_path):
    same = trained(tmp_path / "wrong", splits(WRONG))
    assert all(np.array_equal(a, b) for a, b in zip(weighted, same, strict=True))
    plain = trained(tmp_path / "plain", splits(weights=None))
    assert not all(np.allclose(a, b, atol=1e-4) for a, b in zip(weighted, plain, strict=True))
    double = trained(tmp_path / "double", splits(weights=2 * np.ones(96)), rate=0.05)
    for a, b in zip(plain, double, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_an_interrupted_run_with_weights_and_class_weights_ends_with_the_same_bits(weighted, tmp_path):
    with pytest.raises(Interrupted):
        trained(tmp_path / "stopped", splits(), [Stop()])
    resumed = trained(tmp_path / "stopped", splits())
    assert all(np.array_equal(a, b) for a, b in zip(weighted, resumed, strict=True))
    balanced = trained(tmp_path / "balanced", splits(), class_weights=(1.0, 3.0))
    assert not all(np.array_equal(a, b) for a, b in zip(weighted, balanced, strict=True))


@pytest.mark.parametrize("name", ["logistic_regression", "linear_svm", "prototypes"])
def test_probes_take_weights(name):
    fit = lambda y, w: linear_weights(ProbeConfig(name=name), X, y, 2, 0, w)[0]  # noqa: E731
    np.testing.assert_allclose(fit(Y, WEIGHTS), fit(WRONG, WEIGHTS), atol=1e-4)
    assert not np.allclose(fit(Y, WEIGHTS), fit(WRONG, None), atol=1e-3)


@pytest.mark.parametrize(
    "stage, message",
    [
        ({"train": "all", "augment": {"mixup": 0.2}}, "mixup and cutmix mix rows of different weights"),
        ({"probe": {"name": "knn"}}, "the probe knn stores rows without weights"),
    ],
)
def test_a_stage_that_cannot_use_weights_is_refused(tmp_path, stage, message):
    head = {"head": {"name": "neighbors"}} if "probe" in stage else {}
    model = {"backbone": "mlp", "weights": None} | head
    with pytest.raises(UserError, match=message):
        run_experiment(config(model=model, stages=[{"name": "all", **stage}]), tmp_path / "run", splits())
    assert not (tmp_path / "run").exists()


def test_weights_from_all_kinds_of_data(tmp_path):
    frame = pandas.DataFrame({"path": list("abcd"), "label": list("xyxy"), "w": [1, 2, 3, 4.5]})
    for given in ("w", [1, 2, 3, 4.5]):
        assert list(source_or_arrays(frame, given).arrays["all"][2]) == [1, 2, 3, 4.5]
    assert source_or_arrays((X, Y), WEIGHTS).arrays["all"][2] is WEIGHTS
    assert source_or_arrays({"train": (X, Y), "test": (X, Y)}, WEIGHTS).arrays["train"][2] is WEIGHTS
    lines = ["path,label,w", *(f"{n}.png,{n % 2},{n / 2}" for n in range(20))]
    file = tmp_path / "list.csv"
    file.write_text("\n".join(lines))
    assert source_or_arrays(file, "w") == (f"csv:{file}", None, {"weights": "w"})
    table = load_domain(DataConfig(source=f"csv:{file}", weights="w", image_size=8), seed=0).splits
    for rows in table.values():  # weights stay with their rows when the data are divided
        assert [float(name.removesuffix(".png")) / 2 for name in rows.ids] == rows.weights.tolist()
    for bad, shown in (("-1", "'-1'"), ("nan", "'nan'"), ("much", "'much'")):
        file.write_text("\n".join([*lines[:5], f"x.png,0,{bad}"]))
        with pytest.raises(UserError, match=f"line 6: a weight must be .*{shown}"):
            load_domain(DataConfig(source=f"csv:{file}", weights="w", image_size=8), seed=0)


@pytest.mark.parametrize(
    "data, weights, message",
    [
        ((X, Y), np.where(np.arange(96) == 7, np.nan, 1), "row 7: a weight must be a finite number"),
        ((X, Y), np.where(np.arange(96) > 90, -1, 1), "row 91: .* and 4 more such rows"),
        ((X, Y), np.ones(5), "x and weights differ in length. Received: 96 and 5"),
        ((X, Y), np.zeros(96), "at least one row needs a weight above 0"),
        ((X, Y), "w", "an array with one number per row"),
        ((X, Y, WEIGHTS), WEIGHTS, "weights in both"),
        ("digits", WEIGHTS, "The weights of a file are one of its columns"),
        ("digits", "w", "data.weights names a column of a list"),
    ],
)
def test_wrong_weights_are_refused(tmp_path, data, weights, message):
    with pytest.raises(UserError, match=message):
        fine_tune(data, sample_weights=weights, model__weights=None, workdir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_the_fingerprint_of_data_knows_their_weights():
    rows = [Rows(X, Y, np.arange(96).astype(str), weights=w) for w in (None, WEIGHTS, WEIGHTS * 2)]
    assert len({row.fingerprint() for row in rows}) == 3
    assert rows[1].take(np.array([3, 1])).weights.tolist() == WEIGHTS[[3, 1]].tolist()
