"""Schedules of the strength. `p` goes from 0 to 1 over the steps in which a method is active."""

from collections.abc import Callable

from keras import ops

from tlkeras.config.adaptation import StrengthConfig
from tlkeras.registry import Registry

SCHEDULES: Registry = Registry("strength schedule")


@SCHEDULES.register("constant")
def constant(p, config: StrengthConfig):
    """Returns `value` for all steps."""
    return ops.full_like(p, config.value)


@SCHEDULES.register("linear")
def linear(p, config: StrengthConfig):
    """Rises linearly from 0 to `value`."""
    return config.value * p


@SCHEDULES.register("ganin")
def ganin(p, config: StrengthConfig):
    """Returns `value * (2 / (1 + exp(-gamma p)) - 1)` (Ganin et al. 2016, section 5.2.2)."""
    return config.value * (2 / (1 + ops.exp(-config.gamma * p)) - 1)


@SCHEDULES.register("warm_start")
def warm_start(p, config: StrengthConfig):
    """Returns 0 until `start`, then follows `ganin` over the remaining steps."""
    return ganin(ops.maximum(p - config.start, 0) / (1 - config.start), config)


def strength_schedule(config: StrengthConfig, default: str = "ganin") -> Callable:
    """Returns the schedule as a function of `p`, a float32 tensor in 0..1.

    Args:
        config: Config of the schedule.
        default: Name of the schedule if the config has none.
    """
    schedule = SCHEDULES.get(config.schedule or default)
    return lambda p: schedule(ops.clip(ops.convert_to_tensor(p, "float32"), 0, 1), config)
