"""Writes Fashion-MNIST as a folder of PNG files: DIR/train/CLASS/*.png (500 rows), DIR/val, DIR/test.

Keras looks for the data under KERAS_HOME/datasets and downloads it otherwise.

Command:  python benchmarks/fashion_folder.py DIR
"""

import sys
from pathlib import Path

import keras
import numpy as np
from PIL import Image

CLASSES = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
ROWS = {"train": 500, "val": 200, "test": 2000}


def main(folder: Path) -> None:
    """Writes balanced splits, drawn with a fixed seed."""
    (x, y), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    used = {"train": _balanced(y, order, ROWS["train"]), "test": _balanced(y_test, None, ROWS["test"])}
    used["val"] = _balanced(y, np.setdiff1d(order, used["train"], assume_unique=True), ROWS["val"])
    for split, rows in used.items():
        images, labels = (x_test, y_test) if split == "test" else (x, y)
        for row in rows:
            place = folder / split / CLASSES[labels[row]]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(place / f"{row}.png")


def _balanced(labels: np.ndarray, order: np.ndarray | None, count: int) -> np.ndarray:
    order = np.arange(len(labels)) if order is None else order
    per_class = count // len(CLASSES)
    return np.concatenate([order[labels[order] == c][:per_class] for c in range(len(CLASSES))])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
