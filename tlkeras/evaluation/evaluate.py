"""Predict every split of every domain once, and write down what follows from it."""

import contextlib
from typing import Any

from tlkeras.data import Domain, evaluation_batches
from tlkeras.evaluation.metrics import compute_metrics, write_confusion
from tlkeras.evaluation.prediction_files import write_csv
from tlkeras.evaluation.predictions import Predictions, predict_rows
from tlkeras.models.distributed_fit import DistributedFit
from tlkeras.models.transfer_model import TransferModel
from tlkeras.run_dir import RunDir

KEPT_FEATURES = 5000  # rows of a split; a report looks at no more

Evaluated = dict[str, dict[str, Predictions]]


class _WithFeatures(DistributedFit):
    """Logits and the features they are made from, in one pass of the backbone."""

    def __init__(self, model):
        super().__init__(name="with_features")
        self.model = model

    def call(self, x, training=None):
        features = self.model.features(x, training=training)
        return {"logits": self.model.classify(features, training=training), "features": features}


def predict_domains(model, domains: dict[str, Domain], batch_size: int, runtime=None) -> Evaluated:
    """Returns the predictions of a model for every labelled split, by domain and split.

    Args:
        model: Raw inputs to logits. Of a `TransferModel` the predictions of splits of up to `KEPT_FEATURES`
            rows hold the features too.
        domains: By name.
        batch_size: Rows per step over all replicas.
        runtime: Distributes the batches; None is one device.
    """
    telling = model
    if isinstance(model, TransferModel):
        with runtime.scope() if runtime is not None else contextlib.nullcontext():
            telling = _WithFeatures(model)
    return {
        name: {
            split: predict_split(
                telling if len(rows) <= KEPT_FEATURES else model, domain, split, batch_size, runtime
            )
            for split, rows in domain.splits.items()
            if len(rows) and rows.labels is not None
        }
        for name, domain in domains.items()
    }


def predict_split(model, domain: Domain, split: str, batch_size: int, runtime=None) -> Predictions:
    """Returns the predictions of a model for one split, in the order of its rows."""
    rows = domain.splits[split]
    batches = evaluation_batches(rows, domain, batch_size=batch_size, pad=True)
    return predict_rows(
        model,
        runtime.distribute(batches) if runtime is not None else batches,
        task=domain.task,
        class_names=domain.class_names,
        ids=rows.ids,
        labels=rows.labels,
    )


def write_evaluation(
    run_dir: RunDir, evaluated: Evaluated, measured: dict[str, dict] | None = None
) -> dict[str, Any]:
    """Writes `metrics.json`, and per domain `confusion.csv` and `predictions.csv` of its test split.

    The source's files lie in `evaluation/`, those of another domain in `evaluation/DOMAIN/`. All
    predictions are kept beside them as `predictions_SPLIT.npz`, for reports and comparisons.

    Args:
        run_dir: The run.
        evaluated: Predictions of labelled splits.
        measured: Metrics that need no labels, `{domain: {split: {...}}}`; see `pair_metrics`.

    Returns:
        The metrics: `{domain: {split: {...}}}`.
    """
    metrics = {
        domain: {split: compute_metrics(p) for split, p in splits.items()}
        for domain, splits in evaluated.items()
    } | (measured or {})
    for domain, splits in evaluated.items():
        folder = run_dir.evaluation if domain == "source" else run_dir.evaluation / domain
        for split, predictions in splits.items():
            predictions.save(folder / f"predictions_{split}.npz")
        shown = splits.get("test") or splits.get("val") or splits.get("train")
        if shown is not None:
            write_csv(shown, folder / "predictions.csv")
            if shown.task != "regression":
                write_confusion(shown, folder / "confusion.csv")
    # last, because it is what says that an evaluation is complete
    run_dir.write_json(run_dir.evaluation / "metrics.json", metrics)
    return metrics
