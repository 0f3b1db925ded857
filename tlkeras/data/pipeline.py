"""Batches for training and evaluation.

The rows of a step and their augmentation are a pure function of (seed, epoch, index). A run that resumes
at step 1000 therefore gets the same pixels as an uninterrupted run.
"""

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from tlkeras import messages
from tlkeras.config.data import AugmentConfig
from tlkeras.data import random_streams
from tlkeras.data.augment import mix_batch
from tlkeras.data.domains import Domain
from tlkeras.data.input_shapes import SINGLE
from tlkeras.data.orders import order_of, rows_of_step
from tlkeras.data.rows import Rows
from tlkeras.data.turns_and_views import PADDING, drawn_turns, turned, two_views
from tlkeras.errors import UserError


def effective_batch_size(rows: Rows | int, batch_size: int, replicas: int = 1) -> int:
    """Returns the global batch size of the training: `batch_size`, or less if there are fewer rows.

    Args:
        rows: Training rows, or their number.
        batch_size: Requested batch size over all replicas.
        replicas: Number of replicas that share a batch.

    Raises:
        UserError: `batch_size` is not a multiple of `replicas`, or there are fewer rows than replicas.
    """
    count = rows if isinstance(rows, int) else len(rows)
    if batch_size % replicas:
        raise UserError(
            f"data.batch_size must be a multiple of the number of replicas, {replicas}. "
            f"Received: batch_size={batch_size}"
        )
    if count >= batch_size:
        return batch_size
    fitting = count // replicas * replicas
    if not fitting:
        raise UserError(
            f"Training needs at least one row per replica. Received: {count} rows, {replicas} replicas"
        )
    messages.warn(f"batch_size shrinks from {batch_size} to {fitting}: train has {count} rows.")
    return fitting


