"""Figures of one panel name their lines, have no width, and draw what the tables have."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny_stores import three_models

from cascadelib import pick, search
from cascadelib.analysis import finding, front_on
from cascadelib.evaluation.guarantee import Guarantee
from cascadelib.figures import intervals_figure, lines_figure, points_figure, saving_figure, style
from cascadelib.figures.lessons import LABEL_HEIGHT, spread_labels

OTHER = three_models(1)


@pytest.fixture(scope="module")
def front():
    return search(three_models())


def labels(fig):
    return [note.text for note in fig.layout.annotations if note.text]


def test_the_arrow_leads_from_the_large_model_to_the_cascade(front):
    found = finding(front, OTHER, pick(front, "max_improvement", caution=0))
    fig = saving_figure(front_on(OTHER, front), found)
    (arrow,) = (note for note in fig.layout.annotations if not note.text)
    assert 10**arrow.x == pytest.approx(found.cost) and arrow.y >= found.accuracy
    assert 10**arrow.ax == pytest.approx(found.cost * found.saving) and not arrow.ay
    names = {"cascade", "cascades", "large<br>model", "single models"}
    assert set(labels(fig)) == names | {f"{found.saving:.2f}× fewer MACs"}
    assert list(fig.data[-1].y) == [found.accuracy, found.last_accuracy]
    assert fig.layout.title.text.startswith(f"{found.saved}. {found.kept}.<br>")
    assert fig.layout.title.text.endswith(f"{style.KEY}</sup>") and not fig.layout.shapes
    assert fig.layout.yaxis.title.text == "accuracy"
    low, high = np.log10(front.singles["cost"].agg(["min", "max"]))
    room = 0.05 * (high - low)
    assert fig.layout.xaxis.range == pytest.approx((low - room, high + room))


def test_the_limit_of_a_guarantee_is_a_line_below_the_large_model(front):
    terms = Guarantee("digest", "m0 → m2", "m2", "accuracy", 0.005, None, 0.05, 600, ("A",))
    found = replace(finding(front, OTHER, front.point(0)), guarantee=terms)
    fig = saving_figure(front, found, "Prices are assumed.")
    assert fig.layout.shapes[0].y0 == found.last_accuracy - 0.005
    assert "limit: −0.5 points" in labels(fig) and "assumed.<br>" in fig.layout.title.text
    budget = saving_figure(front, replace(found, guarantee=replace(terms, epsilon=None)))
    assert not budget.layout.shapes


def test_no_cascade_is_drawn_that_costs_more_than_every_single_model(front):
    table = front.table.assign(cost=front.table["cost"] * 3)
    fig = saving_figure(
        SimpleNamespace(**{**vars_of(front), "table": table}), finding(front, OTHER, front.point(0))
    )
    assert max(fig.data[2].x) <= front.singles["cost"].max() < table["cost"].max()


def vars_of(front):
    return {"singles": front.singles, "cost_kind": front.cost_kind}


def test_differences_are_in_points_and_factors_have_a_sign():
    table = pd.DataFrame({"accuracy_difference": [0.01, 0.03], "improvement": [1.0, 2.0]})
    fig = lines_figure({"a": table}, "accuracy_difference", "improvement", "t")
    assert fig.data[0].x == pytest.approx([1, 3]) and fig.layout.xaxis.range == (1, 3)
    assert fig.layout.xaxis.title.text == "accuracy difference, points"
    assert dict(zip(fig.layout.yaxis.tickvals, fig.layout.yaxis.ticktext))[1.5] == "1.5×"
    assert "÷" in fig.layout.yaxis.title.text


def test_lines_are_named_at_their_ends_and_the_second_is_of_held_out_data():
    table = pd.DataFrame({"exit_rate": [0.5, 0.0, 1.0], "accuracy": [0.8, 0.9, 0.7]})
    fig = lines_figure({"val": table, "test": table}, "exit_rate", "accuracy", "t")
    assert labels(fig) == ["val", "test"] and not fig.layout.showlegend
    assert fig.layout.width is None and fig.layout.template.layout.width is None
    assert [trace.line.color for trace in fig.data] == [style.PALETTE[0], style.HELD_OUT]
    assert fig.data[0].x.tolist() == [0, 0.5, 1] and fig.data[0].y.tolist() == [0.9, 0.8, 0.7]
    assert {note.x for note in fig.layout.annotations} == {1.0}
    assert fig.layout.xaxis.range == (0, 1), "no tick beyond the data"
    shorter = lines_figure({"val": table, "test": table[:2]}, "exit_rate", "accuracy", "t")
    assert {note.x for note in shorter.layout.annotations} == {1.0}, "no name on a line"
    (only,) = lines_figure({"test": table}, "exit_rate", "accuracy", "t").data
    assert only.line.color == style.HELD_OUT


def test_only_positive_values_are_on_a_log_axis():
    table = pd.DataFrame({"accuracy": [0.1, 0.2, 0.3], "improvement": [0.0, 2.0, 3.0]})
    fig = lines_figure({"a": table, "none": table.iloc[:1]}, "accuracy", "improvement", "t")
    assert [trace.y.tolist() for trace in fig.data] == [[2, 3]]
    costs = lines_figure({"a": table + 1}, "improvement", "accuracy", "t")
    assert costs.layout.xaxis.range == pytest.approx((0, np.log10(4)))
    assert len(lines_figure({"none": table.iloc[:1]}, "accuracy", "improvement", "t").data) == 0


@pytest.mark.parametrize("is_log", [False, True])
def test_labels_of_lines_with_one_end_are_apart(is_log):
    lines = {name: pd.Series([1.0, 10.0]) for name in "abc"}
    heights = np.array([*spread_labels(lines, is_log).values()])
    apart = np.diff(np.log10(heights)) if is_log else np.diff(heights)
    assert heights[0] == 10 and (apart > 0).all()


def test_a_long_label_has_lines_and_the_height_for_them():
    table = pd.DataFrame({"x": [0, 1], "y": [0.0, 1.0]})
    fig = lines_figure(
        dict.fromkeys(("a", "val: optimistic", "resnet18_w32@56"), table), "x", "y", "t"
    )
    assert labels(fig) == ["a", "val:<br>optimistic", "resnet18_w32@56"]
    heights = [note.y for note in fig.layout.annotations]
    assert np.diff(heights) == pytest.approx([1.5 * LABEL_HEIGHT, 1.5 * LABEL_HEIGHT])


def test_points_have_names_and_a_colour_on_a_log_scale():
    table = pd.DataFrame({"x": [1, 2], "y": [3, 4], "cost_ratio": [10.0, 1000.0]}, ["a", "b"])
    (trace,) = points_figure(table, "x", "y", "cost_ratio", "t").data
    assert trace.marker.color.tolist() == [1, 3] and list(trace.text) == ["a", "b"]
    assert trace.marker.colorbar.ticktext == ("10×", "1,000×")


def test_intervals_have_a_row_each_with_both_ends():
    table = pd.DataFrame({"gap": [0.1, 0.2], "gap_low": [0.0, 0.1], "gap_high": [0.3, 0.6]})
    fig = intervals_figure(table.set_axis(["small_net", "b"]), "gap", "t", 0.15, "more < less")
    (trace,) = fig.data
    assert list(trace.y) == ["small_net", "b"] and trace.x == pytest.approx([10, 20])
    assert trace.error_x.array == pytest.approx([20, 40])
    assert trace.error_x.arrayminus == pytest.approx([10, 10])
    assert fig.layout.xaxis.title.text == "more &lt; less"
    assert fig.layout.shapes[0].x0 == 0.15 and trace.marker.color == style.HELD_OUT
