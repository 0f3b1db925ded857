"""The identity that sends the gradient back with its sign turned."""

import keras
from keras import ops

from tlkeras.backend.replicas import replica_count


class GradientNorm(keras.metrics.Metric):
    """Root mean square, over steps, of the norm of a gradient whose rows lie on several replicas.

    Attributes:
        gathered: Whether each replica holds the gradient of all rows, divided by the number of
            replicas, instead of that of its own.
    """

    gathered = False

    def __init__(self, name: str = "reversal_gradient_norm", **kwargs):
        super().__init__(name=name, **kwargs)
        self.total = self.add_variable((), "zeros", name="total")
        self.steps = self.add_variable((), "zeros", name="steps")

    def update_state(self, gradient, sample_weight=None):
        replicas = replica_count()
        squares = ops.sum(ops.square(ops.cast(gradient, "float32")))
        self.total.assign_add(squares * replicas if self.gathered else squares)
        self.steps.assign_add(1 / replicas)

    def result(self):
        return ops.sqrt(ops.divide_no_nan(self.total, self.steps))


@keras.saving.register_keras_serializable("tlkeras")
class GradientReversal(keras.layers.Layer):
    """Identity forward, `-strength * gradient` backward (Ganin & Lempitsky 2015, section 3.2).

    The strength is a non-trainable weight: it is saved with the model, and a training step that
    assigns it needs no second trace. It multiplies only what goes back through this layer; a domain
    classifier behind it learns at its own full rate.

    Args:
        strength: The strength at the start, 0 or more.

    Attributes:
        strength: The weight, of shape `()`, float32.
        gradient_norm: Metric of the gradient that arrives, before scaling. Zero says that nothing
            behind this layer learns.
        loss_scale: Returns by how much a loss-scaling optimizer has enlarged that gradient.

    Example:
        >>> reversal = GradientReversal(strength=0.5)
        >>> domain_logits = keras.layers.Dense(1)(reversal(features))
    """

    def __init__(self, strength: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.initial_strength = float(strength)
        self.strength = self.add_weight(
            name="strength",
            shape=(),
            initializer=keras.initializers.Constant(self.initial_strength),
            trainable=False,
            autocast=False,
            dtype="float32",
            aggregation="only_first_replica",
        )
        self.gradient_norm = GradientNorm()
        self.loss_scale = lambda: 1.0
        self.built = True

    def call(self, x):
        strength = ops.cast(self.strength, x.dtype)
        constant = ops.stop_gradient(x)
        # x - constant is exactly 0 with slope 1, so this is x forward and -strength backward
        return self._watched(constant - strength * (x - constant))

    def _watched(self, x):
        """Returns `x`; on the way back, measures the gradient that arrives."""

        @ops.custom_gradient
        def identity(value):
            def backward(upstream):
                self.gradient_norm.update_state(ops.cast(upstream, "float32") / self.loss_scale())
                return upstream

            return value, backward

        return identity(x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "strength": self.initial_strength}
