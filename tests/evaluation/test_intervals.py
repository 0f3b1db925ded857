"""Intervals of shares, against published values, and what is said of few rows."""

import pytest

from tlkeras.evaluation.intervals import few_rows_note, score_line, wilson_interval


def test_wilson_against_published_values():
    # Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29 by the score method
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1 / 29, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_all_of_a_few_right_is_not_certain():
    low, high = wilson_interval(1.0, 3)
    assert low < 0.5 and high == 1.0
    assert score_line("source", "val", {"accuracy": 1.0, "rows": 3}).endswith("0.439 to 1.000)")
    assert "interval" not in score_line("source", "train", {"accuracy": 1.0, "rows": 3})
    assert score_line("source", "test", {"rmse": 0.5, "rows": 3}) == "source test: rmse 0.500 on 3 rows"


def test_few_rows_are_spoken_of():
    metrics = {"source": {"train": {"rows": 9}, "val": {"rows": 4}, "test": {"rows": 400}}}
    said = few_rows_note(metrics)
    assert "source val" in said and "source test" not in said
    assert "25 points" in said and "val chose the best" in said
    assert few_rows_note({"source": {"train": {"rows": 9}, "test": {"rows": 400}}}) == ""
