"""Did the transfer help? The same budget spent without it, and the verdict on the difference."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlkeras.config import ExperimentConfig
from tlkeras.run_dir import RunDir

# trains a config in a run directory: `run_experiment`, handed down so that this module needs not import it
Train = Callable[[ExperimentConfig, Path], object]


def asks_for_verdict(config: ExperimentConfig) -> bool:
    """Whether a run trains a twin."""
    return config.adaptation is not None and config.adaptation.twin and config.adaptation.method != "none"


def train_twins(config: ExperimentConfig, run_dir: RunDir, train: Train) -> None:
    """Trains the run's source-only twin, and run and twin with the further seeds that were asked for.

    The twin lies in `RUN/twin`; the run with the i-th further seed in `RUN/seeds/i`, its twin inside.
    """
    train(source_only(config), run_dir.twin.path)
    for i in range(1, config.adaptation.seeds):
        train(with_seed(config, i), run_dir.path / "seeds" / str(i))


def source_only(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the same experiment, seed, steps and batches, without a look at the target."""
    adaptation = config.adaptation.model_copy(update={"method": "none", "twin": False, "seeds": 1})
    return config.model_copy(update={"name": _named(config, "twin"), "adaptation": adaptation})


def with_seed(config: ExperimentConfig, number: int) -> ExperimentConfig:
    """Returns the same experiment with another seed."""
    adaptation = config.adaptation.model_copy(update={"seeds": 1})
    update = {"name": _named(config, f"seed_{number}"), "seed": config.seed + number}
    return config.model_copy(update=update | {"adaptation": adaptation})


def write_verdict(config: ExperimentConfig, run_dir: RunDir) -> str:
    """Judges the run on the target's test rows, writes `evaluation/verdict.json`, returns its sentence."""
    from tlkeras.evaluation import Predictions, judge

    seeds = [run_dir, *(RunDir(run_dir.path / "seeds" / str(i)) for i in range(1, config.adaptation.seeds))]

    def predictions(run: RunDir) -> Predictions:
        folder = run.evaluation / "target"
        split = next(s for s in ("test", "val", "train") if (folder / f"predictions_{s}.npz").is_file())
        return Predictions.load(folder / f"predictions_{split}.npz")

    runs, twins = [predictions(run) for run in seeds], [predictions(run.twin) for run in seeds]
    scores = tuple(float(np.mean([_information(p) for p in side])) for side in (runs, twins))
    verdict = judge(runs, twins, baseline_name="source only", information_maximization=scores)
    run_dir.write_json(run_dir.evaluation / "verdict.json", verdict.to_json())
    return verdict.sentence


def _information(predictions) -> float:
    from tlkeras.adaptation.validators import information_maximization

    return information_maximization(predictions.logits)


def _named(config: ExperimentConfig, suffix: str) -> str:
    return f"{config.name[:50]}.{suffix}"
