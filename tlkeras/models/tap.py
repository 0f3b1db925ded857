"""What a model gives where its features are tapped, found without running it."""

import keras
import tensorflow as tf
from keras import ops


def probe_features(model: keras.Model, input_shape: tuple[int, ...]) -> tuple[tuple, int, bool]:
    """Returns the shape of the features, the number of outputs, and whether training moves the features.

    Args:
        model: Has `features(x, training)` and `classify(features, training)`.
        input_shape: Shape of one input row.
    """
    found = []

    def probe():  # inside a replica, where gradients of mirrored variables are known
        with tf.GradientTape() as tape:
            features = model.features(ops.zeros((2, *input_shape)), training=False)
        logits = model.classify(features, training=False)
        gradients = tape.gradient(features, model.trainable_variables)
        found.append((features.shape, logits.shape[-1], any(g is not None for g in gradients)))

    # traced, not run: shapes and the existence of gradients are all that is asked
    tf.function(lambda: model.distribute_strategy.run(probe)).get_concrete_function()
    return found[0]