def filling_a_batch(domain: Domain, batch_size: int) -> Domain:
    """Returns the domain with its training rows repeated, all equally often, if they do not fill a batch.

    This is for all domains but the source, for which `effective_batch_size` makes the batch smaller.
    """
    rows = domain.splits["train"]
    if len(rows) >= batch_size:
        return domain
    messages.warn(
        f"{domain.name} has {len(rows)} training rows, fewer than the batch of {batch_size}: they are "
        "repeated."
    )
    times = -(-batch_size // len(rows))
    repeated = rows.take(np.tile(np.arange(len(rows)), times))
    return domain.with_splits({**domain.splits, "train": repeated})


def training_batches(
    rows: Rows,
    domain: Domain,
    *,
    batch_size: int,
    seed: int,
    augment: AugmentConfig | None = None,
    start_step: int = 0,
    steps: int,
    with_labels: bool = True,
    part: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns one continuous dataset over all epochs of a stage.

    Args:
        rows: Rows to train on.
        domain: Domain of the rows.
        batch_size: Number of rows per step, at most `len(rows)`; see `effective_batch_size`.
        seed: Seed of the order and of the augmentation.
        augment: Settings of the augmentation, or None for no augmentation.
        start_step: First step, counted from the beginning of the stage.
        steps: Last step of the stage, plus one. An epoch has `len(rows) // batch_size` steps.
        with_labels: Whether the batches contain labels. If not, labels do not enter the pipeline at all.
        part: Index of this worker and number of workers. Only the rows of this worker are read, which are the
            index-th of the equal parts of each batch. The other rows are zeros, which `distribute` drops.

    Returns:
        `steps - start_step` batches `(x, y)`, or `x` alone. `x` is `float32` `(b, h, w, 3)` in 0..255,
        `(b, d)`, or a dict of tensors; the domain's `input_shape` and its modality's `dtypes` define it.
        `y` is `int32` `(b,)` for multiclass (`float32` `(b, k)` with mixup or cutmix), else `float32`
        `(b, num_outputs)`. If the domain draws pairs, `x` has `2 b` rows, in which the two views of a
        picture are neighbours, and `y` is `int32` `(2 b,)`, the number of the picture in the batch.
    """
    if not 0 < batch_size <= len(rows):
        raise UserError(
            f"batch_size must be 1..{len(rows)}, the number of rows of {domain.name}. Received: {batch_size}"
        )
    if with_labels and rows.labels is None and not domain.draws_pairs:
        raise UserError(f"The domain {domain.name!r} has no labels to train on. Received: labels=None")
    settings = augment or AugmentConfig()
    _check_augment(settings, domain, with_labels)
    read, labels = domain.modality.reader(rows, domain.config), _label_reader(rows, domain)
    mixes, order = bool(settings.mixup or settings.cutmix), order_of(rows)
    own = slice(0, batch_size) if mixes or domain.draws_pairs else _own_rows(batch_size, *part)

    def indices_of(step):
        epoch, indices = rows_of_step(order, seed, step, batch_size)
        return np.int64(epoch), indices

    @tf.autograph.experimental.do_not_convert
    def batch_of(step):
        epoch, indices = tf.numpy_function(indices_of, [step], (tf.int64, tf.int64), stateful=False)
        epoch.set_shape(())
        indices.set_shape((batch_size,))
        view = epoch if domain.config.views is None else epoch % domain.config.views
        if domain.draws_pairs:
            pictures = tf.repeat(tf.range(batch_size), 2)
            return two_views(read(indices), settings, seed, view, indices), pictures
        x = domain.modality.drawn(read, settings, seed, view, indices[own])
        x = _cast(_among_zeros(x, own, batch_size), domain)
        if not with_labels:
            return x
        y = drawn_turns(seed, view, indices) if domain.turns_pictures else labels(indices)
        x = turned(x, y) if domain.turns_pictures else x
        if mixes and domain.task == "multiclass":
            y = tf.one_hot(y, domain.num_outputs)
        return mix_batch(x, y, settings, seed, epoch, indices) if mixes else (x, y)

    return _dataset(tf.data.Dataset.range(start_step, steps).map(batch_of, tf.data.AUTOTUNE), rows)


def _own_rows(batch_size: int, index: int, workers: int) -> slice:
    """Returns the rows of a batch that a worker needs: all if the batch cannot be divided evenly."""
    if batch_size % workers:
        return slice(0, batch_size)
    share = batch_size // workers
    return slice(index * share, (index + 1) * share)


def _among_zeros(x, own: slice, batch_size: int):
    """Returns rows as those of a whole batch, whose other rows are zeros."""
    if own == slice(0, batch_size):
        return x
    around = [own.start, batch_size - own.stop]
    pad = lambda part: tf.pad(part, [around, *[[0, 0]] * (part.shape.rank - 1)])  # noqa: E731
    return tf.nest.map_structure(pad, x)


def evaluation_batches(rows: Rows, domain: Domain, *, batch_size: int, pad: bool = False) -> tf.data.Dataset:
    """Returns batches of all rows in their order.

    Args:
        rows: Rows to evaluate.
        domain: Domain of the rows.
        batch_size: Number of rows per batch. The last batch may be smaller.
        pad: Whether the last batch is filled with repeated rows of weight 0, which several replicas need.

    Returns:
        Batches `(x, y, weight)`. `x` and `y` have the form that `training_batches` describes; `y` is zero
        if rows have no labels. `weight` is `float32` `(b,)`.
    """
    return _in_order(rows, domain, batch_size, pad, lambda read, indices: read(indices))


def batches_of_blocks(
    rows: Rows,
    domain: Domain,
    blocks: Callable[[], Iterable[Sequence[int]]],
    *,
    count: int,
    width: int,
    augment: AugmentConfig | None = None,
    seed: int = 0,
    view: int | None = None,
) -> tf.data.Dataset:
    """Returns the inputs of blocks of consecutive rows, in any order, several blocks per batch.

    Args:
        rows: Rows in their order.
        domain: Domain of the rows.
        blocks: Function that returns an iterator over the first rows of the blocks of each batch. It may
            decide on a block as late as when it is asked for it.
        count: Number of blocks per batch.
        width: Number of rows per block. After the last row of all, the last row is repeated.
        augment: Settings of the augmentation that makes a view.
        seed: Seed of the augmentation.
        view: Number of the view or epoch as which rows are augmented, or None for no augmentation.

    Returns:
        Batches `x` of `count * width` rows, in the form that `training_batches` describes.
    """

    def draw(read, indices):
        if view is None or augment is None:
            return read(indices)
        return domain.modality.drawn(read, augment, seed, tf.constant(view, tf.int64), indices)

    batch_at = _batch_at(rows, domain, draw)

    @tf.autograph.experimental.do_not_convert
    def batch_of(starts):
        return batch_at(tf.reshape(starts[:, None] + tf.range(width, dtype=tf.int64), [count * width]))[0]

    starts = tf.data.Dataset.from_generator(blocks, output_signature=tf.TensorSpec((count,), tf.int64))
    return _dataset(starts.map(batch_of, tf.data.AUTOTUNE), rows)


def view_pair_batches(
    rows: Rows, domain: Domain, *, batch_size: int, seed: int, augment: AugmentConfig
) -> tf.data.Dataset:
    """Returns batches with two views of each row, in the order of the rows, to evaluate a task of pairs.

    Args:
        rows: Rows to evaluate.
        domain: Domain of the rows, which draws pairs.
        batch_size: Number of pictures per batch. The last batch is filled.
        seed: Seed of the views, which are the same in every pass.
        augment: Settings of the augmentation that makes a view.

    Returns:
        Batches `(x, y, weight)` of `2 batch_size` rows in the form of `training_batches`. Pictures that
        only fill the last batch have `y` -1 and `weight` 0.
    """
    view = tf.constant(0, tf.int64)

    def draw(read, indices):
        return two_views(
            read(indices), augment, (seed + random_streams.EVALUATION_VIEWS) % 2**31, view, indices
        )

    def in_pairs(x, y, weight):
        pictures = tf.where(weight > 0, tf.range(batch_size), PADDING)
        return x, tf.repeat(pictures, 2), tf.repeat(weight, 2)

    return _dataset(_in_order(rows, domain, batch_size, True, draw).map(in_pairs), rows)


def _in_order(rows, domain, batch_size, pad, draw):
    batch_at, count = _batch_at(rows, domain, draw), len(rows)

    @tf.autograph.experimental.do_not_convert
    def batch_of(start, width):
        return batch_at(start + tf.range(width, dtype=tf.int64))

    rest = count % batch_size
    full = count - rest + (batch_size if pad and rest else 0)
    starts = tf.data.Dataset.range(0, full, batch_size)
    batches = starts.map(functools.partial(batch_of, width=batch_size), tf.data.AUTOTUNE)
    if rest and not pad:
        last = tf.data.Dataset.from_tensors(tf.constant(count - rest, tf.int64))
        last = last.map(functools.partial(batch_of, width=rest))
        batches = batches.concatenate(last) if count > rest else last
    return _dataset(batches, rows)


def _batch_at(rows: Rows, domain: Domain, draw):
    """Returns a function of positions `(b,)`: `(x, y, weight)`. A position after the last has weight 0.

    `draw` is a function of the reader and of indices, which returns inputs.
    """
    read, labels, count = domain.modality.reader(rows, domain.config), _label_reader(rows, domain), len(rows)

    def batch(positions):
        indices = tf.minimum(positions, count - 1)
        x, y = _cast(draw(read, indices), domain), labels(indices)
        return turned(x, y) if domain.turns_pictures else x, y, tf.cast(positions < count, tf.float32)

    return batch


def _cast(x, domain: Domain):
    """Casts inputs to the dtypes that the model takes."""
    dtypes = domain.modality.dtypes
    if isinstance(x, dict):
        return {name: tf.cast(part, dtypes.get(name, "float32")) for name, part in x.items()}
    return tf.cast(x, dtypes.get(SINGLE, "float32"))


def label_column(rows: Rows, domain: Domain) -> np.ndarray:
    """Returns the labels of all rows in the form that losses take, or zeros if there are no labels.

    They are `int32` `(n,)` for multiclass, else `float32` `(n, num_outputs)`.
    """
    if domain.task == "multiclass":
        return np.zeros(len(rows), np.int32) if rows.labels is None else rows.labels
    values = np.zeros((len(rows), max(1, domain.num_outputs))) if rows.labels is None else rows.labels
    return np.asarray(values, np.float32).reshape(len(rows), -1)


def _label_reader(rows: Rows, domain: Domain):
    """Returns a function from indices `(b,)` to labels in the form that losses take."""
    column = label_column(rows, domain)
    dtype = tf.as_dtype(column.dtype)

    def read(indices):
        y = tf.numpy_function(lambda i: column[i], [indices], dtype, stateful=False)
        y.set_shape((indices.shape[0], *column.shape[1:]))
        return y

    return read


def _check_augment(augment: AugmentConfig, domain: Domain, with_labels: bool) -> None:
    if domain.config.pretext is not None and not with_labels:
        raise UserError(
            f"A pretext task must produce labels. Received: {domain.config.pretext.name}, without them"
        )
    domain.modality.check_augment(augment, "augment")
    if (augment.mixup or augment.cutmix) and isinstance(domain.input_shape, dict):
        raise UserError(
            f"mixup and cutmix need data with a single input. Received: {', '.join(domain.input_shape)}"
        )
    if (augment.mixup or augment.cutmix) and not with_labels:
        raise UserError(
            "mixup and cutmix mix labels, so they cannot be used for rows without labels. Received: "
            f"mixup={augment.mixup}, cutmix={augment.cutmix}"
        )


def _dataset(dataset: tf.data.Dataset, rows: Rows) -> tf.data.Dataset:
    settings = tf.data.Options()
    settings.deterministic = True
    # with its autotuner on, TensorFlow 2.21 waits up to a minute when an iterator ends
    settings.autotune.enabled = False
    dataset = dataset.prefetch(tf.data.AUTOTUNE).with_options(settings)
    dataset.rows = rows  # the functions of the dataset hold only weak references to the rows
    return dataset
