"""Adaptation to an unlabelled target domain."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tlkeras.config.base import Config
from tlkeras.config.data import AugmentConfig, DataConfig, PositiveInt
from tlkeras.config.stage import NonNegative


class StrengthConfig(Config):
    """How strongly the method pulls over each stage that adapts; `p` runs from 0 to 1 over its steps.

    Attributes:
        schedule: `ganin`: `value * (2 / (1 + exp(-gamma p)) - 1)` (Ganin et al. 2016, section 5.2.2);
            `constant`; `linear` from 0; `warm_start`: 0 until `start`, then as `ganin`. None is the
            method's own: `warm_start` for `adda`, which first trains a source model, else `ganin`.
        value: The strength reached at the end.
        gamma: Steepness of the `ganin` curve.
        start: Fraction of the steps for which `warm_start` stays at 0.
    """

    schedule: Literal["ganin", "constant", "linear", "warm_start"] | None = None
    value: NonNegative = 1.0
    gamma: NonNegative = 10.0
    start: Annotated[float, Field(ge=0, lt=1)] = 0.3


class AdaptationConfig(Config):
    """A labelled source (the run's `data`), an unlabelled target, and a method that draws them together.

    Attributes:
        method: A registered method; `tlkeras list methods` prints all.
        weight: Factor of the method's loss beside the class loss.
        target: The unlabelled target domain. Its labels, where it has any, serve only the oracle
            columns of reports. How pictures are read (size, `resize`, `on_error`), the task and the batch
            size are those of `data` where they are left at their defaults.
        more_targets: Further unlabelled target domains, drawn from in turn. Each is evaluated; the choice of
            the model, the A-distance and the verdict go by `target`.
        more_sources: Further labelled source domains with the same classes.
        target_labelled: A few labelled target rows that train with the source; they are left out of
            target evaluation.
        strength: Schedule of the strength.
        batch_norm: `shared` statistics over one concatenated batch, `domain_specific` statistics
            (Chang et al. 2019; the saved model holds the target's), or `adabn` (Li et al. 2016):
            target statistics put in at the end, also into a source-only model (`method="none"`).
        selection: How the best epoch is chosen without target labels; `tlkeras list validators`.
        source_floor: Share of the best source validation accuracy that a chosen epoch must keep.
        twin: Whether a source-only twin is trained for the verdict.
        seeds: Number of seeds (of run and twin) behind the verdict.
        strong_augment: Of the second view of target images, for methods that compare two.
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
