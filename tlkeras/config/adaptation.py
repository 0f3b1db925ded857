"""Config of the adaptation to an unlabelled target domain."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tlkeras.config.base import Config
from tlkeras.config.data import AugmentConfig, DataConfig, PositiveInt
from tlkeras.config.stage import NonNegative


class StrengthConfig(Config):
    """The schedule of the strength of an adaptation method. `p` goes from 0 to 1 over the steps of a stage.

    Attributes:
        schedule: Name of the schedule: `ganin`, `value * (2 / (1 + exp(-gamma p)) - 1)` (Ganin et al. 2016,
            section 5.2.2); `constant`; `linear`, from 0; `warm_start`, 0 until `start` and then `ganin`.
            None uses the default of the method: `warm_start` for `adda`, which first trains a source model,
            and `ganin` for all others.
        value: Strength at the end of the stage.
        gamma: Steepness of the `ganin` curve.
        start: Fraction of the steps for which `warm_start` stays at 0.
    """

    schedule: Literal["ganin", "constant", "linear", "warm_start"] | None = None
    value: NonNegative = 1.0
    gamma: NonNegative = 10.0
    start: Annotated[float, Field(ge=0, lt=1)] = 0.3


class AdaptationConfig(Config):
    """A labelled source (the run's `data`), an unlabelled target, and a method that aligns them.

    Attributes:
        method: Name of the method. `tlkeras list methods` prints all.
        weight: Factor of the method's loss, which is added to the class loss. For `kmm`, `kliep` and
            `domain_odds` it is the power to which the weights of the rows are taken, from 0 to 1.
        target: Unlabelled target domain. If it has labels, only the oracle columns of reports use them. The
            reading of pictures (size, `resize`, `on_error`), the task and the batch size are those of `data`
            unless they are set here.
        more_targets: Further unlabelled target domains. Batches alternate between all targets. Each is
            evaluated, but the choice of the model, the A-distance and the verdict use `target` alone.
        more_sources: Further labelled source domains with the same classes.
        target_labelled: A few labelled target rows that train together with the source. They are left out
            of the evaluation of the target.
        strength: Schedule of the strength.
        batch_norm: Statistics of BatchNormalization: `shared` over one concatenated batch;
            `domain_specific` (Chang et al. 2019), where the saved model has those of the target; `adabn`
            (Li et al. 2016), which replaces them by target statistics at the end, also in a source-only
            model (`method="none"`).
        selection: Score that chooses the best epoch without target labels; see `tlkeras list validators`.
        source_floor: Share of the best source validation accuracy that a chosen epoch must reach.
        twin: Whether a source-only twin is trained for the verdict.
        seeds: Number of seeds (of run and twin) for the verdict.
        strong_augment: Augmentation of the second view of target rows, for methods that compare two views.
            Both views show the same window of a long sound, as `augment.window` of the stage says.
        options: Further settings of the method, e.g. `{"units": [1024, 1024]}`.
    """

    method: str = "dann"
    weight: NonNegative = 1.0
    target: DataConfig
    more_targets: tuple[DataConfig, ...] = ()
    more_sources: tuple[DataConfig, ...] = ()
    target_labelled: DataConfig | None = None
    strength: StrengthConfig = StrengthConfig()
    batch_norm: Literal["shared", "domain_specific", "adabn"] = "shared"
    selection: str = "information_maximization"
    source_floor: Annotated[float, Field(ge=0, le=1)] = 0.9
    twin: bool = True
    seeds: PositiveInt = 1
    strong_augment: AugmentConfig = AugmentConfig(
        flip="horizontal", randaugment=2, randaugment_magnitude=8.0, cutout=0.4
    )
    options: dict[str, Any] = {}

    @property
    def trains_on_target(self) -> bool:
        """Whether training steps use target rows. AdaBN alone uses the target only after the training."""
        return self.method != "none" or self.batch_norm == "domain_specific"
