"""Measures whether pretraining without labels helps: `python benchmarks/pretext.py [--seeds=3]
[--labels=10]`.

The data are scikit-learn's digits with few labels per class. Training from scratch is compared with training
from a backbone that learned from all training pictures without their labels, by rotation and by SimCLR, with
the shipped experiments. The network, the labelled rows, the steps and the test rows are the same. Test rows
are never used for training. The script prints the test accuracy of each seed, and the mean difference from
training from scratch with its 95 % interval over seeds (Student's t).
"""

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tlkeras import run_experiment
from tlkeras.config import VerdictConfig, load_config

WORK = Path(tempfile.mkdtemp(prefix="tlkeras_pretext_"))
EXPERIMENTS = ("rotation_then_few_labels", "simclr_then_few_labels")


def option(name: str, default: int) -> int:
    """Returns the number that a flag gives."""
    return next((int(w.partition("=")[2]) for w in sys.argv if w.startswith(f"--{name}=")), default)


def accuracy(name: str, strategy: str | None, seed: int, labels: int) -> float:
    """Returns the test accuracy of the target. Without a strategy, it is that of training from scratch."""
    config = load_config(name, [f"seed={seed}", f"data.per_class={labels}", f"cache.dir={WORK / 'cache'}"])
    tasks = None if strategy is None else config.tasks.model_copy(update={"strategy": strategy})
    config = config.model_copy(update={"tasks": tasks, "verdict": VerdictConfig()})
    with contextlib.redirect_stdout(io.StringIO()):
        run = run_experiment(config, WORK / f"{name}_{strategy}_{seed}")
    return run.metrics["source" if strategy is None else "target"]["test"]["accuracy"]


def main() -> None:
    """Prints the table."""
    from scipy.stats import t

    seeds, labels = option("seeds", 3), option("labels", 10)
    columns = {"scratch": (EXPERIMENTS[0], None)}
    for name in EXPERIMENTS:
        for strategy in ("share_weights", "fix_common"):
            columns[f"{name.partition('_')[0]}, {strategy}"] = (name, strategy)
    scratch = None
    print(f"digits, {labels} labels per class, {seeds} seeds")
    for title, (name, strategy) in columns.items():
        began = time.monotonic()
        found = np.array([accuracy(name, strategy, seed, labels) for seed in range(seeds)])
        seconds = (time.monotonic() - began) / seeds
        scratch = found if scratch is None else scratch
        each = ", ".join(f"{x:.3f}" for x in found)
        line = f"  {title:24s} {found.mean():.3f} ({each}), {seconds:.0f} s a run"
        if strategy is not None and seeds > 1:
            difference = found - scratch
            half = t.ppf(0.975, seeds - 1) * difference.std(ddof=1) / np.sqrt(seeds)
            low, mean, high = (100 * (difference.mean() + side * half) for side in (-1, 0, 1))
            line += f"; to scratch {mean:+.1f} points ({low:+.1f} to {high:+.1f})"
        print(line, flush=True)


if __name__ == "__main__":
    main()
