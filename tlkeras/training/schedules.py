"""Learning-rate schedules. Those that Keras has are Keras' own."""

import keras
from keras import ops

from tlkeras.config import ScheduleConfig
from tlkeras.errors import UserError
from tlkeras.registry import Registry

SCHEDULES: Registry = Registry("schedule")
"""Schedules that `stages.N.optimizer.schedule.name` can name."""
LearningRateSchedule = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("tlkeras")
class GaninSchedule(LearningRateSchedule):
    """`learning_rate / (1 + gamma * p) ** power`, where p runs from 0 to 1 over `decay_steps`.

    Source: Ganin et al., Domain-Adversarial Training of Neural Networks, JMLR 2016, section 5.2.2.

    Args:
        learning_rate: Learning rate at step 0, above 0.
        decay_steps: Number of steps in which p goes from 0 to 1. Afterwards it stays at 1.
        gamma: Steepness, 10 in the paper.
        power: Exponent, 0.75 in the paper.
    """

    def __init__(self, learning_rate, decay_steps, gamma=10.0, power=0.75):
        super().__init__()
        self.learning_rate = learning_rate
        self.decay_steps = decay_steps
        self.gamma = gamma
        self.power = power

    def __call__(self, step):
        progress = ops.minimum(ops.cast(step, "float32") / self.decay_steps, 1.0)
        return self.learning_rate / ops.power(1.0 + self.gamma * progress, self.power)

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "decay_steps": self.decay_steps,
            "gamma": self.gamma,
            "power": self.power,
        }


@keras.saving.register_keras_serializable("tlkeras")
class WarmUp(LearningRateSchedule):
    """Linear warm-up from 0 to `peak`, then another schedule from its own step 0.

    Args:
        peak: Learning rate after the warm-up, above 0.
        warmup_steps: Number of steps of the warm-up, at least 1. Step 0 has learning rate 0, as in
            `CosineDecay`.
        after: Schedule after the warm-up, or None for a constant `peak`.
    """

    def __init__(self, peak, warmup_steps, after=None):
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.after = after

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rising = self.peak * step / self.warmup_steps
        later = ops.maximum(step - self.warmup_steps, 0.0)
        following = self.peak if self.after is None else ops.cast(self.after(later), "float32")
        return ops.where(step < self.warmup_steps, rising, following)

    def get_config(self):
        after = None if self.after is None else keras.optimizers.schedules.serialize(self.after)
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "after": after}

    @classmethod
    def from_config(cls, config):
        after = config["after"]
        after = None if after is None else keras.optimizers.schedules.deserialize(after)
        return cls(config["peak"], config["warmup_steps"], after)


@SCHEDULES.register("constant")
def _constant(config, learning_rate, steps):
    return None


@SCHEDULES.register("cosine")
def _cosine(config, learning_rate, steps):
    return keras.optimizers.schedules.CosineDecay(learning_rate, steps, alpha=config.final)


@SCHEDULES.register("linear")
def _linear(config, learning_rate, steps):
    return keras.optimizers.schedules.PolynomialDecay(
        learning_rate, steps, end_learning_rate=learning_rate * config.final, power=1.0
    )


@SCHEDULES.register("exponential")
def _exponential(config, learning_rate, steps):
    if config.final == 0:
        raise UserError(
            "The exponential schedule never reaches 0: give optimizer.schedule.final as a fraction above 0, "
            "e.g. 0.01. Received: final=0.0"
        )
    return keras.optimizers.schedules.ExponentialDecay(learning_rate, steps, config.final)


@SCHEDULES.register("step")
def _step(config, learning_rate, steps):
    fractions = sorted(config.boundaries)
    values = [learning_rate * 0.1**k for k in range(len(fractions) + 1)]
    # Keras uses the old value at the boundary itself, but the first step of a new fraction needs the new one.
    boundaries = [round(fraction * steps) - 1 for fraction in fractions]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


@SCHEDULES.register("ganin")
def _ganin(config, learning_rate, steps):
    return GaninSchedule(learning_rate, steps)


def build_schedule(config: ScheduleConfig, learning_rate: float, *, steps: int):
    """Returns the learning rate over a stage, as Keras optimizers take it.

    Args:
        config: Config of the schedule.
        learning_rate: Peak learning rate, above 0.
        steps: Number of training steps (batches) of the stage. The schedule covers the steps after the
            warm-up, which `warm_up_steps` shortens in a short stage.

    Returns:
        A float for a constant learning rate (which callbacks may then change), else a serializable
        `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        UserError: An exponential schedule should end at 0.
    """
    rising = warm_up_steps(config, steps)
    schedule = SCHEDULES.get(config.name)(config, learning_rate, steps - rising)
    if rising:
        return WarmUp(learning_rate, rising, schedule)
    return learning_rate if schedule is None else schedule


def warm_up_steps(config: ScheduleConfig, steps: int) -> int:
    """Returns the number of steps of the warm-up: a tenth of a stage that is no longer than its warm-up.

    Args:
        config: Config of the schedule.
        steps: Number of training steps of the stage.
    """
    return config.warmup_steps if config.warmup_steps < steps else max(steps // 10, 0)
