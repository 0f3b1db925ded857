"""What every script of a peer receives, and the line that it prints."""

import argparse
import importlib.metadata
import json
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One training that all peers do.

    Attributes:
        folder: Folder of the task with `train`, `val` and `test`, each with one folder of pictures per class.
        weights: The `.pth` file with the ImageNet weights of EfficientNet-Lite0.
        seed: Seed of the training.
        size: Side in pixels to which every peer resizes the pictures.
        choice: What a script with several ways trains, or None.
    """

    folder: Path
    weights: Path
    seed: int
    size: int
    choice: str | None = None


def read_job(choices: tuple[str, ...] = ()) -> Job:
    """Returns the job that the command line names. The first of `choices` is the default."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", required=True, type=Path, help="a folder that tasks.py wrote")
    parser.add_argument("--weights", required=True, type=Path, help="efficientnet-lite0-57934424.pth")
    parser.add_argument("--seed", type=int, default=0)
    if choices:
        parser.add_argument("--choice", choices=choices, default=choices[0])
    given = parser.parse_args()
    size = json.loads((given.task / "task.json").read_text(encoding="utf-8"))["size"]
    folder, weights = given.task.resolve(), given.weights.resolve()
    return Job(folder, weights, given.seed, size, getattr(given, "choice", None))


def report(
    job: Job, peer: str, accuracy: float, trained: tuple[float, float], packages: tuple[str, ...]
) -> None:
    """Prints one line of JSON, the last line of a script.

    Args:
        job: The job that was done.
        peer: Name of the peer.
        accuracy: Share of the test rows that are classified correctly.
        trained: Seconds of the training alone, without imports and evaluation, and the time of day at its
            end, as `time.time()` tells it.
        packages: Packages whose versions are printed.
    """
    found = {"peer": peer, "task": job.folder.name, "seed": job.seed, "accuracy": round(accuracy, 4)}
    found["training_seconds"], found["trained_at"] = round(trained[0], 2), trained[1]
    found["versions"] = {name: importlib.metadata.version(name) for name in packages}
    print("\n" + json.dumps(found), flush=True)


def cores() -> int:
    """Returns the number of cores that this process may use, as the number of workers that read pictures."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
