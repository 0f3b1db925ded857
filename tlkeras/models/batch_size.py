"""The search of a batch size for `data.batch_size="auto"`: the smallest one that is about the fastest."""

import time

import keras
import numpy as np
from keras import ops

from tlkeras import messages
from tlkeras.backend.devices import OutOfMemory, accelerators
from tlkeras.config import StageConfig
from tlkeras.data.combined_batches import repeated
from tlkeras.errors import UserError

SMALLEST = 8
LARGEST_ON_CPU, LARGEST = 64, 1024
# A larger batch is used only if it trains this many times as many rows per second.
WORTHWHILE = 1.1
_STEPS = 3


def find_batch_size(
    model, stages: list[StageConfig], *, rows: int, scope, replicas: int = 1, passed: int = 1
) -> int:
    """Returns a global batch size for all stages of a run. The model does not change.

    Sizes are doubled, from 8 per replica on, and measured with synthetic inputs on the stage that trains the
    most variables. Target rows and second views are included. The memory of a method for other purposes, such
    as a teacher or critics, is not included. The search ends if memory is exhausted, if rows per second grow
    by less than a tenth, if an epoch would have fewer than ten steps, or at 64 on CPU and 1024 on other
    devices.

    Args:
        model: Transfer model.
        stages: Stages of the run.
        rows: Number of training rows.
        scope: Function that returns the scope of the run's strategy.
        replicas: Number of replicas that share a batch.
        passed: Number of rows in the network for each row of the batch.

    Raises:
        UserError: Not even the smallest batch fits into memory.
    """
    state = [ops.convert_to_numpy(variable) for variable in model.variables]
    most = (
        min(LARGEST if accelerators() else LARGEST_ON_CPU, max(rows // 10 // replicas, SMALLEST)) * replicas
    )
    _select_heaviest(model, stages)
    chosen, fastest, size = None, 0.0, SMALLEST * replicas
    try:
        while size <= most:
            rate = _rows_per_second(model, passed * size, scope)
            if rate is None:
                break
            messages.note(f"batch size {size}: {rate / passed:,.0f} rows/s")
            if rate < WORTHWHILE * fastest:
                break
            chosen, fastest, size = size, rate, 2 * size
    finally:
        for variable, values in zip(model.variables, state, strict=True):
            variable.assign(values)
    if chosen is None:
        raise UserError(
            f"Not even {SMALLEST * replicas} rows fit into memory: choose a smaller data.image_size or "
            "backbone. Received: data.batch_size=auto"
        )
    messages.note(f"data.batch_size=auto: {chosen}")
    return chosen


def _select_heaviest(model, stages: list[StageConfig]) -> None:
    """Selects the stage that trains the most variables, because it needs the most memory."""

    def trained(stage):
        model.select(stage.train, stage.bn)
        return sum(int(np.prod(v.shape)) for v in model.trainable_variables)

    heaviest = max(stages, key=trained)
    model.select(heaviest.train, heaviest.bn)


def _made_up(zeros: np.ndarray):
    """Returns numbers in 0..255 with the shape of `zeros`. Integers stay zero, as every table has id 0."""
    if zeros.dtype.kind != "f":
        return zeros
    return keras.random.uniform(zeros.shape, maxval=255.0, seed=0)


def _rows_per_second(model, size: int, scope) -> float | None:
    """Returns the rows per second with one batch size, or None if it does not fit into memory."""
    with scope():
        model.compile(optimizer=keras.optimizers.Adam(0.0), loss="mean_squared_error")
    x = keras.tree.map_structure(_made_up, model.zeros(size))
    batches = repeated((x, ops.zeros((size, *model.to_functional().output_shape[1:]))))
    try:
        model.fit(batches, steps_per_epoch=1, shuffle=False, verbose=0)  # traces
        began = time.perf_counter()
        model.fit(batches, steps_per_epoch=_STEPS, shuffle=False, verbose=0)
    except OutOfMemory:
        return None
    return size * _STEPS / (time.perf_counter() - began)
