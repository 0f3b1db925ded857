"""Batches for training and evaluation.

Which rows a step sees, and how they are augmented, is a pure function of (seed, epoch, index): a run
that starts at step 1000 sees the pixels that one running through from 0 would.
"""

import functools

import numpy as np
import tensorflow as tf

from tlkeras import messages
from tlkeras.config.data import AugmentConfig
from tlkeras.data.augment import mix_batch
from tlkeras.data.domains import Domain
from tlkeras.data.input_shapes import SINGLE
from tlkeras.data.rows import Rows
from tlkeras.data.turns_and_views import PADDING, drawn_turns, turned, two_views
from tlkeras.errors import UserError

# Added to the seed of views that are only looked at, so that they are none of those trained on.
_EVALUATION_SEED = 32_452_843


def effective_batch_size(rows: Rows | int, batch_size: int, replicas: int = 1) -> int:
    """Returns the global batch size that training takes: `batch_size`, or less where rows are fewer.

    Args:
        rows: The training rows, or their number.
        batch_size: The size asked for, over all replicas.
        replicas: Number of replicas that share a batch.

    Raises:
        UserError: Where `batch_size` cannot be divided among the replicas, or rows are fewer than those.
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
        raise UserError(f"Training needs a row per replica. Received: {count} rows, {replicas} replicas")
    messages.warn(f"batch_size shrinks from {batch_size} to {fitting}: train has {count} rows.")
    return fitting


def filling_a_batch(domain: Domain, batch_size: int) -> Domain:
    """Returns the domain with its training rows repeated, all equally often, where a batch needs more.

    For domains that stand beside the source; see `effective_batch_size` for that one.
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


@functools.lru_cache(maxsize=8)
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of `count` rows in an epoch, `int64` `(count,)`; the same for the same arguments."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    order.setflags(write=False)
    return order


def rows_of_step(count: int, seed: int, step: int, batch_size: int) -> tuple[int, np.ndarray]:
    """Returns the epoch of a step and the indices of its rows; the rest of an epoch is dropped."""
    epoch, batch = divmod(int(step), count // batch_size)
    order = epoch_order(count, seed, epoch)
    return epoch, order[batch * batch_size : (batch + 1) * batch_size]


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
) -> tf.data.Dataset:
    """Makes one continuous dataset over all epochs of a stage.

    Args:
        rows: The rows to train on.
        domain: Their domain, for sizes, classes and task.
        batch_size: Rows per step; not more than there are (see `effective_batch_size`).
        seed: Seed of the order and of the augmentation.
        augment: Random changes; None is none.
        start_step: The first step, counted from the stage's beginning.
        steps: The stage's last step plus one; an epoch is `len(rows) // batch_size` steps.
        with_labels: Whether labels come along. Without, they do not enter the pipeline at all.

    Returns:
        `steps - start_step` batches `(x, y)`, or `x` alone. `x`: `float32` `(b, h, w, 3)` in 0..255,
        `(b, d)`, or a dict of tensors, as the domain's `input_shape` and its modality's `dtypes` say.
        `y`: `int32` `(b,)` for multiclass (`float32` `(b, k)` under mixup and cutmix), else `float32`
        `(b, num_outputs)`. Of a domain that draws pairs: `x` with `2 b` rows, the two views of
        a picture side by side, `y` `int32` `(2 b,)` the number of the picture in the batch.
    """
    if not 0 < batch_size <= len(rows):
        raise UserError(
            f"batch_size must be 1..{len(rows)}, the number of rows of {domain.name}. Received: {batch_size}"
        )
    if with_labels and rows.labels is None and not domain.draws_pairs:
        raise UserError(f"The domain {domain.name!r} has no labels to train on. Received: labels=None")
    augment = augment or AugmentConfig()
    _check_augment(augment, domain, with_labels)
    read, labels = domain.modality.reader(rows, domain.config), _label_reader(rows, domain)
    mixes, count = bool(augment.mixup or augment.cutmix), len(rows)

    def indices_of(step):
        epoch, indices = rows_of_step(count, seed, step, batch_size)
        return np.int64(epoch), indices

    @tf.autograph.experimental.do_not_convert
    def batch_of(step):
        epoch, indices = tf.numpy_function(indices_of, [step], (tf.int64, tf.int64), stateful=False)
        epoch.set_shape(())
        indices.set_shape((batch_size,))
        view = epoch if domain.config.views is None else epoch % domain.config.views
        if domain.draws_pairs:
            pictures = tf.repeat(tf.range(batch_size), 2)
            return two_views(read(indices), augment, seed, view, indices), pictures
        x = _cast(domain.modality.augmented(read(indices), augment, seed, view, indices), domain)
        if not with_labels:
            return x
        y = drawn_turns(seed, view, indices) if domain.turns_pictures else labels(indices)
        x = turned(x, y) if domain.turns_pictures else x
        if mixes and domain.task == "multiclass":
            y = tf.one_hot(y, domain.num_outputs)
        return mix_batch(x, y, augment, seed, epoch, indices) if mixes else (x, y)

    return _dataset(tf.data.Dataset.range(start_step, steps).map(batch_of, tf.data.AUTOTUNE), rows)


