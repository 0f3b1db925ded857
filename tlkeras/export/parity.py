"""Compares the answers of an exported model with those of `predict`."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tlkeras.errors import RunError
from tlkeras.evaluation import Predictions

LEAST_AGREEMENT = 0.75
QUANTISED_TOLERANCE = 0.25


class ExportRefused(RunError):
    """An export whose answers differ from those of `predict`. Its files are removed."""


@dataclass(frozen=True)
class Parity:
    """The comparison of an exported model with `predict` on the same rows.

    Attributes:
        rows: Number of compared rows.
        difference: Largest absolute difference of a probability, in 0..1, or of a value for regression.
        relative: `difference` divided by the spread of the answers, which is the largest range over the
            rows of any output. A model that gives the same answer for every row has no spread, and rounding
            would look large. Therefore the spread is at least 1e-4 of the largest answer.
        agreement: Fraction of rows with the same answer (class, or all labels). None for regression.
        accuracy: Accuracy of the export on the labelled rows, in 0..1. None for regression or without labels.
        accuracy_before: Accuracy of `predict` on these rows, in 0..1, or None.
    """

    rows: int
    difference: float
    relative: float
    agreement: float | None
    accuracy: float | None
    accuracy_before: float | None

    @property
    def accuracy_drop(self) -> float | None:
        """The loss of accuracy of the export. It is negative if the export is better."""
        if self.accuracy is None or self.accuracy_before is None:
            return None
        return self.accuracy_before - self.accuracy

    def to_dict(self) -> dict[str, Any]:
        """Converts the comparison for a JSON file.

        Returns:
            All numbers, including the drop of accuracy, by name.
        """
        return asdict(self) | {"accuracy_drop": self.accuracy_drop}


def answers_of(predictions: Predictions) -> np.ndarray:
    """Returns the answers that an export must give: probabilities, or values for regression."""
    return predictions.logits if predictions.probabilities is None else predictions.probabilities


def compare(answers: np.ndarray, reference: Predictions) -> Parity:
    """Compares the answers of an export with the predictions for the same rows.

    Args:
        answers: Answers of the export `(n, k)`. A value that is not finite makes the difference infinite.
        reference: Predictions of `predict`.
    """
    expected = answers_of(reference)
    answers = np.asarray(answers, np.float64)
    if answers.shape != expected.shape:
        return Parity(len(expected), np.inf, np.inf, 0.0, None, None)
    gap = np.abs(answers - expected)
    difference = float(gap.max()) if np.isfinite(gap).all() else np.inf
    spread = max(np.ptp(expected, axis=0).max(), 1e-4 * np.abs(expected).max(), 1e-12)
    decide = _DECISIONS[reference.task]
    if decide is None:
        return Parity(len(expected), difference, difference / spread, None, None, None)
    said, before = decide(answers), decide(expected)
    truth = reference.labels
    if truth is None:
        return Parity(len(expected), difference, difference / spread, _same(said, before), None, None)
    return Parity(
        rows=len(expected),
        difference=difference,
        relative=float(difference / spread),
        agreement=_same(said, before),
        accuracy=_same(said, truth),
        accuracy_before=_same(before, truth),
    )


def check(parity: Parity, what: str, *, tolerance: float | None, accuracy_drop: float) -> None:
    """Refuses an export whose answers differ too much from those of `predict`.

    Args:
        parity: Comparison with `predict`.
        what: Name of the format in the message.
        tolerance: Largest accepted `relative` difference. None is for quantised models: they must give the
            same answer on three rows of four (for regression, differ by at most a quarter of the spread).
        accuracy_drop: Largest accepted loss of accuracy as a fraction. Without labels, it is a loss of
            agreement.

    Raises:
        ExportRefused: The differences are larger.
    """
    facts = f"difference {parity.difference:.2g}, relative to the spread of the answers {parity.relative:.2g}"
    quantised = tolerance is None
    if quantised:
        tolerance = QUANTISED_TOLERANCE if parity.agreement is None else np.inf
    if not np.isfinite(parity.difference) or parity.relative > tolerance:
        raise ExportRefused(
            f"The {what} export is refused: its answers differ from those of `predict` on {parity.rows} "
            f"rows. Received: {facts}. Allowed: {tolerance:g}"
        )
    if quantised and parity.agreement is not None and parity.agreement < LEAST_AGREEMENT:
        raise ExportRefused(
            f"The {what} export is refused: its answers differ from those of `predict` on too many of "
            f"{parity.rows} rows. Received: {parity.agreement:.0%} equal. Allowed: {LEAST_AGREEMENT:.0%}"
        )
    drop = parity.accuracy_drop
    drop = drop if drop is not None or parity.agreement is None else 1 - parity.agreement
    if drop is not None and drop > accuracy_drop:
        raise ExportRefused(
            f"The {what} export is refused: it loses accuracy on {parity.rows} rows. Received: a drop of "
            f"{drop:.3f}, {facts}. Allowed: {accuracy_drop:g}; --accuracy_drop=... allows more"
        )


def _same(left: np.ndarray, right: np.ndarray) -> float:
    equal = np.asarray(left) == np.asarray(right)
    return float(equal.reshape(len(equal), -1).all(axis=1).mean())


_DECISIONS = {
    "multiclass": lambda answers: answers.argmax(axis=1),
    "binary": lambda answers: answers.argmax(axis=1),
    "multilabel": lambda answers: answers >= 0.5,
    "regression": None,
}
