"""`fine_tune` with data as people have them, and what a finished run offers."""

from pathlib import Path

import keras
import numpy as np
import pandas
import PIL.Image
import pytest
import tensorflow as tf

import tlkeras
from tlkeras.config import AugmentConfig
from tlkeras.data.python_data import source_or_arrays
from tlkeras.errors import UserError

TINY = {
    "backbone": "small_cnn", "model__weights": None, "model__backbone_options": {"filters": [4, 8]},
    "data__image_size": 16, "data__batch_size": 8, "runtime__strategy": "none", "epochs": 1,
    "stages__1__train": "last:1", "tensorboard__images": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(48):
        name, dark = ("dark", 0.3) if number % 2 else ("light", 1.0)
        (folder / name).mkdir(exist_ok=True)
        pixels = (random.uniform(0, 255, (16, 16, 3)) * dark).astype("uint8")
        PIL.Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    return tlkeras.fine_tune(
        pictures, workdir=tmp_path_factory.mktemp("runs") / "mine", metrics=["auc"], **TINY
    )


def test_a_folder_is_fine_tuned(run, pictures):
    assert run.config.data.source == f"folder:{pictures}"
    assert [(stage.train, stage.epochs) for stage in run.config.stages] == [("head", 1), ("last:1", 1)]
    assert run.config.name == Path(pictures).name and run.verdict is None
    assert sum(values["rows"] for values in run.metrics["source"].values()) == 48


def test_a_finished_run_shows_what_it_found(run):
    history = run.history
    assert list(history["stage"]) == ["head", "finetune"] and "val_auc" in history
    lines = repr(run).splitlines()
    assert len(lines) == 3 and str(run.path) in lines[0] and "source test: accuracy" in lines[1]
    view = run._repr_html_()
    assert view.count("<svg") == 2 and "95 % interval" in view
    assert "http" not in view and "<script" not in view
    maps = run.explain(np.full((2, 16, 16, 3), 99.0))
    assert maps.shape == (2, 16, 16) and maps.min() >= 0
    assert run.report().is_file()
    with pytest.raises(UserError, match="Did you mean 'grad_cam'"):
        run.explain(np.zeros((1, 16, 16, 3)), "gradcam")
    x = np.full((2, 16, 16, 3), 99)
    assert run.explain(x, "integrated_gradients").shape == x.shape
    for wrong in (x[0], x[:, :8], x[..., 0]):
        with pytest.raises(UserError, match=r"in the size of the model. Received: an array of shape \("):
            run.explain(wrong)
    with pytest.raises(UserError, match="need a vision transformer"):
        run.explain(np.zeros((1, 16, 16, 3)), "attention_rollout")


def test_the_same_call_finds_the_run_finished(run, pictures, capsys):
    again = tlkeras.fine_tune(pictures, workdir=run.path, metrics=["auc"], **TINY)
    assert "finished already" in capsys.readouterr().out
    assert again.metrics == run.metrics


def splits(arrays):
    return {split: tuple(np.asarray(part).shape for part in pair) for split, pair in arrays.items()}


def as_content(files):
    return tf.map_fn(tf.io.read_file, files) if files.shape.rank else tf.io.read_file(files)


@pytest.mark.usefixtures("without_report")
def test_forms_of_data(pictures, tmp_path):
    x, y = np.zeros((6, 4, 4, 3), "uint8"), np.arange(6) % 2
    assert source_or_arrays(str(pictures)).source == f"folder:{pictures}"
    assert source_or_arrays("digits") == ("digits", None, {})
    (tmp_path / "list.csv").write_text("path,label\n")
    assert source_or_arrays(tmp_path / "list.csv").source == f"csv:{tmp_path / 'list.csv'}"
    expected = ((6, 4, 4, 3), (6,))
    assert splits(source_or_arrays((x, y))[1]) == {"all": expected}

    single = tf.data.Dataset.from_tensor_slices((x, y))
    for rows in (single, single.batch(4)):
        assert splits(source_or_arrays(rows)[1]) == {"all": expected}
    files = sorted(str(file) for file in pictures.glob("*/*.png"))[:6]
    single = tf.data.Dataset.from_tensor_slices((files, ["dark", "light"] * 3))
    for rows in (single, single.batch(4)):  # paths and names of classes
        assert source_or_arrays(rows).arrays == {"all": (files, ["dark", "light"] * 3)}
        encoded = source_or_arrays(rows.map(lambda x, y: (as_content(x), y))).arrays["all"][0]
        assert [Path(file).read_bytes() for file in files] == list(encoded)

    single = tf.data.Dataset.from_tensor_slices((x, y))
    given = {"train": single.batch(2), "test": (x, y)}
    assert splits(source_or_arrays(given)[1]) == {"train": expected, "test": expected}
    np.testing.assert_array_equal(source_or_arrays(single.batch(4))[1]["all"][1], y)

    frame = pandas.DataFrame({"path": list("abc"), "label": list("xyx"), "split": ["train", "test", "train"]})
    arrays = source_or_arrays(frame)[1]
    assert arrays["train"][0] == ["a", "c"] and list(arrays["train"][1]) == ["x", "x"]
    assert arrays["test"][0] == ["b"]
    assert splits(source_or_arrays(frame[["path", "label"]])[1]) == {"all": ((3,), (3,))}


@pytest.mark.usefixtures("without_report")
def test_a_frame_of_paths_trains(pictures, tmp_path):
    files = sorted(pictures.glob("*/*.png"))
    frame = pandas.DataFrame({"file": [str(f) for f in files], "label": [f.parent.name for f in files]})
    run = tlkeras.fine_tune(frame, workdir=tmp_path / "run", stages__1__steps=1, **TINY)
    assert run.class_names == ("dark", "light")


def of_two_sizes(rows):
    """Returns batches of pictures, or for one row single ones, of two sizes."""
    shape = (None, None, 3) if rows == 1 else (None, None, None, 3)
    spec = (tf.TensorSpec(shape, tf.uint8), tf.TensorSpec(None, tf.int32))
    sizes = [(side, side, 3) if rows == 1 else (rows, side, side, 3) for side in (4, 5)]
    labels = 0 if rows == 1 else [0] * rows
    return tf.data.Dataset.from_generator(
        lambda: ((np.zeros(size, np.uint8), labels) for size in sizes), output_signature=spec
    )


def test_a_data_set_without_known_ranks_is_read_by_its_elements():
    x, y = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3), np.array([0, 1, 1, 0])
    unknown = (tf.TensorSpec(None, tf.uint8), tf.TensorSpec(None, tf.int32))
    for elements in (list(zip(x, y, strict=True)), [(x[:3], y[:3]), (x[3:], y[3:])]):
        rows = tf.data.Dataset.from_generator(lambda found=elements: iter(found), output_signature=unknown)
        found = source_or_arrays(rows).arrays["all"]
        np.testing.assert_array_equal(found[0], x)
        np.testing.assert_array_equal(found[1], y)


