"""A stage without gradient steps: it fits a classical learner on frozen features for the head."""

import time
from collections.abc import Sequence

import keras
import numpy as np

from tlkeras import messages
from tlkeras.backend import arrays_from_chief, from_chief
from tlkeras.config import MappingConfig, ProbeStageConfig
from tlkeras.data import Domain
from tlkeras.errors import UserError
from tlkeras.evaluation.metrics import compute_metrics
from tlkeras.evaluation.named_metrics import make_metrics, named_values
from tlkeras.evaluation.predictions import Predictions
from tlkeras.features.cache import FeatureCache, NotWorthwhile, Request
from tlkeras.methods.probe.feature_mapping import FeatureMapping, make_mapping
from tlkeras.methods.probe.probes import PROBES, make_probe
from tlkeras.methods.probe.probes import linear_weights as weights_of
from tlkeras.models.cuts.graph import inputs_of, output_of
from tlkeras.models.nearest_neighbors import NearestNeighbors
from tlkeras.prepare import Parts
from tlkeras.training import snapshots
from tlkeras.training.checkpoints import BestModel, stage_state
from tlkeras.training.monitors import monitor_of
from tlkeras.training.stage import Stage, StageRecord
from tlkeras.training.stages import Steps
from tlkeras.training.trunk_features import NOTE, recorded


class ProbeStage(Stage):
    """Fits a classical learner on the features of a frozen backbone, and stores the result in the head."""

    config: ProbeStageConfig

    @property
    def steps(self) -> Steps:
        """One entry of the log. The ledger records that there were no steps."""
        return Steps(1, 1, 1)

    def check(self) -> None:
        """Raises `UserError` if the model or the data do not fit a probe."""
        check_probe(self.parts, self.config)

    def run(self, checkpoint: tuple[dict, dict] | None, best: dict | None) -> StageRecord:
        """Extracts features, fits the learner and saves the head. It always starts from the beginning."""
        parts, probe = self.parts, self.config.probe
        began = time.monotonic()
        features, target, extractor = self._features()
        mapping = fitted_mapping(parts, probe.mapping, features["train"], target)
        if mapping is not None:
            features = {split: mapping.map_source(values) for split, values in features.items()}
        extracted = time.monotonic()
        answer = _fit(parts, self.config, features["train"], mapping)
        logs = from_chief(parts.runtime, _logs(parts, features, answer))
        best = self._keep(logs, best)
        shown = ", ".join(f"{name} {value:.3f}" for name, value in logs.items())
        where = f"features mapped by {probe.mapping.name}" if probe.mapping else "frozen features"
        messages.note(f"{self.title}: {probe.name} on {where}: {shown}")
        return StageRecord(best, 0, time.monotonic() - extracted, extracted - began, extractor)

    def _features(self) -> tuple[dict[str, np.ndarray], np.ndarray | None, str]:
        """Returns source features by split, target features (if a mapping needs them), and the extractor."""
        parts, run_dir = self.parts, self.run_dir
        own = [split for split in ("train", "val") if split in parts.source.splits]
        others = [] if self.config.probe.mapping is None else [(parts.targets[0], "train")]
        known = recorded(parts, run_dir, self.folder).get("extractor")
        places = [(parts.source, split) for split in own] + others
        found, extractor = probe_features(parts, places, known)
        run_dir.write_json(self.folder / NOTE, {"extractor": extractor})
        return dict(zip(own, found, strict=False)), found[-1] if others else None, extractor

    def _keep(self, logs: dict[str, float], best: dict | None) -> dict | None:
        """Writes the metrics, the best model if this is the best, and the checkpoint."""
        own = {v.path: v for v in self.model.head.variables}
        monitor = monitor_of(self.parts)
        monitor = monitor if monitor in logs else "val_accuracy"
        best_model = BestModel(self.states.best, monitor, own, self.index, best)
        best_model.on_epoch_end(0, logs)
        arrays = snapshots.capture(own, "model/")
        state = stage_state(step=1, best=best_model.state, finished=True)
        self.states.checkpoints(self.index).save_arrays(arrays, state, step=1)
        row = {"epoch": 1, "step": self.steps_before + 1}
        row |= {name: repr(value) for name, value in logs.items()}
        self.run_dir.write_rows(self.run_dir.stage_metrics(self.index, self.config.name), [row])
        return best_model.state


def check_probe(parts: Parts, stage: ProbeStageConfig) -> None:
    """Raises `UserError` if the model or the data do not fit a probe."""
    probe, of = PROBES.get(stage.probe.name), f"Received: stages.{stage.name}"
    layer = _last_layer(parts.model)
    plain = len([x for x in parts.model.head.layers if x.weights]) == 1 and type(layer) is keras.layers.Dense
    head = f"head={parts.config.model.head.name!r}"
    if probe.linear and not plain:
        raise UserError(
            f"A {stage.probe.name} probe needs a linear head for its result: set model.head.name=linear. "
            f"{of}.probe={stage.probe.name}, {head}"
        )
    if not probe.linear and (not isinstance(layer, NearestNeighbors) or stage.probe.options):
        raise UserError(
            f"A {stage.probe.name} probe stores its training rows in the head: set "
            "model.head.name=neighbors, and set model.head.neighbors and model.head.vote instead of "
            f"options. {of}.probe={stage.probe.name}, options={stage.probe.options}, {head}"
        )
    if not probe.linear and parts.source.splits["train"].weights is not None:
        raise UserError(
            f"The training rows have weights, and the probe {stage.probe.name} stores rows without weights: "
            f"leave one out. {of}.probe={stage.probe.name}"
        )
    if parts.config.model.adapter is not None:
        raise UserError(
            "A probe fits only the head, so the adapter would keep its random weights: use a stage that "
            f"trains. {of}.probe and model.adapter"
        )
    if parts.source.task not in ("multiclass", "binary"):
        raise UserError(f"A probe needs one class per row. Received: data.task={parts.source.task}")
    make_metrics(parts.config.measured, parts.source.task, parts.source.num_outputs, parts.own.metrics)
    make_probe(stage.probe.name, options=stage.probe.options)
    if stage.probe.mapping is not None:
        check_mapping(parts, stage.probe.mapping, linear=probe.linear)


