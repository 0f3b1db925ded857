import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tlkeras.config.data import AugmentConfig, DataConfig
from tlkeras.data import memory, reading
from tlkeras.data.domains import load_domain
from tlkeras.data.orders import epoch_order, rows_of_step
from tlkeras.data.pipeline import (
    batches_of_blocks,
    effective_batch_size,
    evaluation_batches,
    training_batches,
)
from tlkeras.data.reading import read_image
from tlkeras.errors import UserError

EVERYTHING = AugmentConfig(
    flip="both",
    crop=0.5,
    rotation=20,
    color=0.4,
    randaugment=1,
    cutout=0.3,
    noise=4.0,
    mixup=0.3,
    cutmix=1.0,
)


def shapes(**how):
    config = DataConfig(source="synthetic:shapes?n=22&size=16", **how)
    return load_domain(config, seed=1)


def batches(domain, **how):
    how = {"batch_size": 4, "seed": 3, "steps": 13, **how}
    made = training_batches(domain.splits["train"], domain, **how)
    return [tuple(part.numpy() for part in batch) for batch in made]


def assert_same(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_each_epoch_holds_each_row_once_in_a_new_order():
    domain = shapes()
    rows = domain.splits["train"]
    made = batches(domain, steps=10)
    for epoch in range(2):
        order = epoch_order(len(rows), 3, epoch)
        assert sorted(order) == list(range(22))
        x = np.concatenate([x for x, _ in made[5 * epoch : 5 * epoch + 5]])
        y = np.concatenate([y for _, y in made[5 * epoch : 5 * epoch + 5]])
        np.testing.assert_array_equal(x, rows.inputs[order[:20]])
        np.testing.assert_array_equal(y, rows.labels[order[:20]])
    assert (epoch_order(22, 3, 0) != epoch_order(22, 3, 1)).any()
    assert (epoch_order(22, 3, 0) != epoch_order(22, 4, 0)).any()


def test_types():
    x, y = batches(shapes(), steps=1)[0]
    assert (x.dtype, x.shape) == (np.float32, (4, 16, 16, 3))
    assert (y.dtype, y.shape) == (np.int32, (4,))
    assert x.max() > 128


def test_resumed_run_sees_identical_pixels():
    whole = batches(shapes(), augment=EVERYTHING)
    for start in (1, 5, 7, 12):
        assert_same(batches(shapes(), augment=EVERYTHING, start_step=start), whole[start:])


def test_augmentation_differs_between_epochs_rows_and_seeds():
    domain, flip = shapes(), AugmentConfig(rotation=90)
    rows = domain.splits["train"]
    index = 5
    seen = []
    for seed in (3, 4):
        made = batches(domain, augment=flip, seed=seed, steps=15)
        for step, (x, _) in enumerate(made):
            _, indices = rows_of_step(len(rows), seed, step, 4)
            seen += [x[list(indices).index(index)]] if index in indices else []
    assert len(seen) > 3
    assert len({image.tobytes() for image in seen}) == len(seen)


def test_augmentation_of_a_row_is_free_of_its_batch():
    domain = shapes()
    pixels = AugmentConfig(flip="both", crop=0.5, rotation=20, color=0.4, randaugment=2, cutout=0.3, noise=4)
    by_row = {}
    for size in (4, 11):
        made = batches(domain, augment=pixels, batch_size=size, steps=22 // size)
        for step, (x, _) in enumerate(made):
            for row, image in zip(rows_of_step(22, 3, step, size)[1], x, strict=True):
                np.testing.assert_array_equal(by_row.setdefault(row, image), image)
    assert len(by_row) == 22


def test_fixed_views_repeat():
    domain = shapes(views=2)
    augment = AugmentConfig(rotation=45)
    rows = domain.splits["train"]
    seen = {}
    for step, (x, _) in enumerate(batches(domain, augment=augment, steps=20)):
        epoch, indices = rows_of_step(len(rows), 3, step, 4)
        for row, image in zip(indices, x, strict=True):
            np.testing.assert_array_equal(seen.setdefault((row, epoch % 2), image), image)
    for view in (0, 1):
        blocks = lambda: iter([[12, 0], [8, 4], [20, 16]])  # noqa: E731
        made = batches_of_blocks(rows, domain, blocks, count=2, width=4, augment=augment, seed=3, view=view)
        later, first, middle, fourth, last, fifth = np.split(np.concatenate(list(made)), 6)
        images = np.concatenate([first, fourth, middle, later, fifth, last])
        for (row, of), image in seen.items():
            if of == view:
                np.testing.assert_array_equal(image, images[row])


def folder_domain(root, **how):
    return load_domain(DataConfig(source=f"folder:{root}", image_size=(20, 18), **how), seed=0)


@pytest.fixture
def mixed_folder(image_folder, picture):
    root = image_folder({"train": {"a": 7, "b": 6}})
    Image.fromarray(picture(50, 80, 70)).save(root / "train/a/photo.jpg")
    Image.fromarray(picture(51)).convert("RGBA").save(root / "train/b/alpha.png")
    Image.fromarray(picture(52)).convert("P").save(root / "train/b/palette.gif")
    return root


def test_kept_in_memory_equals_read_again_bit_for_bit(mixed_folder):
    kept, read = folder_domain(mixed_folder), folder_domain(mixed_folder, memory_mb=0)
    how = {"augment": EVERYTHING, "steps": 9}
    assert_same(batches(kept, **how), batches(read, **how))
    assert_same(batches(kept, **how), batches(read, **how))
    assert kept.splits["train"] in memory._stores
    assert read.splits["train"] not in memory._stores or not memory._stores[read.splits["train"]]


def test_each_image_is_decoded_once(mixed_folder):
    domain = folder_domain(mixed_folder)
    first = batches(domain, batch_size=len(domain.splits["train"]), steps=1)
    for path in domain.splits["train"].inputs:
        with open(path, "wb") as file:
            file.truncate()
    again = batches(domain, batch_size=len(domain.splits["train"]), steps=1)
    assert_same(first, again)


def test_rows_taken_from_read_rows_are_not_read_again(mixed_folder):
    domain = folder_domain(mixed_folder)
    rows = domain.splits["train"]
    ((whole, *_),) = evaluation_batches(rows, domain, batch_size=len(rows))
    for path in rows.inputs:
        with open(path, "wb") as file:
            file.truncate()
    for places in (np.array([2, 0]), np.arange(len(rows)) == 1):
        ((taken, *_),) = evaluation_batches(rows.take(places), domain, batch_size=len(rows))
        np.testing.assert_array_equal(taken, whole.numpy()[places])


def test_rows_that_were_taken_stay_those_if_the_array_of_their_places_changes(mixed_folder):
    domain = folder_domain(mixed_folder)
    rows = domain.splits["train"]
    ((whole, *_),) = evaluation_batches(rows, domain, batch_size=len(rows))
    places = np.array([2, 0])
    taken = rows.take(places)
    places[:] = 1
    ((found, *_),) = evaluation_batches(taken, domain, batch_size=2)
    np.testing.assert_array_equal(found, whole.numpy()[[2, 0]])


def test_pixels_are_copied_between_stores_without_a_copy_beside_them():
    count, shape = 64, (64, 64, 3)
    whole = memory.PixelStore(count, shape, np.dtype(np.uint8))
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)
    whole.put(np.arange(0, count, 2), pixels[::2])
    for positions in (np.arange(count)[::-1], np.arange(count) > 3):
        places = np.arange(count)[positions]
        own = memory.PixelStore(len(places), shape, np.dtype(np.uint8))
        tracemalloc.start()
        own.put_from(whole, positions)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * pixels[0].nbytes
        assert np.array_equal(own.filled, places % 2 == 0)
        assert np.array_equal(own.pixels[own.filled], pixels[places[own.filled]])


def test_all_datasets_share_the_graph_that_decodes(mixed_folder):
    spec = reading.PixelSpec.of(folder_domain(mixed_folder, memory_mb=0).config)
    for _ in range(2):
        domain = folder_domain(mixed_folder, memory_mb=0)
        batches(domain, steps=2)
        list(evaluation_batches(domain.splits["train"], domain, batch_size=3))
    assert reading._decode_function(spec).experimental_get_tracing_count() == 1


def test_memory_is_given_back_with_its_rows(mixed_folder):
    before = len(memory._stores)
    domain = folder_domain(mixed_folder)
    batches(domain, steps=2)
    assert len(memory._stores) > before
    del domain
    import gc

    gc.collect()
    assert len(memory._stores) <= before


def test_training_and_prediction_read_alike(mixed_folder):
    domain = folder_domain(mixed_folder, resize="crop", crop_fraction=0.9)
    rows = domain.splits["train"]
    x = np.concatenate([x for x, _, _ in evaluation_batches(rows, domain, batch_size=4)])
    for path, pixels in zip(rows.inputs, x, strict=True):
        np.testing.assert_array_equal(read_image(path, domain.config), pixels)


def test_evaluation_keeps_order_and_pads():
    domain = shapes()
    rows = domain.splits["test"]
    plain = list(evaluation_batches(rows, domain, batch_size=4))
    assert [len(x) for x, _, _ in plain] == [4, 4, 3]
    rows = rows.take(np.arange(10))
    plain = list(evaluation_batches(rows, domain, batch_size=4))
    padded = list(evaluation_batches(rows, domain, batch_size=4, pad=True))
    assert [len(x) for x, _, _ in plain] == [4, 4, 2]
    assert [len(x) for x, _, _ in padded] == [4, 4, 4]
    weight = np.concatenate([w for _, _, w in padded])
    assert weight.tolist() == [1] * 10 + [0] * 2
    np.testing.assert_array_equal(np.concatenate([x for x, _, _ in plain]), rows.inputs)
    np.testing.assert_array_equal(np.concatenate([y for _, y, _ in padded])[:10], rows.labels)
    few = list(evaluation_batches(rows.take(np.arange(3)), domain, batch_size=4))
    assert [len(x) for x, _, _ in few] == [3]


def test_without_labels_nothing_of_them_enters():
    domain = shapes()
    made = training_batches(domain.splits["train"], domain, batch_size=4, seed=0, steps=2, with_labels=False)
    assert [x.shape for x in made] == [(4, 16, 16, 3)] * 2


def test_mixed_labels_sum_to_one_and_cutmix_copies_pixels():
    domain = shapes()
    plain = batches(domain, steps=5)
    for augment in (AugmentConfig(mixup=1.0), AugmentConfig(cutmix=1.0)):
        for (x, y), (x0, y0) in zip(batches(domain, augment=augment, steps=5), plain, strict=True):
            assert (y.dtype, y.shape) == (np.float32, (4, 4))
            np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)
            one_hot = np.eye(4, dtype=np.float32)
            partner, label = np.roll(x0, 1, axis=0), np.roll(y0, 1)
            if augment.cutmix:
                assert ((x == x0) | (x == partner)).all()
                kept = (x == x0).all(axis=-1).mean(axis=(1, 2))
                mixed = [
                    k * one_hot[a] + (1 - k) * one_hot[b] for k, a, b in zip(kept, y0, label, strict=True)
                ]
                np.testing.assert_allclose(y, mixed, atol=0.05)
            else:
                same = y0 == label
                share = np.where(same, 1, y[range(4), y0])[~same, None, None, None]
                expected = share * x0[~same] + (1 - share) * partner[~same]
                np.testing.assert_allclose(x[~same], expected, atol=1e-2)


