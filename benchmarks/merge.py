"""Merges runs on Twemoji and compares them on OpenMoji: `python benchmarks/merge.py [WORKDIR]`.

`emoji` is trained with five seeds. The runs become a uniform soup, a greedy soup and an ensemble. For
each seed, the line from the run after its first stage (only the head is trained) to the whole run gives the
curve of WiSE-FT. No run sees OpenMoji before it is evaluated. Runs that exist in WORKDIR are used again.
"""

import contextlib
import io
import json
import statistics
import sys
import tempfile
from pathlib import Path

from tlkeras import load_config, load_run, run_experiment
from tlkeras.config import AdaptationConfig, DataConfig
from tlkeras.studies.merge import LINE, merge_runs

SEEDS = range(5)
SHIFTED = AdaptationConfig(method="none", target=DataConfig(source="emoji:openmoji"), twin=False)


def trained(folder: Path, seed: int, *, fine_tuned: bool) -> Path:
    """Returns the run of a seed: all of `emoji`, or only its first stage, which trains the head."""
    config = load_config("emoji", [f"seed={seed}"])
    stages = config.stages if fine_tuned else config.stages[:1]
    path = folder / f"{'fine_tuned' if fine_tuned else 'head'}_{seed}"
    with contextlib.redirect_stdout(io.StringIO()):
        run_experiment(config.model_copy(update={"adaptation": SHIFTED, "stages": stages}), path)
    return path


def accuracies(path: Path) -> tuple[float, float]:
    """Returns the test accuracy of a run on Twemoji and on OpenMoji."""
    metrics = load_run(path).metrics
    return metrics["source"]["test"]["accuracy"], metrics["target"]["test"]["accuracy"]


def merged(runs: list[Path], path: Path, how: str) -> Path:
    """Returns the run that is merged from others."""
    if not path.exists():
        with contextlib.redirect_stdout(io.StringIO()):
            merge_runs(runs, path, how)
    return path


def soups(folder: Path) -> None:
    """Prints the accuracies of the single runs, their soups and their ensemble."""
    runs = [trained(folder, seed, fine_tuned=True) for seed in SEEDS]
    found = [accuracies(run) for run in runs]
    print("\n| merged from five seeds | Twemoji | OpenMoji | members | verdict on OpenMoji, 99 % interval |")
    print("|---|---|---|---|---|")
    for name, choose in (("worst", min), ("mean", statistics.mean), ("best", max)):
        values = [choose(column) for column in zip(*found, strict=True)]
        print(f"| {name} single run | {values[0]:.3f} | {values[1]:.3f} | 1 | |")
    for how in ("uniform", "greedy", "ensemble"):
        path = merged(runs, folder / how, how)
        source, target = accuracies(path)
        members = len(json.loads((path / "merge.json").read_text("utf-8"))["members"])
        print(f"| {how} | {source:.3f} | {target:.3f} | {members} | {verdict_of(path)} |", flush=True)


def line(folder: Path) -> None:
    """Prints the mean curve between the run with a trained head and the fine-tuned run, and the verdicts."""
    curves, verdicts = [], []
    for seed in SEEDS:
        ends = [trained(folder, seed, fine_tuned=fine_tuned) for fine_tuned in (False, True)]
        path = merged(ends, folder / f"line_{seed}", "line")
        facts = json.loads((path / "merge.json").read_text("utf-8"))
        curves.append(facts["curve"])
        found = accuracies(path)
        verdicts.append(
            f"| {seed} | {facts['share']} | {found[0]:.3f} | {found[1]:.3f} | {verdict_of(path)} |"
        )
    print("\n| share of the fine-tuned weights | Twemoji val | Twemoji test | OpenMoji test |")
    print("|---|---|---|---|")
    for number, share in enumerate(LINE):
        means = [
            statistics.mean(curve[number][column] for curve in curves)
            for column in ("val", "source test", "target test")
        ]
        print(f"| {share} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    print("\n| seed | share chosen by validation | Twemoji | OpenMoji | verdict on OpenMoji, 99 % interval |")
    print("|---|---|---|---|---|", *verdicts, sep="\n", flush=True)


def verdict_of(path: Path) -> str:
    """Returns the verdict of a merged run against the best single run by validation."""
    verdict = json.loads((path / "evaluation" / "verdict.json").read_text("utf-8"))
    low, high = verdict["interval"]
    return f"{verdict['verdict'].replace('_', ' ')}, {verdict['gain']:+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    workdir = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    soups(workdir)
    line(workdir)
