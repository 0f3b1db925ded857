"""Prediction of each split of each domain, and the files of the results."""

import contextlib
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from tlkeras.backend.distributed_fit import DistributedFit
from tlkeras.config import ExperimentConfig
from tlkeras.data import Domain, evaluation_batches
from tlkeras.data.roles import Role
from tlkeras.data.sound_windows import mean_by_owner
from tlkeras.evaluation import calibration
from tlkeras.evaluation.intervals import score_interval
from tlkeras.evaluation.metrics import compute_metrics, write_confusion
from tlkeras.evaluation.named_metrics import named_values
from tlkeras.evaluation.prediction_files import write_csv
from tlkeras.evaluation.predictions import Predictions, predict_rows, shown_split
from tlkeras.models.cuts.folding import Folded
from tlkeras.models.cuts.graph import functional, inputs_of, output_of
from tlkeras.run_dir import RunDir

KEPT_FEATURES = 5000  # rows of a split whose features are kept; a report uses no more
MOST_ROWS = 128  # rows per device and step, so that one device can evaluate what eight have trained

Evaluated = dict[str, dict[str, Predictions]]


class Answering(DistributedFit):
    """Runs a plain model, folded, in float32, independent of the dtype policy of the process.

    Args:
        model: Plain functional model from raw inputs to logits, or to a dict of outputs.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name="answering", dtype="float32")
        self.model, self._folded = model, Folded(model)

    def call(self, x, training=None):
        # as Keras does, because pictures may come as whole numbers
        dtypes = {given.name: given.dtype for given in functional(self.model).inputs}
        if isinstance(x, dict):
            x = {name: ops.convert_to_tensor(x[name], dtype) for name, dtype in dtypes.items()}
        else:
            x = ops.convert_to_tensor(x, *dtypes.values())
        return self._folded(x, training)


def predict_domains(
    model: keras.Model, domains: dict[str, Domain], batch_size: int, runtime=None
) -> Evaluated:
    """Returns the predictions of a model for every split, by domain and split.

    All evaluations use this function with the same plain model and the same number of rows per device. A
    second evaluation of a run therefore gives identical numbers on any number of devices.

    Splits without labels, such as those of a target domain, are predicted too. Domains that draw pairs of
    views are left out, because their models do not predict single rows.

    Args:
        model: Plain functional model from raw inputs to logits. If it has a layer `features`, predictions of
            splits of up to `KEPT_FEATURES` rows contain the features.
        domains: Domains by name.
        batch_size: Number of rows of a training step of the run. Each device predicts this many rows per
            step, at most `MOST_ROWS`.
        runtime: Runtime that distributes the batches, or None for one device.
    """
    with runtime.scope() if runtime is not None else contextlib.nullcontext():
        alone, both = Answering(model), Answering(with_features(model))
    rows_of_a_step = min(batch_size, MOST_ROWS) * (runtime.replicas if runtime is not None else 1)
    return {
        name: {
            split: predict_split(
                both if len(rows) <= KEPT_FEATURES else alone, domain, split, rows_of_a_step, runtime
            )
            for split, rows in domain.splits.items()
            if len(rows) and not domain.draws_pairs
        }
        for name, domain in domains.items()
    }


def with_features(model: keras.Model) -> keras.Model:
    """Returns a model that puts out `logits` and `features` by name, in one pass of the backbone.

    A model without a layer `features` is returned unchanged.
    """
    try:
        features = output_of(model, "features")
    except ValueError:
        return model
    return keras.Model(inputs_of(model), {"logits": model.outputs[0], "features": features})


def predict_split(model, domain: Domain, split: str, batch_size: int, runtime=None) -> Predictions:
    """Returns the predictions of a model for one split, in the order of its rows.

    The logits and features of a long sound are the means of those of its windows.

    Args:
        model: Model from inputs to logits.
        domain: Domain with the split.
        split: Name of the split.
        batch_size: Number of rows per step.
        runtime: Runtime whose replicas share each batch, or None for one device.
    """
    rows = domain.splits[split]
    read, owners = domain.modality.windows(rows, domain.config) or (rows, None)
    if owners is not None:  # each is read once, so that there is nothing to keep
        domain = replace(domain, config=domain.config.model_copy(update={"memory_mb": 0}))
    batches = evaluation_batches(read, domain, batch_size=batch_size, pad=True)
    found = predict_rows(
        model,
        runtime.distribute(batches) if runtime is not None else batches,
        task=domain.task,
        class_names=domain.class_names,
        ids=np.asarray(read.ids),
        labels=read.labels,
    )
    if owners is None:
        return found
    logits = mean_by_owner(found.logits, owners)[0]
    features = None if found.features is None else mean_by_owner(found.features, owners)[0]
    return Predictions.from_logits(
        logits, task=domain.task, labels=rows.labels, ids=np.asarray(rows.ids),
        class_names=domain.class_names, features=features,
    )  # fmt: skip


def measure(evaluated: Evaluated, config: ExperimentConfig | None, own=()) -> dict[str, dict[str, Any]]:
    """Returns the metrics of all labelled splits, `{domain: {split: {...}}}`.

    The metric of `judged_by` has a 95 % interval over the rows of `val` and `test`, which is
    `{"interval": {NAME: [low, high]}}`.

    Args:
        evaluated: Predictions by domain and split.
        config: Config of the run, which names the metrics in addition to the usual ones, and says whether
            `predict` is calibrated; or None.
        own: Metrics that were passed from Python.
    """
    return {
        domain: {
            split: _measured(p, config, own, with_interval=split != "train")
            for split, p in splits.items()
            if p.labels is not None
        }
        for domain, splits in evaluated.items()
    }


def _measured(predictions: Predictions, config, own, *, with_interval: bool) -> dict[str, Any]:
    if config is None:
        return compute_metrics(predictions)
    found = named_values(predictions, config.measured, own) | compute_metrics(predictions)
    judge = config.judge
    if with_interval and judge is not None and judge.name in found and len(predictions):
        found["interval"] = {judge.name: list(score_interval(predictions, judge, own)[1:])}
    return found


def write_evaluation(
    run_dir: RunDir,
    evaluated: Evaluated,
    config: ExperimentConfig | None = None,
    measured: dict[str, dict] | None = None,
    own=(),
) -> dict[str, Any]:
    """Writes `metrics.json`, and per domain `confusion.csv` and `predictions.csv` of its test split.

    The files of the source are in `evaluation/`, those of another domain in `evaluation/DOMAIN/`. All
    predictions are also written as `predictions_SPLIT.npz` for reports and comparisons. Metrics are computed
    only for splits with labels.

    With `export.calibrate`, `calibration.json` has the temperature of the validation rows of the source, and
    the probabilities in `predictions.csv` are those of `predict`. Metrics and `.npz` files have the
    probabilities of `best.keras`.

    Args:
        run_dir: Run directory.
        evaluated: Predictions by domain and split.
        config: Config of the run, which names the metrics in addition to the usual ones, and says whether
            `predict` is calibrated; or None.
        measured: Metrics that need no labels, `{domain: {split: {...}}}`; see `pair_metrics`.
        own: Metrics that were passed from Python.

    Returns:
        The metrics of labelled splits: `{domain: {split: {...}}}`.
    """
    temperature = 1.0
    if config is not None and config.export.calibrate:
        facts = calibration.calibration_of(evaluated.get(Role.SOURCE, {}).get("val"))
        run_dir.write_json(run_dir.evaluation / calibration.FILE, facts)
        temperature = facts["temperature"]
    values = measure(evaluated, config, own) | (measured or {})
    for domain, splits in evaluated.items():
        folder = run_dir.evaluation_of(domain)
        for split, predictions in splits.items():
            predictions.save(folder / f"predictions_{split}.npz")
        if (split := shown_split(splits)) is not None:
            shown = splits[split]
            write_csv(shown.at_temperature(temperature), folder / "predictions.csv", with_label=True)
            if shown.labels is not None and shown.task != "regression":
                write_confusion(shown, folder / "confusion.csv")
    # metrics.json is written last, because its presence means that the evaluation is complete
    run_dir.write_json(run_dir.evaluation / "metrics.json", values)
    return values
