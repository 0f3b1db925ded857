"""Writes the model card of a run: a README.md with the metadata that the Hugging Face Hub reads.

Sources: Mitchell et al. 2019, "Model Cards for Model Reporting"; the Hub's metadata for model cards.
"""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from tlkeras.data.input_shapes import SINGLE, Shape, shape_from_json, shape_in_words, shapes_by_name
from tlkeras.data.modalities import MODALITIES, Modality
from tlkeras.data.modalities.columns import FILE as COLUMNS
from tlkeras.data.roles import Role
from tlkeras.errors import UserError
from tlkeras.evaluation.intervals import few_rows_note
from tlkeras.report.page import headline_scores, stage_rows, verdict_of
from tlkeras.report.reading import RunRecord, read_run
from tlkeras.report.rendering import number, percent, render

_WEAK_RECALL = 0.5  # a class with a lower recall is named among the limits
_NAMED = 5
# the activation that turns logits into probabilities, and what to print
_ANSWERS = {
    "multiclass": ("softmax", "print(labels[probabilities[0].argmax()], probabilities[0].max())"),
    "binary": ("sigmoid", 'print(f"probability of {labels[1]}:", probabilities[0, 0])'),
    "multilabel": ("sigmoid", "print(dict(zip(labels, probabilities[0].tolist())))"),
}


class _Reader(NamedTuple):
    """A module beside the model that makes an input."""

    imported: str
    value: str
    entry: str  # the value in a dict of inputs
    words: str


# by the input that each makes, or one of them; in the order of the parts of a row
_READERS = {
    "image": _Reader(
        "from preprocess import read_picture",
        'read_picture("PICTURE.jpg")[None]',
        '"image": ',
        "`read_picture` reads a picture as in training and needs Pillow and NumPy",
    ),
    "sound": _Reader(
        "from read_sound import read_sound",
        'read_sound("SOUND.wav")[:1]',
        '"sound": ',
        "`read_sound` makes windows of a sound as in training and needs NumPy, SciPy and soundfile",
    ),
    "ids": _Reader(
        "from read_text import read_text",
        'read_text(["A text."])',
        "**",
        "`read_text` reads a text as in training and needs the packages tokenizers and NumPy",
    ),
    "columns": _Reader(
        "from read_columns import read_columns",
        "read_columns({COLUMNS})",
        '"columns": ',
        "`read_columns` takes the values of all columns by name, None for a missing one, and needs NumPy",
    ),
}


def write_card(
    record: RunRecord, path: str | os.PathLike, license: str = "unknown", files: Collection[str] = ()
) -> Path:
    """Writes the model card of a finished run.

    Args:
        record: Record that `finished_run` returned.
        path: Path of the card, usually `README.md`.
        license: Licence of the model, as an identifier of the Hub, e.g. `"apache-2.0"`.
        files: Names of the files beside the card and `best.keras`. The card shows how to read inputs by the
            modules that are among them, such as `preprocess.py`.
    """
    readers = _readers(shape_from_json(record.manifest["input_shape"]), files)
    return render(
        "card.md",
        path,
        head=_head(record, license),
        name=record.name,
        summary=_summary(record),
        scores=_scores(record),
        verdict=verdict_of(record),
        calibration=_calibration(record),
        limits=_limits(record),
        stages=stage_rows(record),
        seed=record.manifest.get("seed"),
        versions=_versions(record),
        takes=_takes(record),
        usage=_usage(record, readers),
        readers=[reader.words for reader in readers],
    )


def finished_run(run: str | os.PathLike) -> RunRecord:
    """Returns the record of a run that has been evaluated.

    Raises:
        UserError: The path is not a run, or the run is not finished, or it consists of several runs.
    """
    record = read_run(run)
    record.run_dir.require_one_run()
    if not record.metrics:
        raise UserError(
            "A model card needs a finished run: start the same command again to finish it. "
            f"Received: {record.path}"
        )
    return record


def _head(record: RunRecord, license: str) -> dict[str, Any]:
    """Returns the fields of the YAML metadata. Their values are written as JSON, which is valid YAML."""
    kind = "regression" if record.task == "regression" else "classification"
    task = f"{_modality(record).hub_name}-{kind}"
    known = kind == "classification" or task == "tabular-regression"  # the tasks for which the Hub has a name
    results = [
        {
            "task": {"type": task},
            "dataset": {"type": _source(record), "name": row["data"]},
            "metrics": [{"type": row["metric"], "value": row["value"]}],
        }
        for row in _scores(record)
    ]
    weights = str(record.config.get("model", {}).get("weights"))
    base = weights.removeprefix("hf://").partition("@")[0] if weights.startswith("hf://") else None
    tags = ["tlkeras", "transfer-learning"] + ["domain-adaptation"] * (Role.TARGET in record.metrics)
    return {
        "license": license,
        "library_name": "keras",
        **({"base_model": base} if base else {}),
        **({"pipeline_tag": task} if known else {}),
        "tags": tags if known else [*tags, task],
        "model-index": [{"name": record.name, "results": results}],
    }


def _source(record: RunRecord) -> str:
    """Returns the kind of the data source, without paths of this machine."""
    return str(record.config.get("data", {}).get("source")).partition(":")[0]


