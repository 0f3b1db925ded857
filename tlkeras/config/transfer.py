"""What beside plain fine-tuning is transferred, and what a run is compared with."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tlkeras.config.base import Config


class RegularizerConfig(Config):
    """A way of fine-tuning that keeps more of the source; `tlkeras list regularizers` prints all.

    Attributes:
        name: `l2_sp`, `delta`, `bss`, `stochastic_norm`, `mixout`, `lora`, `co_tuning` or `distillation`.
        weight: How strongly it acts: the factor of its loss, or the probability with which it replaces;
            0 is plain fine-tuning. None is the value of its paper.
        options: Its further settings, e.g. `{"rank": 8}` or `{"teacher": "runs/large"}`.
    """

    name: str
    weight: Annotated[float, Field(ge=0)] | None = None
    options: dict[str, Any] = {}


class MappingConfig(Config):
    """A map from the source's feature space to the target's; `tlkeras list mappings` prints all.

    Attributes:
        name: `coral` (whitening and re-colouring), `subspace_alignment`, or `linear_map`, which learns from
            rows that have the same id in both domains.
        options: Its settings, e.g. `{"dimensions": 32}`.
    """

    name: str = "coral"
    options: dict[str, Any] = {}


class ProbeConfig(Config):
    """A classical learner on frozen features in the place of gradient steps; `tlkeras list probes`.

    Attributes:
        name: `logistic_regression`, `linear_svm` or `prototypes`, which become the weights of a linear head;
            or `knn`, whose rows are kept by the head `neighbors`.
        options: Keyword arguments of the scikit-learn class, e.g. `{"C": 0.1}`. Those of `knn` are
            `model.head.neighbors` and `model.head.vote`.
        mapping: Maps the source's features to where those of `adaptation.target` lie, before the learner is
            fitted; the model is then one for the target. None is no map.
    """

    name: str = "logistic_regression"
    options: dict[str, Any] = {}
    mapping: MappingConfig | None = None


Twin = Literal["scratch", "random_features", "frozen_probe", "source_only"]


class VerdictConfig(Config):
    """Which runs without the transfer a run is judged by.

    Attributes:
        twins: `scratch`: the same network from random weights, all of it trained from the first
            step. `random_features`: the head alone, on the standardised outputs of a random backbone.
            `frozen_probe`: the head alone, on the pretrained backbone. `source_only`: the adaptation's
            twin that never sees the target.
        seeds: Seeds of the run and of each twin behind the verdict.
    """

    twins: tuple[Twin, ...] = ()
    seeds: Annotated[int, Field(ge=1)] = 1
