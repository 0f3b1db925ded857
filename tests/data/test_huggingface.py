"""Data sets of Hugging Face, and names for integer labels."""

import datasets
import numpy as np
import PIL.Image
import pytest

import tlkeras
from tlkeras.config.data import DataConfig
from tlkeras.data.domains import load_domain
from tlkeras.data.python_data import source_or_arrays
from tlkeras.errors import UserError

NAMES = ["light", "dark"]
LABELS = [0, 1] * 12


def pixels(number):
    random = np.random.default_rng(number)
    return (random.uniform(0, 255, (16, 16, 3)) * (0.3 if number % 2 else 1.0)).astype("uint8")


@pytest.fixture(scope="module")
def pictures():
    kinds = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=NAMES),
        "w": datasets.Value("float32"),
    }
    columns = {
        "image": [PIL.Image.fromarray(pixels(n)) for n in range(24)], "label": LABELS, "w": np.arange(24.0),
    }  # fmt: skip
    return datasets.Dataset.from_dict(columns, features=datasets.Features(kinds))


def test_pictures_with_class_names_train_and_export_their_rows(pictures, tmp_path):
    run = tlkeras.fine_tune(
        pictures, workdir=tmp_path / "run", sample_weights="w", backbone="small_cnn", model__weights=None,
        model__backbone_options={"filters": [4]}, data__image_size=16, data__batch_size=8, epochs=1,
        runtime__strategy="none", tensorboard__images=False, stages__1__train="last:1",
    )  # fmt: skip
    assert run.class_names == ("light", "dark")
    assert sum(values["rows"] for values in run.metrics["source"].values()) == 24
    with np.load(run.path / "kept_rows.npz") as kept:  # encoded pictures, without pickled objects
        assert kept["lengths_train"].sum() == kept["inputs_train"].size


def test_a_dict_of_splits_is_read_from_memory_and_from_disk(pictures, tmp_path):
    both = datasets.DatasetDict({"train": pictures, "validation": pictures.select(range(6))})
    given = source_or_arrays(both)
    assert list(given.arrays) == ["train", "val"] and given.settings == {"class_names": NAMES}
    both.save_to_disk(tmp_path / "saved")
    config = DataConfig(source=f"huggingface:{tmp_path / 'saved'}", image_size=16, weights="w")
    domain = load_domain(config, seed=0)
    assert domain.class_names == ("light", "dark") and len(domain.splits["val"]) == 6
    rows = domain.splits["val"]
    assert rows.labels.tolist() == LABELS[:6] and rows.weights.tolist() == list(range(6))
    read = domain.modality.reader(rows, domain.config)(np.arange(6))
    np.testing.assert_allclose(read[3], pixels(3), atol=0.5)  # stored as PNG, so without loss


def test_texts_vectors_and_several_labels():
    texts = datasets.Dataset.from_dict({"sentence": ["a b", "c"], "id": ["1", "2"], "label": [1, 0]})
    given = source_or_arrays(texts)
    assert given.arrays["all"][0] == ["a b", "c"] and given.settings == {"text": "sentence"}
    assert given.arrays["all"][1].tolist() == [1, 0]
    kinds = datasets.Features(
        {
            "x": datasets.List(datasets.Value("float32")),
            "y": datasets.List(datasets.ClassLabel(names=["a", "b"])),
        }
    )
    several = datasets.Dataset.from_dict({"x": [[1.0, 2], [3, 4]], "y": [[0, 1], []]}, features=kinds)
    given = source_or_arrays(several)
    assert given.settings == {"class_names": ["a", "b"], "task": "multilabel"}
    assert given.arrays["all"][0].tolist() == [[1, 2], [3, 4]]
    assert given.arrays["all"][1].tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    "columns, words",
    [
        ({"first": ["a"], "second": ["b"]}, "needs one column of pictures"),
        ({"text": ["a"], "label": [0], "class": [1]}, "several columns of labels.*label, class"),
    ],
)
def test_columns_that_could_mean_several_things_are_refused(columns, words):
    with pytest.raises(UserError, match=words):
        source_or_arrays(datasets.Dataset.from_dict(columns))
    streamed = datasets.Dataset.from_dict(columns).to_iterable_dataset()
    with pytest.raises(UserError, match="a streamed data set"):
        source_or_arrays(streamed)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a folder that save_to_disk wrote"):
        load_domain(DataConfig(source=f"huggingface:{tmp_path}"), seed=0)
    with pytest.raises(UserError, match="no such folder"):
        load_domain(DataConfig(source="huggingface:nowhere"), seed=0)


def test_names_for_integer_labels_of_arrays_and_lists(tmp_path):
    arrays = {"all": (np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2)}
    named = DataConfig(source="arrays", class_names=["no", "yes"])
    assert load_domain(named, seed=0, arrays=arrays).class_names == ("no", "yes")
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *(f"{n}.png,{n % 2}" for n in range(20))]))
    listed = DataConfig(source=f"csv:{tmp_path / 'list.csv'}", class_names=["no", "yes"], image_size=8)
    domain = load_domain(listed, seed=0)
    rows = domain.splits["train"]
    assert domain.class_names == ("no", "yes")
    assert rows.labels.tolist() == [int(name.removesuffix(".png")) % 2 for name in rows.ids]
    for names, words in ((["no"], "out of range 0..0"), (["no", "no"], "must differ")):
        with pytest.raises(UserError, match=words):
            load_domain(named.model_copy(update={"class_names": tuple(names)}), seed=0, arrays=arrays)
    with pytest.raises(UserError, match="has class names of its own"):
        load_domain(DataConfig(source="digits", class_names=["a", "b"]), seed=0)
