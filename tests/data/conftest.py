"""Small made-up pictures for the data tests."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def picture():
    """Returns a function that makes a smooth `(h, w, 3)` uint8 picture from a seed."""

    def make(seed=0, height=24, width=32):
        rng = np.random.default_rng(seed)
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        return np.asarray(small.resize((width, height), Image.BICUBIC))

    return make


@pytest.fixture
def image_folder(tmp_path, picture):
    """Returns a function that writes `counts[split][class]` PNG pictures and returns the root."""

    def write(counts, suffix="png"):
        seed = 0
        for split, classes in counts.items():
            for name, count in classes.items():
                folder = tmp_path / "images" / split / name
                folder.mkdir(parents=True)
                for i in range(count):
                    Image.fromarray(picture(seed)).save(folder / f"{i:03d}.{suffix}")
                    seed += 1
        return tmp_path / "images"

    return write
