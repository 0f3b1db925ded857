import numpy as np
import pytest

from tlkeras.evaluation import Predictions
from tlkeras.export.parity import ExportRefused, check, compare


def _reference(task="multiclass", labels=True):
    logits = np.random.default_rng(0).normal(size=(40, 3))
    truth = logits if task == "regression" else logits.argmax(axis=1)
    return Predictions.from_logits(logits, task=task, labels=truth if labels else None)


def test_differences_are_relative_to_the_spread_over_rows():
    reference = _reference()
    answers = reference.probabilities.copy()
    answers[3, 1] += 0.01
    parity = compare(answers, reference)
    assert parity.difference == pytest.approx(0.01)
    assert parity.relative == pytest.approx(0.01 / np.ptp(reference.probabilities, axis=0).max())
    assert (parity.agreement, parity.accuracy, parity.accuracy_drop) == (1, 1, 0)


def test_a_constant_model_tolerates_rounding_but_nothing_more():
    reference = Predictions.from_logits(np.zeros((5, 4)), task="multiclass")
    check(compare(reference.probabilities + 1e-8, reference), "x", tolerance=1e-3, accuracy_drop=0)
    with pytest.raises(ExportRefused):
        check(compare(reference.probabilities + 1e-6, reference), "x", tolerance=1e-3, accuracy_drop=0)


@pytest.mark.parametrize("bad", [lambda p: p * np.nan, lambda p: p[:, :2], lambda p: p[::-1]])
@pytest.mark.parametrize("tolerance", [1e-3, None])
def test_numbers_that_are_none_or_of_another_shape_or_order_are_refused(bad, tolerance):
    reference = _reference()
    with pytest.raises(ExportRefused):
        check(compare(bad(reference.probabilities), reference), "x", tolerance=tolerance, accuracy_drop=1)


def test_quantised_models_are_judged_by_their_answers():
    reference = _reference(labels=False)
    swapped = reference.probabilities.copy()
    swapped[:2] = 1 - swapped[:2]
    with pytest.raises(ExportRefused, match="loses accuracy"):
        check(compare(swapped, reference), "x", tolerance=None, accuracy_drop=0.01)
    check(compare(swapped, reference), "x", tolerance=None, accuracy_drop=0.1)
    values = _reference("regression")
    check(compare(values.logits + 0.1, values), "x", tolerance=None, accuracy_drop=0)
    with pytest.raises(ExportRefused, match=r"Allowed: 0\.25"):
        check(compare(values.logits * 2, values), "x", tolerance=None, accuracy_drop=0)
