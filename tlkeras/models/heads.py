"""Heads, which convert feature vectors to logits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from tlkeras.config import (
    ClassNamesHeadConfig,
    CosineHeadConfig,
    HeadConfig,
    LinearHeadConfig,
    MlpHeadConfig,
    NeighborsHeadConfig,
    OtherHeadConfig,
)
from tlkeras.errors import UserError, unknown
from tlkeras.models.cuts.graph import set_weights
from tlkeras.models.nearest_neighbors import NearestNeighbors
from tlkeras.models.text_towers import class_space
from tlkeras.registry import Registry


@dataclass(frozen=True)
class Head:
    """One kind of head.

    Attributes:
        build: Function from the config, the number of outputs and symbolic features `(b, d)` to symbolic
            float32 logits `(b, num_outputs)`.
        summary: Description in one line for `tlkeras list heads`.
        pooling: Pooling that the head needs. None leaves the choice to the neck.
        plain: Whether a saved model opens without tlkeras.
        options: Names and defaults of `model.head.options` for a head of your own. The config that `build`
            gets contains all of them.
    """

    build: Callable
    summary: str
    pooling: str | None = None
    plain: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)


HEADS: Registry[Head] = Registry("head")
"""Heads that `model.head.name` can name."""


# With Keras' momentum of 0.99 the statistics lag hundreds of steps behind a backbone that is fine-tuned. The
# saved model would normalise by wrong means and predict a single class.
BN_MOMENTUM = 0.9


def build_head(config: HeadConfig, num_outputs: int, features) -> keras.Model:
    """Returns the head as a functional model from features `(b, d)` to float32 logits.

    Args:
        config: Config of the head.
        num_outputs: Number of logits, at least 1.
        features: Symbolic output of the neck.

    Raises:
        UserError: The head or an option is unknown.
    """
    head = HEADS.get(config.name)
    if isinstance(config, OtherHeadConfig):
        for option in config.options:
            if option not in head.options:
                raise unknown(f"option of the head {config.name!r}", option, head.options or ["(none)"])
        config = config.model_copy(update={"options": {**head.options, **config.options}})
    inputs = keras.Input(features.shape[1:], dtype=features.dtype, name="head_inputs")
    return keras.Model(inputs, head.build(config, num_outputs, inputs), name="head")


def _linear(config: LinearHeadConfig | MlpHeadConfig, num_outputs: int, x):
    # Logits are float32 also with mixed precision, because softmax and log need the range.
    initializer = "zeros" if config.zero_init else "glorot_uniform"
    return layers.Dense(num_outputs, kernel_initializer=initializer, dtype="float32", name="logits")(x)


def _mlp(config: MlpHeadConfig, num_outputs: int, x):
    for i, width in enumerate(config.units, start=1):
        x = layers.Dense(width, use_bias=not config.batch_norm, name=f"head_dense_{i}")(x)
        if config.batch_norm:
            x = layers.BatchNormalization(momentum=BN_MOMENTUM, name=f"head_bn_{i}")(x)
        x = layers.Activation(known_activation(config.activation), name=f"head_activation_{i}")(x)
        if config.dropout:
            x = layers.Dropout(config.dropout, name=f"head_dropout_{i}")(x)
    return _linear(config, num_outputs, x)


def _cosine(config: CosineHeadConfig, num_outputs: int, x):
    return CosineSimilarity(num_outputs, scale=config.scale, dtype="float32", name="logits")(x)


def known_activation(name: str) -> str:
    """Returns the name of an activation that Keras knows. Raises `UserError` for any other."""
    try:
        keras.activations.get(name)
    except ValueError as error:
        raise UserError(
            f"Unknown activation. Allowed: the names of keras.activations. Received: {name!r}"
        ) from error
    return name


@keras.saving.register_keras_serializable(package="tlkeras")
class CosineSimilarity(layers.Layer):
    """Scaled cosine between features and one learned vector per class.

    This is the classifier of Gidaris and Komodakis (2018), section 3.2, and of Chen et al. (2019). The length
    of a class vector has no influence, which helps with few examples. `tlkeras.load_model` opens a saved
    model with this layer.

    Args:
        units: Number of classes.
        scale: Initial value of the learned scale (the inverse temperature), above 0.

    Input shape: `(batch, d)`, float. Output shape: `(batch, units)`, in `-scale..scale`.
    """

    def __init__(self, units: int, scale: float = 16.0, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.initial_scale = scale

    def build(self, input_shape):
        """Creates the kernel `(d, units)` and the scale."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="glorot_uniform", name="kernel"
        )
        self.scale = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(self.initial_scale), name="scale"
        )

    def call(self, x):
        """Returns the scaled cosines."""
        x = ops.normalize(x, axis=-1)
        return self.scale * ops.matmul(x, ops.normalize(self.kernel, axis=0))

    def compute_output_shape(self, input_shape):
        """Returns `(batch, units)`."""
        return (*input_shape[:-1], self.units)

    def get_config(self):
        """Returns what `from_config` needs."""
        return {**super().get_config(), "units": self.units, "scale": self.initial_scale}


