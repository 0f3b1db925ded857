"""Pictures as a model gets them, and as small files."""

from pathlib import Path

import numpy as np

from tlkeras.data import Domain, evaluation_batches
from tlkeras.data.rows import Rows
from tlkeras.run_dir import replacing

LARGEST_SIDE = 320


def pixels_of(rows: Rows, domain: Domain) -> np.ndarray:
    """Returns the pixels of rows as the model gets them, float32 `(n, h, w, 3)` in 0..255."""
    batches = evaluation_batches(rows, domain, batch_size=min(len(rows), 64))
    return np.concatenate([np.asarray(x) for x, _, _ in batches])


def save_png(path: Path, pixels: np.ndarray, largest_side: int = LARGEST_SIDE) -> None:
    """Writes pixels in 0..255, `(h, w)` or `(h, w, 3)`, made smaller where they exceed `largest_side`."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.clip(np.round(np.nan_to_num(pixels)), 0, 255).astype(np.uint8))
    image.thumbnail((largest_side, largest_side))
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")