@pytest.mark.parametrize(
    "data, message",
    [
        (3, "Received: int"),
        ("no_such_folder", "There is no such file or folder"),
        (pandas.DataFrame({"a": [1]}), "needs one column of labels"),
        (pandas.DataFrame({"y": [1]}), "needs columns of inputs"),
        (lambda: tf.data.Dataset.from_tensor_slices(np.zeros((3, 2))), "must yield (x, y) or"),
        (lambda: tf.data.Dataset.from_tensor_slices((np.zeros((3, 2)), [0, 1, 0])).repeat(), "be finite"),
        (lambda: tf.data.Dataset.from_tensor_slices(({"a": np.zeros((3, 2))}, [0, 1, 0])), "each a tensor"),
        (lambda: tf.data.Dataset.from_tensor_slices((np.zeros((3, 2)), [0, 1, 0])).take(0), "an empty one"),
        (
            lambda: of_two_sizes(1),
            "resize its pictures, or yield their paths. Received: shapes (4, 4, 3), (5",
        ),
        (
            lambda: of_two_sizes(2),
            "one shape: resize its pictures, or yield their paths. Received: shapes (4",
        ),
    ],
)
def test_data_of_another_kind_are_refused(data, message):
    with pytest.raises(UserError) as caught:
        source_or_arrays(data() if callable(data) else data)
    assert message in str(caught.value)