def test_flip_is_exact_and_seldom_both_ways_the_same():
    domain = shapes()
    order = epoch_order(22, 3, 0)
    x = np.concatenate([x for x, _ in batches(domain, augment=AugmentConfig(flip="horizontal"), steps=5)])
    original = domain.splits["train"].inputs[order[:20]].astype(np.float32)
    flipped = [np.abs(a - b[:, ::-1]).max() < 1e-3 for a, b in zip(x, original, strict=True)]
    same = [np.abs(a - b).max() < 1e-3 for a, b in zip(x, original, strict=True)]
    assert all(a or b for a, b in zip(flipped, same, strict=True))
    assert 4 < sum(flipped) < 16


def test_vectors_come_as_float32():
    domain = load_domain(DataConfig(source="synthetic:blobs?n=10"), seed=0)
    x, y = batches(domain, steps=1)[0]
    assert (x.dtype, x.shape, y.dtype) == (np.float32, (4, 2), np.int32)
    with pytest.raises(UserError, match=r"vectors cannot have\. Allowed: noise and mixup"):
        batches(domain, augment=AugmentConfig(flip="horizontal"))
    _, y = batches(domain, steps=1, augment=AugmentConfig(mixup=0.2))[0]
    assert y.shape == (4, 2)


def test_noise_has_its_deviation_and_hangs_on_seed_epoch_and_row():
    domain = load_domain(DataConfig(source="synthetic:blobs?n=400"), seed=0)
    noise = AugmentConfig(noise=0.25)
    plain, first, again, other = (
        np.concatenate([x for x, _ in batches(domain, augment=augment, seed=3, steps=140)])
        for augment in (None, noise, noise, AugmentConfig(noise=0.5))
    )
    np.testing.assert_array_equal(first, again)
    added = first - plain
    assert added.std() == pytest.approx(0.25, rel=0.1) and abs(added.mean()) < 0.03
    np.testing.assert_allclose(other - plain, 2 * added, atol=1e-5)
    by_row = {}  # each epoch draws anew
    for step, (x, _) in enumerate(batches(domain, augment=noise, steps=140)):
        for row, value in zip(rows_of_step(len(domain.splits["train"]), 3, step, 4)[1], x, strict=True):
            by_row.setdefault(row, []).append(value)
    assert all(len(np.unique(values, axis=0)) == len(values) for values in by_row.values())


