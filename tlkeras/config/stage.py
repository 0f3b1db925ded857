"""Config of a stage: what trains, for how long, and how."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from tlkeras.config.base import Config
from tlkeras.config.data import AugmentConfig, Fraction, PositiveInt
from tlkeras.config.kinds import Kinds
from tlkeras.config.objective import LossConfig
from tlkeras.config.transfer import ProbeConfig, RegularizerConfig

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class ScheduleConfig(Kinds):
    """The schedule of the learning rate over a stage. `p` goes from 0 to 1 over its steps.

    `ScheduleConfig(name=...)` makes the config of that schedule, which has only the fields that it uses.

    Attributes:
        name: Name of the schedule: `constant`; `ganin`, `learning_rate / (1 + 10 p) ** 0.75` (Ganin et al.
            2016, section 5.2.2); `cosine` (Loshchilov and Hutter 2017), `linear` or `exponential`, which fall
            to `final`; `step`, which is times 0.1 at each of `boundaries`.
        warmup_steps: Number of steps of a linear warm-up from 0 to the learning rate.
    """

    told_by, default = "name", "constant"

    warmup_steps: Annotated[int, Field(ge=0)] = 0


class PlainScheduleConfig(ScheduleConfig):
    """A schedule without settings: `constant` or `ganin`."""

    name: Literal["constant", "ganin"] = "constant"


class FallingScheduleConfig(ScheduleConfig):
    """A schedule that falls to a final learning rate: `cosine`, `linear` or `exponential`.

    Attributes:
        final: Last learning rate as a fraction of the first.
    """

    name: Literal["cosine", "linear", "exponential"] = "cosine"
    final: Fraction = 0.0


class StepScheduleConfig(ScheduleConfig):
    """A schedule that divides the learning rate by ten, once at each boundary.

    Attributes:
        boundaries: Fractions of the stage at which this happens.
    """

    name: Literal["step"] = "step"
    boundaries: tuple[Fraction, ...] = (0.5, 0.75)


class OptimizerConfig(Config):
    """A Keras optimizer, with clipping, accumulation and averaging.

    Attributes:
        name: Registered name: `sgd`, `adam`, `adamw`, `rmsprop`, `lamb`, `lion`, ...
        learning_rate: Peak learning rate. "recommended" is the rate for fine-tuning of the backbone's family,
            which is lower for transformers. "auto" first runs the range test of Smith (2017).
        schedule: Schedule of the learning rate over the stage.
        weight_decay: Decoupled weight decay. It does not act on biases, norms and factors per channel.
        clipnorm: Bound on the norm of the gradient of each variable, or None.
        global_clipnorm: Bound on the norm of all gradients together, for the global batch, or None.
        accumulate_steps: Number of batches whose mean gradient makes one update.
        ema_momentum: Momentum of an exponential moving average of the weights, which is used for validation
            and for the saved model. None means no average.
        options: Further keyword arguments of the Keras optimizer, e.g. `{"momentum": 0.9}`.
    """

    name: str = "adam"
    learning_rate: Positive | Literal["auto", "recommended"] = 1e-3
    schedule: ScheduleConfig = ScheduleConfig()
    weight_decay: NonNegative | None = None
    clipnorm: Positive | None = None
    global_clipnorm: Positive | None = None
    accumulate_steps: PositiveInt = 1
    ema_momentum: Annotated[float, Field(gt=0, lt=1)] | None = None
    options: dict[str, Any] = {}


class EarlyStoppingConfig(Config):
    """Early stopping of a stage that no longer improves.

    Attributes:
        monitor: Name of the metric: `loss`, `accuracy` (`mae` for regression), one of `metrics`, the same
            with `val_`, or with adaptation `val_selection`. None uses that of `judged_by`, else `val_loss`.
        patience: Number of epochs without improvement after which the stage ends.
        min_delta: Smallest change that counts as improvement.
    """

    monitor: str | None = None
    patience: PositiveInt = 3
    min_delta: NonNegative = 0.0


class StageConfig(Kinds):
    """One stage of a run. There are two kinds: `FitStageConfig`, the default, and `ProbeStageConfig`.

    `StageConfig(...)` makes the kind that fits its fields. With a field `probe` it is a probe stage.

    Attributes:
        kind: Kind of the stage: `fit` trains by gradient, and `probe` fits a classical learner on frozen
            features.
        name: Name in the run directory and the progress bar: letters, digits, `_` and `-`.
    """

    told_by, default = "kind", "fit"

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$")]

    @classmethod
    def asked_for(cls, fields: Mapping[str, Any]) -> Any:
        """Returns the given kind, or `probe` if there is a field `probe`.

        Args:
            fields: Given fields of a stage by name.
        """
        probe = fields.get("probe")
        probed = probe is not None and str(probe).lower() != "none"
        return fields.get("kind", "probe" if probed else cls.default)


class FitStageConfig(StageConfig):
    """A stage that trains by gradient descent.

    Attributes:
        train: Trained part: `head`; `last:N` (the last N blocks and the head); `from:NAME` (that block and
            all after it); `all`; `regex:PATTERN` (layers whose name matches, and the head). For several
            backbones it may be a mapping such as `{"image": "last:2", "text": "head"}`, or
            `image=last:2,text=head` in short. A part that is not named stays frozen.
        epochs: Number of passes over the training rows.
        steps: Number of optimizer steps. If it is given, it replaces `epochs`.
        bn: BatchNormalization in the backbone: `frozen` (statistics, gamma and beta do not change),
            `inference` (statistics do not change, gamma and beta of trainable blocks train), `train`
            (trainable blocks use and update batch statistics).
        gradual: Whether the stage expands to one stage per block, from the last block to those that `train`
            names (gradual unfreezing, Howard and Ruder 2018, section 3.3). `epochs` applies to each of them.
        optimizer: Optimizer, learning rate and schedule.
        layer_decay: Factor between the learning rate of a block and that of the block after it.
        learning_rate_multipliers: Further factors by part or block name, e.g. `{"backbone": 0.1}`.
        loss: Loss of the stage, or None for the usual one of the task (cross-entropy; mean squared error for
            regression).
        label_smoothing: Label smoothing in 0..1, for classification. "recommended" is 0.1 for rows of one
            class each, and 0 for other tasks and for losses without label smoothing. Epochs of equal
            accuracy are compared by the loss without smoothing, which is reported as `unsmoothed_loss`.
        class_weights: Weights of the classes: `balanced`, one weight per class, or None.
        augment: Augmentation of the training rows in this stage.
        early_stopping: Early stopping, or None.
        steps_per_execution: Number of optimizer steps per call of the compiled function. None chooses it.
        validate_every: Number of epochs between validations.
        adapt: Whether the adaptation method of the run is active in this stage.
        regularizer: Regularizer that keeps more of the pretrained model, or None for plain fine-tuning.
    """

    kind: Literal["fit"] = "fit"
    train: str = "head"
    epochs: PositiveInt = 5
    steps: PositiveInt | None = None
    bn: Literal["frozen", "inference", "train"] = "frozen"
    gradual: bool = False
    optimizer: OptimizerConfig = OptimizerConfig()
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    learning_rate_multipliers: dict[str, NonNegative] = {}
    loss: LossConfig | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | Literal["recommended"] = 0.0
    class_weights: Literal["balanced"] | tuple[NonNegative, ...] | None = None
    augment: AugmentConfig = AugmentConfig()
    early_stopping: EarlyStoppingConfig | None = None
    steps_per_execution: PositiveInt | None = None
    validate_every: PositiveInt = 1
    adapt: bool = True
    regularizer: RegularizerConfig | None = None

    @field_validator("train", mode="before")
    @classmethod
    def _parts_in_one_text(cls, train: Any) -> Any:
        if not isinstance(train, Mapping):
            return train
        return ",".join(f"{part}={value}" for part, value in train.items())

    @model_validator(mode="after")
    def _train_is_well_formed(self):
        by_part = train_by_part(self.train)
        if by_part and self.gradual:
            raise ValueError(f"gradual opens one backbone. Received: train={self.train!r}")
        for train in by_part.values() if by_part else (self.train,):
            kind, _, argument = train.partition(":")
            wants_argument = kind in ("last", "from", "regex")
            fits = kind in ("head", "all", "last", "from", "regex") and bool(argument) == wants_argument
            if not fits or (kind == "last" and not (argument.isdigit() and int(argument) > 0)):
                raise ValueError(
                    "train must be 'head', 'last:N' with N >= 1, 'from:BLOCK', 'all' or 'regex:PATTERN'. "
                    f"Received: train={self.train!r}"
                )
        return self

    def at_rate(self, learning_rate: float) -> "FitStageConfig":
        """Returns the stage with another learning rate.

        Args:
            learning_rate: Peak learning rate, above 0.
        """
        optimizer = self.optimizer.model_copy(update={"learning_rate": learning_rate})
        return self.model_copy(update={"optimizer": optimizer})


def train_by_part(train: str) -> dict[str, str]:
    """Returns `train` by the part of the rows: `image=last:2,text=head`. Empty if it names no part."""
    if not re.match(r"\w+=", train):
        return {}
    items = (item.partition("=") for item in re.split(r",\s*(?=\w+=)", train))
    return {part: value for part, _, value in items}


class ProbeStageConfig(StageConfig):
    """A stage without gradient steps. It fits a classical learner on frozen features for the head.

    Attributes:
        probe: Config of the learner.
    """

    train: ClassVar[str] = "head"
    """A probe always trains only the head."""
    bn: ClassVar[str] = "frozen"
    """BatchNormalization never changes."""
    gradual: ClassVar[bool] = False
    """A probe has no epochs in which blocks could be opened."""
    adapt: ClassVar[bool] = False
    """A probe does not use the target. Its `mapping` does."""

    kind: Literal["probe"] = "probe"
    probe: ProbeConfig
