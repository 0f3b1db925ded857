"""TensorBoard summaries of a finished run: pictures, text, hyperparameters, and the projector.

Everything is read from the run directory, as for the report page.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.plugins.hparams import api

from tlkeras.backend.event_files import EventWriter
from tlkeras.evaluation.judged_runs import verdict_texts
from tlkeras.evaluation.metrics import confusion_matrix
from tlkeras.evaluation.prediction_files import one_line
from tlkeras.report import figures
from tlkeras.report.reading import RunRecord, as_json, read_run
from tlkeras.run_dir import write_text
from tlkeras.run_dir.atomic import write_bytes

_NAMED_CLASSES = 20  # largest number of classes whose names a confusion matrix shows
_PROJECTOR = "embedding"


def write_tensorboard(run) -> None:
    """Adds the results of a run to its folder `tensorboard/`.

    - images: the confusion matrix of each domain, and the pictures with the largest and smallest losses;
    - text: the config and the verdict;
    - hyperparameters and their metrics, for a table over all runs of a sweep;
    - the embedding of the domains for the projector, with labels and thumbnails.

    Args:
        run: Path of the run directory.
    """
    record = read_run(run)
    folder = record.run_dir.tensorboard
    step = int(max((row["step"] for s in record.stages for row in s.epochs), default=0))
    writer = EventWriter(folder, ".after")
    with writer.at(step):
        writer.text("config", _code(as_json(record.config)))
        if record.verdict:
            said = "\n\n".join(verdict_texts(record.verdict))
            writer.text("verdict", f"**{record.verdict['verdict']}**: {said}")
        if record.config.get("tensorboard", {}).get("images", True):
            for name, pixels in _images(record).items():
                writer.images(name, pixels)
        _write_hyperparameters(record, writer)
    writer.close()
    if record.config.get("tensorboard", {}).get("images", True):
        _write_projector(record, folder)


def _images(record: RunRecord) -> dict[str, np.ndarray]:
    found = {}
    for domain in record.metrics:
        split = record.shown_split(domain)
        predictions = record.predictions(domain, split) if split else None
        if predictions is not None and predictions.task in ("multiclass", "binary"):
            found[f"confusion/{domain}"] = _matrix(confusion_matrix(predictions), predictions.class_names)[
                None
            ]
        for kind in ("worst", "best"):
            entries = [e for e in record.gallery(domain) if e["kind"] == kind and "heat" in e]
            if entries:
                found[f"{kind}/{domain}"] = np.stack([_side_by_side(entry) for entry in entries])
    return found


def _side_by_side(entry: dict[str, Any]) -> np.ndarray:
    """Returns a picture and its heat map side by side, uint8 `(h, 2w, 3)`."""
    with Image.open(entry["picture"]) as image, Image.open(entry["heat"]) as grey:
        pixels, heat = np.asarray(image.convert("RGB")), np.asarray(grey.convert("L")) / 255
    return np.concatenate([pixels, figures.blend(pixels.astype(float), heat)], axis=1)


def _matrix(matrix: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Returns a confusion matrix as pixels, uint8 `(h, w, 3)`."""
    figure = Figure(figsize=(6, 6), layout="constrained", dpi=100)
    axes = figure.add_subplot()
    axes.imshow(matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted class", ylabel="true class")
    if len(names) <= _NAMED_CLASSES:
        # matplotlib warns if its font lacks a character of a name
        shown = [name if name.isascii() and name.isprintable() else str(i) for i, name in enumerate(names)]
        axes.set_xticks(range(len(names)), shown, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), shown, parse_math=False)
        for (i, j), count in np.ndenumerate(matrix):
            dark = count > 0.5 * matrix[i].sum()
            axes.text(j, i, str(count), ha="center", va="center", color="white" if dark else "black")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _write_hyperparameters(record: RunRecord, writer: EventWriter) -> None:
    hyperparameters = dict(_leaves({key: record.config.get(key) for key in ("seed", "data", "model", "stages",
                                                                         "adaptation")}))  # fmt: skip
    api.hparams(hyperparameters, trial_id=record.path.resolve().name)
    for domain, splits in record.metrics.items():
        for split, values in splits.items():
            for key in ("accuracy", "loss", "macro_f1", "rmse"):
                if isinstance(values.get(key), int | float):
                    writer.scalar(f"evaluation/{domain}_{split}_{key}", values[key])


def _leaves(value: Any, path: str = ""):
    """Yields `(dotted path, value)` of all values that HParams can show: text, numbers and booleans."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        here = f"{path}.{key}" if path else str(key)
        if isinstance(item, dict | list):
            yield from _leaves(item, here)
        elif item is not None:
            yield here, item


def _write_projector(record: RunRecord, folder: Path) -> None:
    """Writes the newest embedding for the projector. Its config must be next to an event file."""
    found = record.embedding("after")
    if found is None or len(found["features"]) < 2:
        return
    rows = [f"{value:.6g}" for value in found["features"].astype(np.float32).ravel()]
    width = found["features"].shape[1]
    lines = ["\t".join(rows[begin : begin + width]) for begin in range(0, len(rows), width)]
    write_text(folder / _PROJECTOR / "tensors.tsv", "\n".join(lines) + "\n")
    names = [found["class_names"][label] if label >= 0 else "" for label in found["label"]]
    domains = [found["domain_names"][number] for number in found["domain"]]
    metadata = zip(map(one_line, names), domains, map(one_line, found["ids"]), strict=True)
    text = "\n".join(["label\tdomain\tid", *("\t".join(line) for line in metadata)]) + "\n"
    write_text(folder / _PROJECTOR / "metadata.tsv", text)
    config = [f'  tensor_name: "{_PROJECTOR}"', f'  tensor_path: "{_PROJECTOR}/tensors.tsv"',
              f'  metadata_path: "{_PROJECTOR}/metadata.tsv"']  # fmt: skip
    if "thumbnails" in found:
        height, width = found["thumbnails"].shape[1:3]
        _write_sprite(found["thumbnails"], folder / _PROJECTOR / "sprite.png")
        config.append(
            f'  sprite {{\n    image_path: "{_PROJECTOR}/sprite.png"\n'
            f"    single_image_dim: {width}\n    single_image_dim: {height}\n  }}"
        )
    write_text(folder / "projector_config.pbtxt", "embeddings {\n" + "\n".join(config) + "\n}\n")


def _write_sprite(thumbnails: np.ndarray, path: Path) -> None:
    """Writes thumbnails `(n, h, w, 3)` as one square picture in row order."""
    count, height, width = thumbnails.shape[:3]
    side = int(np.ceil(np.sqrt(count)))
    sheet = np.zeros((side * side, height, width, 3), np.uint8)
    sheet[:count] = thumbnails
    sheet = sheet.reshape(side, side, height, width, 3).swapaxes(1, 2).reshape(side * height, side * width, 3)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG")
    write_bytes(path, buffer.getvalue())


def _code(text: str) -> str:
    """Returns Markdown that shows the text unchanged."""
    return "\n".join("    " + line for line in text.splitlines())
