"""Config of regularizers, probes, mappings and the verdict."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tlkeras.config.base import Config


class RegularizerConfig(Config):
    """Fine-tuning that keeps more of the pretrained model. `tlkeras list regularizers` prints all.

    Attributes:
        name: Name of the regularizer: `l2_sp`, `delta`, `bss`, `stochastic_norm`, `mixout`, `lora`,
            `patch_dropout`, `co_tuning` or `distillation`.
        weight: Factor of its loss, probability with which it replaces values, or part that it leaves out. 0
            means plain fine-tuning. None uses the value of its paper.
        options: Further settings, e.g. `{"rank": 8}` or `{"teacher": "runs/large"}`.
    """

    name: str
    weight: Annotated[float, Field(ge=0)] | None = None
    options: dict[str, Any] = {}


class MappingConfig(Config):
    """A map from the feature space of the source to that of the target. `tlkeras list mappings` prints all.

    Attributes:
        name: Name of the mapping: `coral` (whitening and re-colouring), `subspace_alignment`, or
            `linear_map`, which is fitted on rows that have the same id in both domains.
        options: Settings of the mapping, e.g. `{"dimensions": 32}`.
    """

    name: str = "coral"
    options: dict[str, Any] = {}


class ProbeConfig(Config):
    """A classical learner on frozen features instead of gradient steps. `tlkeras list probes` prints all.

    Attributes:
        name: Name of the learner: `logistic_regression`, `linear_svm` or `prototypes`, whose result becomes
            the weights of a linear head; or `knn`, whose rows are stored by the head `neighbors`.
        options: Keyword arguments of the scikit-learn class, e.g. `{"C": 0.1}`. Those of `knn` are
            `model.head.neighbors` and `model.head.vote`.
        mapping: Mapping of the source's features to those of `adaptation.target`, which is applied before the
            learner is fitted, so that the model is one for the target. None means no mapping.
    """

    name: str = "logistic_regression"
    options: dict[str, Any] = {}
    mapping: MappingConfig | None = None


Twin = Literal["scratch", "random_features", "frozen_probe", "source_only", "image_alone", "sound_alone",
               "text_alone", "columns_alone"]  # fmt: skip


class VerdictConfig(Config):
    """The twins, which are runs without the transfer with which a run is compared.

    Attributes:
        twins: Kinds of twins. `scratch` is the same network from random weights, fully trained from the
            first step. `random_features` trains only the head, on the standardised outputs of a random
            backbone. `frozen_probe` trains only the head, on the pretrained backbone. `source_only` is the
            twin of an adaptation that does not use the target. `image_alone`, `sound_alone`, `text_alone` and
            `columns_alone` use one part of rows of several parts, and show what the others are worth.
        seeds: Number of seeds of the run and of each twin.
    """

    twins: tuple[Twin, ...] = ()
    seeds: Annotated[int, Field(ge=1)] = 1
