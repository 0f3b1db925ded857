"""Compares sources of the same rows: a folder of files, TFRecord files and tar files.

Command:  python benchmarks/shards.py [--rows=100000] [--folder=DIR]
Time:     about ten minutes on two CPU cores.

The folder has 100,000 names of 2,000 made-up JPEG files of 64 x 64 pixels. They are hard links, so that
the work per row is measured and not the disk. `write_shards` writes them into shards of 64 MiB. Each source
is then loaded twice with one cache directory, and rows are read in the random order of training: only their
bytes, and as batches of decoded pictures. The sources take turns, and medians of five turns are printed.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from made_up_images import make_folder

READ, TURNS, BATCH = 10_000, 5, 100


def main() -> None:
    """Writes the shards and prints a line for each source."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "tlkeras_shards"))
    arguments = parser.parse_args()
    place = Path(arguments.folder)
    links = linked(place, make_folder(place / "pictures", 2000, size=64), arguments.rows)

    from tlkeras.config import DataConfig
    from tlkeras.data import load_domain
    from tlkeras.data.shard_writing import FORMATS, write_shards

    shutil.rmtree(place / "cache", ignore_errors=True)
    sources, found = {"folder": links}, {"folder": {}}
    source = load_domain(DataConfig(source=f"folder:{links}", image_size=64), seed=0)
    for kind in FORMATS:
        shutil.rmtree(place / kind, ignore_errors=True)
        began = time.perf_counter()
        written = write_shards(source, str(place / kind), kind, 64)
        sources[kind], seconds = place / kind, time.perf_counter() - began
        found[kind] = {"written": round(written.rows / seconds), "files": written.shards}
        for path in (place / kind).iterdir():
            os.utime(path, (1_600_000_000, 1_600_000_000))  # old enough to be kept in the cache
    domains = {}
    for kind, folder in sources.items():
        config = DataConfig(source=f"{kind}:{folder}", image_size=64, memory_mb=0)
        for which in ("first_load_s", "second_load_s"):
            began = time.perf_counter()
            domains[kind] = load_domain(config, seed=0, kept_in=place / "cache")
            found[kind][which] = round(time.perf_counter() - began, 1)
    turns = [{kind: read(domain, turn) for kind, domain in domains.items()} for turn in range(TURNS)]
    for kind in sources:
        for which in ("bytes", "pictures"):
            found[kind][f"{which}_per_s"] = round(statistics.median(turn[kind][which] for turn in turns))
        print(json.dumps({"source": kind, "rows": arguments.rows, **found[kind]}), flush=True)


def linked(place: Path, pictures: Path, count: int) -> Path:
    """Returns a folder with `count` names of the pictures. It does nothing if the folder is complete."""
    links, files = place / "links", sorted(pictures.rglob("*.jpg"))
    if (links / "DONE").exists():
        return links
    for number in range(count):
        file = files[number % len(files)]
        folder = links / file.parent.name
        if number < len(files):
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number // len(files):04}_{file.name}").hardlink_to(file)
    (links / "DONE").touch()
    return links


def read(domain, turn: int) -> dict[str, float]:
    """Returns how many rows per second are read in the order of an epoch."""
    from tlkeras.data import epoch_order, training_batches
    from tlkeras.data.scan import contents

    rows = domain.splits["train"]
    began = time.perf_counter()
    for row in epoch_order(len(rows), 0, turn)[:READ]:
        contents(rows.inputs[int(row)])
    read_bytes = READ / (time.perf_counter() - began)
    batches = training_batches(rows, domain, batch_size=BATCH, seed=turn, steps=READ // BATCH)
    began = time.perf_counter()
    for _ in batches:
        pass
    return {"bytes": read_bytes, "pictures": READ / (time.perf_counter() - began)}


if __name__ == "__main__":
    main()
