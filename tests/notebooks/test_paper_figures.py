"""The paper's own figures hold what their tables hold, and name what all lines share once."""

from dataclasses import replace

import pandas as pd
import pytest
from tiny_stores import three_models

from cascadelib import METHODS, pick, replay, search
from cascadelib.figures import style
from tools.figures.calibration import threshold_curves
from tools.figures.front_plots import front_and_improvement
from tools.figures.plots import (
    methods_figure,
    segments_figure,
    threshold_figure,
)

STORE = three_models(k=400)
OTHER = three_models(1, k=400, noise=1.6)
CURVE = pd.DataFrame({"accuracy": [0.1, 0.2], "improvement": [1.0, 2.0]})


@pytest.fixture(scope="module")
def front():
    return search(STORE, 2)


def test_a_method_has_one_look_in_all_figures_and_a_unique_look_per_panel():
    curves = {name: CURVE * (1 + i) for i, name in enumerate(METHODS)}
    looks = {}
    for order in (reversed(curves.items()), curves.items()):
        fig = methods_figure(dict(order), "Figure 3")
        for panel in ("x", "x2", "x3"):
            drawn = [trace for trace in fig.data if trace.xaxis == panel]
            of_panel = {trace.name: (trace.line.color, trace.line.dash) for trace in drawn}
            assert len(set(of_panel.values())) == len(drawn)
            assert of_panel["max softmax"] == (style.BLACK, "solid")
            for name, look in of_panel.items():
                looks.setdefault(name, set()).add(look)
    assert len(looks) == 12 and all(len(look) == 1 for look in looks.values())


def test_figure_1_has_the_points_of_table_1_by_letter_and_name(front):
    point = pick(front, "max_improvement", caution=0)
    fig = front_and_improvement({"pairs": front}, "Figure 1", {"A": point})
    stars = [trace for trace in fig.data if trace.marker.symbol == "star"]
    assert [(*star.x, *star.y) for star in stars] == [
        (point.cost, point.accuracy),
        (point.accuracy, point.improvement),
    ]
    assert stars[0].name == f"A: {' → '.join(point.models)}" and stars[0].text == ("A",)
    steps, curve = (trace for trace in fig.data if (trace.name or "").startswith("pairs"))
    assert steps.line.color == curve.line.color


@pytest.mark.parametrize("ranges", [True, False])
def test_figure_12_has_a_line_per_segment(front, ranges):
    moved = replay(OTHER, front, ranges)
    fig = segments_figure(moved, search(OTHER, 2), "Figure 12")
    pieces = [trace for trace in fig.data if trace.mode == "lines+markers"]
    assert len(pieces) == moved["segment"].max() + 1
    assert sum(len(trace.x) for trace in pieces) == len(moved)
    assert fig.layout.xaxis.title.text == "MACs per sample"


def test_figure_14_marks_the_threshold(front):
    curves = threshold_curves(STORE, "m0", OTHER)
    threshold = curves["uncalibrated"]["threshold"].iloc[100]
    point = replace(
        pick(front, "match_best", caution=0), models=("m0", "m1"), thresholds=(threshold,)
    )
    fig = threshold_figure({"m0": curves}, [point], "Figure 14")
    assert fig.layout.shapes[0].x0 == curves["uncalibrated"]["exit_rate"].iloc[100]
    drawn = [
        [trace.name for trace in fig.data if trace.xaxis == axis] for axis in ("x", "x2", "x3")
    ]
    # The ideal has no threshold.
    assert [len(names) for names in drawn] == [4, 4, 3] and drawn[0] == list(curves)
