"""Wrong labels, near-duplicates and unusual rows: the parts of `tlkeras inspect --features`."""

import io

import numpy as np
import pytest
from PIL import Image

from tlkeras.errors import UserError
from tlkeras.evaluation.label_errors import confident_joint, find_label_errors, named_errors, out_of_fold
from tlkeras.evaluation.near_duplicates import groups_of, near_duplicates, neighbours_of
from tlkeras.evaluation.unusual_rows import unusual_rows


def blobs(rows=240, classes=3, wide=12, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    return rng.normal(size=(rows, wide)) + 5 * np.eye(classes, wide)[labels], labels


def test_planted_wrong_labels_are_named_first_with_the_right_class():
    features, true = blobs()
    given = true.copy()
    wrong = np.random.default_rng(1).permutation(len(true))[:12]
    given[wrong] = (true[wrong] + 1) % 3
    found = find_label_errors(features, given + 4)  # numbers of classes need not begin at 0
    assert len(set(found.order[:12]) & set(wrong)) >= 11
    assert 6 <= found.count <= 24  # an estimate
    assert (found.suggested[wrong] - 4 == true[wrong]).mean() > 0.9


def test_the_confident_joint_of_the_paper():
    # Mean probability of class 0 over rows labelled 0: .6; of class 1 over rows labelled 1: .7.
    p0 = np.array([0.9, 0.7, 0.2, 0.1, 0.1, 0.7])
    probabilities, labels = np.stack([p0, 1 - p0], axis=1), np.array([0, 0, 0, 1, 1, 1])
    assert confident_joint(probabilities, labels).tolist() == [[2, 1], [1, 2]]
    found = named_errors(probabilities, labels)
    assert found.count == 2 and found.named.tolist() == [2, 5] and found.suggested[[2, 5]].tolist() == [1, 0]


def test_no_probe_has_seen_the_row_that_it_judges():
    rng = np.random.default_rng(0)
    features, labels = (
        rng.normal(size=(60, 400)),
        rng.integers(2, size=60),
    )  # a probe can learn these by heart
    own = out_of_fold(features, labels)[np.arange(60), labels]
    assert own.mean() < 0.6


def test_classes_of_one_row_and_too_few_rows():
    features, labels = blobs(30)
    labels[0] = 7
    assert np.isfinite(find_label_errors(features, labels).probability).all()
    with pytest.raises(UserError, match="at least four rows of two classes"):
        find_label_errors(features, np.zeros(30, int))


def picture(seed, side=96):
    """Returns a picture with a detail: a few soft patches and a disc."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 200, (6, 6, 3), dtype=np.uint8)).resize(
        (side, side), Image.BICUBIC
    )
    y, x = np.mgrid[:side, :side]
    pixels = np.array(image)
    pixels[(y - rng.integers(20, 70)) ** 2 + (x - rng.integers(20, 70)) ** 2 < 100] = rng.integers(0, 200, 3)
    return Image.fromarray(pixels)


def encoded(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=75)
    return Image.open(file)


CHANGES = {
    "smaller": lambda image: image.resize((60, 60), Image.BICUBIC),
    "encoded": encoded,
    "shifted": lambda image: Image.fromarray(
        np.pad(np.asarray(image), ((2, 0), (0, 2), (0, 0)), mode="edge")[:96, 2:]
    ),
    "brighter": lambda image: image.point(lambda value: min(round(1.1 * value), 255)),
}
OTHERS = {
    "another disc": lambda image: with_disc(image),
    "other colours": lambda image: Image.fromarray(np.asarray(image)[..., ::-1]),
    "a mirror image": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "much brighter": lambda image: image.point(lambda value: min(2 * value, 255)),
}


def with_disc(image):
    pixels = np.array(image)
    pixels[40:56, 40:56] = 255 - pixels[40:56, 40:56]
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def pairs():
    """The pairs that are found among 24 pictures, their changed copies, and pictures that only look alike."""
    pictures = [picture(seed) for seed in range(24)]
    for number, change in enumerate([*CHANGES.values(), *OTHERS.values()]):
        pictures.append(change(pictures[2 * number]))
    small = np.stack([np.asarray(image.convert("RGB").resize((32, 32), Image.BOX)) for image in pictures])
    # Features in which every copy is near its original, as those of a backbone are
    rng = np.random.default_rng(0)
    features = rng.normal(size=(24, 16))
    copies = features[:16:2] + 0.1 * rng.normal(size=(8, 16))
    return near_duplicates(neighbours_of(np.concatenate([features, copies])), small).tolist()


@pytest.mark.parametrize("number", range(4), ids=[*CHANGES])
def test_a_changed_copy_is_a_near_duplicate(pairs, number):
    assert [2 * number, 24 + number] in pairs


@pytest.mark.parametrize("number", range(4, 8), ids=[*OTHERS])
def test_another_picture_is_none(pairs, number):
    assert [2 * number, 24 + number] not in pairs


def test_nothing_else_is_found(pairs):
    assert len(pairs) == 4


def test_vectors_are_compared_with_what_is_usual():
    features, _ = blobs(100)
    features = np.concatenate([features, features[:3] + 1e-3, features[:1]])
    pairs = near_duplicates(neighbours_of(features))
    assert [rows.tolist() for rows in groups_of(pairs, 104)] == [[0, 100, 103], [1, 101], [2, 102]]
    assert groups_of(np.zeros((0, 2), int), 5) == []


def test_a_row_far_from_all_is_unusual():
    rng = np.random.default_rng(0)
    features = 5 * np.eye(4, 8)[np.arange(200) % 4] + rng.normal(size=(200, 8))
    features[17] = -12 * np.eye(8)[6]  # points where no other row does
    rows, deviations = unusual_rows(features)
    assert rows[0] == 17 and deviations[0] > 4
    assert len(unusual_rows(features[:6])[0]) == 0
