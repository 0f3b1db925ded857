"""A stage without gradient steps: a classical learner on frozen features, put into the head."""

import time

import keras
import numpy as np

from tlkeras import messages
from tlkeras.backend import arrays_from_chief, from_chief
from tlkeras.config import StageConfig
from tlkeras.errors import UserError
from tlkeras.evaluation.metrics import compute_metrics
from tlkeras.evaluation.predictions import Predictions
from tlkeras.methods.probe.feature_mapping import FeatureMapping
from tlkeras.methods.probe.probes import PROBES, make_probe
from tlkeras.methods.probe.probes import linear_weights as weights_of
from tlkeras.models.nearest_neighbors import NearestNeighbors
from tlkeras.prepare import Parts
from tlkeras.training import snapshots
from tlkeras.training.audit import FreezeAudit
from tlkeras.training.probe_features import check_mapping, fitted_mapping, probe_features
from tlkeras.training.trunk_features import NOTE, recorded


def check_probe(parts: Parts, stage: StageConfig) -> None:
    """Raises `UserError` where a probe cannot take the place of the stage's training."""
    probe, of = PROBES.get(stage.probe.name), f"Received: stages.{stage.name}"
    layer = _last_layer(parts.model)
    plain = len([x for x in parts.model.head.layers if x.weights]) == 1 and type(layer) is keras.layers.Dense
    head = f"head={parts.config.model.head.name!r}"
    if stage.train != "head" or (probe.linear and not plain):
        raise UserError(
            "A probe is put into a linear head: set train='head' and model.head.name=linear. "
            f"{of}.train={stage.train!r}, {head}"
        )
    if not probe.linear and (not isinstance(layer, NearestNeighbors) or stage.probe.options):
        raise UserError(
            f"A {stage.probe.name} probe is kept as the rows it was fitted on: set "
            "model.head.name=neighbors, and model.head.neighbors and model.head.vote in place of options. "
            f"{of}.probe={stage.probe.name}, options={stage.probe.options}, {head}"
        )
    if parts.config.model.adapter is not None:
        raise UserError(
            "A probe fits the head alone, and the adapter before it would stay random: train the stage. "
            f"{of}.probe and model.adapter"
        )
    if parts.source.task not in ("multiclass", "binary"):
        raise UserError(f"A probe needs one class per row. Received: data.task={parts.source.task}")
    make_probe(stage.probe.name, options=stage.probe.options)
    if stage.probe.mapping is not None:
        check_mapping(parts, stage.probe.mapping, linear=probe.linear)


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
    features, target, extractor = _features(trainer, index)
    mapping = fitted_mapping(parts, stage.probe.mapping, features["train"], target)
    if mapping is not None:
        features = {split: mapping.map_source(values) for split, values in features.items()}
    extracted = time.monotonic()
    answer = _fit(parts, stage, features["train"], mapping)
    audit.check()
    logs = from_chief(parts.runtime, _logs(parts, features, answer))
    _keep(trainer, index, logs)
    shown = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
    where = "frozen features" if mapping is None else f"features mapped by {stage.probe.mapping.name}"
    messages.note(f"{trainer._title(index)}: {stage.probe.name} on {where}: {shown}")
    trainer._record_end(index, _NoSteps, audit, time.monotonic() - extracted, extracted - began, extractor)
    trainer.run_dir.mark_stage_done(index, stage.name)


def _features(trainer, index: int) -> tuple[dict[str, np.ndarray], np.ndarray | None, str]:
    """Returns the source's features by split, the target's where a mapping needs them, and the extractor."""
    stage, parts, run_dir = trainer.stages[index], trainer.parts, trainer.run_dir
    own = [split for split in ("train", "val") if split in parts.source.splits]
    others = [] if stage.probe.mapping is None else [(parts.targets[0], "train")]
    folder = run_dir.stage(index, stage.name)
    known = recorded(parts, run_dir, folder).get("extractor")
    places = [(parts.source, split) for split in own] + others
    found, extractor = probe_features(parts, places, known)
    run_dir.write_json(folder / NOTE, {"extractor": extractor})
    return dict(zip(own, found, strict=False)), found[-1] if others else None, extractor


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


def _fit(parts: Parts, stage: StageConfig, features: np.ndarray, mapping: FeatureMapping | None):
    """Fits the learner, puts it into the head, and returns it as a function of (mapped) features."""
    layer = _last_layer(parts.model)
    labels = np.asarray(parts.source.splits["train"].labels).reshape(-1).astype(int)
    if isinstance(layer, NearestNeighbors):
        layer.put(*arrays_from_chief(parts.runtime, [features, labels]))
        return lambda x: np.concatenate([np.asarray(layer(x[i : i + 256])) for i in range(0, len(x), 256)])
    kernel, bias = weights_of(
        stage.probe, features, labels, max(2, parts.source.num_outputs), parts.config.seed
    )
    kernel, bias = arrays_from_chief(parts.runtime, [kernel, bias])
    if layer.kernel.shape[-1] == 1:  # one logit for yes or no
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    own_kernel, own_bias = (kernel, bias) if mapping is None else mapping.before_mapping(kernel, bias)
    layer.kernel.assign(own_kernel)
    if layer.bias is not None:
        layer.bias.assign(own_bias)
    return lambda x: x @ kernel + bias


def _logs(parts: Parts, features: dict, answer) -> dict[str, float]:
    found = {}
    for split, values in features.items():
        predictions = Predictions.from_logits(
            answer(values), task=parts.source.task, labels=parts.source.splits[split].labels,
            class_names=parts.source.class_names,
        )  # fmt: skip
        numbers = compute_metrics(predictions)
        prefix = "" if split == "train" else "val_"
        found |= {prefix + name: float(numbers[name]) for name in ("accuracy", "loss") if name in numbers}
    return found


def _last_layer(model):
    return model.head.layers[-1]


class _NoSteps:
    """Stands for a trainee that took no optimizer step."""

    class optimizer:
        iterations = 0
