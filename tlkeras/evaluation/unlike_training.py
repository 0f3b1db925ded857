"""How unlike the training rows a row is: its distance to their features."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tlkeras.evaluation.embedding import features_of, unit_vectors
from tlkeras.evaluation.nearest_training_rows import TrainingRows
from tlkeras.evaluation.predictions import Predictions
from tlkeras.models.cuts.graph import has_layer
from tlkeras.run_dir import replacing

FILE = "unlike_training.npz"  # in the folder evaluation/ of a run
NEIGHBORS = 5
QUANTILE = 0.95
_MEASURED = 1000  # validation rows of a domain whose features are computed if they are not known


@dataclass(frozen=True)
class UnlikeTraining:
    """The distance of rows to the features of the training rows (Sun et al. 2022, deep nearest neighbours).

    Attributes:
        reference: Features of training rows, divided by their lengths, float16 `(m, d)`.
        threshold: Distance below which 95 % of the validation rows lie.
        rows: Number of these validation rows.
    """

    reference: np.ndarray
    threshold: float
    rows: int

    @classmethod
    def measure(cls, training: np.ndarray, validation: np.ndarray) -> "UnlikeTraining":
        """Makes the score from features.

        Args:
            training: Features of training rows, float `(m, d)`.
            validation: Features of validation rows, float `(n, d)`. They set the threshold.
        """
        reference = unit_vectors(training).astype(np.float16)
        distances = _distances(validation, reference)
        threshold = max(float(np.quantile(distances, QUANTILE)), 1e-6)
        return cls(reference, threshold, len(distances))

    def score(self, features: np.ndarray) -> np.ndarray:
        """Returns the distance of each row to the training rows, relative to the threshold, float64 `(n,)`.

        It is the Euclidean distance to the fifth nearest training row, between features of length 1. 95 % of
        the validation rows have a score below 1. A larger score means that a row is unlike the training rows.

        Args:
            features: Features of rows, float `(n, d)`.
        """
        return _distances(features, self.reference) / self.threshold

    def save(self, path: str | os.PathLike) -> None:
        """Writes an `.npz` file, atomically."""
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, reference=self.reference, threshold=self.threshold, rows=self.rows)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "UnlikeTraining":
        """Reads a file that `save` wrote."""
        with np.load(path, allow_pickle=False) as kept:
            return cls(kept["reference"], float(kept["threshold"]), int(kept["rows"]))


def write_unlike_training(
    path: str | os.PathLike,
    training: Iterable[TrainingRows],
    evaluated: Mapping[str, Mapping[str, Predictions]],
) -> None:
    """Writes the score of a run. Without validation rows, or without a layer `features`, nothing is written.

    Args:
        path: Path of the file.
        training: Training rows of each domain on which the model was trained. Validation rows of the same
            domains set the threshold.
        evaluated: Predictions by domain and split, with the features that are known already.
    """
    training = [rows for rows in training if has_layer(rows.model, "features")]
    validated = [rows for rows in training if "val" in evaluated.get(rows.domain.name, ())]
    if validated:
        measured = [_validation_features(rows, evaluated[rows.domain.name]["val"]) for rows in validated]
        reference = np.concatenate([rows.features for rows in training])
        UnlikeTraining.measure(reference, np.concatenate(measured)).save(path)


def _validation_features(rows: TrainingRows, known: Predictions) -> np.ndarray:
    if known.features is not None:
        return known.features
    return features_of(rows.model, rows.domain.splits["val"].spread(_MEASURED), rows.domain)


def _distances(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns the distance of each row to its fifth nearest reference row, float64 `(n,)`."""
    known, last = reference.astype(np.float32), min(NEIGHBORS, len(reference)) - 1
    found = []
    for part in np.array_split(unit_vectors(features), 1 + len(features) // 512):
        squares = (part**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * part @ known.T
        found.append(np.partition(squares, last, axis=1)[:, last])
    return np.sqrt(np.maximum(np.concatenate(found).astype(np.float64), 0))
