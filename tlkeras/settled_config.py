"""A config with what its backbone decides: whether the fallback is used, the front end, learning rates."""

from typing import Any

from tlkeras import messages
from tlkeras.config import ExperimentConfig, FitStageConfig, FrontEndConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES
from tlkeras.models.weights.files import require_weights


def checked(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the config with the fallback backbone if it is needed, the front end, and learning rates.

    Raises:
        UserError: A name is not registered.
    """
    for name in (config.model.backbone, config.model.first_network):
        BACKBONES.get(name)
    return _with_recommended_rates(_with_front_end(_with_fallback(config)))


def _with_front_end(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the config with the front end's rate, and with a front end if the backbone takes pictures."""
    model, data = config.model, config.data
    if data.seconds is None and model.front_end is not None:
        raise UserError(
            "model.front_end turns sounds into pictures, and data.seconds makes the data sounds. "
            "Received: model.front_end, data.seconds=None"
        )
    if data.seconds is None:
        return config
    if FrontEndConfig.makes not in BACKBONES.get(model.backbone).modalities:
        if model.front_end is None:
            return config
        raise UserError(
            f"model.front_end makes pictures, which {model.backbone} does not take: leave it out. "
            f"Received: model.front_end, model.backbone={model.backbone}"
        )
    for part in ("adapter", "nested"):
        if getattr(model, part) is not None:
            raise UserError(f"model.{part} takes no sounds yet: leave it out. Received: model.{part}")
    front_end = (model.front_end or FrontEndConfig()).model_copy(update={"sample_rate": data.sample_rate})
    return config.model_copy(update={"model": model.model_copy(update={"front_end": front_end})})


def _with_fallback(config: ExperimentConfig) -> ExperimentConfig:
    model = config.model
    if model.fallback is None or model.weights != "imagenet":
        return config
    row, fallback = BACKBONES.get(model.backbone), BACKBONES.get(model.fallback)
    shape = row.input_shape(config.data)
    try:
        require_weights(row, shape, model.backbone_options)
        return config
    except UserError:
        require_weights(fallback, shape, {})
    messages.note_later(
        f"The ImageNet weights of {row.name} are not available here, so {fallback.name} is used instead."
    )
    update = {"backbone": fallback.name, "backbone_options": {}, "fallback": None}
    return config.model_copy(update={"model": model.model_copy(update=update)})


def _with_recommended_rates(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the config with the rate of the backbone's family for `learning_rate="recommended"`.

    For rows of several parts it is the lowest rate of their backbones.
    """
    names = [config.model.backbone, *(beside.backbone for beside in config.model.beside.values())]
    rate = min(BACKBONES.get(name).family.rate for name in names)

    def with_rate(stage: StageConfig) -> StageConfig:
        recommended = isinstance(stage, FitStageConfig) and stage.optimizer.learning_rate == "recommended"
        return stage.at_rate(rate) if recommended else stage

    update: dict[str, Any] = {"stages": tuple(map(with_rate, config.stages))}
    if config.tasks is not None:
        update["tasks"] = config.tasks.model_copy(
            update={"stages": tuple(map(with_rate, config.tasks.stages))}
        )
    return config.model_copy(update=update)
