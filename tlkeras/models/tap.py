"""Facts about the features of a model, found without running it."""

import keras
from keras import ops

from tlkeras.backend.gradients import recording
from tlkeras.backend.tracing import traced_in_a_replica
from tlkeras.data.input_shapes import Shape, like, shapes_by_name


def probe_features(model: keras.Model, input_shape: Shape) -> tuple[tuple, int, bool]:
    """Returns the shape of the features, the number of outputs, and whether training changes the features.

    Args:
        model: Model with `features(x, training)` and `classify(features, training)`.
        input_shape: Shape of one input row, or a dict of shapes.
    """
    parts = shapes_by_name(input_shape)

    def probe():
        zeros = like(input_shape, {name: ops.zeros((2, *part)) for name, part in parts.items()})
        with recording() as tape:
            features = model.features(zeros, training=False)
        logits = model.classify(features, training=False)
        gradients = tape.gradient(features, model.trainable_variables)
        return features.shape, logits.shape[-1], any(g is not None for g in gradients)

    # only the shapes and the existence of gradients are needed
    return traced_in_a_replica(model.distribute_strategy, probe)
