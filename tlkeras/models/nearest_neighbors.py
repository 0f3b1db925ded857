"""k nearest neighbours as a layer: what it learned is the rows themselves."""

import keras
import numpy as np
from keras import ops

# Distances below this count as this, so that a row is not infinitely sure of itself.
_NEAREST = 1e-6
_LEAST_SHARE = 1e-12


@keras.saving.register_keras_serializable(package="tlkeras")
class NearestNeighbors(keras.layers.Layer):
    """The vote of the nearest stored rows, by Euclidean distance of standardised features.

    `put` fills it; until then it knows nothing. Nothing of it is meant for gradient steps. Its memory and
    time grow with the rows. A saved model that holds this layer opens with `tlkeras.load_model`.

    Args:
        units: Number of logits: classes, or 1 for yes or no.
        rows: Number of rows that it holds.
        neighbors: How many are asked, 1 to `rows`.
        vote: `distance` weighs each by one over its distance, `uniform` all the same.

    Input shape: `(batch, d)`, float. Output shape: `(batch, units)`: logarithms of the shares of the vote, at
    least log(1e-12); for one unit the difference of yes and no.
    """

    def __init__(self, units: int, rows: int, neighbors: int = 5, vote: str = "distance", **kwargs):
        super().__init__(**kwargs)
        self.units, self.rows, self.neighbors, self.vote = units, rows, neighbors, vote

    def build(self, input_shape):
        """Creates the stored rows `(rows, d)`, their classes, and what features are standardised by."""
        width = input_shape[-1]

        def weight(name, shape, initializer="zeros"):
            return self.add_weight(shape=shape, initializer=initializer, name=name)

        self.examples = weight("examples", (self.rows, width))
        self.classes = weight("classes", (self.rows, max(2, self.units)))
        self.mean = weight("mean", (width,))
        self.deviation = weight("deviation", (width,), "ones")

    def put(self, features: np.ndarray, labels: np.ndarray) -> None:
        """Stores rows in the place of those there were.

        Args:
            features: `(rows, d)`, not standardised.
            labels: Class numbers `(rows,)`.
        """
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        # the same as scikit-learn's StandardScaler: what never changes is left as it is
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
            # the same for all, whatever moves: explanations by gradients get zeros, not an error
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
