"""k nearest neighbours as a layer, which stores the training rows."""

import keras
import numpy as np
from keras import ops

# Smaller distances count as this one, so that no weight is infinite.
_NEAREST = 1e-6
_LEAST_SHARE = 1e-12


@keras.saving.register_keras_serializable(package="tlkeras")
class NearestNeighbors(keras.layers.Layer):
    """The vote of the nearest stored rows, by Euclidean distance of standardised features.

    `put` fills the layer. It is not trained by gradient steps. Its memory and time grow with the number of
    rows. `tlkeras.load_model` opens a saved model with this layer.

    Args:
        units: Number of logits: the number of classes, or 1 for a binary task.
        rows: Number of stored rows.
        neighbors: Number of nearest rows that vote, 1 to `rows`.
        vote: Weight of a vote: one over the distance (`distance`), or equal weights (`uniform`).

    Input shape: `(batch, d)`, float. Output shape: `(batch, units)`: logarithms of the shares of the vote, at
    least log(1e-12); for one unit the difference of yes and no.
    """

    def __init__(self, units: int, rows: int, neighbors: int = 5, vote: str = "distance", **kwargs):
        super().__init__(**kwargs)
        self.units, self.rows, self.neighbors, self.vote = units, rows, neighbors, vote

    def build(self, input_shape):
        """Creates the variables of the rows `(rows, d)`, their classes, and the standardisation."""
        width = input_shape[-1]

        def weight(name, shape, initializer="zeros"):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.examples = weight("examples", (self.rows, width))
        self.classes = weight("classes", (self.rows, max(2, self.units)))
        self.mean = weight("mean", (width,))
        self.deviation = weight("deviation", (width,), "ones")

    def put(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Replaces the stored rows.

        Args:
            features: Features `(rows, d)`, not standardised.
            labels: Class numbers `(rows,)`.
        """
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        # as in scikit-learn's StandardScaler, constant features are not scaled
        tiny = deviation <= 10 * np.finfo(np.float64).eps * np.maximum(np.abs(mean), 1e-300)
        deviation = np.where(tiny, 1.0, deviation)
        self.examples.assign((features - mean) / deviation)
        self.classes.assign(np.eye(max(2, self.units))[labels])
        self.mean.assign(mean)
        self.deviation.assign(deviation)

    def call(self, x):
        """Returns the logits."""
        x = (x - self.mean) / self.deviation
        squares = ops.sum(self.examples**2, axis=1) - 2.0 * ops.matmul(x, ops.transpose(self.examples))
        squares = squares + ops.sum(x**2, axis=1, keepdims=True)
        near, indices = ops.top_k(-squares, self.neighbors)
        if self.vote == "distance":
            weights = 1.0 / ops.maximum(ops.sqrt(ops.maximum(-near, 0.0)), _NEAREST)
        else:
            # equal weights that depend on the input, so that gradients for explanations exist and are zero
            weights = 1.0 + 0.0 * near
        weights = weights / ops.sum(weights, axis=1, keepdims=True)
        shares = ops.sum(weights[..., None] * ops.take(self.classes, indices, axis=0), axis=1)
        logits = ops.log(ops.maximum(shares, _LEAST_SHARE))
        return logits[:, 1:] - logits[:, :1] if self.units == 1 else logits

    def compute_output_shape(self, input_shape):
        """Returns `(batch, units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Returns what `from_config` needs."""
        own = {"units": self.units, "rows": self.rows, "neighbors": self.neighbors, "vote": self.vote}
        return {**super().get_config(), **own}