def _neighbors(config: NeighborsHeadConfig, num_outputs: int, x):
    rows = config.rows or config.neighbors
    if config.neighbors > rows:
        raise UserError(
            f"head.neighbors must be 1..{rows}, the number of training rows. Received: {config.neighbors}"
        )
    layer = NearestNeighbors(num_outputs, rows, config.neighbors, config.vote, dtype="float32", name="logits")
    return layer(x)


def _class_names(config: ClassNamesHeadConfig, num_outputs: int, x):
    """Returns scaled cosines to the texts of the classes, by layers that Keras has.

    A plan builds models without weights. The text vectors are then random, and there is no projection.
    """
    if config.weights is None:
        return layers.Dense(num_outputs, name="logits", dtype="float32")(layers.UnitNormalization()(x))
    space = class_space(config.weights, config.tokenizer, config.class_names, config.prompts)
    kernel, bias = space.scale * space.texts.T, np.full(len(space.texts), space.bias, "float32")
    if num_outputs == 1:  # binary tasks have one logit
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    needed = kernel.shape[0] if space.projection is None else space.projection.shape[0]
    if x.shape[-1] != needed:
        raise UserError(
            f"The head 'class_names' needs features of {needed} numbers, which its image tower gives without "
            f"a bottleneck: set model.backbone and model.neck to match. Received: {x.shape[-1]} numbers"
        )
    if space.projection is not None:
        x = _dense_of("head_projection", space.projection)(x)
    x = layers.UnitNormalization(dtype="float32", name="head_unit")(x)
    return _dense_of("logits", kernel, bias, dtype="float32")(x)


def _dense_of(name: str, kernel: np.ndarray, bias: np.ndarray | None = None, **options):
    """Returns a Dense layer with these weights."""
    layer = layers.Dense(kernel.shape[1], use_bias=bias is not None, name=name, **options)
    layer.build((None, kernel.shape[0]))
    set_weights(layer, [kernel] if bias is None else [kernel, bias])
    return layer


HEADS.add("linear", Head(_linear, "one Dense layer"))
HEADS.add("mlp", Head(_mlp, "hidden Dense layers of `units`, then one Dense layer"))
HEADS.add(
    "flatten_dense",
    Head(_mlp, "the classic VGG head: flatten, Dense of `units`, Dense", pooling="flatten"),
)
HEADS.add("neighbors", Head(_neighbors, "the training rows themselves, for a knn probe", plain=False))
HEADS.add("cosine", Head(_cosine, "scaled cosine to one vector per class", plain=False))
HEADS.add("class_names", Head(_class_names, "names of classes, read by the text tower of CLIP or SigLIP"))
