"""The twins of a run, trained with the same budget but without the transfer, and the verdict."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.config import (
    AdaptationConfig,
    ExperimentConfig,
    FitStageConfig,
    LinearHeadConfig,
    ModelConfig,
    NeckConfig,
    ProbeConfig,
    ProbeStageConfig,
    ScheduleConfig,
    StageConfig,
    VerdictConfig,
)
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.judged_runs import judge_runs, verdict_texts
from tlkeras.evaluation.predictions import shown_split
from tlkeras.evaluation.unlabelled import unlabelled_verdict
from tlkeras.methods.adapt.validators import information_maximization
from tlkeras.run_dir import RunDir

# type of `run_experiment`, which is passed in to avoid a circular import
Train = Callable[[ExperimentConfig, Path], object]

NAMES = {
    "source_only": "source only",
    "scratch": "from scratch",
    "random_features": "head on random features",
    "frozen_probe": "linear probe on the frozen source",
    "image_alone": "picture alone",
    "sound_alone": "sound alone",
    "text_alone": "text alone",
    "columns_alone": "columns alone",
}
ADVICE = {
    "source_only": "Remove or weaken the adaptation, or check that the domains have the same classes.",
    "scratch": "Train from scratch, or search for weights of a closer task with 'tlkeras rank'.",
    "random_features": "The pretrained weights do not help here: check them, or rank other candidates.",
    "frozen_probe": "Fine-tuning damages the features: train fewer blocks, at a lower rate, or regularise.",
    "image_alone": "The other parts do harm: check them, or train on the pictures alone.",
    "sound_alone": "The other parts do harm: check them, or train on the sounds alone.",
    "text_alone": "The other parts do harm: check them, or train on the texts alone.",
    "columns_alone": "The other parts do harm: check them, or train on the columns alone.",
}


def judge_transfer(config: ExperimentConfig, run_dir: RunDir, train: Train, own: Sequence[Any] = ()) -> None:
    """Trains the twins of a run if the config names any, and writes and prints the verdict.

    Args:
        config: Config of the run.
        run_dir: Directory of the finished run.
        train: Function that trains a config in a directory.
        own: Keras metrics that were passed from Python.
    """
    if config.twins:
        train_twins(config, run_dir, train)
        messages.note(write_verdict(config, run_dir, own))


def train_twins(config: ExperimentConfig, run_dir: RunDir, train: Train) -> None:
    """Trains the twins of a run, and the run and its twins with further seeds.

    `source_only` is in `RUN/twin`, and any other twin in `RUN/twins/NAME`. The run with the i-th further seed
    is in `RUN/seeds/i`, with its twins inside.

    Args:
        config: Config of the run.
        run_dir: Directory of the finished run.
        train: Function that trains a config in a directory.
    """
    for name in config.twins:
        train(twin_config(config, name, _steps_taken(run_dir)), run_dir.twin(name).path)
    for i in range(1, config.judged_seeds):
        train(with_seed(config, i), run_dir.path / "seeds" / str(i))


def twin_config(config: ExperimentConfig, name: str, steps: int) -> ExperimentConfig:
    """Returns the experiment of a twin, with the same data, seed and batches.

    Args:
        config: Config of the run.
        name: Name of the twin, a key of `NAMES`.
        steps: Number of optimizer steps of the run.
    """
    if name == "source_only":
        return source_only(config)
    make = {
        "scratch": _scratch,
        "random_features": _random_features,
        "frozen_probe": _frozen_probe,
        "image_alone": functools.partial(_alone, "image"),
        "sound_alone": functools.partial(_alone, "sound"),
        "text_alone": functools.partial(_alone, "text"),
        "columns_alone": functools.partial(_alone, "columns"),
    }[name]
    changed = make(config, steps) | {"name": _named(config, name), "verdict": VerdictConfig()}
    changed["tasks"] = None  # share_gradients would train it together with the source, which is the transfer
    if config.adaptation is not None:
        changed["adaptation"] = _adaptation_of(config.adaptation, changed.get("stages", config.stages))
    return config.model_copy(update=changed)


def _adaptation_of(adaptation: AdaptationConfig, stages: tuple[StageConfig, ...]) -> AdaptationConfig:
    """Returns the adaptation config of a twin with these stages: no method if none of them adapts."""
    update: dict[str, Any] = {"twin": False, "seeds": 1}
    if not any(stage.adapt for stage in stages):
        update["method"] = "none"
        if adaptation.batch_norm == "domain_specific":
            update["batch_norm"] = "shared"
    return adaptation.model_copy(update=update)


def source_only(config: ExperimentConfig) -> ExperimentConfig:
    """Returns the same experiment, seed, steps and batches, without any use of the target."""
    alone = {"method": "none", "batch_norm": "shared", "twin": False, "seeds": 1}
    adaptation = config.adaptation.model_copy(update=alone)
    update = {"name": _named(config, "twin"), "adaptation": adaptation, "verdict": VerdictConfig()}
    update["stages"] = tuple(_without_mapping(stage) for stage in config.stages)
    return config.model_copy(update=update)


def _without_mapping(stage: StageConfig) -> StageConfig:
    if stage.kind == "fit" or stage.probe.mapping is None:
        return stage
    return stage.model_copy(update={"probe": stage.probe.model_copy(update={"mapping": None})})


def with_seed(config: ExperimentConfig, number: int) -> ExperimentConfig:
    """Returns the same experiment with its seed increased by `number`."""
    update: dict[str, Any] = {"name": _named(config, f"seed_{number}"), "seed": config.seed + number}
    update["verdict"] = config.verdict.model_copy(update={"seeds": 1})
    if config.adaptation is not None:
        update["adaptation"] = config.adaptation.model_copy(update={"seeds": 1})
    return config.model_copy(update=update)


def _scratch(config: ExperimentConfig, steps: int) -> dict[str, Any]:
    """Returns the changes for one stage that trains everything, for all steps, at the run's highest rate.

    BatchNormalization uses batch statistics, with a momentum of .9. With the .99 or more of pretrained
    networks, statistics that begin at 0 and 1 would still be wrong at the end of a short run.
    """
    trained = [stage for stage in config.stages if stage.kind == "fit"]
    last = trained[-1] if trained else FitStageConfig(name="scratch")
    fastest = next((s for s in trained if s.optimizer.learning_rate == "auto"), None)
    if fastest is None:
        fastest = max(trained or [last], key=lambda s: s.optimizer.learning_rate)
    before = fastest.optimizer.schedule
    final = getattr(before, "final", 0.0)
    schedule = ScheduleConfig(name="cosine", warmup_steps=before.warmup_steps, final=final)
    optimizer = fastest.optimizer.model_copy(update={"schedule": schedule})
    stage = last.model_copy(
        update={
            "name": "scratch", "train": "all", "bn": "train", "gradual": False, "optimizer": optimizer,
            "steps": steps if trained and steps else None, "layer_decay": 1.0,
            "learning_rate_multipliers": {}, "regularizer": None, "early_stopping": None,
        }
    )  # fmt: skip
    update: dict[str, Any] = {"weights": None, "fallback": None}
    if not config.model.beside:  # bn_momentum is for a single backbone
        update["bn_momentum"] = 0.9
    if config.model.head.name in ("neighbors", "class_names"):  # rows or knowledge, not trained from scratch
        update["head"] = LinearHeadConfig()
    return {
        "model": _without_knowledge(config.model, frozen=False).model_copy(update=update),
        "stages": (stage,),
    }


def _without_knowledge(model: ModelConfig, *, frozen: bool) -> ModelConfig:
    """Returns a model config whose nested model and further backbones start with random weights."""
    beside = {name: part.model_copy(update={"weights": None}) for name, part in model.beside.items()}
    nested = model.nested
    if nested is not None:
        nested = nested.model_copy(update={"pretrained": False, "frozen": frozen})
    return model.model_copy(update={"nested": nested, "beside": beside})


def _random_features(config: ExperimentConfig, steps: int) -> dict[str, Any]:
    config = config.model_copy(update={"model": _without_knowledge(config.model, frozen=True)})
    return _probed(config, weights=None)


def _alone(part: str, config: ExperimentConfig, steps: int) -> dict[str, Any]:
    """Returns the changes that leave out the other parts of each row, which the model takes for missing."""
    others = [other for other in config.parts if other != part]
    left_out = tuple(others) if len(others) > 1 else others[0]
    return {"data": config.data.model_copy(update={"leave_out": left_out})}


def _frozen_probe(config: ExperimentConfig, steps: int) -> dict[str, Any]:
    return _probed(config, weights=config.model.weights)


def _probed(config: ExperimentConfig, weights: str | None) -> dict[str, Any]:
    """Returns the changes for a logistic regression on features standardised by the training rows.

    Features of a network with random weights may all be as small as 1e-13, so they are standardised. The
    regression is solved to its optimum, so that no choice of a learning rate weakens the twin.
    """
    pooling = None if config.model.neck.pooling == "flatten" else config.model.neck.pooling
    model = config.model.model_copy(
        update={
            "weights": weights, "fallback": None, "neck": NeckConfig(pooling=pooling),
            "head": LinearHeadConfig(),
        }
    )  # fmt: skip
    return {"model": model, "stages": (ProbeStageConfig(name="probe", probe=ProbeConfig()),)}


def write_verdict(config: ExperimentConfig, run_dir: RunDir, own: Sequence[Any] = ()) -> str:
    """Judges the run on its test rows, writes `evaluation/verdict.json` and returns its sentences.

    The rows are those of the target, if there is one. Without labels the verdict is `not_judged`. The file
    holds the verdict against the first twin, and under `twins` the verdict against each of them.
    """
    seeds = [run_dir, *(RunDir(run_dir.path / "seeds" / str(i)) for i in range(1, config.judged_seeds))]
    found = {name: _judged(config, name, seeds, own) for name in config.twins}
    first = next(iter(found.values()))
    run_dir.write_json(run_dir.evaluation / "verdict.json", first | {"twins": found})
    return "\n".join(text for verdict in found.values() for text in verdict_texts(verdict))


def _judged(config: ExperimentConfig, name: str, seeds: list[RunDir], own: Sequence[Any]) -> dict[str, Any]:
    domain = "source" if config.adaptation is None else "target"
    runs = [_predictions(run, domain) for run in seeds]
    others = [_predictions(run.twin(name), domain) for run in seeds]
    scores = None
    if name == "source_only":
        scores = tuple(float(np.mean([_information(p) for p in side])) for side in (runs, others))
    words = {"twin_name": NAMES[name], "information_maximization": scores}
    if all(run.labels is not None for run in runs):
        run_dirs = [(run, run.twin(name)) for run in seeds]
        found = judge_runs(runs, others, run_dirs, domain, metric=config.judge, own=own, **words)
    else:
        found = unlabelled_verdict(runs, judged_by=config.judged_by, **words)
    verdict = found.to_json()
    verdict["advice"] = ADVICE[name] if verdict["verdict"] == "hurt" else None
    return verdict


def _predictions(run: RunDir, domain: str):
    folder = run.evaluation_of(domain)
    files = {split: folder / f"predictions_{split}.npz" for split in ("test", "val", "train")}
    splits = {split: Predictions.load(path) for split, path in files.items() if path.is_file()}
    return splits[shown_split(splits)]


def _steps_taken(run_dir: RunDir) -> int:
    """Returns the number of optimizer steps of all stages, taking early stopping into account."""
    return sum(int(e["steps"]) for e in run_dir.ledger.records() if e["event"] == "completed")


def _information(predictions) -> float:
    return information_maximization(predictions.logits)


def _named(config: ExperimentConfig, suffix: str) -> str:
    return f"{config.name[:45]}.{suffix}"
