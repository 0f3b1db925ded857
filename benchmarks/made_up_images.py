"""Writes JPEG files of made-up pictures, which cost about as much to read and decode as photographs."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = 10


def make_folder(folder: Path, count: int, size: int = 224, seed: int = 0) -> Path:
    """Writes `folder/train/class_K/*.jpg` and returns `folder`. It does nothing if the folder exists.

    Args:
        folder: Folder of the images.
        count: Number of pictures, which are divided evenly among ten classes.
        size: Side in pixels.
        seed: Seed of the pictures.
    """
    done = folder / "DONE"
    if done.exists():
        return folder
    for label in range(CLASSES):
        (folder / "train" / f"class_{label}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_write, [folder] * count, range(count), [size] * count, [seed] * count, chunksize=64))
    done.touch()
    return folder


def _write(folder: Path, number: int, size: int, seed: int) -> None:
    rng = np.random.default_rng([seed, number])
    label = number % CLASSES
    coarse = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, r = rng.integers(size // 8, size - size // 8, 3) // np.array([1, 1, 4])
        hue = tuple(int(255 * (0.5 + 0.5 * np.sin(label * 0.6 + k * 2.1))) for k in range(3))
        box = (x - r, y - r, x + r, y + r)
        draw.ellipse(box, fill=hue) if label % 2 else draw.rectangle(box, fill=hue)
    pixels = np.asarray(image, np.int16) + rng.integers(-8, 9, (size, size, 3), dtype=np.int16)
    path = folder / "train" / f"class_{label}" / f"{number:06d}.jpg"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
