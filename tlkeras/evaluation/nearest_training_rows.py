"""The training rows whose features are most similar to those of wrongly predicted rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.config import ExperimentConfig
from tlkeras.data import Domain
from tlkeras.data.roles import Role
from tlkeras.data.rows import Rows
from tlkeras.evaluation.embedding import features_of, nearest
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.shown_rows import inputs_of, keep_rows

COUNT = 3
SEARCHED = 5000  # at most this many rows, because their features take one pass of the network
_SIDE = 96


@dataclass
class TrainingRows:
    """The training rows among which neighbours are searched. Features are computed once, on demand.

    Args:
        model: Model from raw inputs to logits with a layer `features`.
        domain: Labelled domain on which the model was trained.
        seed: Seed of the choice of rows if there are more than `most`.
        known: Features of all training rows, float `(n, d)`, if they are computed already, or None.
        most: Largest number of rows that are searched.
    """

    model: keras.Model
    domain: Domain
    seed: int = 0
    known: np.ndarray | None = None
    most: int = SEARCHED

    @cached_property
    def rows(self) -> Rows:
        """Rows that are searched."""
        rows = self.domain.splits["train"]
        if len(rows) <= self.most:
            return rows
        return rows.take(np.sort(np.random.default_rng(self.seed).permutation(len(rows))[: self.most]))

    @cached_property
    def features(self) -> np.ndarray:
        """Features of the rows, float32 `(n, d)`."""
        if self.known is not None and len(self.known) == len(self.rows):
            return self.known
        return features_of(self.model, self.rows, self.domain)


def trained_on(
    model: keras.Model,
    domains: Mapping[str, Domain],
    evaluated: Mapping[str, Mapping[str, Predictions]],
    config: ExperimentConfig,
) -> dict[str, TrainingRows]:
    """Returns the training rows of each domain on which a run was trained, by name.

    Args:
        model: Best model of the run, from raw inputs to logits.
        domains: Domains by name.
        evaluated: Predictions by domain and split, with the features that are known already.
        config: Config of the run.
    """
    names = [name for name in domains if config.adapts or name == Role.SOURCE]
    known = {name: evaluated[name]["train"].features for name in names if "train" in evaluated.get(name, ())}
    return {name: TrainingRows(model, domains[name], config.seed, known.get(name)) for name in names}


def write_neighbors(
    folder: Path, stems: list[str], features: np.ndarray, training: TrainingRows, count: int = COUNT
) -> list[list[dict[str, Any]]]:
    """Writes the nearest training rows of each row. Pictures become small files `STEM_near_0.png` and so on.

    Args:
        folder: Folder of the files.
        stems: Beginning of the file names of each row.
        features: Features of the rows, float `(n, d)`.
        training: Training rows that are searched.
        count: Number of neighbours of each row.

    Returns:
        For each row a list of neighbours, the most similar first. Each has `id`, `label`, `similarity`
        (cosine, -1..1) and the entries of `keep_rows`.
    """
    indices, similarity = nearest(features, training.features, count)
    labels = label_texts(training.rows, training.domain)
    inputs = inputs_of(training.rows.take(indices.ravel()), training.domain)
    names = [f"{stem}_near_{k}" for stem in stems for k in range(indices.shape[1])]
    kept = iter(keep_rows(folder, names, inputs, training.domain.modality, largest_side=_SIDE))
    return [
        [
            {"id": str(training.rows.ids[i]), "label": labels[i], "similarity": round(float(value), 4)}
            | next(kept)
            for i, value in zip(row, values, strict=True)
        ]
        for row, values in zip(indices, similarity, strict=True)
    ]


def label_texts(rows: Rows, domain: Domain) -> list[str]:
    """Returns the labels of rows as text. It is empty for rows without labels."""
    if rows.labels is None:
        return [""] * len(rows)
    if domain.task in ("multiclass", "binary"):
        return [domain.class_names[int(label)] for label in rows.labels]
    if domain.task == "multilabel":
        chosen = (np.flatnonzero(row) for row in rows.labels)
        return ["|".join(domain.class_names[i] for i in row) for row in chosen]
    return [",".join(f"{value:g}" for value in np.atleast_1d(row)) for row in rows.labels]
