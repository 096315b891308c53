"""The chart of a card and of a still explorer: single models, front and marks inside its axes."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from cascadelib.figures.chart import X_AXIS, Y_AXIS, draw_chart, round_numbers

NAMES = pd.Index(["<a>\ud800", "b", "c"], dtype=object)
SINGLES = pd.DataFrame({"cost": [1.0, 3.0, 9.0], "accuracy": [0.6, 0.7, 0.9]}, NAMES)


def parsed(*arguments):
    """The root of the chart and its circles by colour: {colour: [(x, y), …]}."""
    root = ElementTree.fromstring(draw_chart(*arguments))
    circles = {}
    for circle in root.findall("circle"):
        (colour,) = re.findall(r"var\(--(\w+),", circle.get("fill"))
        place = float(circle.get("cx")), float(circle.get("cy"))
        circles.setdefault(colour, []).append(place)
    return root, circles


@pytest.mark.parametrize("first_cost", [0.0, 1.0])
def test_all_models_the_front_and_the_mark_are_inside_the_axes(first_cost):
    costs = [first_cost, 3.0, 9.0]
    steps = pd.DataFrame({"cost": [first_cost, 2.0, 5.0, 9.0], "accuracy": [0.6, 0.8, 0.85, 0.9]})
    root, circles = parsed(steps, SINGLES.assign(cost=costs), {"orange": (4.0, 0.5)}, "cost")
    assert len(circles["soft"]) == 3 and len(circles["orange"]) == 1
    corners = [
        tuple(map(float, corner.split(",")))
        for corner in root.find("polyline").get("points").split()
    ]
    assert len(corners) == 7
    for x, y in [*corners, *circles["soft"], *circles["orange"]]:
        assert X_AXIS[0] <= x <= X_AXIS[1] and Y_AXIS[1] <= y <= Y_AXIS[0]


def test_the_front_rises_at_the_cost_of_each_point():
    steps = pd.DataFrame({"cost": [1.0, 9.0], "accuracy": [0.6, 0.9]})
    root, circles = parsed(steps, SINGLES, {}, "macs")
    start, corner, end = root.find("polyline").get("points").split()
    cheapest, _, best = circles["soft"]
    assert [f"{x:.1f},{y:.1f}" for x, y in (cheapest, best)] == [start, end]
    assert corner == f"{best[0]:.1f},{cheapest[1]:.1f}"


def test_the_cheapest_and_the_most_accurate_model_are_named_as_text():
    root, _ = parsed(None, SINGLES, {}, "macs")
    names = [text.text for text in root.findall("text") if text.get("paint-order")]
    assert names == ["<a>?", "c"]
    assert "MACs per sample, log axis" in [text.text for text in root.findall("text")]


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.6), (0.9, 0.901), (0.0, 1.0)])
def test_an_axis_has_four_to_nine_round_numbers(low, high):
    found = round_numbers(low, high)
    assert 4 <= len(found) <= 9 and low <= found.min() and found.max() <= high + 1e-12
    assert np.allclose(np.diff(found), found[1] - found[0])
