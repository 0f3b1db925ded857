"""The TensorBoard log of a training."""

import keras
import numpy as np

from tlkeras.backend.event_files import EventWriter, keep_events
from tlkeras.backend.profiler import start_profile, stop_profile
from tlkeras.config import AugmentConfig, FitStageConfig
from tlkeras.data import Domain, training_batches
from tlkeras.data.roles import Role
from tlkeras.evaluation.prediction_files import one_line
from tlkeras.evaluation.shown_rows import can_be_shown
from tlkeras.prepare import Parts
from tlkeras.training.callbacks import StepCounter
from tlkeras.training.class_shares import ClassSharesLog

_SHOWN = 16  # input rows that are shown at the beginning of a stage
_CLASSES = 100  # classes whose shares are shown; class_shares.csv has all


class TensorBoardLog(keras.callbacks.Callback):
    """Writes scalars, learning rates per block, class shares, inputs and optionally histograms and a profile.

    The step axis counts optimizer steps over all stages of the run. The scalar `epoch/stage` is the number of
    the stage, which shows where stages end. If there are several workers, only the chief writes.

    Args:
        folder: Folder `tensorboard/` of the run.
        parts: `Parts` of the run.
        stage: Config of the stage.
        index: Index of the stage in the run, from 0.
        counter: `StepCounter` of the stage.
        shares: Log of the class shares, whose epoch ends before that of this callback, or None.
    """

    def __init__(
        self, folder, parts: Parts, stage: FitStageConfig, index: int, counter: StepCounter,
        shares: ClassSharesLog | None = None,
    ):  # fmt: skip
        super().__init__()
        self.folder = str(folder)
        self.parts = parts
        self.config = parts.config.tensorboard
        self.stage = stage
        self.index = index
        self.counter = counter
        self.shares = shares
        self._profiles = False

    def on_train_begin(self, logs=None):
        if self.parts.runtime.is_chief:
            keep_events(self.folder, self._was_before)
        self._writer = EventWriter(self.folder if self.parts.runtime.is_chief else None)
        self._groups = _blocks_of_variables(self.parts.model)
        if self.counter.first_step:
            return
        with self._writer.at(self.counter.steps_before):
            self._writer.text(
                f"stage/{self.stage.name}", f"Stage {self.index + 1}, **{self.stage.name}**, begins."
            )
            if self.config.images:
                for name, (pixels, texts) in _inputs(self.parts, self.stage).items():
                    tag = f"inputs/{self.stage.name}/{name}"
                    if pixels is not None:
                        self._writer.images(tag, pixels / 255)
                    if texts is not None:
                        lines = [f"    {one_line(' '.join(words))}" for words in texts]
                        self._writer.text(f"{tag}/text", "\n".join(lines))

    def _was_before(self, step: int, tag: str) -> bool:
        """Whether a value was written before the point at which the stage continues."""
        now = self.counter.steps_before + self.counter.first_step
        if self.counter.first_step == 0:
            # the first entries of the stage have the step of the last epoch before it
            own = tag.startswith(f"inputs/{self.stage.name}/") or tag == f"stage/{self.stage.name}"
            return step < now or (step == now and not own)
        return step <= now - self.counter.epoch_open

    def on_train_batch_begin(self, batch, logs=None):
        if self.config.profile and batch == self.config.profile[0] and self.counter.epoch == 0:
            start_profile(self.folder)
            self._profiles = True

    def on_train_batch_end(self, batch, logs=None):
        if self._profiles and batch + 1 >= self.config.profile[1]:
            self._stop_profile()

    def on_epoch_end(self, epoch, logs=None):
        optimizer = self.model.optimizer
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        with self._writer.at(self.counter.step_of_run):
            for name, value in (logs or {}).items():
                self._writer.scalar(f"epoch/{name}", float(value))
            self._writer.scalar("epoch/learning_rate", rate)
            self._writer.scalar("epoch/stage", self.index)
            for block, factor in self._factors(optimizer).items():
                self._writer.scalar(f"learning_rate/{block}", rate * factor)
            for tag, share in _class_shares(self.shares, self.parts.source.class_names):
                self._writer.scalar(tag, share)
            if self.config.histograms:
                for variable in self.model.trainable_variables:
                    self._writer.histogram(f"weights/{variable.path}", keras.ops.convert_to_numpy(variable))
        self._writer.flush()

    def on_train_end(self, logs=None):
        if self._profiles:
            self._stop_profile()
        self._writer.close()

    def _stop_profile(self):
        stop_profile()
        self._profiles = False

    def _factors(self, optimizer) -> dict[str, float]:
        """Returns the learning-rate factor of each trained block, which its variables share."""
        multipliers = getattr(getattr(optimizer, "inner_optimizer", optimizer), "multipliers", {})
        factors = {}
        for variable in self.model.trainable_variables:
            factors.setdefault(self._groups.get(variable.path, "other"), multipliers.get(variable.path, 1.0))
        return factors


def _class_shares(shares: ClassSharesLog | None, names: tuple[str, ...]) -> list[tuple[str, float]]:
    """Returns a tag and a share for each domain and class. The class number in the tag keeps their order."""
    width = len(str(len(names) - 1))
    return [
        (f"class_shares_{side}/{i:0{width}d} {one_line(name).replace('/', ' ')}", float(share))
        for side, values in (shares.newest if shares else {}).items()
        for i, (name, share) in enumerate(zip(names[:_CLASSES], values[:_CLASSES], strict=True))
    ]


def _blocks_of_variables(model) -> dict[str, str]:
    named = {v.path: "head" for v in model.head.variables} | {v.path: "neck" for v in model.neck.variables}
    for block in model.blocks:
        named |= {variable.path: block.name for layer in block.layers for variable in layer.variables}
    return named


def _inputs(parts: Parts, stage: FitStageConfig) -> dict[str, tuple]:
    """Returns the first training rows of a stage after augmentation, as pictures and texts by domain."""
    domains = {"source": parts.source} | {domain.name: domain for domain in parts.targets}
    return {
        name: _first(parts, domain, stage.augment) for name, domain in domains.items() if can_be_shown(domain)
    }


def _first(parts: Parts, domain: Domain, augment: AugmentConfig) -> tuple:
    """Returns pictures in 0..255 and texts. Each is None if the modality is not shown in this form."""
    augment = domain.modality.drawable(augment)
    rows = domain.splits["train"]
    if domain.role is not Role.SOURCE:  # mixing needs labels, which are not used here
        augment = augment.unmixed
    batches = training_batches(
        rows, domain, batch_size=min(parts.batch_size, len(rows)), seed=parts.config.seed, augment=augment,
        steps=1, with_labels=domain.role is Role.SOURCE,
    )  # fmt: skip
    batch = next(iter(batches))
    x = batch[0] if isinstance(batch, tuple) else batch
    x = keras.tree.map_structure(lambda tensor: np.asarray(tensor)[:_SHOWN], x)
    return domain.modality.pictures(x), domain.modality.texts(x)
