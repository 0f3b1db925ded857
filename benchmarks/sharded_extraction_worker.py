"""One worker of `sharded_extraction.py`, pinned to a core by its caller. It prints times as JSON."""

import json
import sys
import time
from pathlib import Path

from tlkeras.config import CacheConfig, DataConfig, ModelConfig
from tlkeras.data import load_domain
from tlkeras.features import unfinished
from tlkeras.features.cache import FeatureCache
from tlkeras.features.identity import Request
from tlkeras.models import build_model


def main(place: str, pictures: str, name: str, index: int, workers: int) -> None:
    """Computes the features of all training rows together with the other workers."""
    append, folder = unfinished.LockedShard.append, Path(place)

    def noted(self, rows):
        done = append(self, rows)
        if done:
            with open(folder / f"{name}.shards", "a") as log:
                print(self.number, file=log)
        return done

    unfinished.LockedShard.append = noted
    data = DataConfig(source=f"folder:{pictures}", image_size=160, val_fraction=0, test_fraction=0)
    domain = load_domain(data, seed=0, kept_in=folder / "cache")
    config = ModelConfig(backbone="mobilenet_v2", weights=None)
    trunk = build_model(config, input_shape=(160, 160, 3), num_outputs=10, seed=0).trunk()
    (folder / f"{name}.ready").touch()
    while len(list(folder.glob("*.ready"))) < workers:
        time.sleep(0.01)
    begin, cpu = time.time(), time.process_time()
    cache = FeatureCache(CacheConfig(dir=str(folder / "cache")), threads=1, part=(index, workers))
    cache.open(trunk, [Request(domain.splits["train"], domain, "train")])
    print(json.dumps({"begin": begin, "end": time.time(), "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main(*json.loads(sys.argv[1]))
