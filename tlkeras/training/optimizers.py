"""From an `OptimizerConfig` to a Keras optimizer."""

import inspect

import keras

from tlkeras.backend.stage_optimizer import ReplicaLossScaleOptimizer, stage_optimizer_class
from tlkeras.config import OptimizerConfig
from tlkeras.errors import UserError, unknown
from tlkeras.registry import Registry
from tlkeras.training.schedules import build_schedule

OPTIMIZERS: Registry[type] = Registry("optimizer")
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

# Said by other fields of the config, or without meaning in a stage.
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
    where: str = "stages.0.optimizer",
):
    """Returns a Keras optimizer for one stage. Call it inside the strategy's scope.

    With the same global batches it gives the same weights on any number of replicas, clipping, gradient
    accumulation and moving average included; see `StageOptimizer`. Under the `mixed_float16` policy it is
    wrapped for loss scaling.

    Args:
        config: Which optimizer, and how the learning rate moves.
        steps: Training steps (batches) of the stage. With `accumulate_steps` there are that many times
            fewer updates; batches left over at the end make none.
        multipliers: Factor on the learning rate by `variable.path`; 1 for those not named, 0 freezes.
        variables: Where given, the optimizer is built on them, so that a checkpoint can be restored.
        where: Path of the config in the experiment's, for messages.

    Raises:
        UserError: An unknown optimizer or option, two kinds of clipping, or a schedule that cannot be.
    """
    if config.learning_rate == "auto":
        raise ValueError("learning_rate='auto' must be resolved before the optimizer is built.")
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
            learning_rate=build_schedule(config.schedule, config.learning_rate, steps=steps, where=where),
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
    """Returns what `OptimizerConfig.options` may hold for the optimizer called `name`."""
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