def _summary(record: RunRecord) -> str:
    model, manifest = record.config.get("model", {}), record.manifest
    weights = model.get("weights")
    start = "trained from random weights"
    if weights is not None:
        start = f"fine-tuned from the weights {Path(str(weights)).name}"
    classes = manifest.get("class_names") or []
    what = "a regression model" if record.task == "regression" else f"a classifier of {len(classes)} classes"
    adapted = record.config.get("adaptation")
    how = f", adapted to unlabelled target data by {adapted['method']}" if adapted else ""
    return f"This is {what}: the network {model.get('backbone')}, {start}{how}."


def _scores(record: RunRecord) -> list[dict[str, Any]]:
    found = []
    for card in headline_scores(record):
        low_high = card["interval"]
        interval = "–" if low_high is None else f"{number(low_high[0])} to {number(low_high[1])}"
        found.append(card | {"interval": interval})
    return found


def _calibration(record: RunRecord) -> dict[str, Any] | None:
    """Returns the calibration error of the exported model on the first domain that has one."""
    for domain in record.metrics:
        value = record.calibrated_error(domain)
        if value is not None:
            name = f"{domain} {record.shown_split(domain)}"
            return {"name": name, "value": value, "temperature": record.temperature}
    return None


def _limits(record: RunRecord) -> list[str]:
    """Returns what a user should know before trusting the model."""
    limits = ["It answers with one of its classes for any input, also for inputs unlike its training data."]
    if record.task == "regression":
        limits = ["It answers with a number for any input, also for inputs unlike its training data."]
    for domain in record.metrics:
        split = record.shown_split(domain)
        per_class = record.metrics[domain].get(split, {}).get("per_class") or {}
        weak = sorted((v["recall"], name) for name, v in per_class.items() if v["recall"] < _WEAK_RECALL)
        if weak:
            named = ", ".join(f"{name} ({percent(recall)})" for recall, name in weak[:_NAMED])
            more = f" and {len(weak) - _NAMED} more" if len(weak) > _NAMED else ""
            limits.append(f"Its recall on {domain} {split} is below 50 % for: {named}{more}.")
    if note := few_rows_note(record.metrics):
        limits.append(note)
    return limits


def _versions(record: RunRecord) -> str:
    versions = record.manifest.get("versions", {})
    return ", ".join(
        f"{name} {versions[name]}" for name in ("tlkeras", "keras", "tensorflow") if name in versions
    )


def _takes(record: RunRecord) -> str:
    shape = shape_in_words(shape_from_json(record.manifest["input_shape"]))
    return f"{_modality(record).values}, {shape} for each row,"


def _modality(record: RunRecord) -> Modality:
    """Returns the modality of a run. If it is not registered, the base class gives general words."""
    name = record.manifest.get("modality")
    return MODALITIES.get(name) if name is not None and name in MODALITIES else Modality()


def _readers(shape: Shape, files: Collection[str]) -> list[_Reader]:
    """Returns the readers of all inputs, or none if an input has no reader among the files."""
    there = [name for name, reader in _READERS.items() if f"{reader.imported.split()[1]}.py" in files]
    inputs = [name for name in _READERS if name in shape] if isinstance(shape, dict) else there[:1]
    return [_READERS[name] for name in inputs] if there == inputs else []


def _usual_cells(record: RunRecord) -> str:
    """Returns an entry of a dict for each column of a run: its mean, or its first category."""
    columns = json.loads((record.path / COLUMNS).read_text("utf-8"))
    cells = {
        name: float(f"{column['mean']:.3g}") if column["kind"] == "number" else column["values"][0]
        for name, column in columns.items()
    }
    return json.dumps(cells, ensure_ascii=False)[1:-1]


def _usage(record: RunRecord, readers: list[_Reader]) -> list[str]:
    """Returns the lines of Python that load the model with Keras alone and ask it."""
    shape = shape_from_json(record.manifest["input_shape"])
    entries = ", ".join(f"{reader.entry}{reader.value}" for reader in readers)
    read = f"x = {{{entries}}}" if len(readers) > 1 else f"x = {readers[0].value}" if readers else ""
    if "{COLUMNS}" in read:
        read = read.replace("COLUMNS", _usual_cells(record))
    read = read or _zeros(record, shape)
    activation, shown = _ANSWERS.get(record.task, ("", "print(model.predict(x))"))
    lines = ["from pathlib import Path", ""] * bool(activation) + ["import keras"]
    lines += [reader.imported for reader in readers] or ["import numpy as np"]
    lines += ["", 'model = keras.models.load_model("best.keras", compile=False)', read]
    logits = "model.predict(x)"
    if record.temperature != 1:
        logits += f" / {record.temperature:.6g}"  # the temperature of the calibration
    if activation:
        lines += [
            'labels = Path("labels.txt").read_text("utf-8").splitlines()',
            f"probabilities = keras.ops.convert_to_numpy(keras.ops.{activation}({logits}))",
        ]
    return [*lines, shown]


def _zeros(record: RunRecord, shape: Shape) -> str:
    """Returns a line with an input of zeros, in whose place a user puts real rows."""
    dtypes = _modality(record).dtypes
    parts = {
        name: f'np.zeros({(1, *part)}, "{dtypes.get(name, "float32")}")'
        for name, part in shapes_by_name(shape).items()
    }
    if isinstance(shape, dict):
        return "x = {" + ", ".join(f'"{name}": {part}' for name, part in parts.items()) + "}  # your rows"
    return f"x = {parts[SINGLE]}  # your rows"
