"""The report section for one domain: metrics, confusion, classes, calibration, pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tlkeras.evaluation.calibration import confidence_and_hits, reliability_bins
from tlkeras.evaluation.metrics import confusion_matrix
from tlkeras.evaluation.predictions import Predictions
from tlkeras.report import figures
from tlkeras.report.reading import RunRecord

_LARGEST_TABLE = 16  # largest number of classes whose confusion matrix is shown as a table
_LONGEST_LIST = 40
_CONFUSIONS = 12
_SIMPLE = ("loss", "accuracy", "exact_match", "top_k_accuracy", "macro_f1", "macro_auc", "auc",
           "expected_calibration_error", "mae", "rmse", "r2", "rows")  # fmt: skip


def domain_section(record: RunRecord, domain: str) -> dict[str, Any]:
    """Returns the values that the page shows for one domain. Parts that do not apply are None or empty."""
    splits, shown = record.metrics[domain], record.shown_split(domain)
    predictions = record.predictions(domain, shown) if shown else None
    keys = [key for key in _SIMPLE if any(key in values for values in splits.values())]
    section = {
        "name": domain,
        "shown": shown,
        "columns": keys,
        "splits": [(split, [values.get(key) for key in keys]) for split, values in splits.items()],
        "unlabelled": _unlabelled(record, domain),
        "classes": _classes(splits[shown]) if shown else None,
        "confusion": None,
        "calibration": None,
        "gallery": _gallery(record, domain),
    }
    if predictions is not None and predictions.labels is not None and predictions.task != "regression":
        if predictions.task != "multilabel":
            section["confusion"] = _confusion(predictions, f"confusion {domain}")
        section["calibration"] = _calibration(record, domain, predictions)
    return section


def _unlabelled(record: RunRecord, domain: str) -> list[tuple[str, int, float | None]]:
    """Returns `(split, rows, mean confidence)` of each split that has predictions but no labels."""
    found = []
    for split in ("train", "val", "test"):
        predictions = record.predictions(domain, split)
        if predictions is None or predictions.labels is not None:
            continue
        sure = predictions.probabilities if predictions.task in ("multiclass", "binary") else None
        found.append((split, len(predictions), None if sure is None else float(sure.max(axis=1).mean())))
    return found


def _classes(values: dict[str, Any]) -> dict[str, Any] | None:
    """Returns metrics per class. If there are many classes, only the weakest ones are returned."""
    per_class = values.get("per_class")
    if not per_class:
        return None
    rows = [{"name": name, **numbers} for name, numbers in per_class.items()]
    cut = len(rows) > _LONGEST_LIST
    if cut:
        rows = sorted(rows, key=lambda row: (row["f1"] is None, row["f1"]))[:_LONGEST_LIST]
    return {"rows": rows, "all": len(per_class), "cut": cut, "with_auc": "auc" in rows[0]}


def _confusion(predictions: Predictions, name: str) -> dict[str, Any]:
    matrix, names = confusion_matrix(predictions), predictions.class_names
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [
        {"truth": names[i], "answer": names[j], "count": int(wrong[i, j]), "share": float(shares[i, j])}
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    table = [
        (name, [(int(n), round(float(share), 3), i == j) for j, (n, share) in enumerate(cells)])
        for i, (name, cells) in enumerate(zip(names, np.stack([matrix, shares], axis=-1), strict=True))
    ]
    small = len(names) <= _LARGEST_TABLE
    return {
        "names": names,
        "table": table if small else None,
        "svg": None if small else figures.matrix_figure(shares, name),
        "pairs": pairs,
        "errors": int(wrong.sum()),
    }


def _calibration(record: RunRecord, domain: str, predictions: Predictions) -> dict[str, Any]:
    confidence, hits = confidence_and_hits(predictions)
    finite = np.isfinite(confidence)
    confidence, hits = confidence[finite], hits[finite]
    bins = reliability_bins(confidence, hits, bins=10)
    columns = (bins[key] for key in ("lower", "count", "confidence", "accuracy"))
    rows = [
        {
            "range": f"{low:.1f} to {low + 0.1:.1f}",
            "count": int(n),
            "mean": float(mean),
            "right": float(right),
        }
        for low, n, mean, right in zip(*columns, strict=True)
        if n
    ]
    return {
        "svg": figures.reliability_figure(bins, f"reliability {domain}"),
        "rows": rows,
        "error": record.metrics[domain][record.shown_split(domain)].get("expected_calibration_error"),
        "mean_confidence": float(confidence.mean()) if len(confidence) else None,
        "accuracy": float(hits.mean()) if len(hits) else None,
        "temperature": record.temperature,
        "calibrated_error": record.calibrated_error(domain),
    }


_NOT_SHOWN = {"image": None, "overlay": None, "words": None, "weights": None, "audio": None}


def _gallery(record: RunRecord, domain: str) -> dict[str, Any]:
    entries = [shown_row(entry) | {"wrong": _is_wrong(entry)} for entry in record.gallery(domain)]
    return {kind: [entry for entry in entries if entry["kind"] == kind] for kind in ("worst", "best")}


def shown_row(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns an entry of a gallery with all that a page shows of it.

    Args:
        entry: Entry of `keep_rows` with whole paths. It may have `neighbors` of `write_neighbors`, whose
            files lie in `folder`.

    Returns:
        The entry with `image`, `overlay` and `audio` as `data:` URLs or None, `words` and `weights` or None,
        and `near`, a list of such entries.
    """
    return _NOT_SHOWN | entry | _picture(entry) | {"near": _neighbors(entry)}


def _picture(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns the picture of a stored row and its heat map, or nothing for a text."""
    if "picture" not in entry:
        return {}
    size = _size(entry["picture"])
    # small pictures are enlarged without smoothing
    shown = {"image": figures.picture(entry["picture"]), "size": size, "is_small": max(size) < 100}
    overlay = figures.overlay(entry["picture"], entry["heat"]) if "heat" in entry else None
    heard = {"audio": figures.recording(entry["sound"])} if "sound" in entry else {}
    return shown | {"overlay": overlay} | heard


def row_for_page(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns an entry of `keep_rows` with its picture, sound or words for a page.

    Args:
        entry: Entry with the names of its files.
        folder: Folder of the files. Files that are missing are not shown.
    """
    files = {name: folder / entry[name] for name in ("picture", "sound") if name in entry}
    there = files if all(path.is_file() for path in files.values()) else {}
    return _NOT_SHOWN | entry | _picture(there)


def _neighbors(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the nearest training rows. Runs of early versions have none."""
    found = []
    for near in entry.get("neighbors", ()):
        near = _NOT_SHOWN | near
        if "picture" not in near:
            found.append(near)
        elif (path := entry["folder"] / near["picture"]).is_file():
            found.append(near | {"image": figures.picture(path), "size": _size(path)})
    return found


def _is_wrong(entry: dict[str, Any]) -> bool | None:
    if entry.get("probability") is None:
        return None
    return entry.get("label") != entry.get("prediction")


def _size(path) -> tuple[int, int]:
    """Returns width and height of a picture, so that the page does not move while pictures load."""
    with Image.open(path) as image:
        return image.size
