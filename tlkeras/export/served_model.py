"""The model that every format is made from: raw inputs to probabilities in float32, with metadata."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.config.data import Task
from tlkeras.data.input_shapes import SINGLE, Shape, like, shapes_by_name
from tlkeras.data.reading import PixelSpec
from tlkeras.data.sound_files import SoundSpec
from tlkeras.maybe import MaybeNone
from tlkeras.models.cuts.graph import inputs_of


@dataclass(frozen=True)
class ServedModel:
    """A trained model with the information that its users need.

    Attributes:
        model: Model from raw inputs to answers. See `answering_model`.
        task: Task, such as `multiclass`.
        class_names: Names of the classes in the order of the probabilities. Empty for regression.
        input_shape: Shape of one input, `(height, width, 3)` or `(d,)`, or a dict of shapes by name.
        spec: Size, resizing and cropping of images. None for other inputs.
        representative: Function that yields raw training inputs, `(1, *input_shape)` or a dict of them, from
            which LiteRT estimates the ranges of all tensors. None if there are none.
        facts: Further facts for `model.json`.
        dtypes: Dtypes by the name of the input. An input without an entry is float32.
        picture: How the picture of a row is read, also beside other inputs. None for rows without one.
        files: Text files by name that are written beside each model, because inputs cannot be read without
            them, such as the tokenizer of texts.
        sound: Form of the samples of the sound of a row. None for rows without one.
    """

    model: keras.Model
    task: Task
    class_names: tuple[str, ...]
    input_shape: Shape
    spec: PixelSpec | MaybeNone
    representative: Callable[[], Iterator[np.ndarray]] | MaybeNone
    facts: dict[str, Any]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    picture: PixelSpec | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    sound: SoundSpec | None = None

    @property
    def input_name(self) -> str:
        """Name of the single input tensor in every format. Several inputs have names of their own."""
        return "vectors" if self.spec is None else "images"

    def signature(self, batch_size: int | None = None) -> list[tf.TensorSpec]:
        """Returns the specifications of the input tensors in the order of `function`."""
        parts = shapes_by_name(self.input_shape)
        return [
            tf.TensorSpec(
                (batch_size, *shape), self.dtypes.get(name, "float32"),
                name=self.input_name if name == SINGLE else name,
            )
            for name, shape in parts.items()
        ]  # fmt: skip

    @property
    def output_name(self) -> str:
        """Name of the output tensor in every format."""
        return "values" if self.task == "regression" else "probabilities"

    @property
    def names_one_label(self) -> bool:
        """Whether the answer is a single class, so that its name can be printed."""
        return self.task in ("multiclass", "binary")

    def function(self, batch_size: int | None = None):
        """Returns the model as a `tf.function` from inputs to `{output_name: answers}`.

        Args:
            batch_size: Fixed number of rows. None allows any number.
        """
        names = list(shapes_by_name(self.input_shape))

        @tf.function(input_signature=self.signature(batch_size))
        def answer(*inputs):
            x = like(self.input_shape, dict(zip(names, inputs, strict=True)))
            return {self.output_name: self.model(x, training=False)}

        return answer

    def describe(self) -> dict[str, Any]:
        """Returns the content of `model.json`: task, labels, input and output."""
        image = self.spec is not None
        sounds = None if self.sound is None else {"rate": self.sound.rate, "samples": self.sound.samples}
        return {
            "task": self.task,
            "labels": list(self.class_names),
            **self._described_inputs(),
            "output": {"name": self.output_name, "shape": [None, *self.model.output_shape[1:]]},
            "preprocessing": {
                "in_the_model": "everything after resizing: it takes pixels in 0..255" if image else "none",
                "before_the_model": self._resizing() if image else ", ".join(self.files) or "none",
            },
            **({} if sounds is None else {"sound": sounds}),
            **self.facts,
        }

    def _described_inputs(self) -> dict[str, Any]:
        tensors = [
            {"name": spec.name, "shape": spec.shape.as_list(), "dtype": spec.dtype.name}
            for spec in self.signature()
        ]
        if isinstance(self.input_shape, dict):
            return {"inputs": tensors}
        return {"input": tensors[0] | ({} if self.spec is None else {"range": [0, 255], "channels": "RGB"})}

    def _resizing(self) -> dict[str, Any]:
        return {
            "resize": self.spec.mode,
            "size": list(self.spec.size),
            "interpolation": self.spec.interpolation,
            "antialias": True,
            "crop_fraction": self.spec.crop_fraction,
        }


def answering_model(model: keras.Model, task: Task, temperature: float = 1.0) -> keras.Model:
    """Returns a functional model from raw inputs to the answers of `predict`, in float32.

    Args:
        model: Functional model from raw inputs to logits.
        task: Task, which sets the answers: softmax for `multiclass`, probabilities `(b, 2)` of both classes
            for `binary`, sigmoids for `multilabel`, values for `regression`.
        temperature: Temperature by which the logits are divided.

    Returns:
        A model of Keras' own layers. It shares the variables of `model`, or has copies of them if `model`
        computes in half precision.
    """
    model = in_float32(model)
    logits = model.outputs[0]
    if temperature != 1:
        logits = keras.layers.Rescaling(1 / temperature, name="temperature", dtype="float32")(logits)
    if task == "regression":
        answers = keras.layers.Identity(name="values")(logits)
    elif task == "multiclass":
        answers = keras.layers.Softmax(name="probabilities", dtype="float32")(logits)
    else:
        if task == "binary" and logits.shape[-1] == 1:
            # each class by its own sigmoid, as in `predict`: 1 - p would lose small probabilities
            other = keras.layers.Rescaling(-1.0, name="other_class", dtype="float32")(logits)
            logits = keras.layers.Concatenate(name="both_classes", dtype="float32")([other, logits])
        answers = keras.layers.Activation("sigmoid", name="probabilities", dtype="float32")(logits)
    return keras.Model(inputs_of(model), answers, name="served")


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model with all layers in float32. It is the same object if they already are."""
    if all(layer.compute_dtype in ("float32", None) for layer in model.layers):
        return model

    def clone(layer):
        config = layer.get_config()
        if layer.compute_dtype in ("float16", "bfloat16"):
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    cloned = keras.models.clone_model(model, clone_function=clone)
    cloned.set_weights(model.get_weights())  # under a mixed policy, variables are already float32
    return cloned
