"""`SavedRun.predict` does to arrays what training did to its own, and refuses others."""

import json

import numpy as np
import pytest
from variants import further

from tlkeras import run_experiment
from tlkeras.config import ExperimentConfig
from tlkeras.data.array_form import ArrayForm, as_inputs, images_like_training
from tlkeras.errors import UserError
from tlkeras.runs.saved_run import SavedRun

pytestmark = pytest.mark.usefixtures("without_reports")

SIZE = 12


def _pictures(count=60):
    """Dark and bright noise, floats in 0..1, `(n, 12, 12, 3)`, with their classes."""
    y = np.arange(count) % 2
    noise = np.random.default_rng(0).uniform(0, 0.3, (count, SIZE, SIZE, 3))
    return (noise + 0.65 * y[:, None, None, None]).astype(np.float32), y


def _experiment(backbone="small_cnn", options=None, **data) -> ExperimentConfig:
    return ExperimentConfig(
        data={"source": "digits", "batch_size": 12, **data},
        model={"backbone": backbone, "weights": None, "backbone_options": options or {"filters": [8]}},
        stages=[{"name": "all", "train": "all", "epochs": 12, "optimizer": {"learning_rate": 1e-2}}],
    )


FORMS = {
    "floats in 0..1": lambda x: x,
    "floats in 0..255": lambda x: x * 255,
    "uint8": lambda x: np.round(x * 255).astype(np.uint8),
    "uint16": lambda x: np.round(x * 65535).astype(np.uint16),
    "bool": lambda x: x > 0.5,
    "grey": lambda x: x[..., 0],
}


@pytest.fixture(scope="module")
def train(tmp_path_factory) -> dict[tuple[str, str], SavedRun]:
    """Returns a function that trains on one form of the arrays, each only once."""
    runs = {}

    def run_of(form: str, resize: str = "") -> SavedRun:
        if (form, resize) not in runs:
            x, y = _pictures()
            size = {"image_size": [16, 20], "resize": resize} if resize else {"image_size": SIZE}
            config = _experiment(**size)
            workdir = tmp_path_factory.mktemp("arrays") / "run"
            runs[form, resize] = run_experiment(config, workdir, {"train": (FORMS[form](x), y)})
        return runs[form, resize]

    return run_of


@pytest.mark.parametrize("form", sorted(FORMS.keys() - {"bool"}))
def test_the_training_arrays_get_the_answers_of_training(train, form):
    run, (x, y) = train(form), _pictures()
    assert run.metrics["source"]["train"]["accuracy"] > 0.95
    assert (run.predict(FORMS[form](x)).predicted == y).mean() > 0.95
    assert (run.predict(FORMS[form](x[:1])).predicted == y[:1]).all()


@pytest.mark.parametrize("resize", ["pad", further("stretch")])
def test_arrays_are_resized_as_in_training(train, resize):
    run, (x, y) = train("floats in 0..1", resize), _pictures()
    assert (run.predict(x).predicted == y).all()
    assert len(run.predict(np.zeros((2, 16, 20, 3), np.uint8))) == 2  # the model's own size


@pytest.mark.parametrize(
    ("form", "given", "said"),
    [
        ("floats in 0..1", "floats in 0..255", "must lie in 0..1, .*Received: float32 in 0.*242"),
        ("floats in 0..1", "uint8", "must lie in 0..1, "),
        ("floats in 0..255", "floats in 0..1", "must lie in 0..255, .*Received: float32 in .*[.]9"),
        ("uint8", "floats in 0..1", "must lie in 0..255, "),
        ("uint8", "uint16", "must lie in 0..255, "),
        ("uint8", "bool", "must lie in 0..255, "),
        ("uint16", "uint8", "must lie in 0..65535, "),
    ],
)
def test_another_range_is_refused(train, form, given, said):
    x = FORMS[given](_pictures()[0])
    with pytest.raises(UserError, match=said):
        train(form).predict(x)


def test_what_may_be_either_range_is_taken(train):
    x, y = _pictures()
    assert (train("floats in 0..1").predict(x.astype(np.float64)).predicted == y).all()
    assert (train("uint8").predict(x * 255).predicted == y).all()
    assert len(train("uint8").predict(np.zeros((1, SIZE, SIZE, 3), np.float32))) == 1  # black


def test_rounding_beyond_white_is_clipped(train):
    x, _ = _pictures()
    for form, white in (("floats in 0..1", 1), ("floats in 0..255", 255)):
        run, rounded = train(form), np.clip(x, 0.001, 0.999)
        rounded[:, 0, 0], rounded[:, 1, 1] = 1.000001, -0.000001
        found = run.predict(white * rounded).probabilities
        np.testing.assert_array_equal(found, run.predict(white * rounded.clip(0, 1)).probabilities)


