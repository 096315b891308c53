"""The paper's own figures hold what their tables hold, and name what all lines share once."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cascadelib import METHODS, LogitStore, pick, replay, search
from cascadelib.figures import style
from tools.front_figures import SIZES, front_and_improvement, pairs_figure
from tools.paper_figures import (
    methods_figure,
    replayed_improvement_figure,
    segments_figure,
    tasks_figure,
    threshold_figure,
)
from tools.side_by_side import threshold_curves


def make_store(seed, k=400, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    ease = 1.5 + rng.normal(size=(k, 1))
    logits = {
        f"m{i}": (1 + i) * ease * np.eye(4)[labels] + noise * rng.normal(size=(k, 4))
        for i in range(3)
    }
    return LogitStore.from_arrays(labels, logits, macs={f"m{i}": 10.0**i for i in range(3)})


@pytest.fixture(scope="module")
def store():
    return make_store(0)


@pytest.fixture(scope="module")
def other():
    return make_store(1, noise=1.6)


@pytest.fixture(scope="module")
def front(store):
    return search(store, 2)


def names(fig):
    return [trace.name for trace in fig.data]


def test_methods_have_a_panel_per_kind_with_the_reference_in_black():
    curve = pd.DataFrame({"accuracy": [0.1, 0.2], "improvement": [1.0, 2.0]})
    curves = {
        f"{metric}, {mean}": curve * (1 + i)
        for i, metric in enumerate(("max_softmax", "entropy"))
        for mean in ("x", "y")
    }
    fig = methods_figure(curves, "means", kinds={"mean x": ", x", "mean y": ", y"})
    assert names(fig) == ["max softmax, x", "entropy, x", "max softmax, y", "entropy, y"]
    colours = [trace.line.color for trace in fig.data]
    assert colours[0] == colours[2] == style.BLACK != colours[1] == colours[3]
    assert [note.text for note in fig.layout.annotations] == ["mean x", "mean y"]


def test_a_method_has_one_look_in_all_figures_and_a_unique_look_per_panel():
    curve = pd.DataFrame({"accuracy": [0.1, 0.2], "improvement": [1.0, 2.0]})
    curves = {name: curve * (1 + i) for i, name in enumerate(METHODS)}
    figs = [methods_figure(dict(reversed(curves.items())), "a"), methods_figure(curves, "b")]
    looks = {}
    for fig in figs:
        for panel in ("x", "x2", "x3"):
            drawn = [trace for trace in fig.data if trace.xaxis == panel]
            assert len({(trace.line.color, trace.line.dash) for trace in drawn}) == len(drawn)
            for trace in drawn:
                looks.setdefault(trace.name, set()).add((trace.line.color, trace.line.dash))
    assert len(looks) == 12 and all(len(look) == 1 for look in looks.values())


def test_a_pair_has_one_colour_in_all_panels_by_how_much_its_second_model_costs_more():
    pairs = pd.DataFrame(
        {"first": ["a", "b"], "second": ["c", "c"], "cost_ratio": [9.0, 2000], "plateau": 0.5}
    )
    pairs[["accuracy_difference", "mean_improvement"]] = [[0.1, 2.0], [0.2, 0.5]]
    curve = pd.DataFrame({"exit_rate": [0, 1], "accuracy": [0.9, 0.8]})
    fig = pairs_figure(pairs, {"a → c": curve, "b → c": curve}, "Figure 2")
    cheap = SIZES["up to 10 ×"]
    dear = SIZES["over 1,000 ×"]
    assert [trace.line.color for trace in fig.data[:2]] == [cheap, dear]
    shown = [trace for trace in fig.data[2:] if len(trace.x)]
    assert [trace.marker.color for trace in shown] == [cheap, cheap, dear, dear]
    assert [trace.name for trace in shown if trace.showlegend] == ["up to 10 ×", "over 1,000 ×"]
    assert [list(trace.y) for trace in shown] == [[0.5], [2.0], [0.5], [0.5]]


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


def test_the_least_inner_vertex_of_the_hull_is_named(front):
    fig = front_and_improvement({"pairs": front}, "Figure 1")
    inner = front.singles[front.singles["on_hull"]].iloc[1:-1]
    least = inner.index[int(np.argmin(front.improvement_at(inner["accuracy"])))]
    assert [note.text for note in fig.layout.annotations if least in note.text]


def test_a_model_less_accurate_than_the_cheapest_is_inside_the_axes():
    labels = np.zeros(100, int)
    ok = {"cheap": 70, "worse": 65, "best": 90}
    logits = {
        m: np.stack([np.arange(100) < n, np.arange(100) >= n], 1) * (1.0 + i)
        for i, (m, n) in enumerate(ok.items())
    }
    front = search(
        LogitStore.from_arrays(labels, logits, macs={"cheap": 1, "worse": 2, "best": 5}), 2
    )
    low, _ = tasks_figure({"task": front}, "macs", "Figure 7").layout.yaxis.range
    assert 0.63 < low < 0.645


@pytest.mark.parametrize(
    ("ranges", "words"), [(True, "ranges of thresholds"), (False, "single points")]
)
def test_figure_12_states_how_a_front_is_replayed(front, other, ranges, words):
    moved = replay(other, front, ranges)
    own = search(other, 2)
    fig = segments_figure(moved, own.table, own.singles, "macs", "Figure 12")
    assert f"replayed: {words}" in fig.layout.title.text.replace("<br>", " ")


def test_figure_12_has_a_line_per_segment(front, other):
    moved = replay(other, front)
    own = search(other, 2)
    fig = segments_figure(moved, own.table, own.singles, "macs", "Figure 12")
    pieces = [t for t in fig.data if t.mode == "lines+markers"]
    assert len(pieces) == moved["segment"].max() + 1
    assert sum(len(t.x) for t in pieces) == len(moved)
    assert fig.layout.xaxis.type == "log"
    assert fig.layout.xaxis.title.text == "MACs per sample"


def test_a_label_has_one_colour_in_all_panels_and_one_entry_in_the_legend():
    curve = pd.DataFrame({"accuracy": [0.5, 0.6], "improvement": [1.0, 2.0]})
    fig = replayed_improvement_figure(
        {kind: {"val": curve, "severity 1": curve} for kind in ("noise", "blur")}, "Figure 6"
    )
    lines = [(t.name, t.line.color) for t in fig.data]
    assert len(set(lines)) == 2
    assert sum(t.showlegend for t in fig.data) == 2
    assert fig.layout.yaxis.type == "log"


def test_figure_14_marks_the_threshold(store, other, front):
    curves = threshold_curves(store, "m0", other)
    threshold = curves["uncalibrated"]["threshold"].iloc[100]
    point = replace(
        pick(front, "match_best", caution=0), models=("m0", "m1"), thresholds=(threshold,)
    )
    fig = threshold_figure({"m0": curves}, [point], "Figure 14")
    assert fig.layout.shapes[0].x0 == curves["uncalibrated"]["exit_rate"].iloc[100]
    assert len(fig.data) == 11  # above, below and the threshold itself, which the ideal has not
    panels = [
        [trace.name for trace in fig.data if trace.xaxis == axis] for axis in ("x", "x2", "x3")
    ]
    assert [len(drawn) for drawn in panels] == [4, 4, 3] and panels[0] == list(curves)
