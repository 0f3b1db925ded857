"""The predictions of a model for the rows of a split."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.config.data import Task
from tlkeras.maybe import MaybeNone
from tlkeras.models.probabilities import log_softmax, sigmoid
from tlkeras.run_dir import replacing


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The outputs of a model for `n` rows, in the order of the split.

    Attributes:
        ids: Names of the rows, text (n,).
        labels: True labels, or None. They are int64 (n,) for multiclass and binary, and float64 (n, k) for
            multilabel (0 or 1) and regression.
        logits: Outputs of the model, float64 (n, k). For regression they are the predicted values.
        probabilities: Probabilities, float64 (n, k): the softmax for multiclass, the sigmoid for multilabel.
            For binary they are always (n, 2), and for regression None.
        class_names: Names of the `k` classes (two for binary). Empty for regression.
        task: Task: `multiclass`, `binary`, `multilabel` or `regression`.
        features: Features float32 (n, d) from which the head computed the logits, or None. They are not
            saved.
        unlike_training: Distance of each row to the training rows, float (n,), see `UnlikeTraining`, or None.
            A row above 1 is unlike the training rows. It is not saved.
    """

    ids: np.ndarray
    labels: np.ndarray | MaybeNone
    logits: np.ndarray
    probabilities: np.ndarray | MaybeNone
    class_names: tuple[str, ...]
    task: Task
    features: np.ndarray | None = None
    unlike_training: np.ndarray | None = None

    @classmethod
    def from_logits(
        cls,
        logits: np.ndarray,
        *,
        task: Task,
        labels: np.ndarray | None = None,
        ids: Sequence[str] | np.ndarray | None = None,
        class_names: Sequence[str] = (),
        features: np.ndarray | None = None,
    ) -> "Predictions":
        """Makes predictions from the outputs of a model.

        Args:
            logits: Outputs of the model, float (n, k) or (n,).
            task: Task of the model.
            labels: True labels: class numbers (n,) or one-hot rows (n, k) for multiclass; 0 and 1, (n,) or
                (n, 1), for binary; (n, k) for multilabel; (n,) or (n, k) for regression; None if unknown.
            ids: Names of the rows, text (n,), by default `row:0`, `row:1`, ...
            class_names: Names of the classes, by default `0`, `1`, ...
            features: Features of the rows, float (n, d), or None.

        Returns:
            Predictions with ids and probabilities filled in.

        Raises:
            ValueError: The shapes do not fit each other.
        """
        logits = np.asarray(logits, np.float64)
        if logits.ndim != 2:
            logits = logits.reshape(len(logits), int(np.prod(logits.shape[1:])))
        count, width = logits.shape
        ids = [f"row:{row}" for row in range(count)] if ids is None else ids
        labels = None if labels is None else _labels(np.asarray(labels), task, width)
        names = tuple(class_names) or _numbered(task, width)
        expected = 0 if task == "regression" else 2 if task == "binary" else width
        lengths = {len(ids), count if labels is None else len(labels)}
        if lengths != {count} or (expected and len(names) != expected):
            raise ValueError(
                "Logits, labels, ids and class names must fit each other. Received: "
                f"task={task!r}, logits of shape {logits.shape}, {len(ids)} ids, {len(names)} class "
                f"names, labels of shape {None if labels is None else labels.shape}"
            )
        return cls(
            ids=np.array([str(name) for name in ids], dtype=object),
            labels=labels,
            logits=logits,
            probabilities=_probabilities(logits, task),
            class_names=names if expected else (),
            task=task,
            features=None if features is None else np.asarray(features, np.float32).reshape(count, -1),
        )

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def predicted(self) -> np.ndarray:
        """Predicted class indices int64 (n,), bool (n, k) for multilabel, values for regression."""
        if self.task == "regression":
            return self.logits
        if self.task == "multilabel":
            return self.probabilities >= 0.5
        return self.probabilities.argmax(axis=1)

    def take(self, rows: np.ndarray) -> "Predictions":
        """Returns the predictions of some rows.

        Args:
            rows: Indices, integers `(m,)`, or a mask, bool `(n,)`.

        Returns:
            Predictions of these rows, in the order of the indices.
        """
        return dataclasses.replace(
            self,
            ids=self.ids[rows],
            labels=None if self.labels is None else self.labels[rows],
            logits=self.logits[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            features=None if self.features is None else self.features[rows],
            unlike_training=None if self.unlike_training is None else self.unlike_training[rows],
        )

    def at_temperature(self, temperature: float) -> "Predictions":
        """Returns the predictions with logits divided by a temperature and new probabilities.

        The predicted classes stay the same.

        Args:
            temperature: Temperature above 0, as `fit_temperature` returns it. 1 changes nothing.

        Returns:
            Predictions with the new logits and probabilities.
        """
        if temperature == 1:
            return self
        logits = self.logits / temperature
        return dataclasses.replace(self, logits=logits, probabilities=_probabilities(logits, self.task))

    def save(self, path: str | os.PathLike) -> None:
        """Writes all attributes but the features to an `.npz` without pickled objects, atomically.

        Args:
            path: File to write, with the ending `.npz`.
        """
        arrays: dict[str, Any] = {"logits": self.logits.astype(np.float32)}
        if self.labels is not None:
            arrays["labels"] = self.labels
        for key, values in (("ids", self.ids), ("class_names", self.class_names)):
            # Text is stored as UTF-8 bytes. Fixed-width arrays would remove trailing NULs and take four
            # bytes for each character of the longest name.
            arrays[key] = np.frombuffer("\0".join(values).encode("utf-8", "surrogateescape"), np.uint8)
        arrays["task"] = np.frombuffer(self.task.encode(), np.uint8)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Predictions":
        """Reads predictions that `save` wrote.

        Args:
            path: File that `save` wrote.

        Returns:
            The predictions, without features.
        """
        with np.load(path, allow_pickle=False) as arrays:
            texts = {
                key: arrays[key].tobytes().decode("utf-8", "surrogateescape")
                for key in ("ids", "class_names", "task")
            }
            logits = arrays["logits"]
            return cls.from_logits(
                logits,
                task=texts["task"],
                labels=arrays.get("labels"),
                ids=texts["ids"].split("\0") if len(logits) else [],
                class_names=texts["class_names"].split("\0") if texts["class_names"] else (),
            )


def shown_split(splits: Mapping[str, Any]) -> str | MaybeNone:
    """Returns the split to report: the first of test, val and train with labels, else the first of them."""
    there = [split for split in ("test", "val", "train") if len(splits.get(split, ()))]
    return next((split for split in there if splits[split].labels is not None), next(iter(there), None))


def predict_rows(
    model: Any,
    batches: Iterable,
    *,
    task: Task,
    class_names: Sequence[str] = (),
    ids: Sequence[str] | np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> Predictions:
    """Runs a model once over the evaluation batches of a split, without dropout, in order.

    Args:
        model: Keras model that returns logits, or a function of one batch of inputs. If `ids` are given, the
            model may also return a dict of `logits` and `features`.
        batches: Batches `x`, `(x, y)` or `(x, y, weight)`. Rows of weight 0 are padding and are left out.
        task: Task of the model.
        class_names: Names of the classes.
        ids: Names of the rows. If they are given, a Keras model gets the whole data set in one `predict`,
            which uses all devices of a strategy, and padding must be at the end.
        labels: True labels. With None and without `ids`, the labels of the batches are used.
    """
    features = None
    if ids is not None and hasattr(model, "predict"):
        logits = model.predict(batches, verbose=0)
        if isinstance(logits, dict):
            logits, features = logits["logits"], np.asarray(logits["features"])[: len(ids)]
        if len(logits) < len(ids):
            raise ValueError(
                f"The model answered {len(logits)} of {len(ids)} rows. Received: ids={ids[:3]}..."
            )
        logits = np.asarray(logits)[: len(ids)]
    else:
        logits, found = _batch_by_batch(model, batches)
        labels = found if labels is None else labels
    return Predictions.from_logits(
        logits, task=task, labels=labels, ids=ids, class_names=class_names, features=features
    )


def two_sided(predictions: Predictions) -> np.ndarray:
    """Returns logits (n, k) whose softmax gives the probabilities, also for binary with one logit."""
    if predictions.task == "binary" and predictions.logits.shape[1] == 1:
        return np.concatenate([np.zeros_like(predictions.logits), predictions.logits], axis=1)
    return predictions.logits


def cross_entropy(predictions: Predictions) -> np.ndarray:
    """Returns the loss of each row, float64 (n,), from the logits. For regression it is the squared error."""
    if predictions.task == "regression":
        return ((predictions.logits - predictions.labels) ** 2).mean(axis=1)
    if predictions.task == "multilabel":
        signs = 1 - 2 * predictions.labels
        return np.logaddexp(0.0, signs * predictions.logits).mean(axis=1)
    scores = log_softmax(two_sided(predictions))
    return -scores[np.arange(len(scores)), predictions.labels]


def _batch_by_batch(model: Any, batches: Iterable) -> tuple[np.ndarray, np.ndarray | None]:
    answer = getattr(model, "predict_on_batch", model)
    logits, labels = [], []
    for batch in batches:
        x, y, weight = (*batch, None, None)[:3] if isinstance(batch, tuple) else (batch, None, None)
        outputs = np.asarray(answer(x))
        real = slice(None) if weight is None else np.asarray(weight) > 0
        logits.append(outputs[real])
        if y is not None:
            labels.append(np.asarray(y)[real])
    if not logits:
        return np.zeros((0, 1)), None
    return np.concatenate(logits), np.concatenate(labels) if labels else None


def _labels(labels: np.ndarray, task: Task, width: int) -> np.ndarray:
    if task in ("multilabel", "regression"):
        return labels.astype(np.float64).reshape(len(labels), -1)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2:  # one-hot
        labels = labels.argmax(axis=1)
    labels = labels.astype(np.int64)
    classes = 2 if task == "binary" else width
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"Labels must lie in 0..{classes - 1}. Received: {labels.min()}..{labels.max()}")
    return labels


def _numbered(task: Task, width: int) -> tuple[str, ...]:
    count = {"regression": 0, "binary": 2}.get(task, width)
    return tuple(str(index) for index in range(count))


def _probabilities(logits: np.ndarray, task: Task) -> np.ndarray | None:
    if task == "regression":
        return None
    if task == "multilabel":
        return sigmoid(logits)
    if task == "binary" and logits.shape[1] == 1:
        # Both sides are computed separately, because 1 - p would round small probabilities to 0.
        return np.concatenate([sigmoid(-logits), sigmoid(logits)], axis=1)
    return np.exp(log_softmax(logits))
