"""A black picture beside other parts of a row is there, also after resizing and random changes."""

import numpy as np
import pytest
from modality_runs import CNN, DENSE
from PIL import Image

from tlkeras.config import AugmentConfig, DataConfig, ModelConfig
from tlkeras.data import load_domain
from tlkeras.data.preprocess import read_picture
from tlkeras.data.presence import FAINT, files_there, missing_file
from tlkeras.data.python_data import source_or_arrays
from tlkeras.data.reading import PixelSpec
from tlkeras.export.row_readers import row_readers
from tlkeras.features.identity import Request
from tlkeras.models import build_model

SIDE = 8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The paths of a black picture and of a grey one."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [str(folder / "black.png"), str(folder / "grey.png")]
    for path, value in zip(paths, (0, 99), strict=True):
        Image.fromarray(np.full((12, 12, 3), value, np.uint8)).save(path)
    return paths


def domain_of(images, **settings):
    """Rows with a black picture, none, a grey picture and none."""
    x = {"image": images, "age": [1, 2, 3, 4]}
    given = source_or_arrays({"train": (x, [0, 1, 0, 1]), "val": (x, [0, 1, 0, 1])})
    data = DataConfig(source="arrays", image_size=(SIDE, SIDE), test_fraction=0, **given.settings, **settings)
    return load_domain(data, seed=0, arrays=given.arrays)


def images_of(kind, pictures):
    black, grey = pictures
    if kind == "files":
        return [black, None, grey, None]
    made = [np.full((12, 12, 3), value, np.float32 if kind == "floats" else np.uint8) for value in (0, 99)]
    return [made[0], None, made[1], None]


@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("kind", ["files", "bytes", "floats"])
def test_a_black_picture_is_there(pictures, kind, interpolation, resize):
    domain = domain_of(images_of(kind, pictures), interpolation=interpolation, resize=resize)
    read = domain.modality.reader(domain.splits["train"], domain.config)
    found = read(np.arange(4))["image"].numpy()
    assert (found.max(axis=(1, 2, 3)) > 0).tolist() == [True, False, True, False]
    assert found[0].max() < 1e-20


@pytest.mark.parametrize("kind", ["files", "bytes"])
@pytest.mark.parametrize(
    "change",
    [{"color": 0.9}, {"crop": 0.5, "rotation": 30, "flip": "both"}, {"randaugment": 3}, {"noise": 9.0}],
    ids=lambda change: next(iter(change)),
)
def test_no_change_makes_a_black_picture_missing_or_a_missing_one_there(pictures, kind, change):
    domain = domain_of(images_of(kind, pictures))
    read = domain.modality.reader(domain.splits["train"], domain.config)
    for epoch in range(8):
        drawn = domain.modality.drawn(read, AugmentConfig(**change), 0, np.int64(epoch), np.arange(4))
        found = drawn["image"].numpy()
        assert (found.max(axis=(1, 2, 3)) > 0).tolist() == [True, False, True, False]
        assert ("noise" not in change) or found[0].max() > 1


def test_a_model_distinguishes_a_black_picture_from_a_missing_one(pictures):
    domain = domain_of(images_of("bytes", pictures))
    config = ModelConfig(**CNN, beside={"columns": DENSE})
    model = build_model(config, input_shape=domain.input_shape, num_outputs=2).to_functional()
    model.get_layer("image_conv_2_bn").beta.assign(np.linspace(0, 2, 8))
    inputs = domain.modality.inputs_like_training(
        {"image": [np.zeros((SIDE, SIDE, 3), np.uint8), None], "columns": [{"age": 3}] * 2}, None,
        domain.input_shape,
    )  # fmt: skip
    black, missing = model.predict({name: inputs[name] for name in ("image", "columns")}, verbose=0)
    assert np.abs(black - missing).max() > 1e-3


@pytest.mark.parametrize("beside", [False, True])
def test_the_reader_of_an_export_marks_a_black_picture_only_beside_others(pictures, beside):
    spec, shape = PixelSpec((SIDE, SIDE)), (SIDE, SIDE, 3)
    names: dict = {}
    text = row_readers(".", {"image": shape, "columns": (1,)} if beside else shape, spec, {}, None)
    exec(text["preprocess.py"], names)
    black, grey = (names["read_picture"](path) for path in pictures)
    np.testing.assert_array_equal(black, np.full(shape, FAINT if beside else 0, np.float32))
    np.testing.assert_array_equal(grey, read_picture(pictures[1], spec.settings))


def test_features_of_rows_with_files_have_another_key_than_before(pictures):
    of = {kind: domain_of(images_of(kind, pictures)) for kind in ("files", "bytes")}
    facts = {kind: Request(domain.splits["train"], domain, "train").facts for kind, domain in of.items()}
    assert facts["files"]["zeros in files"] == "there" and "zeros in files" not in facts["bytes"]


def test_what_stands_for_a_missing_picture_does_not_depend_on_the_encoder(monkeypatch):
    before, save = missing_file("image"), Image.Image.save
    as_others_do = lambda image, file, kind: save(image, file, kind, compress_level=0)  # noqa: E731
    monkeypatch.setattr(Image.Image, "save", as_others_do)
    assert missing_file.__wrapped__("image") == before
    assert files_there([before, b"another"], "image").tolist() == [False, True]
    assert not read_picture(before).any()
