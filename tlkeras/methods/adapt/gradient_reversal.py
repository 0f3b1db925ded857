"""The gradient reversal layer: an identity whose gradient has the opposite sign."""

import keras
from keras import ops

from tlkeras.backend.replicas import replica_count


class GradientNorm(keras.metrics.Metric):
    """The root mean square over steps of the norm of a gradient, over the rows of all replicas.

    Attributes:
        gathered: Whether each replica has the gradient of all rows, divided by the number of replicas,
            instead of the gradient of its own rows.
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

    The layer takes features of any shape, float `(n, ...)`, and returns them unchanged in their dtype.

    The strength is a non-trainable weight. It is saved with the model, and a training step can change it
    without a new trace. It scales only the gradient that passes this layer. A domain classifier behind the
    layer learns with its full gradient.

    Args:
        strength: Initial strength, at least 0. At 0 the layers before this one get no gradient through it.

    Attributes:
        strength: Weight with the strength, float32 `()`, at least 0.
        gradient_norm: Metric of the incoming gradient before it is scaled. Zero means that the layers behind
            this one do not learn.
        loss_scale: Function that returns the factor of a loss-scaling optimizer in that gradient.

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
        # x - constant is exactly 0 and has gradient 1, so this is x forward and -strength backward
        return self._watched(constant - strength * (x - constant))

    def _watched(self, x):
        """Returns `x`, and measures the incoming gradient in the backward pass."""

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
