"""The training pictures that lie nearest, to the model, to pictures it got wrong."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tlkeras.data import Domain
from tlkeras.data.rows import Rows
from tlkeras.evaluation.embedding import features_of, nearest
from tlkeras.evaluation.picture_files import pixels_of, save_png

COUNT = 3
SEARCHED = 5000  # rows at most: their features take one pass of the network, as an epoch does
_SIDE = 96


@dataclass
class TrainingRows:
    """The training rows among which neighbours are looked for; features are computed once, when asked for.

    Args:
        model: Raw images to logits, with a layer `features`.
        domain: The labelled domain that the model was trained on.
        seed: Which rows are searched where there are more than `SEARCHED`.
        known: Features of all training rows, float `(n, d)`, where somebody has them already.
    """

    model: keras.Model
    domain: Domain
    seed: int = 0
    known: np.ndarray | None = None

    @cached_property
    def rows(self) -> Rows:
        """The rows that are searched."""
        rows = self.domain.splits["train"]
        if len(rows) <= SEARCHED:
            return rows
        return rows.take(np.sort(np.random.default_rng(self.seed).permutation(len(rows))[:SEARCHED]))

    @cached_property
    def features(self) -> np.ndarray:
        """Their features, float32 `(n, d)`."""
        if self.known is not None and len(self.known) == len(self.rows):
            return self.known
        return features_of(self.model, self.rows, self.domain)


def write_neighbors(
    folder: Path, stems: list[str], features: np.ndarray, training: TrainingRows
) -> list[list[dict[str, Any]]]:
    """Writes the nearest training pictures of each image, small, as `STEM_near_0.png` and so on.

    Args:
        folder: Where they go.
        stems: What the files of each image begin with.
        features: Of the images, float `(n, d)`.
        training: Where neighbours are looked for.

    Returns:
        For each image, the most similar first: `id`, `label`, `similarity` (cosine, -1..1), `picture`.
    """
    indices, similarity = nearest(features, training.features, COUNT)
    pixels = pixels_of(training.rows.take(indices.ravel()), training.domain)
    pixels = pixels.reshape(*indices.shape, *pixels.shape[1:])
    labels = label_texts(training.rows, training.domain)
    found = []
    for stem, row, values, pictures in zip(stems, indices, similarity, pixels, strict=True):
        found.append([])
        for k, (i, value) in enumerate(zip(row, values, strict=True)):
            name = f"{stem}_near_{k}.png"
            save_png(folder / name, pictures[k], _SIDE)
            facts = {
                "id": str(training.rows.ids[i]),
                "label": labels[i],
                "similarity": round(float(value), 4),
            }
            found[-1].append(facts | {"picture": name})
    return found


def label_texts(rows: Rows, domain: Domain) -> list[str]:
    """Returns the labels of rows as people read them, empty texts where there are none."""
    if rows.labels is None:
        return [""] * len(rows)
    if domain.task in ("multiclass", "binary"):
        return [domain.class_names[int(label)] for label in rows.labels]
    if domain.task == "multilabel":
        chosen = (np.flatnonzero(row) for row in rows.labels)
        return ["|".join(domain.class_names[i] for i in row) for row in chosen]
    return [",".join(f"{value:g}" for value in np.atleast_1d(row)) for row in rows.labels]
