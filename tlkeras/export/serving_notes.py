"""Writes `serve.md`: how to use the exported models, with a client of ten lines for each format."""

from typing import NamedTuple

from tlkeras.data.modalities.columns import FILE as COLUMNS
from tlkeras.data.presence import FAINT
from tlkeras.data.sound_files import SoundSpec
from tlkeras.data.tokenizer import FILE as TOKENIZER
from tlkeras.export.served_model import ServedModel

_TITLES = {
    "saved_model": "SavedModel",
    "litert": "LiteRT, float32",
    "litert_float16": "LiteRT, float16",
    "litert_int8": "LiteRT, int8",
    "onnx": "ONNX",
    "keras": "Keras",
}

_SERVING = """
Start TensorFlow Serving in this folder (REST on port 8501):

```sh
docker run --rm -p 8501:8501 -v "$PWD/saved_model:/models/{name}/1:ro" \\
  -e MODEL_NAME={name} tensorflow/serving
```

Send a request:

```python client
import base64, json, pathlib, sys, urllib.request

{serving_instances}
body = json.dumps({{"signature_name": "{signature}", "instances": instances}})
url = "http://localhost:8501/v1/models/{name}:predict"
with urllib.request.urlopen(url, data=body.encode()) as reply:
    print(json.load(reply)["predictions"])
```

Or load the model in Python:
"""

_CODE = {
    "saved_model": """
import sys
import tensorflow as tf
{load_inputs}
model = tf.saved_model.load("saved_model")
answers = model.signatures["serving_default"]({constants})
print({{name: values.numpy() for name, values in answers.items()}})
""",
    "litert": """
import pathlib, sys
from ai_edge_litert.interpreter import Interpreter  # pip install ai-edge-litert
{load_inputs}
model = Interpreter(model_path="{format}/model.tflite")
answers = model.get_signature_runner()({arguments})["{output_name}"]
{show}
""",
    "onnx": """
import pathlib, sys
import onnxruntime
{load_inputs}
model = onnxruntime.InferenceSession("onnx/model.onnx")
answers = model.run(["{output_name}"], {feed})[0]
{show}
""",
    "keras": """
import pathlib, sys
import keras
{load_inputs}
model = keras.models.load_model("keras/model.keras", compile=False)
answers = model.predict(x, verbose=0)
{show}
""",
}

_SINGLE = {
    "constants": "{input_name}=tf.constant(x)",
    "arguments": "{input_name}=x",
    "feed": '{{"{input_name}": x}}',
}
_IMAGE = _SINGLE | {
    "load_inputs": """from preprocess import read_picture

x = read_picture(sys.argv[1])[None]""",
    "serving_instances": """image = base64.b64encode(pathlib.Path(sys.argv[1]).read_bytes()).decode()
instances = [{{"b64": image}}]""",
    "signature": "encoded",
}
_VECTOR = _SINGLE | {
    # one line of numbers
    "load_inputs": """import numpy as np

x = np.loadtxt(sys.argv[1], delimiter=",", dtype=np.float32, ndmin=2)[:1]""",
    "serving_instances": """lines = pathlib.Path(sys.argv[1]).read_text().splitlines()
instances = [[float(word) for word in line.split(",")] for line in lines]""",
    "signature": "serving_default",
}
_COLUMNS = _SINGLE | {
    "load_inputs": """import json
from read_columns import read_columns

x = read_columns(json.loads(sys.argv[1]))""",
    "serving_instances": """from read_columns import read_columns

instances = read_columns(json.loads(sys.argv[1])).tolist()""",
    "signature": "serving_default",
}
_SOUND = _SINGLE | {
    "load_inputs": """from read_sound import read_sound

x = read_sound(sys.argv[1])[:1]""",
    "serving_instances": """from read_sound import read_sound

instances = read_sound(sys.argv[1])[:1].tolist()""",
    "signature": "serving_default",
}
_NAMED = {"signature": "serving_default", "constants": "**x", "arguments": "**x", "feed": "x"}
_INSTANCES = "\ninstances = [{{name: part[0].tolist() for name, part in x.items()}}]"
_TEXT = _NAMED | {
    "load_inputs": """from read_text import read_text

x = read_text(sys.argv[1:])""",
}


