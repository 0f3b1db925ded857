"""Measures whether the scores of `tlkeras rank` predict the accuracy of fine-tuning.

    python benchmarks/ranking.py [SECTION]

The sections are `rank` (seven candidates on clothes and on emoji) and `rank_alike` (candidates with similar
results after fine-tuning). Each section prints the fine-tuned accuracies over `--seeds=3` and, for each
score, the weighted Kendall tau of the two orders with its bootstrap interval. It takes half an hour on two
CPU cores.
"""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import weightedtau
from transfer import LARGE, SEEDS, WORK, accuracy, config, show, source_config, stage, trained, write_halves

from tlkeras import load_config
from tlkeras.config import ExperimentConfig, OptimizerConfig, StageConfig
from tlkeras.studies.rank import rank as score


def rank() -> None:
    """Ranks seven candidates, of which some were trained on photographs and some have random weights, on
    clothes and on emoji.
    """
    made = {name: source_config(0, name, size=LARGE) for name in ("source", "shuffled")}
    for name, experiment in made.items():
        trained(f"{name}_large", experiment)
    candidates = [
        (net, weights) for net in ("efficientnet_lite0", "mobilenet_v2") for weights in ("imagenet", None)
    ]
    candidates += [("small_cnn", str(WORK / f"{name}_large")) for name in made] + [("small_cnn", None)]
    head = StageConfig(name="head", epochs=30, optimizer=OptimizerConfig(learning_rate=3e-3))
    base = config(0, head, stage(epochs=10, rate=3e-4, bn="frozen"))
    emoji = load_config("emoji").data
    for title, data, per_class in (("clothes", base.data, 100), ("emoji", emoji, 60)):
        data = data.model_copy(update={"image_size": LARGE, "batch_size": 50, "per_class": per_class})
        _agreement(title, base.model_copy(update={"data": data}), candidates)


def _from_scratch(base: ExperimentConfig) -> dict:
    """Returns the training of a network without weights: everything trains from the first step, as in
    `scratch`.
    """
    model = base.model.model_copy(update={"weights": None, "bn_momentum": 0.9})
    return {"model": model, "stages": (stage(epochs=20),)}


def rank_alike() -> None:
    """Ranks candidates with similar results after fine-tuning: one small network that was trained on
    different data.
    """
    candidates: list[tuple[str, str | None]] = [("small_cnn", None)]
    for data in ("source", "shuffled", "target"):
        for epochs in (1, 6) if data != "target" else (6,):
            name = f"{data}_{epochs}_epochs"
            trained(name, source_config(0, data, epochs))
            candidates.append(("small_cnn", str(WORK / name)))
    for target in ("target", "source"):
        base = config(0, stage())
        data = base.data.model_copy(update={"source": f"npz:{WORK / target}.npz"})
        _agreement(f"alike_{target}", base.model_copy(update={"data": data}), candidates)


def _agreement(title: str, base: ExperimentConfig, candidates: list[tuple[str, str | None]]) -> None:
    """Prints the fine-tuned accuracies of the candidates, and how well each score predicts their order."""
    words = ",".join(f"{name}:{weights or 'none'}" for name, weights in candidates)
    with contextlib.redirect_stdout(io.StringIO()):
        table = score(base, words, WORK / f"ranking_{title}")
    tuned = {}
    for number, (name, weights) in enumerate(candidates):
        model = base.model.model_copy(update={"backbone": name, "weights": weights})
        full = base.model_copy(update={"model": model})
        full = full if weights else full.model_copy(update=_from_scratch(full))
        tuned[name, str(weights or "none")] = [
            accuracy(trained(f"{title}_{number}_{seed}", full.model_copy(update={"seed": seed})))
            for seed in range(SEEDS)
        ]
    show(f"Fine-tuned accuracy: {title}", {f"{n} {Path(w).name}": values for (n, w), values in tuned.items()})
    measured = np.array([tuned[row["candidate"], row["weights"]] for row in table])
    for column in ("probe_accuracy", "logme", "h_score", "regularized_h_score", "transrate"):
        values = np.array([row[column] for row in table], float)
        print(f"  {column}:", *(f"{Path(row['weights']).name} {row[column]:.3g}" for row in table), sep="  ")
        print(f"  weighted tau of {column}: {_with_interval(weightedtau, values, measured)}", flush=True)


def _with_interval(tau: Callable, scores: np.ndarray, accuracies: np.ndarray, draws: int = 2000) -> str:
    """Returns tau with its bootstrap interval over candidates and seeds.

    Args:
        tau: Function that returns the (weighted) Kendall tau of scores and mean accuracies.
        scores: Score of each candidate.
        accuracies: Accuracies, `(candidates, seeds)`.
        draws: Number of bootstrap draws of candidates, and of seeds of each.
    """
    rng, (n, seeds), taus = np.random.default_rng(0), accuracies.shape, []
    for _ in range(draws):
        rows = rng.integers(n, size=n)
        means = np.take_along_axis(accuracies, rng.integers(seeds, size=(n, seeds)), axis=1).mean(axis=1)
        taus.append(tau(scores[rows], means[rows])[0])
    low, high = np.nanquantile(taus, [0.025, 0.975])  # a draw that contains only one candidate has no order
    return f"{tau(scores, accuracies.mean(axis=1))[0]:.2f} ({low:.2f} to {high:.2f}, 95 %)"


SECTIONS = {"rank": rank, "rank_alike": rank_alike}

if __name__ == "__main__":
    write_halves()
    for section in [word for word in sys.argv[1:] if not word.startswith("-")] or SECTIONS:
        SECTIONS[section]()
