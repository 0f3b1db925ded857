"""The times of the parts of a training step: input, trunk, tail, head, update."""

import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from tlkeras.backend.profiler import profiling
from tlkeras.backend.tracing import traced
from tlkeras.config import FitStageConfig
from tlkeras.data.combined_batches import repeated
from tlkeras.models.cuts.folding import Folded
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir, make_folder
from tlkeras.training.input_watch import reading_note
from tlkeras.training.stages import count_steps, expand_stages
from tlkeras.training.trainer import Trainer

STEPS = 10
_WARM = 2


def profile_stage(parts: Parts, index: int, folder: Path) -> list[dict]:
    """Measures the times of the parts of a stage's steps without the feature cache, and writes a profile.

    A short stage is timed as if it had enough steps. The weights change, so the model must not be used
    afterwards.

    Args:
        parts: Parts of the run.
        index: Index of the stage after gradual stages are expanded.
        folder: Folder of the TensorBoard profile.

    Returns:
        One dict per part with its name, its milliseconds per step and its share of the step. `input` is the
        pipeline alone, which runs in parallel to the steps and has no share (None). `trunk`, `tail` and
        `head` are forward passes. `update` is the rest of the step: the backward pass and the optimizer.
        These shares add up to 100 %. `step` is a whole step on a batch that is already loaded. Forward passes
        are timed one by one. If together they take longer than a step, they are scaled to the step.

    Raises:
        UserError: There is no such stage, or it has no steps.
    """
    stage = Trainer(parts, RunDir(folder)).fit_stage(index)
    stage.select()
    config = _with_a_rate(stage.config).model_copy(update={"steps_per_execution": 1})
    steps = replace(stage.steps, total=max(stage.steps.total, STEPS + _WARM))
    with parts.runtime.scope():
        trainee = stage.compile(config, steps)
    data = stage.training_data(config, steps, 0, trainee)
    reading = _input(data)
    batch = next(iter(data))
    milliseconds = _forward(parts.model, _inputs(batch))
    step = _step(trainee, parts.runtime.distribute(repeated(batch)))
    milliseconds = _within_step(milliseconds, step)
    _write_profile(trainee, data, folder)
    shares = {"input": None} | _percents(milliseconds) | {"step": "100 %"}
    milliseconds = {"input": reading} | milliseconds | {"step": step}
    return [
        {"part": part, "ms a step": round(value, 2), "share": shares[part]}
        for part, value in milliseconds.items()
    ]


def _within_step(parts: dict[str, float], step: float) -> dict[str, float]:
    """Returns the milliseconds of the parts with those of the update, which add up to a step."""
    scale = min(1.0, step / sum(parts.values()))
    parts = {part: scale * value for part, value in parts.items()}
    return parts | {"update": max(step - sum(parts.values()), 0.0)}


def _percents(parts: dict[str, float]) -> dict[str, str]:
    """Returns the shares in whole percent. They add up to 100."""
    ends = np.round(100 * np.cumsum([0.0, *parts.values()]) / sum(parts.values())).astype(int)
    return {part: f"{share} %" for part, share in zip(parts, np.diff(ends), strict=True)}


def note_on_reading(parts: Parts, index: int, rows: list[dict]) -> str | None:
    """Returns a note if a stage waits for its data for some seconds in total, else None.

    Args:
        parts: Parts of the run.
        index: Index of the stage after gradual stages are expanded.
        rows: Rows that `profile_stage` returned.
    """
    stage = expand_stages(parts.config.stages, [block.name for block in parts.model.blocks])[index]
    steps = count_steps(stage, len(parts.source.splits["train"]), parts.batch_size)
    times = {row["part"]: 1e-3 * row["ms a step"] for row in rows}
    return reading_note(times["input"], times["step"], steps.total)


def _with_a_rate(config: FitStageConfig) -> FitStageConfig:
    """Returns the stage with a fixed learning rate instead of `auto`, which does not change the times."""
    return config.at_rate(1e-3) if config.optimizer.learning_rate == "auto" else config


def _input(data) -> float:
    """Returns the milliseconds to read one batch if nothing else runs."""
    batches = iter(data)
    for _ in range(_WARM):
        next(batches)
    began, count = time.perf_counter(), 0
    for _ in zip(range(STEPS), batches, strict=False):
        count += 1
    return 1e3 * (time.perf_counter() - began) / max(count, 1)


def _inputs(batch):
    """Returns the source inputs of a batch. With a strategy, they are those of the first replica."""
    x = batch[0][0] if isinstance(batch[0], tuple | list) else batch[0]
    return x.values[0] if hasattr(x, "values") else x


def _forward(model, x) -> dict[str, float]:
    """Returns the milliseconds of the parts of a forward pass."""
    try:
        trunk = Folded(model.trunk())
    except ValueError:  # there is no frozen trunk
        times = {"tail": _call(lambda x: model.features(x, training=True), x)}
        features = model.features(x, training=False)
    else:
        times = {"trunk": _call(trunk, x)}
        cut = trunk(x)
        after_cut = model.on_features()
        times["tail"] = _call(lambda x: after_cut.features(x, training=True), cut)
        features = after_cut.features(cut, training=False)
    return times | {"head": _call(lambda x: model.classify(x, training=True), features)}


def _call(function, x) -> float:
    """Returns the median milliseconds of a traced function."""
    function = traced(function)
    times = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        np.asarray(function(x))  # waits for the device
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[1:]))


def _step(trainee, repeated) -> float:
    """Returns the median milliseconds of a whole step on a batch that is already loaded."""
    clock = StepClock()
    trainee.fit(repeated, steps_per_epoch=STEPS + 2, callbacks=[clock], shuffle=False, verbose=0)
    return 1e3 * float(np.median(np.diff(clock.times)[1:]))


class StepClock(keras.callbacks.Callback):
    """Records the end of each step. It reads the loss, which waits for the device."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        float((logs or {}).get("loss", 0.0))
        self.times.append(time.perf_counter())


def _write_profile(trainee, data, folder: Path) -> None:
    make_folder(folder)
    with profiling(str(folder)):
        trainee.fit(data, steps_per_epoch=STEPS, shuffle=False, verbose=0)
