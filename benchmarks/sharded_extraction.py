"""Compares the extraction of features by two workers of one core each with that by one worker of one core.

Command:  python benchmarks/sharded_extraction.py [--rows=4000] [--pairs=5] [--kills=10] [--folder=DIR]
Time:     half an hour on two CPU cores.

MobileNetV2 with random weights at 160 px reads JPEG files that the script makes. The two sides of a pair run
one after the other and take turns at being first. A third pass shows what the machine can give: two workers
that share nothing, with half of the rows each. The time begins when all workers have built the network, and
ends when the last one has all features; the look at all files is part of it. Keys and shards of all passes
are compared. Then both of two workers are killed (SIGKILL) at random moments of each of several passes, and
one worker goes on.
"""

import argparse
import hashlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from made_up_images import make_folder
from measuring import interval

from tlkeras.features.store import FeatureStore


def main() -> None:
    """Prints a line per pair and per kill, and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=None)
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="sharded-"))
    pictures = make_folder(folder / f"pictures{asked.rows}", asked.rows, size=192)
    half = make_folder(folder / f"pictures{asked.rows // 2}", asked.rows // 2, size=192)
    folder = Path(tempfile.mkdtemp(prefix="passes", dir=folder))
    ratios, possible, wanted = [], [], None
    for i in range(asked.pairs):
        sides = [(1, folder / f"one{i}"), (2, folder / f"two{i}")]
        found = {}
        for workers, place in sides if i % 2 else sides[::-1]:
            found[workers] = finished(started(place, pictures, workers))
            wanted = wanted or content(place)
            assert content(place) == wanted, "features, key or shards differ"
        (one, cpu_one), (two, cpu_two) = found[1], found[2]
        apart, cpu_apart = finished(
            [*started(folder / f"left{i}", half, 1), *started(folder / f"right{i}", half, 1, cores=[1])]
        )
        ratios.append(one / two)
        possible.append(one / apart)
        print(
            f"one worker {one:.1f} s ({cpu_one:.1f} s of CPU), two {two:.1f} s ({cpu_two:.1f} s): "
            f"{one / two:.2f} times as fast; two that share nothing {apart:.1f} s ({cpu_apart:.1f} s): "
            f"{one / apart:.2f}",
            flush=True,
        )
    for what, found in (("two workers", ratios), ("two that share nothing", possible)):
        if found:
            low, high = interval(found)
            print(
                f"{what}: median {statistics.median(found):.2f} times as fast ({min(found):.2f} to "
                f"{max(found):.2f}, 95 % {low:.2f} to {high:.2f}); {cpus()}"
            )
    for i in range(asked.kills):
        place = folder / f"killed{i}"
        print(kill_one(place, pictures, wanted), flush=True)


def started(place: Path, pictures: Path, workers: int, name: str = "w", cores=None) -> list[subprocess.Popen]:
    """Starts workers that wait for each other before the pass."""
    place.mkdir(exist_ok=True)
    for left in place.glob("*.ready"):
        left.unlink()
    options = [json.dumps([str(place), str(pictures), f"{name}{i}", i, workers]) for i in range(workers)]
    here = Path(__file__).parent / "sharded_extraction_worker.py"
    return [
        subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, str(here), text], stdout=subprocess.PIPE
        )
        for core, text in zip(cores or range(workers), options, strict=True)
    ]


def finished(processes: list[subprocess.Popen]) -> tuple[float, float]:
    """Returns the seconds of a pass and the CPU seconds of all its workers."""
    results = [json.loads(process.communicate()[0].splitlines()[-1]) for process in processes]
    seconds = max(result["end"] for result in results) - max(result["begin"] for result in results)
    return seconds, sum(result["cpu"] for result in results)


def kill_one(place: Path, pictures: Path, wanted) -> str:
    """Kills both of two workers at random moments, and starts one again. Returns what happened."""
    processes = started(place, pictures, 2)
    while len(list(place.glob("*.ready"))) < 2:
        time.sleep(0.05)
    time.sleep(random.uniform(0.5, 12))
    processes[0].kill()
    time.sleep(random.uniform(0, 3))
    processes[1].kill()
    for process in processes:
        process.communicate()
    before = [number for log in place.glob("*.shards") for number in log.read_text().split()]
    finished(started(place, pictures, 1, "again"))
    numbers = [number for log in place.glob("*.shards") for number in log.read_text().split()]
    assert len(numbers) == len(set(numbers)), "a finished shard was computed twice"
    assert wanted is None or content(place) == wanted, "the entry differs from an undisturbed one"
    return f"killed after {len(before)} of {len(numbers)} shards: whole, equal, none computed twice"


def content(place: Path) -> tuple[str, list[str]]:
    """Returns the key of the only entry, and the digests of its shards."""
    store = FeatureStore(place / "cache")
    (info,) = store.entries()
    assert store.damaged(info) is None
    return info.key, [hashlib.sha256(path.read_bytes()).hexdigest() for path in store.shards(info)]


def cpus() -> str:
    """Returns the load of the machine."""
    return f"load {np.array(Path('/proc/loadavg').read_text().split()[:3], float).mean():.1f}"


if __name__ == "__main__":
    main()