class _Part(NamedTuple):
    """A part of a row beside others: the code that reads it, and words for people."""

    imports: str
    value: str  # in the dict of inputs
    reader: str
    missing: str  # what stands for a missing part


_PARTS = {
    "image": _Part(
        "from preprocess import read_picture",
        '"image": read_picture({argument})[None]',
        "`read_picture` in `preprocess.py`",
        "a picture of zeros",
    ),
    "sound": _Part(
        "from read_sound import read_sound",
        '"sound": read_sound({argument})[:1]',
        "`read_sound` in `read_sound.py` (windows of a sound, of which the clients take the first)",
        "a sound of zeros",
    ),
    "ids": _Part(
        "from read_text import read_text",
        "**read_text([{argument}])",
        "`read_text` in `read_text.py`",
        "a mask of zeros",
    ),
    "columns": _Part(
        "import json\nfrom read_columns import read_columns",
        '"columns": read_columns(json.loads({argument}))',
        "`read_columns` in `read_columns.py`",
        "NaN for each value",
    ),
}


def serving_notes(formats: list[str], served: ServedModel) -> str:
    """Returns the text of `serve.md`. Its paths are relative to its own folder.

    Args:
        formats: Names of the exported formats.
        served: Exported model.
    """
    parts = [_head(served)]
    for name in formats:
        family = "litert" if name.startswith("litert") else name
        words = _words(name, served)
        parts.append(f"## {_TITLES[name]}\n")
        if name == "saved_model":
            parts.append(_filled(_SERVING, words).lstrip())
        parts.append(f"```python\n{_filled(_CODE[family], words).strip()}\n```\n")
    return "\n".join(parts)


def _words(name: str, served: ServedModel) -> dict[str, str]:
    words = {
        "format": name,
        "name": served.facts.get("name", "model"),
        "input_name": served.input_name,
        "output_name": served.output_name,
    }
    if served.names_one_label:
        words["show"] = (
            'labels = pathlib.Path("{format}/labels.txt").read_text("utf-8").splitlines()\n'
            "print(labels[answers[0].argmax()], answers[0].max())"
        )
    else:
        words["show"] = "print(answers[0])"
    for key, text in {"show": words["show"], **_kind(served)}.items():
        words[key] = _filled(text, words)
    return words


def _kind(served: ServedModel) -> dict[str, str]:
    if isinstance(served.input_shape, dict):
        parts = _parts(served)
        kind = _TEXT if parts == ["ids"] else _NAMED | {"load_inputs": _load_parts(parts)}
        return kind | {"serving_instances": kind["load_inputs"] + _INSTANCES}
    if COLUMNS in served.files:
        return _COLUMNS
    if served.sound is not None:
        return _SOUND
    return _VECTOR if served.spec is None else _IMAGE


def _parts(served: ServedModel) -> list[str]:
    """Returns the inputs that stand for the parts of a row: `image`, `ids` of a text, `columns`."""
    return [part for part in _PARTS if part in served.input_shape]


def _load_parts(parts: list[str]) -> str:
    """Returns code that reads one argument of the command line for each part."""
    imports = [_PARTS[part].imports for part in parts]
    values = [_PARTS[part].value.format(argument=f"sys.argv[{i}]") for i, part in enumerate(parts, 1)]
    made = ", ".join(values)
    return "\n".join(imports) + f"\n\nx = {{{{{made}}}}}"


def _filled(template: str, words: dict[str, str]) -> str:
    return template.format(**words)


def _head(served: ServedModel) -> str:
    lines = ["# Using this model", "", *_inputs(served)]
    if served.task == "regression":
        lines += ["", "The answers are the predicted values."]
    else:
        lines += [
            "",
            "The answers are probabilities in the order of `labels.txt`. (`best.keras` in the run directory "
            "gives logits.)",
        ]
        if (temperature := served.facts.get("temperature", 1)) != 1:
            lines[-1] += (
                f" They are calibrated: the model divides the logits by {temperature:.4g}, which was "
                "fitted on validation rows."
            )
    lines += ["", "Save and run commands and clients in the folder of this page."]
    lines += [
        "",
        "`model.json` next to each model holds this for programs, and how it was checked.",
        "",
    ]
    return "\n".join(lines)


