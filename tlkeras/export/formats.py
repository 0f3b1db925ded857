"""The export formats: how each is written, and how it is loaded again for the check."""

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.errors import UserError
from tlkeras.export.encoded_images import decode_and_resize
from tlkeras.export.served_model import ServedModel
from tlkeras.quiet import stderr_kept_back
from tlkeras.registry import Registry

Answer = Callable[[Any], np.ndarray]

_CHECK_BATCH = 32


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        write: Function of the model and a folder that writes the model there.
        load: Function of the folder that returns a function from raw inputs `(n, *input_shape)`, or a dict
            of them, to answers `(n, k)`. It uses only the written files.
        file: Name of the model file inside the folder. `""` means the folder itself.
        summary: Description in one line.
        tolerance: Largest accepted difference from `predict`, relative to the spread of the answers. None
            is for quantised models, which are judged by their accuracy.
        packages: Packages that are needed besides TensorFlow. The extra `export` installs them.
    """

    write: Callable[[ServedModel, Path], None]
    load: Callable[[Path], Answer]
    file: str
    summary: str
    tolerance: float | None
    packages: tuple[str, ...] = ()


FORMATS: Registry[Format] = Registry("export format")
"""Formats that `tlkeras export --format` can name."""


def write_saved_model(served: ServedModel, folder: Path) -> None:
    """Writes a SavedModel with `serving_default` (raw inputs) and, for images, `encoded`."""
    labels = tf.constant(served.class_names) if served.names_one_label else None
    answer = served.function()

    def serve(*inputs):
        answers = dict(answer(*inputs))
        if labels is not None:
            answers["label"] = tf.gather(labels, tf.argmax(answers[served.output_name], axis=-1))
        return answers

    archive = keras.export.ExportArchive()
    archive.track(served.model)
    archive.add_endpoint("serving_default", serve, answer.input_signature)
    if served.spec is not None:

        def serve_encoded(encoded_images):
            return serve(decode_and_resize(encoded_images, served.spec))

        signature = [tf.TensorSpec((None,), tf.string, name="encoded_images")]
        archive.add_endpoint("encoded", serve_encoded, signature)
    archive.write_out(str(folder), verbose=False)


def load_saved_model(folder: Path) -> Answer:
    """Runs the signature `serving_default`."""
    serve = _signature(folder, "serving_default")

    def answer(x):
        if isinstance(x, dict):
            return _first_float(serve(**{name: tf.constant(part) for name, part in x.items()}))
        return _first_float(serve(tf.constant(x)))

    return lambda inputs: _batched(answer, inputs)


def load_encoded(folder: Path) -> Callable[[list[bytes]], np.ndarray]:
    """Returns a function from encoded images to answers: the SavedModel's signature `encoded`."""
    serve = _signature(folder, "encoded")

    def answer(contents):
        parts = range(0, len(contents), _CHECK_BATCH)
        return np.concatenate(
            [_first_float(serve(tf.constant(contents[i : i + _CHECK_BATCH]))) for i in parts]
        )

    return answer


def _signature(folder: Path, name: str):
    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures[name]
    serve.keep_alive = loaded  # the variables exist only as long as the loaded object
    return serve


def _first_float(outputs: dict) -> np.ndarray:
    return next(value.numpy() for value in outputs.values() if value.dtype.is_floating)


def _lite_writer(kind: str):
    def write(served: ServedModel, folder: Path) -> None:
        # The conversion goes through a SavedModel, which keeps the names of inputs and outputs.
        with tempfile.TemporaryDirectory() as scratch, _quiet():
            _write_one_row_model(served, scratch)
            converter = tf.lite.TFLiteConverter.from_saved_model(scratch)
            if kind != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if kind == "float16":
                converter.target_spec.supported_types = [tf.float16]
            if kind == "int8":
                converter.representative_dataset = _representative(served)
                # an operation without an integer kernel stays in float
                converter.target_spec.supported_ops = [
                    tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
                    tf.lite.OpsSet.TFLITE_BUILTINS,
                ]
            content = converter.convert()
        (folder / "model.tflite").write_bytes(content)

    write.__doc__ = f"Writes a LiteRT model with {kind} weights; inputs and outputs are float32."
    return write


def _write_one_row_model(served: ServedModel, folder: str) -> None:
    # The batch size is one: phones predict single rows, and delegates need fixed shapes.
    archive = keras.export.ExportArchive()
    archive.track(served.model)
    answer = served.function(batch_size=1)
    archive.add_endpoint("serving_default", answer, answer.input_signature)
    archive.write_out(folder, verbose=False)


