"""Schedules of the strength over the steps in which a method is active; `p` runs from 0 to 1."""

from collections.abc import Callable

from keras import ops

from tlkeras.config.adaptation import StrengthConfig
from tlkeras.registry import Registry

SCHEDULES: Registry = Registry("strength schedule")


@SCHEDULES.register("constant")
def constant(p, config: StrengthConfig):
    """`value` from the first step on."""
    return ops.full_like(p, config.value)


@SCHEDULES.register("linear")
def linear(p, config: StrengthConfig):
    """From 0 to `value` in a straight line."""
    return config.value * p


@SCHEDULES.register("ganin")
def ganin(p, config: StrengthConfig):
    """`value * (2 / (1 + exp(-gamma p)) - 1)` (Ganin et al. 2016, section 5.2.2)."""
    return config.value * (2 / (1 + ops.exp(-config.gamma * p)) - 1)


@SCHEDULES.register("warm_start")
def warm_start(p, config: StrengthConfig):
    """0 until `start`, then `ganin` over what is left."""
    return ganin(ops.maximum(p - config.start, 0) / (1 - config.start), config)


def strength_schedule(config: StrengthConfig, default: str = "ganin") -> Callable:
    """Returns the function of `p` (a float32 tensor in 0..1) that `config` describes.

    Args:
        config: The schedule and its settings.
        default: The name of the schedule where `config` leaves it open.
    """
    schedule = SCHEDULES.get(config.schedule or default)
    return lambda p: schedule(ops.clip(ops.convert_to_tensor(p, "float32"), 0, 1), config)
