"""Computes features of files with the model of a run, and finds the nearest training images."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras.data import Domain
from tlkeras.errors import UserError
from tlkeras.evaluation.embedding import feature_model, features_of, nearest
from tlkeras.evaluation.nearest_training_rows import TrainingRows, label_texts
from tlkeras.prepare import read_domains
from tlkeras.run_dir import replacing
from tlkeras.runs.saved_run import SavedRun


@dataclass(frozen=True)
class Embedded:
    """Feature vectors of files.

    Attributes:
        names: Paths of the files that could be read.
        features: Feature vectors, float32 `(n, d)`.
        skipped: Pairs `(path, reason)` of the files that could not be read.
    """

    names: list[str]
    features: np.ndarray
    skipped: list[tuple[str, str]]


def embed_files(run: SavedRun, paths: str | os.PathLike | Iterable[str | os.PathLike]) -> Embedded:
    """Returns the features of image files and of all images in folders.

    Args:
        run: Finished run on images.
        paths: Paths of files and folders, or a single path.

    Raises:
        UserError: A path does not exist, no file can be read, or the model takes vectors.
    """
    features, names, skipped = run.outputs_for_files(feature_model(run.model).predict_on_batch, paths)
    return Embedded(names, features.reshape(len(names), -1).astype(np.float32), skipped)


def folder_labels(names: Iterable[str], paths: Iterable[str | os.PathLike]) -> list[str | None]:
    """Returns the class folder of each file, or None for a file that is in no class folder.

    Args:
        names: Paths of files, as returned by `embed_files`.
        paths: Paths that `embed_files` received. The direct subfolders of these folders are the classes.
    """
    roots = [Path(path) for path in paths]
    found: list[str | None] = []
    for name in map(Path, names):
        below = [name.relative_to(root).parts for root in roots if root in name.parents]
        found.append(next((parts[0] for parts in below if len(parts) > 1), None))
    return found


def nearest_training_rows(run: SavedRun, features: np.ndarray, count: int) -> list[list[dict]]:
    """Returns the most similar training rows of each feature vector: `id`, `label` and `similarity`.

    Args:
        run: Finished run whose data still exist.
        features: Feature vectors, float `(n, d)`.
        count: Number of neighbours of each vector.

    Raises:
        UserError: The data of the run are missing, or differ from those it was trained on.
    """
    training = training_rows(run)
    labels = label_texts(training.rows, training.domain)
    indices, similarity = nearest(features, training.features, count)
    return [
        [
            {"id": str(training.rows.ids[i]), "label": labels[i], "similarity": round(float(value), 6)}
            for i, value in zip(row, values, strict=True)
        ]
        for row, values in zip(indices, similarity, strict=True)
    ]


def training_rows(run: SavedRun) -> TrainingRows:
    """Returns all training rows of a run with their features.

    The features are computed once and stored in the folder `evaluation/` of the run.

    Raises:
        UserError: The data of the run are missing, or differ from those it was trained on.
    """
    domain = read_domains(run.data_config.model_copy(update={"adaptation": None}))["source"]
    if domain.fingerprint() != run.manifest["data_fingerprint"]["source"]:
        raise UserError(
            "The nearest training images need the data that the run was trained on, but the data of its "
            f"config have changed. Received: data.source={run.config.data.source!r}"
        )
    rows = domain.splits["train"]
    return TrainingRows(run.model, domain, run.config.seed, _kept_features(run, domain), most=len(rows))


def _kept_features(run: SavedRun, domain: Domain) -> np.ndarray:
    path, rows, stamp = run.run_dir.evaluation / "features_train.npz", domain.splits["train"], _stamp(run)
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            if str(kept["model"]) == stamp and len(kept["features"]) == len(rows):
                return kept["features"]
    features = features_of(run.model, rows, domain)
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, features=features, model=np.array(stamp))
    return features


def _stamp(run: SavedRun) -> str:
    """Returns a text that changes if the model file changes. It is stored with the features."""
    facts = run.run_dir.best_model.stat()
    return f"{facts.st_size} {facts.st_mtime_ns}"
