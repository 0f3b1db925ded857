"""A third kind of input, added from outside the package: sequences of tokens, padded with zeros.

A text is of class 1 where one of the words 7, 8 and 9 stands in it. The mask of a row are its zeros: the
backbone keeps padding at zero, so that one tensor passes every cut and carries the mask with it.
"""

import keras
import numpy as np
from keras import layers, ops

from tlkeras.data.modalities import MODALITIES, Modality
from tlkeras.data.rows import Rows, row_ids
from tlkeras.data.sources.base import SOURCES, Source, Table
from tlkeras.models import BACKBONES, Backbone

WORDS = 20
LENGTH = 8


class Tokens(Modality):
    """Token numbers, `(length,)`; 0 is padding."""

    name = "tokens"
    plural = "texts"
    augmentations = ()

    def texts(self, x):
        return [[f"w{int(token)}" for token in row if token] for row in x]

    @staticmethod
    def explanation(model, x, targets, backbone):
        """Leaves out each token in turn, and takes how much less the answer's logit then is."""
        logits = lambda x: model.predict_on_batch(x)[np.arange(len(x)), targets]  # noqa: E731
        whole, loss = logits(x), np.zeros(x.shape, np.float32)
        for place in range(x.shape[1]):
            without = x.copy()
            without[:, place] = 0
            loss[:, place] = np.maximum(whole - logits(without), 0)
        return loss / np.maximum(loss.max(axis=1, keepdims=True), 1e-6), "leaving out"


def texts(argument, config, seed) -> Table:
    rng = np.random.default_rng(int(argument or 0))
    tokens = rng.integers(1, 7, (240, LENGTH)) + np.where(rng.random((240, LENGTH)) < 0.5, 0, 9)
    labels = rng.integers(0, 2, 240).astype(np.int32)
    tokens[labels == 1, 0] = rng.integers(7, 10, int(labels.sum()))
    tokens *= np.arange(LENGTH) < rng.integers(3, LENGTH + 1, 240)[:, None]
    return Table({"all": Rows(tokens, labels, row_ids(240))}, ("without", "with"), modality="tokens")


def bag_of_words(input_shape, width=16):
    ids = keras.Input(input_shape)
    mask = layers.Reshape((*input_shape, 1), name="mask")(ops.cast(ids > 0, "float32"))
    x = layers.Multiply(name="embed_1")([layers.Embedding(WORDS, width, name="embed_1_table")(ids), mask])
    x = layers.Dense(width, activation="relu", use_bias=False, name="encode_2")(x)
    words = ops.sum(ops.cast(ops.any(x != 0, axis=-1, keepdims=True), "float32"), axis=1)
    return keras.Model(ids, ops.sum(x, axis=1) / ops.maximum(words, 1.0))


def register():
    MODALITIES.add("tokens", Tokens(), replace=True)
    SOURCES.add("texts", Source("texts", "texts:SEED", "made-up texts", texts), replace=True)
    BACKBONES.add("bag_of_words", Backbone("bag_of_words", bag_of_words, input="tokens"), replace=True)


register()
