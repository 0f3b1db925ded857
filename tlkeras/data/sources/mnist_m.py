"""MNIST-M: digits blended into patches of photographs (Ganin et al. 2016, section 5.2.4)."""

from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.decode import decode
from tlkeras.data.file_kinds import IMAGES, files_below
from tlkeras.data.rows import Rows
from tlkeras.data.sources.base import SOURCES, Source, Table
from tlkeras.data.sources.emoji import package
from tlkeras.errors import UserError, unknown

# Photographs with much texture, because dark ones would leave no domain gap. The paper used BSDS500.
_SKIMAGE = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png")
_SKLEARN = ("china.jpg", "flower.jpg")


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Blends every digit of another source: `mnist_m:npz:FILE` or `mnist_m:tfds:mnist`.

    Each pixel becomes `abs(patch - 255 * (x > 0))` with one random patch per digit. Nothing else is random.
    With `?photos=DIR` at the end, the photographs are read from a folder.
    """
    argument, _, folder = argument.partition("?photos=")
    kind, _, rest = argument.partition(":")
    if kind not in ("npz", "tfds", "digits"):
        raise unknown("digits source for mnist_m", kind, ("npz", "tfds", "digits"))
    table = SOURCES.get(kind).load(rest, config, seed)
    photos = photographs(folder)
    splits = {}
    for number, (split, rows) in enumerate(sorted(table.splits.items())):
        rng = np.random.default_rng([seed, number])
        splits[split] = Rows(blend(_digits(rows), photos, rng), rows.labels, rows.ids)
    return Table(splits, table.class_names, table.final)


def _digits(rows: Rows) -> np.ndarray:
    if rows.kind == "bytes":
        return np.stack([decode(content)[..., 0] for content in rows.inputs])
    if rows.kind != "images":
        raise UserError(f"mnist_m needs grey images. Received: {rows.kind}")
    return rows.inputs[..., 0] if rows.inputs.ndim == 4 else rows.inputs


def blend(digits: np.ndarray, photos: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Blends digits into random patches of photographs. Returns `uint8` `(n, h, w, 3)`.

    Args:
        digits: Grey digits `(n, h, w)`.
        photos: Photographs `(height, width, 3)`, uint8.
        rng: Random generator.
    """
    count, height, width = digits.shape
    blended = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        photo = photos[rng.integers(len(photos))]
        top = rng.integers(photo.shape[0] - height + 1)
        left = rng.integers(photo.shape[1] - width + 1)
        patch = photo[top : top + height, left : left + width].astype(np.int16)
        blended[i] = np.abs(patch - 255 * (digits[i] > 0)[..., None])
    return blended


def photographs(folder: str = "") -> list[np.ndarray]:
    """Reads the photographs of a folder, or those that scikit-image and scikit-learn contain."""
    if folder:
        files = files_below(Path(folder).expanduser(), IMAGES)
        if not files:
            raise UserError(f"mnist_m: the folder holds no photographs. Received: photos={folder}")
    else:
        files = [str(file) for file in _shipped_photographs()]
    return [decode(Path(file).read_bytes()) for file in files]


def _shipped_photographs() -> list[Path]:
    folders = {"skimage": package("skimage", "scikit-image") / "data"}
    folders["sklearn"] = package("sklearn", "scikit-learn") / "datasets" / "images"
    return [folders["skimage"] / n for n in _SKIMAGE] + [folders["sklearn"] / n for n in _SKLEARN]


SOURCE = Source(
    "mnist_m",
    "mnist_m:npz:FILE | mnist_m:tfds:mnist",
    "digits of another source blended into photographs",
    load,
)
