"""What every format is made from: raw inputs to probabilities, in float32, with names and sizes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.config.data import Task
from tlkeras.data.reading import PixelSpec


@dataclass(frozen=True)
class ServedModel:
    """A trained model with what a user of it must know.

    Attributes:
        model: Raw inputs to answers, see `answering_model`.
        task: What is predicted.
        class_names: Names of the classes, in the order of the probabilities; empty for regression.
        input_shape: `(height, width, 3)` or `(d,)`.
        spec: How images get their size; None for vectors.
        representative: Returns raw training inputs `(1, *input_shape)` float32, one by one, from which
            LiteRT learns the ranges of all tensors; None where none are at hand.
        facts: Further facts for `model.json`.
    """

    model: keras.Model
    task: Task
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    spec: PixelSpec | None
    representative: Callable[[], Iterator[np.ndarray]] | None
    facts: dict[str, Any]

    @property
    def input_name(self) -> str:
        """Name of the input tensor in every format."""
        return "vectors" if self.spec is None else "images"

    @property
    def output_name(self) -> str:
        """Name of the output tensor in every format."""
        return "values" if self.task == "regression" else "probabilities"

    @property
    def names_one_label(self) -> bool:
        """Whether one class is the answer, so that its name can be given."""
        return self.task in ("multiclass", "binary")

    def function(self, batch_size: int | None = None):
        """Returns the model as a `tf.function` from inputs to `{output_name: answers}`.

        Args:
            batch_size: A fixed number of rows, or None for any.
        """
        spec = tf.TensorSpec((batch_size, *self.input_shape), tf.float32, name=self.input_name)

        @tf.function(input_signature=[spec])
        def answer(inputs):
            return {self.output_name: self.model(inputs, training=False)}

        return answer

    def describe(self) -> dict[str, Any]:
        """Returns what stands in `model.json`: task, labels, input, output."""
        image = self.spec is not None
        return {
            "task": self.task,
            "labels": list(self.class_names),
            "input": {"name": self.input_name, "shape": [None, *self.input_shape], "dtype": "float32"}
            | ({"range": [0, 255], "channels": "RGB"} if image else {}),
            "output": {"name": self.output_name, "shape": [None, *self.model.output_shape[1:]]},
            "preprocessing": {
                "in_the_model": "everything after resizing: it takes pixels in 0..255" if image else "none",
                "before_the_model": self._resizing() if image else "none",
            },
            **self.facts,
        }

    def _resizing(self) -> dict[str, Any]:
        return {
            "resize": self.spec.mode,
            "size": list(self.spec.size),
            "interpolation": self.spec.interpolation,
            "antialias": True,
            "crop_fraction": self.spec.crop_fraction,
        }


def answering_model(model: keras.Model, task: Task) -> keras.Model:
    """Returns the functional model from raw inputs to what `predict` reports, in float32.

    Args:
        model: A functional model from raw inputs to logits.
        task: `multiclass`: softmax; `binary`: probabilities `(b, 2)` of both classes; `multilabel`:
            sigmoids; `regression`: the values themselves.

    Returns:
        A model of Keras' own layers that shares the variables of `model`, or copies of them where it
        computes in half precision.
    """
    model = in_float32(model)
    logits = model.outputs[0]
    if task == "regression":
        answers = keras.layers.Identity(name="values")(logits)
    elif task == "multiclass":
        answers = keras.layers.Softmax(name="probabilities", dtype="float32")(logits)
    else:
        if task == "binary" and logits.shape[-1] == 1:
            # each side by itself, as `predict` does: 1 - p would round small probabilities away
            other = keras.layers.Rescaling(-1.0, name="other_class", dtype="float32")(logits)
            logits = keras.layers.Concatenate(name="both_classes", dtype="float32")([other, logits])
        answers = keras.layers.Activation("sigmoid", name="probabilities", dtype="float32")(logits)
    return keras.Model(model.inputs, answers, name="served")


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model with every layer computing in float32; the same object where all do already."""
    if all(layer.compute_dtype in ("float32", None) for layer in model.layers):
        return model

    def clone(layer):
        config = layer.get_config()
        if layer.compute_dtype in ("float16", "bfloat16"):
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    cloned = keras.models.clone_model(model, clone_function=clone)
    cloned.set_weights(model.get_weights())  # variables are float32 under a mixed policy already
    return cloned
