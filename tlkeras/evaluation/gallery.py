"""The gallery of a report: the rows with the smallest and the largest loss, with their explanations."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.data import Domain
from tlkeras.evaluation.embedding import features_of
from tlkeras.evaluation.nearest_training_rows import TrainingRows, write_neighbors
from tlkeras.evaluation.prediction_files import records
from tlkeras.evaluation.predictions import Predictions, cross_entropy
from tlkeras.evaluation.shown_rows import can_be_shown, inputs_of, keep_rows
from tlkeras.run_dir import write_json

WORST = 8
BEST = 4


def write_gallery(
    folder: Path,
    model: keras.Model,
    domain: Domain,
    split: str,
    predictions: Predictions,
    backbone: str,
    training: TrainingRows | None = None,
) -> list[dict[str, Any]]:
    """Writes pictures or texts, heat maps and `index.json` of the rows with the largest and smallest loss.

    Each entry of the index has `kind` (`worst` or `best`), `id`, `label`, `prediction`, `probability`,
    `loss`, `method` and the entries of `keep_rows` (`picture` and `heat`, or `words` and `weights`). The
    worst rows also have `neighbors`, the nearest training rows; see `write_neighbors`.

    Args:
        folder: Folder of the files, e.g. `RUN/evaluation/gallery`.
        model: Model from raw inputs to logits.
        domain: Domain of the rows.
        split: Name of the split.
        predictions: Labelled predictions of all rows of the split, in their order. Their probabilities are
            shown, and their losses choose the rows.
        backbone: Registered name of the backbone, which determines the layer that Grad-CAM uses.
        training: Training rows among which neighbours are searched, or None for no neighbours.

    Returns:
        The index. It is empty if rows of this modality cannot be shown.
    """
    if not can_be_shown(domain) or not len(predictions):
        return []
    worst, best = choose(predictions)
    indices = np.array([*worst, *best])
    rows = domain.splits[split].take(indices)
    inputs = inputs_of(rows, domain)
    targets = None if predictions.task in ("multilabel", "regression") else predictions.predicted[indices]
    maps, method = domain.modality.explain(model, inputs, targets, backbone)
    facts, losses = list(records(predictions.take(indices))), cross_entropy(predictions)[indices]
    stems = [f"worst_{number:02d}" for number in range(len(worst))]
    stems += [f"best_{number:02d}" for number in range(len(indices) - len(worst))]
    index = []
    for row, loss, stem, kept in zip(
        facts, losses, stems, keep_rows(folder, stems, inputs, domain.modality, maps), strict=True
    ):
        entry = {"kind": stem.split("_")[0], "split": split}
        entry |= {"id": row.pop("file", None) or row.pop("id", ""), **row, "loss": float(loss)}
        index.append(entry | {"method": method} | kept)
    if training is not None:
        stems = stems[: len(worst)]
        features = predictions.features
        features = features_of(model, rows, domain) if features is None else features[indices]
        near = write_neighbors(folder, stems, features[: len(worst)], training)
        index = [e | {"neighbors": n} for e, n in zip(index, near + [[]] * len(best), strict=True)]
    write_json(folder / "index.json", index)
    return index


def choose(predictions: Predictions, worst: int = WORST, best: int = BEST) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the rows with the largest loss, and of rows with a small loss.

    The latter are from different classes if possible. Rows whose loss is NaN count as the worst. No row is in
    both.

    Args:
        predictions: Labelled predictions.
        worst: Number of rows with the largest loss.
        best: Number of rows with a small loss.
    """
    losses = np.nan_to_num(cross_entropy(predictions), nan=np.inf, posinf=np.inf)
    order = np.argsort(-losses, kind="stable")
    count = min(worst, max(len(order) - best, (len(order) + 1) // 2))
    chosen: list[int] = []
    by_class: dict[int, int] = {}
    answers = predictions.predicted if predictions.predicted.ndim == 1 else np.arange(len(order))
    for index in order[count:][::-1]:
        # the smallest losses often belong to one easy class, so each class contributes one row before any two
        if by_class.setdefault(int(answers[index]), 0) == 0:
            chosen.append(int(index))
            by_class[int(answers[index])] += 1
    rest = [int(index) for index in order[count:][::-1] if int(index) not in chosen]
    return order[:count], np.array([*chosen, *rest][:best], int)
