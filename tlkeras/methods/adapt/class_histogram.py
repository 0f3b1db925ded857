"""A metric that compares the predicted target classes with the source classes while training."""

import keras
import numpy as np
from keras import ops


def one_hot_labels(labels, classes: int):
    """Converts labels `(n,)`, `(n, 1)` or `(n, classes)` to float32 `(n, classes)`."""
    if len(labels.shape) == 2 and labels.shape[-1] == classes and classes > 1:
        return ops.cast(labels, "float32")
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), classes)


class ClassHistogram(keras.metrics.Metric):
    """Counts source labels and predicted target classes. Its result is the distance of the two histograms.

    The result is the total variation distance, from 0 (equal) to 1 (no common class). It rises if the target
    predictions collapse to few classes, or if the target really lacks classes.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int, name: str = "target_class_shift", **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.source = self.add_variable((classes,), "zeros", name="source")
        self.target = self.add_variable((classes,), "zeros", name="target")

    def update_state(self, labels, target_logits, sample_weight=None):
        predicted = ops.one_hot(ops.argmax(target_logits, axis=-1), self.classes)
        self.source.assign_add(ops.sum(one_hot_labels(labels, self.classes), axis=0))
        self.target.assign_add(ops.sum(predicted, axis=0))

    def result(self):
        shares = [x / ops.maximum(ops.sum(x), 1) for x in map(ops.convert_to_tensor, self._pair())]
        return ops.sum(ops.abs(shares[0] - shares[1])) / 2

    def _pair(self):
        return self.source, self.target

    def shares(self) -> dict[str, np.ndarray]:
        """Returns the share of each class among source labels and predicted target classes."""
        pair = ((x + 0.0).numpy().astype(np.float64) for x in self._pair())
        return dict(zip(("source", "target"), (x / max(x.sum(), 1.0) for x in pair), strict=True))