@pytest.mark.usefixtures("without_report")
def test_settings_are_values_of_python(pictures, tmp_path):
    """Parts of a config, values of NumPy and paths, as a program has them."""
    changes = {
        "stages__0__augment": AugmentConfig(flip="horizontal"),
        "stages__0__optimizer__learning_rate": np.float32(0.5),
        "cache__dir": tmp_path / "cache",
        "stages__0__class_weights": np.array([1.0, 2.0]),
    }
    run = tlkeras.fine_tune(pictures, workdir=tmp_path / "run", **TINY, **changes)
    stage = run.config.stages[0]
    assert stage.augment.flip == "horizontal" and stage.optimizer.learning_rate == 0.5
    assert run.config.cache.dir == str(tmp_path / "cache") and stage.class_weights == (1.0, 2.0)


def own_network(blocks):
    """A functional model of convolutions, each of which is a block."""
    x = inputs = keras.Input((16, 16, 3))
    for number in range(blocks):
        x = keras.layers.Conv2D(4, 3, padding="same", name=f"conv_{number}")(x)
    return keras.Model(inputs, x)


SHORT = {k: TINY[k] for k in TINY.keys() - {"backbone", "model__backbone_options", "stages__1__train"}}


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("network", ["own", "small_cnn"])
def test_the_recipe_opens_all_blocks_of_a_small_network(pictures, tmp_path, capsys, network):
    keras.utils.set_random_seed(0)
    given = own_network(3) if network == "own" else network
    run = tlkeras.fine_tune(pictures, workdir=tmp_path / "run", **SHORT | {"backbone": given})
    said = " ".join(capsys.readouterr().out.split())
    assert "trains all blocks of the network, which has 3" in said and "stages__1__train" in said
    assert [stage.train for stage in run.config.stages] == ["head", "all"]
    (_, finetune) = (event for event in run.run_dir.ledger.records() if event["event"] == "completed")
    if network == "own":  # small_cnn has statistics, which no optimizer trains
        assert finetune["trainable_parameters"] == run.model.count_params()


def test_a_stage_that_opens_too_many_blocks_of_a_small_network_is_refused_if_it_is_named(pictures, tmp_path):
    """The names are those of the recipe, but a person wrote them."""
    stages = [{"name": "head"}, {"name": "finetune", "train": "last:8"}]
    for words in ({"stages__1__train": "last:8"}, {"stages": stages}):
        words = {k: v for k, v in SHORT.items() if k != "epochs"} | words
        with pytest.raises(UserError, match=r"has 3 blocks: N of train='last:N' must lie in 1..3"):
            tlkeras.fine_tune(pictures, backbone=own_network(3), workdir=tmp_path / "run", **words)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_report")
def test_a_network_with_enough_blocks_trains_the_last_of_them(pictures, tmp_path, capsys):
    run = tlkeras.fine_tune(pictures, backbone=own_network(9), workdir=tmp_path / "run", **SHORT)
    assert run.config.stages[1].train == "last:8" and "all blocks" not in capsys.readouterr().out


def test_a_typo_in_a_setting_is_refused(pictures, tmp_path):
    with pytest.raises(UserError, match="Did you mean 'val_fraction'"):
        tlkeras.fine_tune(pictures, workdir=tmp_path / "run", data__valfraction=0.2)
    with pytest.raises(UserError, match="target must be a folder"):
        tlkeras.fine_tune(pictures, workdir=tmp_path / "run", target=(np.zeros((3, 2)), None))
    assert not (tmp_path / "run").exists()
