"""Measures the gain of ten minutes of `tlkeras auto` on the experiment `emoji`.

    python benchmarks/auto_search.py [--seeds=3]

The first trial of the search is the unchanged `emoji`. The best trial is selected by validation accuracy.
Both are compared on the test rows, which are not used for selection. The script prints one row per seed, and
the mean.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tlkeras.run_dir import RunDir

SEEDS = next((int(w.partition("=")[2]) for w in sys.argv if w.startswith("--seeds=")), 3)
BUDGET = "10m"


def searched(folder: Path, seed: int) -> tuple[float, dict[str, float], int]:
    """Returns the seconds, the test accuracies of `emoji` and of the best trial, and the trials."""
    words = ["--config=emoji", f"--set=seed={seed}", f"--budget={BUDGET}", f"--workdir={folder}"]
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "tlkeras", "auto", *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    rows = RunDir(folder).read_rows("trials.csv")
    complete = [row for row in rows if row["state"] == "complete"]
    best = max(complete, key=lambda row: float(row["val_accuracy"]))
    return seconds, {"emoji": tested(folder, 0), "best": tested(folder, int(best["trial"]))}, len(rows)


def tested(folder: Path, trial: int) -> float:
    """Returns the accuracy of a trial on the test rows."""
    run = RunDir(folder / "trials" / f"{trial:03d}")
    return run.read_json("evaluation/metrics.json")["source"]["test"]["accuracy"]


if __name__ == "__main__":
    print("| seed | emoji | the best of auto | gain | trials | minutes |\n|---|---|---|---|---|---|")
    gains = []
    for seed in range(SEEDS):
        folder = Path(tempfile.mkdtemp(prefix="tlkeras_auto_")) / "search"
        seconds, accuracy, trials = searched(folder, seed)
        gains.append(accuracy["best"] - accuracy["emoji"])
        row = f"{accuracy['emoji']:.3f} | {accuracy['best']:.3f} | {gains[-1]:+.3f} | {trials}"
        print(f"| {seed} | {row} | {seconds / 60:.1f} |", flush=True)
    print(f"\nMean gain {statistics.mean(gains):+.3f}, standard deviation {statistics.stdev(gains):.3f}")
