"""`serve.md`: how to use what was exported, with a client of ten lines for each format."""

from pathlib import Path

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
Start TensorFlow Serving (REST on port 8501):

```sh
docker run --rm -p 8501:8501 -v "{folder}/saved_model:/models/{name}/1:ro" \\
  -e MODEL_NAME={name} tensorflow/serving
```

Ask it:

```python client
import base64, json, pathlib, sys, urllib.request

{serving_instances}
body = json.dumps({{"signature_name": "{signature}", "instances": instances}})
url = "http://localhost:8501/v1/models/{name}:predict"
with urllib.request.urlopen(url, data=body.encode()) as reply:
    print(json.load(reply)["predictions"])
```

Or open it in Python:
"""

_CODE = {
    "saved_model": """
import pathlib, sys
import tensorflow as tf

model = tf.saved_model.load("{folder}/saved_model")
{saved_model_inputs}
print({{name: values.numpy() for name, values in answers.items()}})
""",
    "litert": """
import pathlib, sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter  # pip install ai-edge-litert
{load_inputs}
model = Interpreter(model_path="{folder}/{format}/model.tflite")
answers = model.get_signature_runner()({input_name}=x)["{output_name}"]
{show}
""",
    "onnx": """
import pathlib, sys
import numpy as np
import onnxruntime
{load_inputs}
model = onnxruntime.InferenceSession("{folder}/onnx/model.onnx")
answers = model.run(["{output_name}"], {{"{input_name}": x}})[0]
{show}
""",
    "keras": """
import pathlib, sys
import numpy as np
import keras
{load_inputs}
model = keras.models.load_model("{folder}/keras/model.keras", compile=False)
answers = model.predict(x, verbose=0)
{show}
""",
}

_IMAGE = {
    "load_inputs": """from PIL import Image
image = Image.open(sys.argv[1]).convert("RGB").resize(({width}, {height}), Image.Resampling.{filter})
x = np.asarray(image, np.float32)[None]""",
    "saved_model_inputs": """image = tf.constant([pathlib.Path(sys.argv[1]).read_bytes()])
answers = model.signatures["encoded"](encoded_images=image)""",
    "serving_instances": """image = base64.b64encode(pathlib.Path(sys.argv[1]).read_bytes()).decode()
instances = [{{"b64": image}}]""",
    "signature": "encoded",
}
_VECTOR = {
    # one line of numbers
    "load_inputs": """x = np.loadtxt(sys.argv[1], delimiter=",", dtype=np.float32, ndmin=2)[:1]""",
    "saved_model_inputs": """text = pathlib.Path(sys.argv[1]).read_text()
numbers = [float(word) for word in text.split(",")]
answers = model.signatures["serving_default"](vectors=tf.constant([numbers]))""",
    "serving_instances": """lines = pathlib.Path(sys.argv[1]).read_text().splitlines()
instances = [[float(word) for word in line.split(",")] for line in lines]""",
    "signature": "serving_default",
}
_FILTERS = {"bilinear": "BILINEAR", "bicubic": "BICUBIC", "nearest": "NEAREST", "area": "BOX",
            "lanczos3": "LANCZOS"}  # fmt: skip


def serving_notes(formats: list[str], served: ServedModel, folder: Path) -> str:
    """Returns the text of `serve.md`.

    Args:
        formats: What has been exported.
        served: The model.
        folder: The absolute path of `export/`.
    """
    parts = [_head(served)]
    for name in formats:
        family = "litert" if name.startswith("litert") else name
        words = _words(name, served, folder)
        parts.append(f"## {_TITLES[name]}\n")
        if name == "saved_model":
            parts.append(_filled(_SERVING, words).lstrip())
        parts.append(f"```python\n{_filled(_CODE[family], words).strip()}\n```\n")
    return "\n".join(parts)


def _words(name: str, served: ServedModel, folder: Path) -> dict[str, str]:
    image = served.spec is not None
    height, width = served.spec.size if image else (1, served.input_shape[0])
    words = {
        "folder": folder.as_posix(),
        "format": name,
        "name": served.facts.get("name", "model"),
        "height": str(height),
        "width": str(width),
        "filter": _FILTERS[served.spec.interpolation] if image else "",
        "input_name": served.input_name,
        "output_name": served.output_name,
    }
    if served.names_one_label:
        words["show"] = (
            'labels = pathlib.Path("{folder}/{format}/labels.txt").read_text("utf-8").splitlines()\n'
            "print(labels[answers[0].argmax()], answers[0].max())"
        )
    else:
        words["show"] = "print(answers[0])"
    for key, text in {"show": words["show"], **(_IMAGE if image else _VECTOR)}.items():
        words[key] = _filled(text, words)
    return words


def _filled(template: str, words: dict[str, str]) -> str:
    return template.format(**words)


def _head(served: ServedModel) -> str:
    lines = ["# Using this model", ""]
    if served.spec is not None:
        height, width = served.spec.size
        lines += [
            f"Every format takes RGB pixels in 0..255 as float32 of shape (rows, {height}, {width}, 3); the "
            "preprocessing of the backbone is in the model. LiteRT takes one row at a time. The SavedModel "
            "also takes encoded images (JPEG, PNG, ...) and resizes them as training did "
            f"(`{served.spec.mode}`, {served.spec.interpolation}, antialiased); the clients below stretch "
            "with Pillow, which differs slightly.",
        ]
    else:
        lines += [f"Every format takes float32 vectors of shape (rows, {served.input_shape[0]})."]
    if served.task == "regression":
        lines += ["", "The answers are the predicted values."]
    else:
        lines += [
            "",
            "The answers are probabilities in the order of `labels.txt`. (`best.keras` in the run directory "
            "gives logits.)",
        ]
    lines += ["", "`model.json` beside each model says all this for programs, and how it was checked.", ""]
    return "\n".join(lines)
