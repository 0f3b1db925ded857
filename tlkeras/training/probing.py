"""A stage without gradient steps: a scikit-learn learner on frozen features, put into the linear head."""

import time

import keras
import numpy as np

from tlkeras.config import StageConfig
from tlkeras.errors import UserError
from tlkeras.evaluation.metrics import compute_metrics
from tlkeras.evaluation.predictions import Predictions
from tlkeras.features.cache import FeatureCache, NotWorthwhile, Request
from tlkeras.models.graph import output_of
from tlkeras.prepare import Parts
from tlkeras.runtime import arrays_from_chief, from_chief
from tlkeras.training import snapshots
from tlkeras.training.audit import FreezeAudit
from tlkeras.transfer.probes import PROBES
from tlkeras.transfer.probes import linear_weights as weights_of


def check_probe(parts: Parts, stage: StageConfig) -> None:
    """Raises `UserError` where a probe cannot take the place of the stage's training."""
    kind = PROBES.get(stage.probe.name)
    dense = _last_layer(parts.model)
    plain = len([x for x in parts.model.head.layers if x.weights]) == 1 and type(dense) is keras.layers.Dense
    if stage.train != "head" or not plain:
        raise UserError(
            "A probe is put into a linear head: set train='head' and model.head.name=linear. "
            f"Received: stages.{stage.name}.train={stage.train!r}, head={parts.config.model.head.name!r}"
        )
    if not kind.linear:
        linear = ", ".join(name for name, probe in PROBES.items() if probe.linear)
        raise UserError(
            f"A stage keeps its probe as the head's weights, so it must be linear. Allowed: {linear}. "
            f"'tlkeras rank' takes all. Received: stages.{stage.name}.probe.name={stage.probe.name}"
        )
    if parts.source.task not in ("multiclass", "binary"):
        raise UserError(f"A probe needs one class per row. Received: data.task={parts.source.task}")


def train_probe_stage(trainer, index: int) -> None:
    """Runs one probe stage of a trainer: fit, put into the head, keep as a checkpoint, record.

    Args:
        trainer: The run's `Trainer`.
        index: Number of the stage.
    """
    stage, parts = trainer.stages[index], trainer.parts
    selection = parts.model.select("head", stage.bn)
    trainer.states.enter(index)
    audit = FreezeAudit(parts.model, selection, stage.name)
    trainer.run_dir.ledger.append(stage=stage.name, event="started")
    began = time.monotonic()
    features = {split: _features(parts, split) for split in ("train", "val") if split in parts.source.splits}
    extracted = time.monotonic()
    labels = np.asarray(parts.source.splits["train"].labels).reshape(-1).astype(int)
    kernel, bias = weights_of(stage.probe, features["train"], labels, _classes(parts), parts.config.seed)
    dense = _last_layer(parts.model)
    kernel, bias = arrays_from_chief(parts.runtime, [kernel, bias])
    if dense.kernel.shape[-1] == 1:  # one logit for yes or no
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    dense.kernel.assign(kernel)
    if dense.bias is not None:
        dense.bias.assign(bias)
    audit.check()
    logs = from_chief(parts.runtime, _logs(parts, features, kernel, bias))
    _keep(trainer, index, logs)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
    print(f"{trainer._title(index)}: {stage.probe.name} on frozen features: {shown}", flush=True)
    trainer._record_end(index, _NoSteps, audit, time.monotonic() - extracted, extracted - began)
    trainer.run_dir.mark_stage_done(index, stage.name)


def _keep(trainer, index: int, logs: dict[str, float]) -> None:
    """Writes the stage's checkpoint and line of metrics, and the best model where this is it."""
    stage = trainer.stages[index]
    own = {v.path: v for v in trainer.model.head.variables}
    rank = [logs.get("val_accuracy", -np.inf), -logs.get("val_loss", 0.0)]
    if "val_accuracy" in logs and rank > (trainer.best or {"rank": [-np.inf]})["rank"]:
        trainer.best = {
            "monitor": "val_accuracy", "value": rank[0], "rank": rank, "source": rank[0],
            "best_source": rank[0], "stage": index, "epoch": 1,
        }  # fmt: skip
        trainer.states.best.save_arrays(snapshots.capture(own), trainer.best, step=index)
    state = {"step": 1, "best": trainer.best, "early_stopping": None, "stopped": False, "finished": True}
    arrays = snapshots.capture(own, "model/")
    trainer.states.checkpoints(index).save_arrays(arrays, state | {"training_seconds": 0.0}, step=1)
    before = sum(steps.total for steps in trainer.steps[:index])
    row = {"epoch": 1, "step": before + 1} | {name: repr(value) for name, value in logs.items()}
    trainer.run_dir.write_rows(trainer.run_dir.stage_metrics(index, stage.name), [row])


def _features(parts: Parts, split: str) -> np.ndarray:
    """Returns the feature vectors of a split from the cache, float64 `(n, d)`."""
    plain = parts.model.to_functional()
    trunk = keras.Model(plain.inputs, output_of(plain, "features"), name="trunk")
    rows = parts.source.splits[split]
    cache = FeatureCache(parts.config.cache, parts.runtime.strategy, parts.config.runtime.threads)
    facts = {"backbone": parts.config.model.backbone, "train": "probe"}
    try:
        opened = cache.open(trunk, [Request(rows, parts.source, split)], title="probe", facts=facts)
    except NotWorthwhile as reason:
        raise UserError(f"A probe needs all features at once: {reason}.") from reason
    return np.asarray(opened.features[0].take(np.arange(len(rows))), np.float64)


def _logs(parts: Parts, features: dict, kernel: np.ndarray, bias: np.ndarray) -> dict[str, float]:
    found = {}
    for split, values in features.items():
        predictions = Predictions.from_logits(
            values @ kernel + bias, task=parts.source.task, labels=parts.source.splits[split].labels,
            class_names=parts.source.class_names,
        )  # fmt: skip
        numbers = compute_metrics(predictions)
        prefix = "" if split == "train" else "val_"
        found |= {prefix + name: float(numbers[name]) for name in ("accuracy", "loss") if name in numbers}
    return found


def _classes(parts: Parts) -> int:
    return max(2, parts.source.num_outputs)


def _last_layer(model):
    return model.head.layers[-1]


class _NoSteps:
    """Stands for a trainee that took no optimizer step."""

    class optimizer:
        iterations = 0