def test_noise_leaves_pictures_in_their_range():
    x = np.concatenate([x for x, _ in batches(shapes(), augment=AugmentConfig(noise=60.0), steps=5)])
    assert x.min() == 0 and x.max() == 255


@pytest.mark.parametrize(
    ("task", "labels", "shape"),
    [
        ("binary", [0, 1] * 6, (4, 1)),
        ("regression", np.arange(12) / 7, (4, 1)),
        ("multilabel", np.eye(12)[:, :3], (4, 3)),
    ],
)
def test_other_tasks_have_float_labels_as_wide_as_the_logits(task, labels, shape):
    arrays = {"train": (np.zeros((12, 5)), np.array(labels))}
    config = DataConfig(source="arrays", task=task, val_fraction=0, test_fraction=0)
    domain = load_domain(config, seed=0, arrays=arrays)
    _, y = batches(domain, steps=1)[0]
    assert (y.dtype, y.shape) == (np.float32, shape)
    assert domain.num_outputs == shape[1]


def test_batch_shrinks_to_the_rows(capsys):
    assert effective_batch_size(100, 32) == 32
    assert effective_batch_size(10, 32, 4) == 8
    assert "shrinks from 32 to 8" in capsys.readouterr().err
    with pytest.raises(UserError, match="multiple of the number of replicas"):
        effective_batch_size(100, 32, 3)
    with pytest.raises(UserError, match="one row per replica"):
        effective_batch_size(1, 4, 2)


def test_order_and_pixels_are_no_accident_of_threads():
    """The order must be no accident of threads: many runs, one result."""
    domain = shapes(memory_mb=0)
    first = batches(domain, augment=EVERYTHING)
    for _ in range(1):
        assert_same(first, batches(domain, augment=EVERYTHING))
