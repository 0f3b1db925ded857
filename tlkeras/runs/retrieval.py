"""Computes features of files with the model of a run, and finds the nearest training images."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras.config import CacheConfig
from tlkeras.data import Domain
from tlkeras.data.files import require_readable
from tlkeras.data.list_files import lists_in
from tlkeras.errors import UserError
from tlkeras.evaluation.embedding import feature_model, features_of, nearest
from tlkeras.evaluation.nearest_training_rows import TrainingRows, label_texts
from tlkeras.maybe import MaybeNone
from tlkeras.prepare import read_domains
from tlkeras.run_dir import replacing
from tlkeras.runs.file_features import features_now, features_together
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


def embed_files(
    run: SavedRun,
    paths: str | os.PathLike | Iterable[str | os.PathLike],
    cache: CacheConfig | MaybeNone = None,
) -> Embedded:
    """Returns the features of image files and of all images in folders.

    Args:
        run: Finished run on images.
        paths: Paths of files and folders, or a single path.
        cache: Cache in which processes that embed the same files with the same model share the features, or
            None. It is not used for fewer than 129 files, for lists, or for files of many rows.

    Raises:
        UserError: A path does not exist, no file can be read, or the model takes vectors.
    """
    shared = None if cache is None or not cache.enabled else _embedded_together(run, paths, cache)
    if shared is not None:
        return shared
    features, names, skipped = run.outputs_for_files(feature_model(run.model).predict_on_batch, paths)
    return Embedded(names, features.reshape(len(names), -1).astype(np.float32), skipped)


def _embedded_together(run: SavedRun, paths, cache: CacheConfig) -> Embedded | None:
    """Returns the features of files that several processes may compute, or None where they cannot share."""
    files = None if lists_in(paths) else run.modality.input_files(paths)
    found = None if files is None else features_together(run, files, cache)
    if files is None or found is None:
        return None
    lost = np.flatnonzero(np.isnan(found).all(axis=1))
    # An error of reading may have passed since the row was kept, or meet this process alone.
    found[lost], bad = features_now(run, [files[row] for row in lost])
    there = np.ones(len(files), bool)
    there[lost] = [files[row] not in bad for row in lost]
    names = [file for file, kept in zip(files, there, strict=True) if kept]
    require_readable(names, list(bad.items()))
    return Embedded(names, found[there], list(bad.items()))


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
