"""Changes of the recipe of `image_folder`, each on all tasks with the same setting.

    python benchmarks/recipes.py DRAW_1 DRAW_2 DRAW_3 [--task=NAME ...] [--candidate=NAME ...]
                                 [--results=recipes.jsonl]

The folders are those that `benchmarks/peers/tasks.py --draw=N` writes. The n-th of them is trained with seed
n - 1. Draws other than 0 hold no test rows of the comparison with other libraries, so that a recipe can be
chosen by them. Each candidate is the recipe that was the default before (the last four blocks at a rate of
1e-4) with the changes of one row of CANDIDATES. A finished training is a line of the results file and is not
repeated. The table shows the gain in test accuracy over that recipe, in points: the mean over the folders
of each task, the mean over the tasks, and the standard deviation of the gain over the tasks. No candidate is
adjusted to a task.
"""

import argparse
import json
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tlkeras import load_config, run_experiment

PROBE = 'stages.0={"name":"head","kind":"probe","probe":{"name":"logistic_regression"}}'
BEFORE = [
    "model.head.zero_init=false",
    "stages.1.train=last:4",
    "stages.1.optimizer.learning_rate=1e-4",
    "stages.1.augment.flip=horizontal",
    "stages.1.label_smoothing=0",
]
BASE = "last:4, rate 1e-4"


def deeper(rate: float, blocks: str = "last:8") -> list[str]:
    """Returns the changes to a second stage with these blocks and this rate."""
    return [f"stages.1.train={blocks}", f"stages.1.optimizer.learning_rate={rate}"]


ZERO = ["model.head.zero_init=true"]
UNMIRRORED = ["stages.1.augment.flip=none"]
ALL = ["stages.1.train=all", "stages.1.layer_decay=0.8"]
FAST = [*ZERO, *deeper(1e-3)]
BEST = [*FAST, *UNMIRRORED]
CANDIDATES: dict[str, list[str]] = {
    BASE: [],
    "last:8, rate 3e-4": deeper(3e-4),
    "last:8, rate 1e-3": deeper(1e-3),
    "zero head, last:8, rate 3e-4": [*ZERO, *deeper(3e-4)],
    "zero head, last:8, rate 1e-3": FAST,
    "zero head, last:8, rate 2e-3": [*ZERO, *deeper(2e-3)],
    "zero head, all blocks, layer decay .8, rate 1e-3": [*FAST, *ALL],
    "zero head, last:8, rate 1e-3, no flips": BEST,
    "the same, rate 3e-4": [*BEST, *deeper(3e-4)],
    "the same, all blocks, layer decay .8": [*BEST, *ALL],
    "the same, averaged weights": [*BEST, "stages.1.optimizer.ema_momentum=0.95"],
    "the same, label smoothing .1": [*BEST, "stages.1.label_smoothing=0.1"],
    "the same, mixup .2": [*BEST, "stages.1.augment.mixup=0.2"],
    "the same, rotation 10, crop .7": [*BEST, "stages.1.augment.rotation=10", "stages.1.augment.crop=0.7"],
    "the same, batch statistics": [*BEST, "stages.1.bn=train"],
    "the same, AdamW, decay .05": [
        *BEST,
        "stages.1.optimizer.name=adamw",
        "stages.1.optimizer.weight_decay=0.05",
    ],
    "the same, 30 epochs": [*BEST, "stages.1.epochs=30", "stages.1.early_stopping=none"],
    "the same, head rate 3e-3": [*BEST, "stages.0.optimizer.learning_rate=3e-3"],
    "the same, fitted probe": [PROBE, *BEST],
    "the same, warm-up of 60 steps": [*BEST, "stages.1.optimizer.schedule.warmup_steps=60"],
}


def main() -> None:
    """Trains what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description="Compares changes of the recipe of image_folder.")
    parser.add_argument("draws", type=Path, nargs="+")
    parser.add_argument("--task", action="append", help="Names of tasks; all by default.")
    parser.add_argument("--candidate", action="append", choices=list(CANDIDATES), help="All by default.")
    parser.add_argument("--results", type=Path, default=Path("recipes.jsonl"))
    flags = parser.parse_args()
    cache = tempfile.mkdtemp()
    names = flags.task or sorted(file.parent.name for file in flags.draws[0].glob("*/task.json"))
    for seed, folder in enumerate(flags.draws):
        for candidate in flags.candidate or CANDIDATES:
            for task in names:
                if (candidate, task, seed) not in known(flags.results):
                    found = trained(folder / task, seed, CANDIDATES[candidate], cache)
                    line = {"candidate": candidate, "task": task, "seed": seed, **found}
                    with flags.results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
                    print(line, flush=True)
    show(known(flags.results), names)


def known(results: Path) -> dict[tuple[str, str, int], float]:
    """Returns the accuracies in the results file, by candidate, task and seed."""
    lines = results.read_text("utf-8").splitlines() if results.exists() else []
    rows = map(json.loads, lines)
    return {(row["candidate"], row["task"], row["seed"]): row["accuracy"] for row in rows}


def trained(task: Path, seed: int, changes: list[str], cache: str) -> dict[str, float]:
    """Returns the test accuracy, and the seconds of the stages. The runs share the trunk's outputs."""
    size = json.loads((task / "task.json").read_text("utf-8"))["size"]
    with tempfile.TemporaryDirectory() as folder:
        common = [
            f"data.source=folder:{task}", f"data.image_size={size}", f"seed={seed}",
            f"cache.dir={cache}", "model.backbone=efficientnet_lite0", "model.fallback=none",
        ]  # fmt: skip
        run = run_experiment(load_config("image_folder", [*common, *BEFORE, *changes]), f"{folder}/run")
        seconds = sum(
            event["training_seconds"]
            for event in run.run_dir.ledger.records()
            if event["event"] == "completed"
        )
        return {"accuracy": run.metrics["source"]["test"]["accuracy"], "seconds": round(seconds, 1)}


def show(accuracies: dict[tuple[str, str, int], float], tasks: Iterable[str]) -> None:
    """Prints the gains over the recipe as it is, which the first row shows in per cent."""
    per_task: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (candidate, task, seed), accuracy in accuracies.items():
        base = accuracies.get((BASE, task, seed))
        if base is not None and task in tasks:
            gain = accuracy if candidate == BASE else accuracy - base
            per_task[candidate][task].append(100 * gain)
    print(f"| | {' | '.join(tasks)} | mean | spread over tasks |\n|---|{'---|' * (len(list(tasks)) + 2)}")
    for candidate, found in per_task.items():
        if set(found) >= set(tasks):
            sign = "" if candidate == BASE else "+"
            means = [float(np.mean(found[task])) for task in tasks]
            shown = " | ".join(f"{mean:{sign}.1f}" for mean in (*means, np.mean(means)))
            print(f"| {candidate} | {shown} | {np.std(means, ddof=1):.1f} |")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    main()
