"""Construction of a Keras optimizer from an `OptimizerConfig`."""

import inspect

import keras

from tlkeras.backend.stage_optimizer import ReplicaLossScaleOptimizer, stage_optimizer_class
from tlkeras.config import OptimizerConfig
from tlkeras.errors import UserError, unknown
from tlkeras.registry import Registry
from tlkeras.training.schedules import build_schedule

OPTIMIZERS: Registry[type] = Registry("optimizer")
"""Optimizer classes that `stages.N.optimizer.name` can name."""
for _class in (
    keras.optimizers.Adadelta,
    keras.optimizers.Adafactor,
    keras.optimizers.Adagrad,
    keras.optimizers.Adam,
    keras.optimizers.AdamW,
    keras.optimizers.Adamax,
    keras.optimizers.Ftrl,
    keras.optimizers.Lamb,
    keras.optimizers.Lion,
    keras.optimizers.Muon,
    keras.optimizers.Nadam,
    keras.optimizers.RMSprop,
    keras.optimizers.SGD,
):
    OPTIMIZERS.add(_class.__name__.lower(), _class)

# Arguments of Keras optimizers that other fields of the config set, or that have no meaning in a stage.
_NOT_OPTIONS = {
    "self",
    "name",
    "kwargs",
    "learning_rate",
    "weight_decay",
    "clipnorm",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
}


def build_optimizer(
    config: OptimizerConfig,
    *,
    steps: int,
    multipliers: dict[str, float] | None = None,
    variables=None,
):
    """Returns a Keras optimizer for one stage. It must be called in the scope of the strategy.

    With the same global batches it gives the same weights on any number of replicas, also with clipping,
    gradient accumulation and a moving average; see `StageOptimizer`. With the `mixed_float16` policy it is
    wrapped for loss scaling.

    Args:
        config: Config of the optimizer and its learning rate.
        steps: Number of training steps (batches) of the stage. With `accumulate_steps` there are that many
            times fewer updates, and remaining batches at the end make no update.
        multipliers: Factors on the learning rate by `variable.path`. Variables without an entry have factor
            1. Factor 0 freezes a variable.
        variables: Variables on which the optimizer is built, so that a checkpoint can be restored, or None.

    Raises:
        UserError: The optimizer or an option is unknown, there are two kinds of clipping, or the schedule is
            not possible.
    """
    if isinstance(config.learning_rate, str):
        raise ValueError(
            f"learning_rate={config.learning_rate!r} must be resolved before the optimizer is built."
        )
    base = OPTIMIZERS.get(config.name)
    _check_options(config, base)
    arguments = dict(config.options)
    if config.weight_decay is not None:
        arguments["weight_decay"] = config.weight_decay
    if config.accumulate_steps > 1:
        arguments["gradient_accumulation_steps"] = config.accumulate_steps
    if config.ema_momentum is not None:
        arguments |= {"use_ema": True, "ema_momentum": config.ema_momentum}
    try:
        optimizer = stage_optimizer_class(base)(
            learning_rate=build_schedule(config.schedule, config.learning_rate, steps=steps),
            clipnorm=config.clipnorm,
            global_clipnorm=config.global_clipnorm,
            multipliers=multipliers,
            **arguments,
        )
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"Keras refuses the options of optimizer {config.name!r}: {reason}") from error
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = ReplicaLossScaleOptimizer(optimizer)
    if variables is not None:
        optimizer.build(list(variables))
    return optimizer


def option_names(name: str) -> list[str]:
    """Returns the allowed keys of `OptimizerConfig.options` for the optimizer `name`."""
    parameters = inspect.signature(OPTIMIZERS.get(name).__init__).parameters
    return sorted(set(parameters) - _NOT_OPTIONS)


def _check_options(config: OptimizerConfig, base: type) -> None:
    allowed = option_names(config.name)
    for option in config.options:
        if option not in allowed:
            raise unknown(f"option of optimizer {config.name!r}", option, allowed)
    clipping = [
        f"{key}={value}"
        for key, value in (
            ("clipnorm", config.clipnorm),
            ("global_clipnorm", config.global_clipnorm),
            ("clipvalue", config.options.get("clipvalue")),
        )
        if value is not None
    ]
    if len(clipping) > 1:
        raise UserError(
            f"Only one of clipnorm, global_clipnorm and clipvalue can be set. Received: {', '.join(clipping)}"
        )