def _fit(parts: Parts, stage: ProbeStageConfig, features: np.ndarray, mapping: FeatureMapping | None):
    """Fits the learner, stores it in the head, and returns it as a function of (mapped) features."""
    layer = _last_layer(parts.model)
    rows = parts.source.splits["train"]
    labels = np.asarray(rows.labels).reshape(-1).astype(int)
    if isinstance(layer, NearestNeighbors):
        layer.put(*arrays_from_chief(parts.runtime, [features, labels]))
        return lambda x: np.concatenate([np.asarray(layer(x[i : i + 256])) for i in range(0, len(x), 256)])
    kernel, bias = weights_of(
        stage.probe, features, labels, max(2, parts.source.num_outputs), parts.config.seed, rows.weights
    )
    kernel, bias = arrays_from_chief(parts.runtime, [kernel, bias])
    if layer.kernel.shape[-1] == 1:  # binary tasks have one logit
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
        named = named_values(predictions, parts.config.measured, parts.own.metrics)
        numbers = named | compute_metrics(predictions)
        prefix = "" if split == "train" else "val_"
        found |= {prefix + n: float(numbers[n]) for n in ("accuracy", "loss", *named) if n in numbers}
    return found


def _last_layer(model):
    return model.head.layers[-1]


def check_mapping(parts: Parts, config: MappingConfig, *, linear: bool) -> None:
    """Raises `UserError` if a mapping does not fit a run.

    Args:
        parts: Parts of the run.
        config: Config of the mapping.
        linear: Whether the learner on the mapped features is linear.
    """
    mapping = make_mapping(config)
    if not linear and not mapping.same_space:
        raise UserError(
            "A knn probe needs unchanged target features, but this mapping changes them. Allowed: coral, "
            f"linear_map. Received: probe.mapping.name={config.name}"
        )
    if mapping.pairs:
        _paired(parts)


def fitted_mapping(
    parts: Parts, config: MappingConfig | None, source: np.ndarray, target: np.ndarray | None
) -> FeatureMapping | None:
    """Returns the mapping from the features of the source to those of the target, fitted on training rows.

    Args:
        parts: Parts of the run.
        config: Config of the mapping, or None for no mapping.
        source: Features of the source's training rows, `(n, d)`.
        target: Features of the target's training rows, `(m, d)`, or None.
    """
    if config is None:
        return None
    if (mapping := make_mapping(config)).pairs:
        ours, theirs = _paired(parts)
        source, target = source[ours], np.asarray(target)[theirs]
    return mapping.fit(source, np.asarray(target))


def probe_features(
    parts: Parts, splits: Sequence[tuple[Domain, str]], extractor: str | None
) -> tuple[list[np.ndarray], str]:
    """Returns the feature vectors of splits from the cache, each float64 `(n, d)`, and their extractor.

    Args:
        parts: Parts of the run.
        splits: Domains and names of splits.
        extractor: Name of the extractor that an earlier process of the run used, or None for the config's.
    """
    plain = parts.model.to_functional()
    trunk = keras.Model(inputs_of(plain), output_of(plain, "features"), name="trunk")
    return stored_vectors(parts, trunk, splits, extractor, "probe")


def stored_vectors(
    parts: Parts,
    trunk: keras.Model,
    splits: Sequence[tuple[Domain, str]],
    extractor: str | None,
    purpose: str,
) -> tuple[list[np.ndarray], str]:
    """Returns the outputs of `trunk` for splits from the cache, each float64 `(n, d)`, and their extractor.

    Args:
        parts: Parts of the run.
        trunk: Model from raw inputs to vectors.
        splits: Domains and names of splits.
        extractor: Name of the extractor that an earlier process of the run used, or None for the config's.
        purpose: Text before progress lines, which also stands in the cache.
    """
    cache = FeatureCache.of(parts.config, parts.runtime)
    facts = {"backbone": parts.config.model.backbone, "train": purpose}
    requests = [Request(domain.splits[split], domain, split) for domain, split in splits]
    try:
        opened = cache.open(trunk, requests, extractor=extractor, title=purpose, facts=facts)
    except NotWorthwhile as reason:
        raise UserError(
            f"The {purpose} needs the features of all rows at the same time: {reason}."
        ) from reason
    vectors = [np.asarray(found.take(np.arange(len(found))), np.float64) for found in opened.features]
    return vectors, opened.extractor


def _paired(parts: Parts) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the training rows that have the same id in both domains."""
    source, target = (d.splits["train"].ids for d in (parts.source, parts.targets[0]))
    common, ours, theirs = np.intersect1d(
        source.astype(str), target.astype(str), assume_unique=True, return_indices=True
    )
    if len(common) < 2:
        raise UserError(
            "linear_map learns from rows that have the same id in source and target, such as files of one "
            f"name. Received: {len(common)} such rows in train"
        )
    return ours, theirs
