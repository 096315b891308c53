"""Figures and Table 1 show what plain NumPy computes, by the paper's designs."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from paper_by_hand import Study, front_of_singles
from paper_stores import write_split
from scipy.signal import find_peaks

from cascadelib import METHODS, ScoreTable, search
from cascadelib.analysis import front_on, moving_average
from cascadelib.figures.tables import in_words
from tools.designs import DESIGNS
from tools.figures.drawings import DRAWN, by_kind
from tools.paper import Paper

VAL = write_split("toy", "val", 90, 1)
TEST = write_split("toy", "test", 70, 2)
OTHER = write_split("shifted toy", "hard", 80, 3, shift=0.15)
TEXTS = write_split("texts", "val", 80, 4, classes=2)
PAPER = Paper(VAL, TEST, {"hard": OTHER}, {"reviews": TEXTS}, top_k=2, prominence=0.05)
BY_HAND = Study(VAL)

# Typed from the captions of the paper: the cascaded models, the samples, the cost.
TYPED = {
    "Figure 1": ("front", "selection", "macs"),
    "Table 1": ("front", "held out", "macs"),
    "Figure 2": ("front", "selection", "macs"),
    "Figure 3": ("front", "selection", "macs"),
    "Figure 4": ("front", "selection", "macs"),
    "Figure 5": ("front", "selection", "time"),
    "Figure 6": ("front", "shifted", "macs"),
    "Figure 7": ("all", "selection", "macs"),
    "Figure 8": ("front", "selection", "macs"),
    "Figure 9": ("front", "selection", "time"),
    "Figure 10": ("front", "selection", "macs"),
    "Figure 11": ("front", "selection", "macs"),
    "Figure 12": ("front", "shifted", "macs"),
    "Figure 13": ("either front", "selection", "none"),
    "Figure 14": ("front", "selection", "macs"),
}
ABOVE = {"Figure 3": 0.75, "Figure 11": 0.80}  # "only the range above 75%", "high accuracy"
OTHERWISE = {  # another value of each field
    "candidates": {"front": "all", "all": "front", "either front": "front"},
    "split": {"selection": "held out", "held out": "selection", "shifted": "held out"},
    "cost": {"macs": "time", "time": "macs", "none": "macs"},
}
NOT_APPLICABLE = {
    ("Figure 7", "split"): "a task of texts has one split",
    ("Figure 13", "cost"): "no cost is drawn, and the candidates name both fronts",
}


@cache
def draw(name):
    return PAPER.draw(name)


def traces(drawn):
    """Return what a figure or table shows, without its words about the design."""
    if isinstance(drawn, dict):
        return {name: traces(figure) for name, figure in drawn.items()}
    if isinstance(drawn, pd.DataFrame):
        return drawn.to_numpy().tolist()
    return [
        (trace.name, trace.xaxis, np.asarray(trace.x).tolist(), np.asarray(trace.y).tolist())
        for trace in drawn.data
    ]


def test_designs_are_those_of_the_captions():
    found = {name: (d.candidates, d.split, d.cost) for name, d in DESIGNS.items()}
    assert found == TYPED
    assert {name: d.above for name, d in DESIGNS.items() if d.above} == ABOVE
    assert set(DRAWN) == set(TYPED)


@pytest.mark.soak
@pytest.mark.parametrize("field", OTHERWISE)
@pytest.mark.parametrize("name", TYPED)
def test_a_figure_is_drawn_by_its_design(name, field):
    """With the previous test, any change of candidates, split or cost fails a test."""
    design = DESIGNS[name]
    changed = replace(design, **{field: OTHERWISE[field][getattr(design, field)]})
    is_changed = repr(traces(draw(name))) != repr(traces(PAPER.draw(name, changed)))
    assert is_changed == ((name, field) not in NOT_APPLICABLE)


def drawn_lines(name, panel):
    """Return {label: its points} of the lines of a panel, without single models and rings."""
    found = {}
    for trace in draw(name).data:
        if trace.xaxis == panel and trace.mode == "lines" and len(trace.x) > 1:
            label = (trace.legendgroup or trace.name).split(" = ")[0].split("<br>")[0]
            found[label] = np.asarray(trace.x, float), np.asarray(trace.y, float)
    return found


def check_factors(line, front, kind="macs", study=BY_HAND, k=1):
    """Compare a drawn improvement curve with that of a front by hand. Gaps are nan."""
    at, factors = line
    known = ~np.isnan(factors)
    assert known.sum() > 5
    expected = [study.improvement(front, a, kind, k) for a in at[known]]
    # Half a curve's points are just above a step of the front: 1e-9 of accuracy decides.
    near = [study.improvement(front, a + 1e-9, kind, k) for a in at[known]]
    difference = np.fmin(np.abs(factors[known] - expected), np.abs(factors[known] - near))
    assert difference.max() < 1e-6


def check_front(line, front):
    costs, accuracies = line
    expected = np.array([(cost, accuracy) for accuracy, cost, *_ in front])
    assert accuracies == pytest.approx(expected[:, 1])
    assert costs == pytest.approx(expected[:, 0])


def test_figure_1_equals_a_loop_over_pairs_and_thresholds():
    front = BY_HAND.front()
    check_front(drawn_lines("Figure 1", "x")["pairs"], front)
    check_factors(drawn_lines("Figure 1", "x2")["pairs"], front)


def test_table_1_equals_a_loop_and_runs_unchanged_on_the_other_split():
    front = BY_HAND.front()
    factors = [BY_HAND.improvement(front, accuracy) for accuracy, *_ in front]
    factors = np.nan_to_num([0, *factors, 0])
    expected = [front[row - 1] for row in find_peaks(factors, prominence=0.05)[0]]
    points = PAPER.points(DESIGNS["Table 1"])
    names = [tuple(BY_HAND.names[m] for m in chain) for *_, chain, _ in expected]
    assert [point.models for point in points] == names
    there = Study(TEST)
    shown = draw("Table 1")
    for column, (point, (accuracy, _, chain, _)) in enumerate(zip(points, expected)):
        held_out, *_ = there.run(chain, point.thresholds)
        assert shown.iloc[:, column]["accuracy"] == f"{accuracy:.2%}"
        assert shown.iloc[:, column]["accuracy held out"] == f"{held_out:.2%}"


def test_figure_3_equals_loops_over_twelve_methods():
    lines = {}
    for panel in ("x", "x2", "x3"):
        lines |= drawn_lines("Figure 3", panel)
    checked = 0
    for method in METHODS:
        words = in_words(method)
        if words in lines:  # curves that coincide are drawn once
            check_factors(lines[words], BY_HAND.front(2, method))
            checked += 1
    assert checked >= 8


def test_figure_4_equals_loops_over_triples():
    lines = drawn_lines("Figure 4", "x2")
    check_factors(lines["2 models"], BY_HAND.front(2))
    check_factors(lines["3 models"], BY_HAND.front(3))


def test_figure_6_replays_identical_cascades_and_ranges_of_thresholds():
    there = Study(OTHER)
    front = PAPER.search(DESIGNS["Figure 6"])
    found = []
    for point in front.cascades:
        chain = tuple(BY_HAND.names.index(name) for name in point.models)
        found.append((chain, point.thresholds))
    line = drawn_lines("Figure 6", "x")["other split"]
    check_factors(line, there.swept(found), study=there)


def test_figure_10_counts_the_two_best_classes():
    lines = drawn_lines("Figure 10", "x2")
    for label, method in {
        "max softmax": "max_softmax",
        "entropy": "entropy",
        "top-2 softmax sum": "top2_softmax_sum",
        "mean logits": "max_softmax_mean_logits",
    }.items():
        if label in lines:
            check_factors(lines[label], BY_HAND.front(2, method, k=2), k=2)
    assert "max softmax" in lines and len(lines) >= 3


def test_top_k_and_shifted_samples_do_not_change_the_candidates():
    """The paper cascades the same 27 models in figures 1, 10 and 12."""
    split = write_split("toy", "val", 90, 2)
    by_hand = Study(split)
    of_top_k = front_of_singles(by_hand.accuracy(2), by_hand.costs["macs"])
    assert by_hand.candidates() != of_top_k
    paper = Paper(split, split, {"hard": OTHER}, top_k=2)
    expected = [by_hand.names[m] for m in by_hand.candidates()]
    fronts = paper.top_k_fronts(DESIGNS["Figure 10"]).values()
    assert all(sorted(front.candidates) == sorted(expected) for front in fronts)
    figure = paper.draw("Figure 12")
    drawn = next(trace for trace in figure.data if trace.name == "front searched on this split")
    cost, _ = search(OTHER, 2, "max_softmax", cost="macs", models=expected).steps
    assert list(drawn.x) == pytest.approx(cost)
    assert "also searched among these models" in figure.layout.title.text


def test_figure_13_averages_neighbours_of_the_models_on_either_front():
    names = {BY_HAND.names[m] for kind in ("macs", "seconds") for m in BY_HAND.candidates(kind)}
    figure = draw("Figure 13")
    titles = {note.text for note in figure.layout.annotations}
    assert titles == names != set(BY_HAND.names)
    drawn = {(trace.name, tuple(np.round(trace.y, 12))) for trace in figure.data}
    expected = set()
    for name in names:
        correct, confidence = BY_HAND.outcome((BY_HAND.names.index(name),))
        averages = moving_average(confidence, correct)[["confidence", "accuracy"]]
        expected |= {(column, tuple(values.round(12))) for column, values in averages.items()}
    assert drawn == expected


def test_the_answer_has_the_mean_factors_of_pairs_and_triples_held_out():
    answer = PAPER.answer()
    for name, length in (("Figure 1", 2), ("Figure 4", 3), ("Figure 5", 2)):
        front = PAPER.search(DESIGNS[name], length)
        factor = front_on(TEST, front, ranges=False).mean_improvement()
        assert f"{factor:.2f}×" in answer


def test_splits_share_a_panel_by_kind():
    grouped = by_kind({"val": 0, "noise-1": 1, "noise-2": 2, "v2": 3}, "val")
    assert grouped == {
        "noise": {"val": 0, "severity 1": 1, "severity 2": 2},
        "v2": {"val": 0, "other split": 3},
    }


def test_without_a_split_of_the_same_distribution_the_selection_split_is_used():
    """Figures 13 and 14 and Table 1 never use shifted samples, as ImageNetV2."""
    on_shifted = Paper(VAL, OTHER, {"hard": OTHER})
    for name in ("Table 1", "Figure 13", "Figure 14"):
        design = replace(DESIGNS[name], split="held out")
        assert on_shifted.split(design) is VAL
    named_alike = Paper(VAL, TEST, {"test": TEST})  # listed as shifted
    assert not named_alike.has_held_out and PAPER.has_held_out


def test_a_table_of_scores_draws_what_it_can_and_says_what_it_lacks(capsys):
    correct, confidence = zip(*(BY_HAND.outcome((m,)) for m in range(len(BY_HAND.names))))
    table = ScoreTable(
        np.array(correct), np.array(confidence), BY_HAND.costs["macs"], BY_HAND.names
    )
    paper = Paper(table, table, prominence=0.05)
    drawn = [name for name in DESIGNS if paper.draw(name) is not None]
    assert drawn == ["Figure 1", "Table 1", "Figure 2", "Figure 4"]
    text = capsys.readouterr().out
    assert "Figure 3 needs several confidence metrics of one model.\n" in text
    assert "Figure 5 needs a measured time of every model.\n" in text
    same = [traces(each.draw("Figure 2")) for each in (paper, PAPER)]
    assert repr(same[0]) == repr(same[1])
