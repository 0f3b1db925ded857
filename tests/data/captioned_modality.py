"""A kind of input of several tensors, added from outside the package: small pictures with ids and a mask.

A row is of class 1 where its picture is bright and one of its words is the word 3, else of class 0: neither
input tells by itself.
"""

import keras
import numpy as np
from keras import layers, ops

from tlkeras.data.input_shapes import columns
from tlkeras.data.modalities import MODALITIES, Modality
from tlkeras.data.rows import Rows, row_ids
from tlkeras.data.sources.base import SOURCES, Source, Table
from tlkeras.models import BACKBONES, Backbone

SIDE, LENGTH, WORDS = 8, 6, 8


class Captioned(Modality):
    """`pixels` float32 `(8, 8, 3)`, `ids` int32 `(6,)`, `mask` bool `(6,)`."""

    name = "captioned"
    plural = "captioned pictures"
    augmentations = ("flip",)
    dtypes = {"ids": "int32", "mask": "bool"}

    def augmented(self, x, augment, seed, epoch, indices):
        return {**x, "pixels": super().augmented(x["pixels"], augment, seed, epoch, indices)}

    def pictures(self, x):
        return x["pixels"]

    def texts(self, x):
        return [[f"w{id}" for id in row[mask]] for row, mask in zip(x["ids"], x["mask"], strict=True)]


def made_up(count: int, seed: int):
    rng = np.random.default_rng(seed)
    bright, has_word = rng.integers(0, 2, (2, count)).astype(bool)
    pixels = rng.integers(0, 80, (count, SIDE, SIDE, 3)) + 150 * bright[:, None, None, None]
    ids = rng.integers(4, WORDS, (count, LENGTH))
    ids[has_word, 0] = 3
    mask = np.arange(LENGTH) < rng.integers(2, LENGTH + 1, count)[:, None]
    ids[~mask] = rng.integers(0, WORDS, (~mask).sum())  # what is masked must not matter
    return {"pixels": pixels.astype(np.uint8), "ids": ids, "mask": mask}, (bright & has_word).astype(np.int32)


def rows_of(inputs, labels) -> Rows:
    return Rows(columns(inputs), labels, row_ids(len(labels)))


def source(argument, config, seed) -> Table:
    rows = rows_of(*made_up(240, int(argument or 0)))
    return Table({"all": rows}, ("no", "yes"), modality="captioned")


def two_towers(input_shape, width=16):
    inputs = {
        "pixels": keras.Input(input_shape["pixels"], name="pixels"),
        "ids": keras.Input(input_shape["ids"], dtype="int32", name="ids"),
        "mask": keras.Input(input_shape["mask"], dtype="bool", name="mask"),
    }
    brightness = layers.GlobalAveragePooling2D(name="see_1_pool")(inputs["pixels"] / 255.0)
    weights = ops.expand_dims(ops.cast(inputs["mask"], "float32"), -1)
    words = layers.Embedding(WORDS, width, name="read_1")(inputs["ids"]) * weights
    words = ops.sum(words, axis=1) / ops.sum(weights, axis=1)
    x = layers.Concatenate(name="join_1")([brightness, words])
    x = layers.Dense(width, activation="relu", name="dense_2")(x)
    x = layers.Dense(width, activation="relu", name="dense_3")(x)
    return keras.Model(inputs, x, name="two_towers")


def register():
    MODALITIES.add("captioned", Captioned(), replace=True)
    SOURCES.add("captions", Source("captions", "captions:SEED", "made up", source), replace=True)
    BACKBONES.add("two_towers", Backbone("two_towers", two_towers, input="captioned"), replace=True)


register()
