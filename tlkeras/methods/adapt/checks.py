"""The checks of an adaptation before the training: names, options, stages, sizes, views."""

from collections.abc import Mapping

from tlkeras.config import AdaptationConfig, AugmentConfig, ExperimentConfig, StageConfig, StrengthConfig
from tlkeras.data import Domain
from tlkeras.data.modalities import MODALITIES, Modality
from tlkeras.errors import UserError
from tlkeras.methods.adapt import METHODS, make_method
from tlkeras.methods.adapt.reweighting import Reweighting
from tlkeras.methods.adapt.validators import VALIDATORS


def check_adaptation(config: ExperimentConfig) -> None:
    """Makes all checks that need no data.

    Raises:
        UserError: A method, an option or a validator is unknown, or a setting would have no effect.
    """
    adaptation = config.adaptation
    if adaptation is None:
        return
    VALIDATORS.get(adaptation.selection)
    if adaptation.method != "none":  # a source-only twin keeps the options, which "none" does not have
        make_method(adaptation.method, adaptation.options)
    named = {"target": adaptation.target}
    named |= {f"more_targets.{i}": data for i, data in enumerate(adaptation.more_targets)}
    for name, data in named.items():
        if data.per_class is not None:
            raise UserError(
                f"adaptation.{name}.per_class needs labels, and a target has none to train with: use limit. "
                f"Received: adaptation.{name}.per_class={data.per_class}"
            )
    named |= {f"more_sources.{i}": data for i, data in enumerate(adaptation.more_sources)}
    image = MODALITIES.get("image")
    for name, data in (named | {"target_labelled": adaptation.target_labelled}).items():
        if data is not None and None not in (data.image_size, config.data.image_size):
            image.check_domain(name, image.assumed_shape(data), image.assumed_shape(config.data))
    for name in ("mixup", "cutmix"):
        if getattr(adaptation.strong_augment, name):
            raise UserError(
                f"adaptation.strong_augment.{name} mixes labels, and target rows have none. "
                f"Received: adaptation.strong_augment.{name}={getattr(adaptation.strong_augment, name)}"
            )
    _check_stages(config)


def check_domains(config: ExperimentConfig, domains: Mapping[str, Domain]) -> None:
    """Checks that the rows of all domains fit into one batch, and that two views of a row can differ.

    Args:
        config: Config of the experiment.
        domains: Domains by name, including `source`.

    Raises:
        UserError: The rows do not fit together, or the views would be equal.
    """
    source = domains["source"]
    for name, domain in domains.items():
        source.modality.check_kind(name, domain.modality)
        source.modality.check_domain(name, domain.input_shape, source.input_shape)
    adaptation = config.adaptation
    if adaptation is None or adaptation.method == "none":
        return
    if make_method(adaptation.method, adaptation.options).target_views > 1:
        for stage in filter(config.adapts_in, config.stages):
            _check_views(adaptation, stage, source.modality)


def _check_stages(config: ExperimentConfig) -> None:
    """Raises `UserError` if no stage would use the method."""
    adaptation = config.adaptation
    if adaptation.trains_on_target and not any(map(config.adapts_in, config.stages)):
        received = ", ".join(
            f"stages.{stage.name}.adapt={str(stage.adapt).lower()}{' (a probe)' * (stage.kind == 'probe')}"
            for stage in config.stages
        )
        raise UserError(
            f"adaptation.method={adaptation.method} works in no stage: set adapt=true in one that trains by "
            f"steps, or adaptation.method=none. Received: {received}"
        )
    if adaptation.method != "none":
        _check_strength(adaptation)
        _check_source_model(config)
    if issubclass(METHODS.get(adaptation.method), Reweighting):
        _check_reweighting(config)


def _check_strength(adaptation: AdaptationConfig) -> None:
    """Raises `UserError` for a setting that the schedule of the strength does not read."""
    strength = adaptation.strength
    schedule = strength.schedule or make_method(adaptation.method, adaptation.options).schedule
    for name, readers in (("gamma", ("ganin", "warm_start")), ("start", ("warm_start",))):
        value = getattr(strength, name)
        if schedule not in readers and value != StrengthConfig.model_fields[name].default:
            raise UserError(
                f"adaptation.strength.{name} has no effect with the schedule {schedule}: leave it out, or "
                f"set strength.schedule={' or '.join(readers)}. "
                f"Received: adaptation.strength.{name}={value:g}"
            )


def _check_reweighting(config: ExperimentConfig) -> None:
    """Raises `UserError` if settings would have no effect on importance weights, or rows would be mixed."""
    adaptation, name = config.adaptation, config.adaptation.method
    if adaptation.weight > 1:
        raise UserError(
            f"adaptation.method={name} takes its weights to the power of adaptation.weight. "
            f"Allowed: 0..1. Received: adaptation.weight={adaptation.weight:g}"
        )
    if adaptation.strength != StrengthConfig():
        raise UserError(
            f"adaptation.method={name} weights the rows in the same way in every step: leave "
            f"adaptation.strength out. Received: adaptation.strength={adaptation.strength}"
        )
    if adaptation.batch_norm == "domain_specific":
        raise UserError(
            f"adaptation.method={name} trains on the source alone, so there are no statistics of the target: "
            "set adaptation.batch_norm=shared or adabn. Received: adaptation.batch_norm=domain_specific"
        )
    for stage in filter(config.adapts_in, config.stages):
        if stage.augment.mixup or stage.augment.cutmix:
            raise UserError(
                f"adaptation.method={name} weights single rows, and mixup and cutmix mix them: leave them "
                f"out. Received: stages.{stage.name}.augment with mixup={stage.augment.mixup:g}, "
                f"cutmix={stage.augment.cutmix:g}"
            )


def _check_source_model(config: ExperimentConfig) -> None:
    """Raises `UserError` if the class loss would end before a classifier is trained."""
    adaptation = config.adaptation
    method, strength = make_method(adaptation.method, adaptation.options), adaptation.strength
    schedule = strength.schedule or method.schedule
    source_first = schedule == "warm_start" and strength.start > 0
    without_effect = adaptation.weight == 0 or strength.value == 0
    at_once = config.adapts_in(config.stages[0])
    if method.needs_source_model and at_once and not (source_first or without_effect):
        raise UserError(
            f"adaptation.method={adaptation.method} adapts a trained source model, and its class loss "
            "ends as the strength rises: set adaptation.strength.schedule=warm_start with strength.start "
            "above 0 (e.g. 0.3), or add an earlier stage with adapt=false. Received: "
            f"strength.schedule={schedule}, strength.start={strength.start:g}"
        )


def _check_views(adaptation: AdaptationConfig, stage: StageConfig, modality: Modality) -> None:
    """Raises `UserError` if both views of a target row would be equal."""
    both = (stage.augment, adaptation.strong_augment.beside(stage.augment))
    weak, strong = (_as_drawn(augment, modality) for augment in both)
    if weak != strong:
        return
    raise UserError(
        f"adaptation.method={adaptation.method} compares two views of each target row, which would be "
        f"equal here: set {modality.views_advice}. Received: {modality.plural} with "
        f"adaptation.strong_augment and stages.{stage.name}.augment of the same effect"
    )


def _as_drawn(augment: AugmentConfig, modality: Modality) -> AugmentConfig:
    """Returns the part of the settings that applies to the modality."""
    augment = modality.drawable(augment).unmixed
    if augment.randaugment == 0:
        augment = augment.model_copy(update={"randaugment_magnitude": 0.0})
    return augment
