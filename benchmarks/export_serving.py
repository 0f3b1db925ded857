"""Compares the answers of served models with those of `predict`, on pictures that are easily read wrongly.

Command:  python benchmarks/export_serving.py [--pictures=100] [--only=shapes] [--folder=DIR]
Time:     about six minutes on two idle CPU cores. It needs the extras `quickstart` and `export`.

Six runs (two networks, each with stretch, crop and pad) are trained and exported to ONNX, LiteRT and
SavedModel. Pictures of twelve unusual kinds (alpha, EXIF orientation, CMYK, 16 bit, grey, 2:1, ...) are made
from the validation rows of the run. Each export runs in a process of its own, which reads the pictures with
the written `preprocess.py`. This process cannot import tlkeras and, for ONNX and LiteRT, TensorFlow. The last
column is a client that reads pictures with `convert("RGB").resize(...)` and uses ONNX.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tlkeras.backend import import_tensorflow

import_tensorflow()

from tlkeras import load_config, run_experiment  # noqa: E402
from tlkeras.export import export_run  # noqa: E402
from tlkeras.export.odd_pictures import odd_pictures  # noqa: E402
from tlkeras.export.sample import sample_rows  # noqa: E402
from tlkeras.prepare import read_domains  # noqa: E402

RUNS = {
    # experiment, changes, number of its stages
    "EfficientNet-Lite0, emoji, 96x96": ("emoji", ["data.image_size=96"], 1),
    "small CNN, shapes, 40x56": ("synthetic_smoke", ["data.image_size=[40,56]"], 2),
}
MODES = {"stretch": (), "crop": ("data.crop_fraction=0.875",), "pad": ()}
FORMATS = ("onnx", "litert", "saved_model")

ASK = """
import sys
banned, pictures, result = sys.argv[1:]
sys.modules.update(dict.fromkeys(banned.split(",")))  # an import of them fails
from pathlib import Path
import numpy as np
from preprocess import SETTINGS, read_picture
from PIL import Image

def naive(path):
    height, width = SETTINGS["size"]
    image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)

paths = sorted(Path(pictures).iterdir())
rows = [read_picture(path)[None] for path in paths]
answers = {}
if "tensorflow" in banned.split(","):
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter
    onnx = onnxruntime.InferenceSession("onnx/model.onnx")
    lite = Interpreter(model_path="litert/model.tflite").get_signature_runner()
    answers["onnx"] = [onnx.run(None, {"images": x})[0][0] for x in rows]
    answers["litert"] = [lite(images=x)["probabilities"][0] for x in rows]
    answers["naive"] = [onnx.run(None, {"images": naive(path)[None]})[0][0] for path in paths]
else:
    import tensorflow as tf
    model = tf.saved_model.load("saved_model")
    serve, encoded = model.signatures["serving_default"], model.signatures["encoded"]
    answers["saved_model"] = [serve(images=tf.constant(x))["probabilities"][0] for x in rows]
    contents = [tf.constant([path.read_bytes()]) for path in paths]
    answers["encoded"] = [encoded(encoded_images=x)["probabilities"][0] for x in contents]
assert not [name for name in banned.split(",") if sys.modules.get(name)]
np.savez(result, **answers)
"""


def measure(config, folder: Path, count: int) -> dict[str, tuple[float, float]]:
    """Returns the share of labels that agree with `predict` and the largest difference, for each client."""
    run = run_experiment(config, folder / "run")
    export_run(run, FORMATS)
    rows = sample_rows(run, read_domains(run.config)["source"], count)
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, (_, content) in enumerate(odd_pictures(rows.inputs, count)):
        (pictures / f"{number:03d}").write_bytes(content)
    paths = sorted(pictures.iterdir())
    expected, unreadable = run.predict_files(paths)
    assert not unreadable and list(expected.ids) == [str(path) for path in paths]
    answers = {}
    for banned in ("tlkeras,keras,tensorflow", "tlkeras"):
        result = folder / "answers.npz"
        command = [sys.executable, "-c", ASK, banned, str(pictures), str(result)]
        subprocess.run(command, check=True, cwd=run.path / "export", stderr=subprocess.DEVNULL)
        answers |= dict(np.load(result))
    return {
        name: (
            float((said.argmax(1) == expected.predicted).mean()),
            float(np.abs(said - expected.probabilities).max()),
        )
        for name, said in answers.items()
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--only", default="", help="Part of a run's title.")
    parser.add_argument("--folder")
    arguments = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        for title, (name, words, stages) in RUNS.items():
            if arguments.only not in title:
                continue
            for mode, more in MODES.items():
                config = load_config(name, [*words, f"data.resize={mode}", *more])
                config = config.model_copy(update={"stages": config.stages[:stages]})
                folder = Path(scratch, f"{name}_{mode}")
                folder.mkdir()
                found = measure(config, folder, arguments.pictures)
                cells = [
                    f"{found[kind][0]:.0%}, {found[kind][1]:.0e}"
                    for kind in ("onnx", "litert", "saved_model", "encoded", "naive")
                ]
                lines.append(f"| {title} | `{mode}` | " + " | ".join(cells) + " |")
    print("\n| run | resize | ONNX | LiteRT | SavedModel | its `encoded` | `convert`, `resize` |")
    print("|---|---|---|---|---|---|---|", *lines, sep="\n")


if __name__ == "__main__":
    main()
