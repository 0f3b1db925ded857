"""Trains whole runs on pictures: Twemoji to OpenMoji, and MNIST to other digits and to clothes.

`MNIST_NPZ` and `FASHION_NPZ` name .npz files with `x_train, y_train, x_test, y_test`, as `keras.datasets`
stores them. Without the first one, MNIST comes from TFDS.
"""

import contextlib
import io
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np

from tlkeras import load_config, run_experiment
from tlkeras.evaluation import compute_metrics
from tlkeras.evaluation.evaluate import predict_split
from tlkeras.methods.adapt import METHODS
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.settled_config import checked
from tlkeras.training.trainer import Trainer

SEEDS = range(3)
# on deep features, losses on another scale than cross-entropy need another weight
EMOJI_ROWS: dict[str, tuple[float, dict]] = {
    "dann": (0.3, {"units": (256,)}),
    "cdan": (0.3, {"units": (256,)}),
    "cdan_e": (0.3, {"units": (256,)}),
    "pada": (0.3, {"units": (256,)}),
    "wasserstein": (0.1, {}),
    "afn": (0.05, {}),
}
# the network and schedules of mnist_mnistm_dann, fewer steps
SHORT = ["stages.0.steps=3000"]


def chosen_methods() -> list[str]:
    """Returns the methods that `METHODS=dann,cdan` names, or all of them. `adamatch`, which needs two views,
    is the last.
    """
    named = os.environ.get("METHODS")
    names = named.split(",") if named else [name for name in METHODS.names() if name != "none"]
    return sorted(names, key=lambda name: name == "adamatch")


def emoji() -> None:
    """Prints the results of every method on Twemoji to OpenMoji, with a frozen backbone and three seeds."""
    print("\n| Twemoji to OpenMoji, 3 seeds | target, mean | gain over the twin, mean | sd | gains |")
    print("|---|---|---|---|---|")
    twins = [trained_on_emoji("none", seed) for seed in SEEDS]
    for name in ["none", *chosen_methods()]:
        runs = twins if name == "none" else [trained_on_emoji(name, seed) for seed in SEEDS]
        gains = [run - twin for run, twin in zip(runs, twins, strict=True)]
        every = " ".join(f"{gain:+.3f}" for gain in gains)
        label = "source only" if name == "none" else name
        row = f"{statistics.mean(runs):.3f} | {statistics.mean(gains):+.3f} | {statistics.stdev(gains):.3f}"
        print(f"| {label} | {row} | {every} |", flush=True)


def trained_on_emoji(method: str, seed: int) -> float:
    """Returns the target test accuracy of `quickstart_dann` with another method."""
    weight, options = EMOJI_ROWS.get(method, (0.3, {}))
    config = load_config("quickstart_dann", [f"seed={seed}", "adaptation.twin=false"])
    adaptation = config.adaptation.model_copy(update={"method": method, "weight": weight, "options": options})
    parts = prepare(checked(config.model_copy(update={"adaptation": adaptation})))
    with tempfile.TemporaryDirectory() as workdir, contextlib.redirect_stdout(io.StringIO()):
        trainer = Trainer(parts, RunDir(workdir))
        trainer.train()
        predictions = predict_split(parts.model, parts.domains["target"], "test", parts.batch_size)
    return compute_metrics(predictions)["accuracy"]


def from_mnist(*settings: str) -> tuple[dict, dict, dict]:
    """Runs `mnist_mnistm_dann` with other settings. Returns its verdict, its domains and its metrics."""
    words = list(settings)
    if file := os.environ.get("MNIST_NPZ"):
        words = [f"data.source=npz:{file}", f"adaptation.target.source=mnist_m:npz:{file}", *words]
    with tempfile.TemporaryDirectory() as workdir, contextlib.redirect_stdout(io.StringIO()):
        run = run_experiment(load_config("mnist_mnistm_dann", words), workdir + "/run")
        verdict = run.run_dir.evaluation / "verdict.json"
        return (
            run.run_dir.read_json(verdict) if verdict.is_file() else {},
            run.run_dir.read_json(run.run_dir.evaluation / "domains.json"),
            run.metrics,
        )


def mnist_m() -> None:
    """Prints the results of DANN and its twin on MNIST to MNIST-M."""
    print("\n| MNIST to MNIST-M | source only | DANN | gain | verdict |\n|---|---|---|---|---|")
    for seed in SEEDS:
        v = from_mnist(f"seed={seed}")[0]
        print(f"| seed {seed} | {v['twin']:.3f} | {v['run']:.3f} | {v['gain']:+.3f} | {v['verdict']} |")


def digits() -> None:
    """Prints the verdict on MNIST to the enlarged 8x8 digits of scikit-learn (1000 rows without labels)."""
    words = ["adaptation.target.source=digits", "adaptation.target.test_fraction=0.42",
             'adaptation.target.limit={"train": 1000}', "adaptation.target.val_fraction=0.02",
             "adaptation.seeds=5"]  # fmt: skip
    _judged("MNIST to 8x8 digits enlarged", from_mnist(*SHORT, *words))


def fashion() -> None:
    """Prints the verdict on MNIST to Fashion-MNIST. They share no class, so no success is expected."""
    words = [f"adaptation.target.source=npz:{os.environ['FASHION_NPZ']}"]
    _judged("MNIST to Fashion-MNIST", from_mnist(*SHORT, *words))


def partial() -> None:
    """Prints the results of DANN and PADA on MNIST to MNIST-M if the target holds only the digits 0 to 4."""
    with tempfile.TemporaryDirectory() as folder:
        with np.load(os.environ["MNIST_NPZ"]) as mnist:
            kept = {split: mnist[f"y_{split}"] < 5 for split in ("train", "test")}
            arrays = {f"{k}_{split}": mnist[f"{k}_{split}"][kept[split]] for k in "xy" for split in kept}
        np.savez(Path(folder) / "partial.npz", **arrays)
        words = [*SHORT, f"adaptation.target.source=mnist_m:npz:{folder}/partial.npz"]
        dann = from_mnist(*words)
        pada = from_mnist(*words, "adaptation.method=pada", "adaptation.twin=false")
    _judged("MNIST to MNIST-M, digits 0 to 4 only", dann)
    print("\n| share of each class | " + " | ".join("0123456789") + " | accuracy |")
    print("|---|" + 11 * "---|")
    shares = {"source labels": dann[1]["source_labels"], "predicted by DANN": dann[1]["target_predictions"]}
    shares["predicted by PADA"] = pada[1]["target_predictions"]
    found = {"predicted by DANN": dann, "predicted by PADA": pada}
    for name, share in shares.items():
        end = f"{found[name][2]['target']['test']['accuracy']:.3f}" if name in found else "-"
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in share.values()) + f" | {end} |")


def _judged(title: str, found: tuple[dict, dict, dict]) -> None:
    verdict, domains, _ = found
    print(f"\n| {title} | source only | DANN | gain | 99 % interval | verdict | A-distance |")
    print("|---|---|---|---|---|---|---|")
    low, high = verdict["interval"]
    far = f"{domains['before']['a_distance']:.2f} to {domains['after']['a_distance']:.2f}"
    print(
        f"| {verdict['seeds']} seed(s) | {verdict['twin']:.3f} | {verdict['run']:.3f} | "
        f"{verdict['gain']:+.3f} | {low:+.3f} to {high:+.3f} | {verdict['verdict']} | {far} |"
    )
    print(f"\n{verdict['sentence']}")
    if verdict.get("warning"):
        print(verdict["warning"], flush=True)