def _inputs(served: ServedModel) -> list[str]:
    """Returns the lines on what the model takes."""
    parts = _parts(served) if isinstance(served.input_shape, dict) else []
    if len(parts) > 1:
        return [_several(served, parts)]
    if TOKENIZER in served.files:
        return [_texts(served)]
    if COLUMNS in served.files:
        return [_columns(served)]
    if served.sound is not None:
        return [_sounds(served.sound)]
    if served.spec is not None:
        return _pictures(served)
    return [f"Every format takes float32 vectors of shape (rows, {served.input_shape[0]})."]


def _pictures(served: ServedModel) -> list[str]:
    height, width = served.spec.size
    lines = [
        f"Every format takes RGB pixels in 0..255 as float32 of shape (rows, {height}, {width}, 3). The "
        "model contains the preprocessing of the backbone. `read_picture` in `preprocess.py`, next to "
        "this page, reads a picture in the same way as `tlkeras predict`: upright, transparency on "
        f"white, resized by `{served.spec.mode}`. It needs Pillow and NumPy. Copy it with the model. "
        "LiteRT takes one row at a time. The SavedModel also takes encoded images (JPEG, PNG, BMP, GIF, "
        "and WebP where its TensorFlow decodes it) and reads them in the same way. It cannot read TIFF, "
        "reads a BMP with a palette as grey, and ignores an orientation in XMP: send such pictures as "
        "pixels from `read_picture`.",
    ]
    white = (served.facts.get("arrays") or {}).get("white") or 255
    if white != 255:
        lines += [
            "",
            f"Arrays like those of the training, in 0..{white}, must be multiplied by 255/{white} first.",
        ]
    return lines


def _texts(served: ServedModel) -> str:
    names = " and ".join(f"`{name}`" for name in served.input_shape)
    length = served.input_shape["ids"][0]
    return (
        f"Every format takes {names} as int32 of shape (rows, {length}). `read_text` in "
        f"`read_text.py`, next to this page, makes them from a text with the `{TOKENIZER}` that is "
        "next to each model, as `tlkeras predict` does. It needs the packages tokenizers and NumPy. "
        "Copy both files with the model. LiteRT takes one row at a time."
    )


def _columns(served: ServedModel) -> str:
    return (
        f"Every format takes float32 values of shape (rows, {served.input_shape[0]}), one for each column of "
        f"`{COLUMNS}`, which is next to each model. `read_columns` in `read_columns.py`, next to this page, "
        "makes them from a dict, as `tlkeras predict` does. It needs NumPy. The dict has a value for each "
        "column, and None is a missing one, which becomes NaN. "
        "Copy both files with the model. LiteRT takes one row at a time."
    )


def _sounds(spec: SoundSpec) -> str:
    return (
        f"Every format takes float32 samples of one channel of shape (rows, {spec.samples}), at "
        f"{spec.rate:,} samples per second, where 1 is full scale. The model contains the spectrogram. "
        "`read_sound` in `read_sound.py`, next to this page, makes windows of this length from a sound file, "
        "as `tlkeras predict` does. It needs NumPy, SciPy and soundfile. Copy it with the model. The clients "
        "below answer for the first window; `tlkeras predict` takes the mean of the logits of all windows. "
        "LiteRT takes one row at a time."
    )


def _several(served: ServedModel, parts: list[str]) -> str:
    inputs = ", ".join(
        f"`{spec.name}` ({spec.dtype.name}, (rows, {', '.join(map(str, spec.shape[1:]))}))"
        for spec in served.signature()
    )
    missing = ", ".join(_PARTS[part].missing for part in parts)
    faint = ""
    if {"image", "sound"} & set(parts):
        faint = (
            f" A black picture or a silent sound that is there consists of {FAINT:g}. LiteRT int8 rounds it "
            "to zero, and so takes it as missing."
        )
    return (
        f"Every format takes several inputs: {inputs}. Pixels are RGB in 0..255. "
        f"{', '.join(_PARTS[part].reader for part in parts)}, next to this page, make the inputs as "
        "`tlkeras predict` does. Copy these modules with the model and the files beside it. Values "
        f"that stand for a missing part: {missing}.{faint} LiteRT takes one row at a time."
    )
