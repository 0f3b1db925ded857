"""Figures of a page: where ticks lie, what they are called, and values that no axis expects."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from tlkeras.report.drawing import Axis
from tlkeras.report.figures import curves_figure, reliability_figure


def texts(svg: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize(
    ("values", "options", "labels"),
    [
        ((0.0, 1.0), {"margin": 0}, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ((0.0, 17.0), {"margin": 0}, ["0.0", "2.5", "5.0", "7.5", "10.0", "12.5", "15.0"]),
        ((0, 3), {"integer": True}, ["0", "1", "2", "3"]),
        ((-2e-7, 1e-7), {"margin": 0}, ["−2e−07", "−1.5e−07", "−1e−07", "−5e−08", "0", "5e−08", "1e−07"]),
        ((0.002, 3.0), {"log": True}, ["0.01", "0.1", "1"]),
        ((1e7, 1e7 + 1), {"margin": 0}, ["10000000", *(f"10000000.{i}" for i in "2468"), "10000001"]),
    ],
)  # fmt: skip
def test_ticks_are_round_numbers_that_are_told_apart(values, options, labels):
    axis = Axis(values, **options)
    assert axis.labels == labels
    places = axis.at(axis.ticks)
    assert np.all(np.diff(places) > 0) and places[0] >= -1e-9 and places[-1] <= 1 + 1e-9


@pytest.mark.parametrize("values", [(0.0,), (7.0, 7.0), (1e308, -1e308), (1e-320, 0.0), (5.0, 5.0 + 1e-15)])
def test_every_finite_value_has_a_place_in_the_figure(values):
    svg = curves_figure([("", range(len(values)), values)])
    (curve,) = (line for line in ElementTree.fromstring(svg).iter("polyline") if "--c1" in line.get("style"))
    places = np.array([pair.split(",") for pair in curve.get("points").split()], float)
    assert places.shape == (len(values), 2)
    assert np.all((places > 0) & (places < (317, 209)))


def test_what_stands_in_the_figure_is_text():
    lines = [("training", [1, 2], [1.0, 0.5]), ("validation", [1, 2], [1.0, 0.6])]
    written = texts(curves_figure(lines, boundaries=[("a<b", 0), ("tune", 1)], kept=2))
    assert {"a<b", "tune", "training", "validation", "step"} <= set(written)


def test_bars_of_a_reliability_diagram_are_as_high_as_their_accuracy():
    bins = {"lower": np.array([0, 0.5]), "upper": np.array([0.5, 1]), "count": np.array([0, 4])}
    svg = reliability_figure(bins | {"accuracy": np.array([np.nan, 0.5])})
    drawn = ElementTree.fromstring(svg).iter("rect")
    right, share = (float(box.get("height")) for box in drawn)
    assert right / share == pytest.approx(0.5, abs=0.01)
