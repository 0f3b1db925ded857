"""One of several processes that compute one entry: `python one_worker.py FOLDER NAME INDEX SECONDS`.

It notes the shards that it has written in FOLDER/NAME.shards, and waits SECONDS before each. Until each of
`first` and `second` has two, neither gets further ahead, so that the faster one does not help the other.
"""

import sys
import time
from pathlib import Path

import ends_at_once  # noqa: F401
import numpy as np

from tlkeras.config import CacheConfig, DataConfig, ModelConfig
from tlkeras.data import load_domain
from tlkeras.features import unfinished
from tlkeras.features.cache import FeatureCache
from tlkeras.features.identity import Request
from tlkeras.models import build_model

BLOCK_ROWS = 32
SHARDS = 12  # 360 training rows in shards of 32


def compute(folder: Path, part: tuple[int, int], ready=lambda: None):
    """Returns the features of all rows, and the number of rows that this process has computed."""
    pixels = np.random.default_rng(0).integers(0, 255, (400, 16, 16, 3)).astype(np.uint8)
    arrays = {"train": (pixels, np.arange(400) % 2), "test": (pixels[:4], np.arange(4) % 2)}
    domain = load_domain(DataConfig(source="npz:memory", image_size=16), seed=0, arrays=arrays)
    model = ModelConfig(backbone="small_cnn", weights=None)
    trunk = build_model(model, input_shape=(16, 16, 3), num_outputs=2).trunk()
    ready()
    cache = FeatureCache(CacheConfig(dir=str(folder / "cache"), extractor="exact"), part=part)
    opened = cache.open(trunk, [Request(domain.splits["train"], domain, "train")])
    return opened.features[0].take(np.arange(360)), opened.computed_rows


def main(folder: Path, name: str, index: int, seconds: float) -> None:
    """Waits for a second process, computes with it, and writes the features to FOLDER/NAME.npy."""
    unfinished.BLOCK_ROWS = BLOCK_ROWS
    append = unfinished.LockedShard.append

    other = {"first": "second", "second": "first"}.get(name)

    def written(worker):
        log = folder / f"{worker}.shards"
        return len(log.read_text().split()) if log.exists() else 0

    def slow(self, rows):
        time.sleep(seconds)
        while other and written(other) < min(written(name), 2):
            time.sleep(0.01)
        done = append(self, rows)
        if done:
            with open(folder / f"{name}.shards", "a") as log:
                print(self.number, file=log)
        return done

    def wait_for_the_other():
        (folder / f"{name}.ready").touch()
        while len(list(folder.glob("*.ready"))) < 2:
            time.sleep(0.01)

    unfinished.LockedShard.append = slow
    features, computed = compute(folder, (index, 2), wait_for_the_other)
    np.save(folder / f"{name}.npy", features)
    print("computed", computed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