def _representative(served: ServedModel):
    if served.representative is None:
        raise UserError("litert_int8 needs training rows to estimate value ranges, and there are none.")

    def rows():
        for inputs in served.representative():
            yield inputs if isinstance(inputs, dict) else [np.asarray(inputs, np.float32)]

    return rows


def lite_interpreter(path: Path):
    """Returns a LiteRT interpreter for a file, from ai-edge-litert if installed, else from TensorFlow."""
    with _quiet():
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            Interpreter = tf.lite.Interpreter
        interpreter = Interpreter(model_path=str(path), num_threads=2)
        interpreter.allocate_tensors()
    return interpreter


def load_litert(folder: Path) -> Answer:
    """Runs `model.tflite` with the LiteRT interpreter, one row at a time."""
    interpreter = lite_interpreter(folder / "model.tflite")
    run = interpreter.get_signature_runner()
    names = list(run.get_input_details())

    def answer(inputs):
        parts = inputs if isinstance(inputs, dict) else {names[0]: np.asarray(inputs, np.float32)}
        count = len(next(iter(parts.values())))
        rows = ({name: part[i : i + 1] for name, part in parts.items()} for i in range(count))
        return np.concatenate([next(iter(run(**row).values())) for row in rows])

    return answer


def write_onnx(served: ServedModel, folder: Path) -> None:
    """Writes an ONNX model for any number of rows. Its metadata contain the labels."""
    import onnx

    from tlkeras.export.onnx_model import onnx_model

    with _quiet():
        model = onnx_model(served)
    onnx.helper.set_model_props(model, {"labels": json.dumps(served.class_names), "task": served.task})
    onnx.checker.check_model(model)
    onnx.save_model(model, str(folder / "model.onnx"))


def load_onnx(folder: Path) -> Answer:
    """Runs `model.onnx` with onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda inputs: _batched(
        lambda x: session.run(None, x if isinstance(x, dict) else {name: x})[0], inputs
    )


def write_keras(served: ServedModel, folder: Path) -> None:
    """Writes one `.keras` file of Keras' own layers."""
    served.model.save(folder / "model.keras")


def load_keras(folder: Path) -> Answer:
    """Opens `model.keras` in safe mode, which does not execute code in the file."""
    model = keras.models.load_model(folder / "model.keras", compile=False, safe_mode=True)
    return lambda inputs: _batched(model.predict_on_batch, inputs)


def _batched(answer: Answer, inputs: Any) -> np.ndarray:
    if isinstance(inputs, dict):
        count = len(next(iter(inputs.values())))
        take = lambda rows: {name: part[rows] for name, part in inputs.items()}  # noqa: E731
    else:
        inputs = np.asarray(inputs, np.float32)
        count, take = len(inputs), inputs.__getitem__
    parts = range(0, count, _CHECK_BATCH)
    return np.concatenate([np.asarray(answer(take(slice(i, i + _CHECK_BATCH)))) for i in parts])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # Converters warn of deprecations and skipped steps, about which a user can do nothing.
    absl = logging.getLogger("absl")
    level = absl.level
    with warnings.catch_warnings(), stderr_kept_back():
        warnings.simplefilter("ignore")
        absl.setLevel(logging.ERROR)
        try:
            yield
        finally:
            absl.setLevel(level)


FORMATS.add(
    "saved_model",
    Format(write_saved_model, load_saved_model, "", "SavedModel for TensorFlow and TensorFlow Serving", 1e-3),
)
FORMATS.add(
    "litert",
    Format(_lite_writer("float32"), load_litert, "model.tflite", "LiteRT (TensorFlow Lite), float32", 1e-3),
)
FORMATS.add(
    "litert_float16",
    Format(_lite_writer("float16"), load_litert, "model.tflite", "LiteRT, float16: half the size", 5e-2),
)
FORMATS.add(
    "litert_int8",
    Format(_lite_writer("int8"), load_litert, "model.tflite", "LiteRT, int8: a quarter of the size", None),
)
FORMATS.add(
    "onnx",
    Format(write_onnx, load_onnx, "model.onnx", "ONNX", 1e-3, packages=("onnx", "tf2onnx", "onnxruntime")),
)
FORMATS.add("keras", Format(write_keras, load_keras, "model.keras", "Keras, with probabilities", 1e-3))