def test_training_floats_may_be_rounded_beyond_white():
    x = np.array([0.2, 1.000001], np.float32).reshape(2, 1, 1)
    np.testing.assert_array_equal(as_inputs(x, "train").ravel(), np.float32([0.2 * 255, 255]))


def test_floats_as_dark_as_a_training_image_are_in_its_range():
    x = np.full((3, 4, 4), 200.0)
    x[1] = 0.7
    form = ArrayForm.read(ArrayForm.of_images(x, 255).describe())
    dark = images_like_training(x[1:2], form, (4, 4, 3))
    np.testing.assert_array_equal(dark, x[1:2].astype(np.float32))
    bright = ArrayForm.of_images(x[[0, 2]], 255)
    with pytest.raises(UserError, match=r"in 0\.\.255"):
        images_like_training(x[1:2], bright, (4, 4, 3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x[0], r"batch \(n, 12, 12, 3\)\. .*Received: \(12, 12, 3\)"),
        (lambda x: x[:, :8], r"Received: \(60, 8, 12, 3\)"),
        (lambda x: x[..., :2], r"Received: \(60, 12, 12, 2\)"),
        (lambda x: x[:0], r"Received: \(0, 12, 12, 3\)"),
        (lambda x: x.reshape(60, -1), r"Received: \(60, 432\)"),
        (lambda x: x * np.nan, "not finite"),
        (lambda x: x - 1, "must lie in 0..1"),
        (lambda x: np.array(["a.jpg"]), "numbers"),
    ],
)
def test_another_shape_is_refused(train, change, said):
    with pytest.raises(UserError, match=said) as caught:
        train("floats in 0..1").predict(change(_pictures()[0]))
    assert "\n" not in str(caught.value)


def test_all_splits_are_scaled_alike(tmp_path):
    x, y = _pictures()
    dark = {"train": (x * 255, y), "test": (x[:8] * 0.9, y[:8])}
    with pytest.raises(UserError, match=r"data\[source\] \(test\): pixels must lie in 0..255"):
        run_experiment(_experiment(), tmp_path / "run", dark)
    assert not (tmp_path / "run").exists()


def test_a_run_without_the_record_takes_pixels(train):
    """Runs of earlier versions, and runs from files."""
    run, (x, _) = train("uint8"), _pictures()
    old = SavedRun(run.run_dir)
    old.manifest = {**run.manifest}
    assert json.loads(run.run_dir.manifest.read_text())["arrays"]["white"] == 255
    del old.manifest["arrays"]
    np.testing.assert_array_equal(old.predict(x * 255).logits, run.predict(x * 255).logits)
    with pytest.raises(UserError, match=r"must lie in 0\.\.255"):
        old.predict(x)


def test_what_is_done_to_pixels():
    x = np.array([0, 1, 3]).reshape(1, 1, 3, 1).repeat(3, axis=-1)
    opaque = np.full((1, 1, 3, 1), 3)
    for given, white, expected in [
        (x > 0, 1, [0, 255, 255]),
        (x / 3, 1, [0, 85, 255]),
        (np.concatenate([x, opaque], -1) / 3, 1, [0, 85, 255]),
        (np.concatenate([x, 0 * opaque], -1) / 3, 1, [255, 255, 255]),
        (x, 255, [0, 1, 3]),
        ((x * 257 * 80).astype(np.uint16), 65535, [0, 80, 240]),
    ]:
        pixels = as_inputs(np.asarray(given), "x", white)
        assert pixels.dtype == (np.float32 if np.asarray(given).dtype.kind == "f" else np.uint8)
        np.testing.assert_allclose(pixels[0, 0, :, 0], expected)
        assert pixels.shape == (1, 1, 3, 3)


@pytest.fixture(scope="module")
def vector_run(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    config = _experiment("mlp", {"units": [8]})
    data = {"train": (x, (x[:, 0] > 0).astype(int))}
    return run_experiment(config, tmp_path_factory.mktemp("vectors") / "run", data), x


def test_vectors_of_the_same_scale_are_taken(vector_run):
    run, x = vector_run
    assert (run.predict(x).predicted == (x[:, 0] > 0)).mean() > 0.9
    for like in (x[:1], x[:40] * 2, x[:40] + 1, x.astype(np.float64), np.zeros((3, 6))):
        assert len(run.predict(like)) == len(like)


def test_vectors_of_another_scale_or_length_are_refused(vector_run):
    run, x = vector_run
    for other in (x * 16, x * 255, x / 16, x / 255, x + 100, (x * 16).astype(np.int64)):
        with pytest.raises(UserError, match="another scale than the training vectors"):
            run.predict(other)
    for other in (x[:, :5], x[0], x[:, :, None]):
        with pytest.raises(UserError, match=r"batch \(n, 6\)"):
            run.predict(other)
