"""`data.batch_size="auto"`: the smallest batch that trains about as many rows a second as any that fits."""

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
# A larger batch is taken only where it trains this many times as many rows a second.
WORTHWHILE = 1.1
_STEPS = 3


def find_batch_size(
    model, stages: list[StageConfig], *, rows: int, scope, replicas: int = 1, passed: int = 1
) -> int:
    """Returns a global batch size for all stages of a run; the model is left as it was.

    Sizes are doubled, from 8 a replica on, and tried on the stage that trains most, on made-up inputs: as
    many as a step passes through the network, with target rows and second views. What a method holds beside
    them (a teacher's or a source model's weights, critics) is not tried. It ends where memory does, where
    rows a second grow by less than a tenth, where an epoch would have fewer than ten steps, or at 64 on CPU
    and 1024 elsewhere.

    Args:
        model: The transfer model.
        stages: The run's stages.
        rows: Training rows.
        scope: Makes the context of the run's strategy.
        replicas: Replicas that share a batch.
        passed: Rows that a step passes through the network for each row of its batch.

    Raises:
        UserError: Where not even the smallest batch fits.
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
    """Selects the stage that trains most, since it needs most memory."""

    def trained(stage):
        model.select(stage.train, stage.bn)
        return sum(int(np.prod(v.shape)) for v in model.trainable_variables)

    heaviest = max(stages, key=trained)
    model.select(heaviest.train, heaviest.bn)


def _made_up(zeros: np.ndarray):
    """Returns numbers in 0..255 of the shape of `zeros`; ids and masks stay zero: every table has an id 0."""
    if zeros.dtype.kind != "f":
        return zeros
    return keras.random.uniform(zeros.shape, maxval=255.0, seed=0)


def _rows_per_second(model, size: int, scope) -> float | None:
    """Returns the rows a second of training at one size, or None where it does not fit."""
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
