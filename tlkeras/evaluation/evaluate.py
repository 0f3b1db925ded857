"""Predict every split of every domain once, and write down what follows from it."""

import contextlib
from typing import Any

import keras

from tlkeras.backend.distributed_fit import DistributedFit
from tlkeras.data import Domain, evaluation_batches
from tlkeras.evaluation.metrics import compute_metrics, write_confusion
from tlkeras.evaluation.prediction_files import write_csv
from tlkeras.evaluation.predictions import Predictions, predict_rows, shown_split
from tlkeras.models.cuts.graph import inputs_of, output_of
from tlkeras.run_dir import RunDir

KEPT_FEATURES = 5000  # rows of a split; a report looks at no more
MOST_ROWS = 128  # on a device at a time; one device has to hold what eight did in training

Evaluated = dict[str, dict[str, Predictions]]


class _Answering(DistributedFit):
    """Runs a plain model in float32 steps of its own, whatever the dtype policy of the process."""

    def __init__(self, model: keras.Model):
        super().__init__(name="answering", dtype="float32")
        self.model = model

    def call(self, x, training=None):
        return self.model(x, training=training)


def predict_domains(
    model: keras.Model, domains: dict[str, Domain], batch_size: int, runtime=None
) -> Evaluated:
    """Returns the predictions of a model for every split, by domain and split.

    This is the one way to evaluate, so that a run that is evaluated again gets the same numbers to the bit:
    the same plain model, as many rows on each device, however many devices there are.

    Splits without labels are predicted too, as those of an adaptation's target. Only a domain that draws
    pairs of views has none, because its model answers no question about a single row.

    Args:
        model: Raw inputs to logits, plain and functional. Predictions of splits of up to `KEPT_FEATURES` rows
            hold the features too, where the model has a layer `features`.
        domains: By name.
        batch_size: Rows of a training step of the run; so many are predicted at a time on each device, at
            most `MOST_ROWS`.
        runtime: Distributes the batches; None is one device.
    """
    with runtime.scope() if runtime is not None else contextlib.nullcontext():
        alone, with_features = _Answering(model), _Answering(_with_features(model))
    rows_of_a_step = min(batch_size, MOST_ROWS) * (runtime.replicas if runtime is not None else 1)
    return {
        name: {
            split: predict_split(
                with_features if len(rows) <= KEPT_FEATURES else alone, domain, split, rows_of_a_step, runtime
            )
            for split, rows in domain.splits.items()
            if len(rows) and not domain.draws_pairs
        }
        for name, domain in domains.items()
    }


def _with_features(model: keras.Model) -> keras.Model:
    """Returns a model of logits and the features they are made from, in one pass of the backbone."""
    try:
        features = output_of(model, "features")
    except ValueError:
        return model
    return keras.Model(inputs_of(model), {"logits": model.outputs[0], "features": features})


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


def measure(evaluated: Evaluated) -> dict[str, dict[str, Any]]:
    """Returns the metrics of all labelled splits, `{domain: {split: {...}}}`."""
    return {
        domain: {split: compute_metrics(p) for split, p in splits.items() if p.labels is not None}
        for domain, splits in evaluated.items()
    }


def write_evaluation(
    run_dir: RunDir, evaluated: Evaluated, measured: dict[str, dict] | None = None
) -> dict[str, Any]:
    """Writes `metrics.json`, and per domain `confusion.csv` and `predictions.csv` of its test split.

    The source's files lie in `evaluation/`, those of another domain in `evaluation/DOMAIN/`. All
    predictions are kept beside them as `predictions_SPLIT.npz`, for reports and comparisons. Rows without
    labels are predicted, and neither measured nor counted.

    Args:
        run_dir: The run.
        evaluated: Predictions by domain and split.
        measured: Metrics that need no labels, `{domain: {split: {...}}}`; see `pair_metrics`.

    Returns:
        The metrics of labelled splits: `{domain: {split: {...}}}`.
    """
    metrics = measure(evaluated) | (measured or {})
    for domain, splits in evaluated.items():
        folder = run_dir.evaluation_of(domain)
        for split, predictions in splits.items():
            predictions.save(folder / f"predictions_{split}.npz")
        if (split := shown_split(splits)) is not None:
            shown = splits[split]
            write_csv(shown, folder / "predictions.csv", with_label=True)
            if shown.labels is not None and shown.task != "regression":
                write_confusion(shown, folder / "confusion.csv")
    # last, because it is what says that an evaluation is complete
    run_dir.write_json(run_dir.evaluation / "metrics.json", metrics)
    return metrics
