"""What trains, for how long, and how: one stage of a run."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tlkeras.config.base import Config
from tlkeras.config.data import AugmentConfig, Fraction, PositiveInt
from tlkeras.config.kinds import Kinds
from tlkeras.config.transfer import ProbeConfig, RegularizerConfig

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class ScheduleConfig(Config):
    """How the learning rate moves over a stage; `p` runs from 0 to 1 over its steps.

    Attributes:
        name: `constant`; `cosine` (Loshchilov and Hutter 2017); `linear` to `final`; `exponential` to
            `final`; `step` (times 0.1 at each of `boundaries`); `ganin`:
            `learning_rate / (1 + 10 p) ** 0.75` (Ganin et al. 2016, section 5.2.2).
        warmup_steps: Steps of linear warm-up from 0 to the learning rate.
        final: Last learning rate as a fraction of the first, for cosine, linear and exponential.
        boundaries: Fractions of the stage at which `step` divides the learning rate by ten.
    """

    name: Literal["constant", "cosine", "linear", "exponential", "step", "ganin"] = "constant"
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final: Fraction = 0.0
    boundaries: tuple[Fraction, ...] = (0.5, 0.75)


class OptimizerConfig(Config):
    """A Keras optimizer and what is done to the gradients it gets.

    Attributes:
        name: A registered optimizer: `sgd`, `adam`, `adamw`, `rmsprop`, `lamb`, `lion`, ...
        learning_rate: Peak learning rate; "auto" runs the range test of Smith (2017) first.
        schedule: How the learning rate moves over the stage.
        weight_decay: Decoupled weight decay; biases and normalisation layers are spared.
        clipnorm: Per-variable gradient norm bound.
        global_clipnorm: Bound on the norm of all gradients together, applied to the mean over replicas.
        accumulate_steps: Batches whose mean gradient makes one update.
        ema_momentum: Momentum of an exponential moving average of the weights, used for validation
            and for what is saved; None is no average.
        options: Further keyword arguments of the Keras optimizer, e.g. `{"momentum": 0.9}`.
    """

    name: str = "adam"
    learning_rate: Positive | Literal["auto"] = 1e-3
    schedule: ScheduleConfig = ScheduleConfig()
    weight_decay: NonNegative | None = None
    clipnorm: Positive | None = None
    global_clipnorm: Positive | None = None
    accumulate_steps: PositiveInt = 1
    ema_momentum: Annotated[float, Field(gt=0, lt=1)] | None = None
    options: dict[str, Any] = {}


class EarlyStoppingConfig(Config):
    """Ends a stage that no longer improves.

    Attributes:
        monitor: The watched metric: `loss`, `accuracy` (`mae` for regression), their `val_` forms, or under
            adaptation `val_selection`.
        patience: Epochs without improvement after which the stage ends.
        min_delta: Smallest change that counts as improvement.
    """

    monitor: str = "val_loss"
    patience: PositiveInt = 3
    min_delta: NonNegative = 0.0


class StageConfig(Kinds):
    """One stage of a run, in one of two kinds: `FitStageConfig`, the default, or `ProbeStageConfig`.

    `StageConfig(...)` makes the kind that its fields ask for: with `probe` a probe stage.

    Attributes:
        kind: `fit` trains by gradient; `probe` fits a classical learner on frozen features.
        name: Used in the run directory and the progress bar; letters, digits, `_` and `-`.
    """

    told_by, default = "kind", "fit"

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,64}$")]

    @classmethod
    def asked_for(cls, fields: Mapping[str, Any]) -> Any:
        """Returns the kind that is named, or else `probe` where there is one."""
        probe = fields.get("probe")
        probed = probe is not None and str(probe).lower() != "none"
        return fields.get("kind", "probe" if probed else cls.default)


class FitStageConfig(StageConfig):
    """A stage by gradient: which part trains, for how long, with which optimizer.

    Attributes:
        train: `head`; `last:N` (the last N blocks and the head); `from:NAME` (that block and all
            after it); `all`; `regex:PATTERN` (layers whose name matches, and the head).
        epochs: Passes over the training rows.
        steps: Optimizer steps; given, it replaces `epochs`.
        bn: BatchNormalization in the backbone: `frozen` (statistics, gamma and beta stay),
            `inference` (statistics stay, gamma and beta of trainable blocks train), `train`
            (trainable blocks use and update batch statistics).
        gradual: Expands into one stage per block, from the last block to what `train` names
            (gradual unfreezing, Howard and Ruder 2018, section 3.3); `epochs` is for each of them.
        optimizer: Optimizer, learning rate, schedule.
        layer_decay: The learning rate of each block is this times that of the block after it.
        learning_rate_multipliers: Further factors by part or block name, e.g. `{"backbone": 0.1}`.
        label_smoothing: In 0..1, for classification.
        class_weights: None, `balanced`, or one weight per class.
        augment: Random changes of the training images of this stage.
        early_stopping: None is no early stopping.
        steps_per_execution: Optimizer steps per call of the compiled function; None chooses.
        validate_every: Epochs between validations.
        adapt: Whether the run's adaptation method is active in this stage.
        regularizer: Keeps the stage near its source; None is plain fine-tuning.
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
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    class_weights: Literal["balanced"] | tuple[NonNegative, ...] | None = None
    augment: AugmentConfig = AugmentConfig()
    early_stopping: EarlyStoppingConfig | None = None
    steps_per_execution: PositiveInt | None = None
    validate_every: PositiveInt = 1
    adapt: bool = True
    regularizer: RegularizerConfig | None = None

    @model_validator(mode="after")
    def _train_is_well_formed(self):
        kind, _, argument = self.train.partition(":")
        wants_argument = kind in ("last", "from", "regex")
        fits = kind in ("head", "all", "last", "from", "regex") and bool(argument) == wants_argument
        if not fits or (kind == "last" and not (argument.isdigit() and int(argument) > 0)):
            raise ValueError(
                "train must be 'head', 'last:N' with N >= 1, 'from:BLOCK', 'all' or 'regex:PATTERN'. "
                f"Received: train={self.train!r}"
            )
        return self


class ProbeStageConfig(StageConfig):
    """A stage without gradient: a classical learner is fitted on frozen features and put into the head.

    Attributes:
        probe: Which learner.
    """

    # what may be asked of every stage: a probe trains the head alone, without a look at the target
    train: ClassVar[str] = "head"
    bn: ClassVar[str] = "frozen"
    gradual: ClassVar[bool] = False
    adapt: ClassVar[bool] = False

    kind: Literal["probe"] = "probe"
    probe: ProbeConfig
