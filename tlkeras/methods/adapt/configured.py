"""Adaptation methods as configured terms, and a model that trains on source and target."""

import keras

from tlkeras.config.adaptation import AdaptationConfig, StrengthConfig
from tlkeras.methods.adapt import Method, make_method
from tlkeras.methods.adapt.strength import strength_schedule
from tlkeras.methods.training_model import TrainingModel


def adaptation_term(
    method: str | Method = "dann",
    *,
    weight: float = 1.0,
    strength: StrengthConfig | None = None,
    batch_norm: str = "shared",
    options: dict | None = None,
) -> Method:
    """Returns an adaptation method as a term of a stage.

    Args:
        method: Name in `METHODS`, or a `Method`.
        weight: Factor of D.
        strength: Schedule of the strength, which scales the reversed gradient, or D without a reversal.
        batch_norm: Kind of statistics: `shared` or `domain_specific`. `adabn` trains like `shared`; see
            `adapt_batch_norm`.
        options: Settings of a method that is given by its name.

    Raises:
        UserError: The method or an option is unknown.
    """
    term = make_method(method, options) if isinstance(method, str) else method
    term.weight, term.batch_norm = float(weight), batch_norm
    term.strength_at = strength_schedule(strength or StrengthConfig(), term.schedule)
    return term


def configured_term(config: AdaptationConfig) -> Method:
    """Returns the term of a config."""
    return adaptation_term(
        config.method, weight=config.weight, strength=config.strength, batch_norm=config.batch_norm,
        options=config.options,
    )  # fmt: skip


def adaptation_model(
    model: keras.Model, method: str | Method = "dann", *, steps: int, seed: int = 0, **options
) -> TrainingModel:
    """Wraps a model for training on two domains: class loss on source rows plus `weight * D`.

    Batches are `((source_x, source_y[, weight]), target_x)`; see `pair_batches` and `TrainingModel`.

    Args:
        model: Model with `features(x, training)` `(n, d)` and `classify(features, training)`
            `(n, classes)`.
        method: Name in `METHODS`, or a `Method`.
        steps: Number of training steps for the schedule of the strength.
        seed: Seed of the method's heads.
        **options: Further arguments of `adaptation_term`.

    Raises:
        UserError: The method is unknown or does not fit the model, or there is no trainable variable before
            the features, so that D has no effect.

    Example:
        >>> adapting = adaptation_model(model, "dann", steps=1000)
        >>> adapting.compile(optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(True))
        >>> adapting.fit(pair_batches(source, target), steps_per_epoch=100, epochs=10)
    """
    return TrainingModel(model, (adaptation_term(method, **options),), steps=steps, seed=seed)
