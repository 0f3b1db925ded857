"""The feature space of a model: features of rows, their plot in the plane, nearest neighbours."""

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from tlkeras.data import Domain, evaluation_batches
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError
from tlkeras.evaluation.embedding_file import as_bytes
from tlkeras.lazy import LateModule
from tlkeras.models.cuts.graph import has_layer, inputs_of, output_of
from tlkeras.run_dir import replacing

sklearn = LateModule("sklearn")
threadpoolctl = LateModule("threadpoolctl")

ROWS = 250  # rows per domain: enough to see clusters, and t-SNE takes a second or two
_THUMBNAIL = 32
_QUERIES = 1000  # that are compared with all rows at once
_PARTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def feature_model(model: keras.Model) -> keras.Model:
    """Returns the part of a saved model from raw inputs to feature vectors, the outputs of layer `features`.

    The result is cached per model, so that its `predict` is compiled only once.

    Raises:
        UserError: The model has no such layer.
    """
    if model in _PARTS:
        return _PARTS[model]
    if not has_layer(model, "features"):
        raise UserError(f"The model has no layer called 'features'. Received: model {model.name!r}")
    # with a name that does not depend on how many models the process has made
    part = keras.Model(inputs_of(model), output_of(model, "features"), name="part_with_features")
    return _PARTS.setdefault(model, part)


def features_of(model: keras.Model, rows: Rows, domain: Domain, batch_size: int = 32) -> np.ndarray:
    """Returns the feature vectors of rows, float32 `(n, d)`.

    Args:
        model: Model from raw inputs to logits.
        rows: Rows of any split.
        domain: Domain of the rows.
        batch_size: Number of rows per step.
    """
    batches = evaluation_batches(rows, domain, batch_size=batch_size)
    features = feature_model(model).predict(batches, verbose=0)
    return np.asarray(features, np.float32).reshape(len(rows), -1)


def write_embedding(
    path: Path,
    model: keras.Model,
    domains: dict[str, Domain],
    *,
    seed: int = 0,
    rows: int = ROWS,
    known: Mapping[str, Mapping[str, np.ndarray | None]] | None = None,
) -> None:
    """Writes an `.npz` with the features of examples of all domains, and with their places in the plane.

    It contains `coordinates` float32 `(n, 2)`, `features` float16 `(n, d)`, `domain` int `(n,)` (index of
    `domain_names`), `label` int `(n,)` (index of `class_names`, or -1 without a label), `ids`, and for images
    `thumbnails` uint8 `(n, h, w, 3)`.

    Args:
        path: Path of the file, e.g. `RUN/evaluation/embedding_before.npz` or `embedding_after.npz`.
        model: Model from raw inputs to logits with a layer `features`.
        domains: Domains by name. Rows are drawn from the test split, or from the last existing split.
        seed: Seed of the choice of rows and of t-SNE.
        rows: Largest number of rows per domain.
        known: Features of whole splits by domain and split that are computed already, or None.
    """
    drawn, features = {}, []
    for name, domain in domains.items():
        split = next(split for split in ("test", "val", "train") if domain.splits.get(split))
        chosen = _chosen(len(domain.splits[split]), rows, seed)
        drawn[name] = domain.splits[split].take(chosen)
        whole = (known or {}).get(name, {}).get(split)
        features.append(features_of(model, drawn[name], domain) if whole is None else whole[chosen])
    features = np.concatenate(features)
    arrays = {
        "coordinates": plane(features, seed),
        "features": features.astype(np.float16),
        "domain": np.repeat(np.arange(len(drawn)), [len(part) for part in drawn.values()]),
        "domain_names": as_bytes(list(drawn)),
        "label": np.concatenate([_labels(part, domains[name]) for name, part in drawn.items()]),
        "class_names": as_bytes(next(iter(domains.values())).class_names),
        "ids": as_bytes([str(id) for part in drawn.values() for id in part.ids]),
    }
    thumbnails = concatenated([thumbnails_of(drawn[name], domains[name]) for name in drawn])
    if thumbnails is not None:
        arrays["thumbnails"] = thumbnails
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def plane(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Maps features to the plane by PCA and t-SNE (van der Maaten and Hinton 2008).

    Args:
        features: Features `(n, d)`.
        seed: Seed of both.

    Returns:
        Places float32 `(n, 2)`.
    """
    features = np.nan_to_num(np.asarray(features, np.float64))
    width = min(32, *features.shape)
    if len(features) < 5 or width < 2 or np.ptp(features) == 0:
        padded = np.zeros((len(features), 2), np.float32)
        padded[:, : min(2, features.shape[1])] = features[:, :2]
        return padded
    tsne = sklearn.manifold.TSNE(
        2, perplexity=min(30.0, (len(features) - 1) / 3), init="pca", random_state=seed, max_iter=500
    )
    # Threads that wait for each other take a minute on a busy machine.
    with threadpoolctl.threadpool_limits(1):
        reduced = sklearn.decomposition.PCA(width, random_state=seed).fit_transform(features)
        reduced /= max(reduced.std(), 1e-12)
        return tsne.fit_transform(reduced).astype(np.float32)


def nearest(
    queries: np.ndarray, features: np.ndarray, count: int, *, among_others: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of `features` with the largest cosine similarity to each query, in falling order.

    Args:
        queries: Features of the queries, float `(q, d)`.
        features: Features to search, float `(n, d)`.
        count: Number of neighbours per query. If there are fewer rows, all of them are returned.
        among_others: Whether the queries are `features` themselves, and a row is not its own neighbour.

    Returns:
        `(indices, similarities)`: int64 `(q, count)`, and float32 `(q, count)` in -1..1.
    """
    known = unit_vectors(features)
    count = min(count, len(known) - among_others)
    indices, similarities = [], []
    for begin in range(0, max(len(queries), 1), _QUERIES):
        similarity = unit_vectors(queries[begin : begin + _QUERIES]) @ known.T
        if among_others:
            own = np.arange(len(similarity))
            similarity[own, begin + own] = -np.inf
        chosen = np.sort(np.argpartition(-similarity, count - 1, axis=1)[:, :count], axis=1)
        found = np.take_along_axis(similarity, chosen, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        indices.append(np.take_along_axis(chosen, order, axis=1))
        similarities.append(np.take_along_axis(found, order, axis=1))
    return np.concatenate(indices), np.concatenate(similarities)


def unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors `(n, d)` divided by their lengths, float32. A vector of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)


def _chosen(rows: int, count: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def _labels(rows: Rows, domain: Domain) -> np.ndarray:
    if rows.labels is None or domain.task not in ("multiclass", "binary"):
        return np.full(len(rows), -1)
    return rows.labels.astype(np.int64)


def thumbnails_of(rows: Rows, domain: Domain) -> np.ndarray | None:
    """Returns small pictures of rows, uint8 `(n, 32, 32, 3)`, or None if they cannot be shown as pictures."""
    size, parts = (_THUMBNAIL, _THUMBNAIL), []
    for x, _, _ in evaluation_batches(rows, domain, batch_size=64):
        pictures = domain.modality.pictures(x)
        if pictures is None:
            return None
        parts.append(ops.image.resize(ops.cast(pictures, "float32"), size, antialias=True))
    return np.clip(ops.convert_to_numpy(ops.concatenate(parts)), 0, 255).astype(np.uint8)


def concatenated(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Returns arrays as one, `(n, ...)`, or None if one of them is missing."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if len(present) == len(parts) else None
