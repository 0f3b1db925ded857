"""The loss of small backbones in mixed precision beside float32, on scikit-learn's digits.

    python benchmarks/precision.py [--seeds=3] [--epochs=20] [--networks=vit_tiny,...]

Networks of the same seed start from the same weights and see the same batches, in float32 and in mixed
precision. The script prints the training loss after some epochs (mean over the seeds) and the test accuracy
of each seed. It also prints the largest distance between the curves of a precision and of float32 at the same
seed, in the mean over epochs, and beside it the largest distance between two seeds in float32.
"""

import argparse
import contextlib
import csv
import io
import itertools
import tempfile
from pathlib import Path

import numpy as np

from tlkeras import run_experiment
from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    RuntimeConfig,
    ScheduleConfig,
    StageConfig,
)

NETWORKS = {
    "vit_tiny": {"width": 64, "depth": 4, "heads": 4, "patch": 8},
    "swinv2_tiny": {"width": 24, "depths": [2, 2], "heads": 2, "window": 4},
    "convnextv2_atto": {"width": 16, "depths": [1, 1, 2, 1]},
}
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def curve(network: str, precision: str, seed: int, epochs: int, folder: Path) -> tuple[np.ndarray, float]:
    """Returns the training loss of each epoch and the test accuracy of a run."""
    optimizer = OptimizerConfig(
        name="adamw", learning_rate=1e-3, weight_decay=0.05, global_clipnorm=1.0,
        schedule=ScheduleConfig(name="cosine", warmup_steps=40),
    )  # fmt: skip
    config = ExperimentConfig(
        seed=seed,
        data=DataConfig(source="digits", image_size=32, batch_size=32),
        model=ModelConfig(backbone=network, weights=None, backbone_options=NETWORKS[network]),
        stages=[StageConfig(name="all", train="all", bn="train", epochs=epochs, optimizer=optimizer)],
        runtime=RuntimeConfig(precision=precision),
    )
    place = folder / f"{network}_{precision}_{seed}"
    with contextlib.redirect_stdout(io.StringIO()):
        run = run_experiment(config, place)
    with open(place / "stages/00_all/metrics.csv", newline="") as file:
        losses = np.array([float(row["loss"]) for row in csv.DictReader(file)])
    return losses, run.metrics["source"]["test"]["accuracy"]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the mean distance of two curves over the epochs."""
    return float(np.abs(one - other).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    asked = parser.parse_args()
    if asked.seeds < 2:
        parser.error(f"the distance between seeds needs at least two. Received: --seeds={asked.seeds}")
    shown = sorted({1, asked.epochs // 4, asked.epochs // 2, asked.epochs} - {0})
    with tempfile.TemporaryDirectory() as folder:
        for network in asked.networks.split(","):
            plain: list = []
            for precision in PRECISIONS:
                found = [
                    curve(network, precision, seed, asked.epochs, Path(folder)) for seed in range(asked.seeds)
                ]
                curves = [losses for losses, _ in found]
                plain = plain or curves
                means = " ".join(f"{np.mean([c[e - 1] for c in curves]):.4f}" for e in shown)
                right = " ".join(f"{accuracy:.3f}" for _, accuracy in found)
                same = max(apart(a, b) for a, b in zip(curves, plain, strict=True))
                seeds = max(apart(a, b) for a, b in itertools.combinations(plain, 2))
                print(
                    f"| `{network}` | {precision} | {means} | {right} | {same:.4f} | {seeds:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
