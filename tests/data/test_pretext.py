"""Pictures that set their own task: turns and pairs of views, made in the pipeline."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tlkeras.config import AugmentConfig, DataConfig, PretextConfig
from tlkeras.data import evaluation_batches, load_domain, training_batches, view_pair_batches
from tlkeras.data.turns_and_views import turned
from tlkeras.errors import UserError

ROTATION, SIMCLR = PretextConfig(name="rotation"), PretextConfig(name="simclr", dimensions=7)


@pytest.fixture
def flat_folder(tmp_path):
    """A folder of pictures without classes, each with one dark corner, the upper left."""
    for number in range(30):
        pixels = np.full((8, 8, 3), 100 + number, np.uint8)
        pixels[:4, :4] = 0
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    return f"folder:{tmp_path}"


def loaded(source, pretext, **more):
    return load_domain(DataConfig(source=source, pretext=pretext, **more), seed=0)


def batches(domain, split="train", **more):
    rows = domain.splits[split]
    settings = {"batch_size": 5, "seed": 3, "steps": 8} | more
    return [(x.numpy(), y.numpy()) for x, y in training_batches(rows, domain, **settings)]


def corner(picture):
    """Returns by how many quarter turns, counter-clockwise, the dark corner went."""
    quarters = [picture[:4, :4], picture[4:, :4], picture[4:, 4:], picture[:4, 4:]]
    return int(np.argmin([quarter.mean() for quarter in quarters]))


def test_pictures_of_a_flat_folder_stand_as_their_labels_say(flat_folder):
    domain = loaded(flat_folder, ROTATION)
    assert domain.num_outputs == 4 and domain.task == "multiclass"
    seen = batches(domain)
    for x, y in seen:
        assert [corner(picture) for picture in x] == y.tolist()
    assert set(np.concatenate([y for _, y in seen])) == {0, 1, 2, 3}
    for x, y, _ in evaluation_batches(domain.splits["test"], domain, batch_size=3):
        assert [corner(picture) for picture in x.numpy()] == y.numpy().tolist()


def test_turns_differ_from_epoch_to_epoch_and_are_those_of_a_run_that_went_through(flat_folder):
    domain = loaded(flat_folder, ROTATION)
    steps = len(domain.splits["train"]) // 5
    through = batches(domain, steps=3 * steps)
    by_picture = [
        {int(x.max()): label for x, label in zip(*map(np.concatenate, zip(*epoch, strict=True)), strict=True)}
        for epoch in (through[:steps], through[steps : 2 * steps])
    ]
    both = by_picture[0].keys() & by_picture[1].keys()
    assert any(by_picture[0][key] != by_picture[1][key] for key in both)
    later = batches(domain, start_step=steps + 1, steps=3 * steps)
    for (x, y), (x_again, y_again) in zip(through[steps + 1 :], later, strict=True):
        np.testing.assert_array_equal(x, x_again)
        np.testing.assert_array_equal(y, y_again)
    other = batches(domain, seed=4, steps=steps)
    assert not all(np.array_equal(x, z) for (x, _), (z, _) in zip(through[:steps], other, strict=True))


def test_turned_is_rot90():
    images = np.random.default_rng(0).integers(0, 255, (6, 5, 5, 3)).astype(np.uint8)
    turns = np.array([3, 0, 2, 1, 1, 3], np.int32)
    expected = [np.rot90(image, turn) for image, turn in zip(images, turns, strict=True)]
    np.testing.assert_array_equal(turned(tf.constant(images), tf.constant(turns)), expected)


@pytest.mark.parametrize("pretext", [ROTATION, SIMCLR])
def test_source_with_labels_is_divided_as_for_a_task_with_them(pretext):
    # so that what a labelled task is tested on is not among what the pretext task learns from
    wanted, own = (load_domain(DataConfig(source="digits", pretext=p), seed=5) for p in (None, pretext))
    for split, rows in wanted.splits.items():
        np.testing.assert_array_equal(own.splits[split].ids, rows.ids)
        assert own.splits[split].labels is None or not np.array_equal(own.splits[split].labels, rows.labels)


def test_two_views_of_a_picture_stand_side_by_side_and_differ(flat_folder):
    domain = loaded(flat_folder, SIMCLR)
    assert domain.num_outputs == 7 and domain.draws_pairs
    augment = AugmentConfig(crop=0.5)
    for x, pictures in batches(domain, augment=augment, steps=2):
        assert x.shape == (10, 8, 8, 3) and pictures.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        # a crop keeps the colour: that of the picture, and no other picture has it
        brightest = x.max(axis=(1, 2, 3)).round()
        np.testing.assert_array_equal(brightest[::2], brightest[1::2])
        assert len(set(brightest)) == 5
        assert np.abs(x[::2] - x[1::2]).max() > 1
    first, again = (batches(domain, augment=augment, steps=1)[0][0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_pairs_that_fill_up_the_last_batch_are_marked(flat_folder):
    domain = loaded(flat_folder, SIMCLR)
    rows = domain.splits["test"]  # six
    found = list(view_pair_batches(rows, domain, batch_size=4, seed=0, augment=AugmentConfig(crop=0.5)))
    assert len(found) == 2 and found[1][0].shape == (8, 8, 8, 3)
    assert found[1][1].numpy().tolist() == [0, 0, 1, 1, -1, -1, -1, -1]
    assert found[1][2].numpy().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("source", "pretext", "more", "message"),
    [
        ("digits:vectors", ROTATION, {}, "needs pictures"),
        ("digits", ROTATION, {"image_size": (8, 12)}, "must be square"),
        ("digits", None, {}, None),
    ],
)
def test_what_cannot_be_turned_is_refused(source, pretext, more, message):
    if message is None:
        assert len(loaded(source, pretext, **more).class_names) == 10
        return
    with pytest.raises(UserError, match=message):
        loaded(source, pretext, **more)


def test_reading_unlabelled_pictures_leaves_tensorflow_to_the_runtime(flat_folder):
    program = (
        "import sys; from tlkeras.config import DataConfig; from tlkeras.data import load_domain;"
        f"data = DataConfig(source={flat_folder!r}, pretext={{'name': 'rotation'}});"
        "load_domain(data, seed=0, default_image_size=8); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