def evaluation_batches(rows: Rows, domain: Domain, *, batch_size: int, pad: bool = False) -> tf.data.Dataset:
    """Makes batches of all rows in their order.

    Args:
        rows: The rows to evaluate.
        domain: Their domain.
        batch_size: Rows per batch; the last one may be smaller.
        pad: Whether the last batch is filled up with repeated rows of weight 0, as several replicas need.

    Returns:
        Batches `(x, y, weight)`: `x` and `y` as in `training_batches` (`y` is all zeros where rows have
        no labels), `weight` `float32` `(b,)`.
    """
    return _in_order(rows, domain, batch_size, pad, lambda x, indices: x)


def view_batches(
    rows: Rows,
    domain: Domain,
    *,
    batch_size: int,
    seed: int,
    augment: AugmentConfig,
    view: int,
    pad: bool = False,
) -> tf.data.Dataset:
    """As `evaluation_batches`, with the pixels that `training_batches` draws in view (or epoch) `view`."""

    def change(x, indices):
        return domain.modality.augmented(x, augment, seed, tf.constant(view, tf.int64), indices)

    return _in_order(rows, domain, batch_size, pad, change)


def view_pair_batches(
    rows: Rows, domain: Domain, *, batch_size: int, seed: int, augment: AugmentConfig
) -> tf.data.Dataset:
    """Makes batches of all rows in their order, each in two views, to measure a task of pairs by.

    Args:
        rows: The rows to evaluate.
        domain: Their domain, which draws pairs.
        batch_size: Pictures per batch; the last batch is filled up.
        seed: Of the views, which are the same in every pass.
        augment: How they are drawn.

    Returns:
        Batches `(x, y, weight)` of `2 batch_size` rows, as those of `training_batches`. Of a picture that
        fills up, `y` is -1 and `weight` 0.
    """
    view = tf.constant(0, tf.int64)

    def change(x, indices):
        return two_views(x, augment, (seed + _EVALUATION_SEED) % 2**31, view, indices)

    def in_pairs(x, y, weight):
        pictures = tf.where(weight > 0, tf.range(batch_size), PADDING)
        return x, tf.repeat(pictures, 2), tf.repeat(weight, 2)

    return _dataset(_in_order(rows, domain, batch_size, True, change).map(in_pairs), rows)


def _in_order(rows, domain, batch_size, pad, change):
    read, labels, count = domain.modality.reader(rows, domain.config), _label_reader(rows, domain), len(rows)

    @tf.autograph.experimental.do_not_convert
    def batch_of(start, width):
        positions = start + tf.range(width, dtype=tf.int64)
        indices = tf.minimum(positions, count - 1)
        x, y = _cast(change(read(indices), indices), domain), labels(indices)
        return turned(x, y) if domain.turns_pictures else x, y, tf.cast(positions < count, tf.float32)

    rest = count % batch_size
    full = count - rest + (batch_size if pad and rest else 0)
    starts = tf.data.Dataset.range(0, full, batch_size)
    batches = starts.map(functools.partial(batch_of, width=batch_size), tf.data.AUTOTUNE)
    if rest and not pad:
        last = tf.data.Dataset.from_tensors(tf.constant(count - rest, tf.int64))
        last = last.map(functools.partial(batch_of, width=rest))
        batches = batches.concatenate(last) if count > rest else last
    return _dataset(batches, rows)


def _cast(x, domain: Domain):
    """Returns inputs in the dtypes in which the model takes them."""
    dtypes = domain.modality.dtypes
    if isinstance(x, dict):
        return {name: tf.cast(part, dtypes.get(name, "float32")) for name, part in x.items()}
    return tf.cast(x, dtypes.get(SINGLE, "float32"))


def label_column(rows: Rows, domain: Domain) -> np.ndarray:
    """Returns the labels of all rows in the form that losses take; zeros where there are none.

    `int32` `(n,)` for multiclass, else `float32` `(n, num_outputs)`.
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
        raise UserError(f"A pretext task makes labels. Received: {domain.config.pretext.name}, without them")
    domain.modality.check_augment(augment, "augment")
    if (augment.mixup or augment.cutmix) and isinstance(domain.input_shape, dict):
        raise UserError(f"mixup and cutmix mix a single input. Received: {', '.join(domain.input_shape)}")
    if (augment.mixup or augment.cutmix) and not with_labels:
        raise UserError(
            "mixup and cutmix mix labels and cannot serve rows without. "
            f"Received: mixup={augment.mixup}, cutmix={augment.cutmix}"
        )


def _dataset(dataset: tf.data.Dataset, rows: Rows) -> tf.data.Dataset:
    settings = tf.data.Options()
    settings.deterministic = True
    # with its autotuner on, TensorFlow 2.21 waits up to a minute when an iterator ends
    settings.autotune.enabled = False
    dataset = dataset.prefetch(tf.data.AUTOTUNE).with_options(settings)
    dataset.rows = rows  # its functions hold the rows weakly
    return dataset
