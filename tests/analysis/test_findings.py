"""Findings state held-out values and intervals, in the words of the intervals."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from tiny_stores import three_models

import cascadelib as cl
from cascadelib import pick, search
from cascadelib.analysis import (
    calibration_finding,
    cost_ratios,
    finding,
    front_on,
    holds,
    mean_cost_ratio,
    pair_trend,
    price_of_accuracy,
    ratio_finding,
    shift_finding,
)
from cascadelib.analysis.findings import ranges_in_words
from cascadelib.evaluation.guarantee import Guarantee
from cascadelib.evaluation.pareto import least_cost

STORE = three_models()
OTHER = three_models(1)


@cache
def a_front():
    return search(STORE)


GUARANTEE = Guarantee("digest", "m0 → m2", "m2", "accuracy", 0.005, None, 0.04, 600, ("a",))
MACS = dict(zip(STORE.models.index, STORE.models["macs"]))


@cache
def a_finding():
    return finding(a_front(), OTHER, pick(a_front(), "max_improvement", caution=0))


def test_a_finding_has_the_values_of_the_other_split():
    row = holds({"": OTHER}, pick(a_front(), "max_improvement", caution=0), 2).iloc[0]
    assert (a_finding().saving, *a_finding().saving_ends) == tuple(row.filter(like="saving"))
    assert (a_finding().difference, *a_finding().difference_ends) == tuple(
        row.filter(like="difference")
    )
    assert (a_finding().exit_rate, *a_finding().exit_rate_ends) == tuple(
        row[["exit_rate", "exit_rate_low", "exit_rate_high"]]
    )
    text = str(a_finding())
    values = f"{row['accuracy']:.2%}, the last model alone: {row['last_model_accuracy']:.2%}. "
    assert values in text and f"{row['exit_rate']:.0%} of the inputs need only" in text
    assert "600 held-out samples of seed 1, 3 candidate models." in text
    assert "optimistic" not in text and "ertified" not in text


def test_a_finding_on_the_selection_split_is_named_optimistic():
    found = finding(a_front(), STORE, a_front().point(0))
    assert "samples that selected it (optimistic)" in str(found) and "held-out" not in str(found)


@pytest.mark.parametrize(
    ("saving", "ends", "words"),
    [
        (2.0, (1.5, 2.5), "2.00× fewer MACs than the large model (95% CI 1.50 to 2.50)"),
        (0.5, (0.4, 0.8), "2.00× the cost of the large model (95% CI 1.25 to 2.50)"),
        (1.1, (0.9, 1.3), "No clear saving: factor 1.10 (95% CI 0.90 to 1.30)"),
        (1.0, (1.0, 1.0), "1.00× fewer MACs than the large model (95% CI 1.00 to 1.00)"),
    ],
)
def test_the_words_of_a_saving_follow_its_interval(saving, ends, words):
    assert replace(a_finding(), saving=saving, saving_ends=ends).saved == words


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((-0.01, 0.02), "no difference found (+1.00 points, 95% CI −1.00 to +2.00)"),
        ((0.001, 0.02), "higher (+1.00 points, 95% CI +0.10 to +2.00)"),
        ((-0.02, -0.001), "lower (+1.00 points, 95% CI −2.00 to −0.10)"),
    ],
)
def test_the_words_of_a_difference_follow_its_interval(ends, words):
    found = replace(a_finding(), difference=0.01, difference_ends=ends)
    assert found.kept == f"Accuracy: {words}"


def test_a_single_model_is_not_called_a_cascade():
    found = finding(a_front(), OTHER, a_front().reference)
    assert found.saved == f"No cascade: {found.models[0]} answers everything"


def test_accuracy_is_called_agreement_if_all_labels_are_answers_of_the_large_model():
    answers = cl.datasets.llm_answers()
    table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    check = table.take(slice(1, None, 2))
    front = search(table.take(slice(0, None, 2)))
    text = str(finding(front, check, cl.certify(check, front, epsilon=0.05).point))
    assert "Agreement with llama-3.3-70b: lower (" in text
    promise = "differs from llama-3.3-70b alone in at most 5% of its answers.\n"
    assert f"Certified with probability at least 95%: {promise}" in text


def test_a_finding_states_the_guarantee_of_its_cascade_and_its_score():
    graded = replace(a_finding(), measure="F1", guarantee=GUARANTEE)
    assert graded.kept.startswith("F1: ")
    promise = "loses at most 0.5 points of accuracy against m2."
    assert graded.certified == f" Certified with probability at least 96%: {promise}"


def pairs_of(models, relation):
    """A table of all pairs of models whose column y has a relation to x."""
    rng = np.random.default_rng(0)
    rows = [(f"m{i}", f"m{j}") for i in range(models) for j in range(i + 1, models)]
    x = rng.random(len(rows))
    table = pd.DataFrame(rows, columns=["first", "second"])
    return table.assign(x=x, y=relation * x + (relation == 0) * rng.random(len(rows)))


@pytest.mark.parametrize(
    ("relation", "words"),
    [
        (1, "The x and y of pairs rise together.\nRank correlation +1.00"),
        (-1, "The x and y of pairs go in opposite directions.\nRank correlation −1.00"),
        (0, "The x and y of pairs are not clearly related.\n"),
    ],
)
def test_a_trend_is_stated_if_its_interval_excludes_zero(relation, words):
    assert pair_trend(pairs_of(8, relation), "x", "y", 50).startswith(words)
    assert pair_trend(pairs_of(2, relation), "x", "y").startswith("Too few pairs for a trend.\n")


def test_a_single_model_is_compared_with_the_most_accurate_one():
    singles = search(STORE, 1)
    found = finding(singles, OTHER, singles.point(0))
    m0, _, m2 = OTHER.models["top1"]
    assert found.saving == pytest.approx(100) and found.difference == pytest.approx(m0 - m2)
    assert f"m0: {m0:.2%}, m2: {m2:.2%}. 600 held-out samples" in str(found)


def test_a_front_of_cascades_is_compared_with_single_models():
    fronts = {"single models": search(STORE, 1), "cascades": a_front()}
    ratio = cost_ratios(fronts, OTHER, 30)["relative_cost"].item()
    moved = [front_on(OTHER, front, ranges=False) for front in fronts.values()]
    assert ratio == pytest.approx(mean_cost_ratio(*moved)) and ratio < 1


def test_cost_ratios_are_those_of_the_other_split_with_simultaneous_intervals():
    fronts = {"two": a_front(), "three": search(STORE, 3), "one": search(STORE, 1)}
    table = cost_ratios(fronts, OTHER, 30)
    moved = {name: front_on(OTHER, front, ranges=False) for name, front in fronts.items()}
    for name, row in table.iterrows():
        ratio = 1 / mean_cost_ratio(moved[name], moved["two"])
        assert row["relative_cost"] == pytest.approx(ratio)
        assert row["relative_cost_low"] < ratio < row["relative_cost_high"]
    assert table.index.name == "two" and list(table.index) == ["three", "one"]
    single = cost_ratios({name: fronts[name] for name in ("two", "one")}, OTHER, 30).loc["one"]
    rows = (single, table.loc["one"])
    alone, both = (np.log(row["relative_cost_high"] / row["relative_cost"]) for row in rows)
    assert both / alone == pytest.approx(norm.isf(0.0125) / norm.isf(0.025))
    with pytest.raises(ValueError, match="pass two fronts or more"):
        cost_ratios({"two": a_front()}, OTHER)


def test_a_ratio_differs_at_the_fifths_whose_interval_excludes_an_equal_cost(monkeypatch):
    fronts = {"two": a_front(), "one": search(STORE, 1)}
    (row,) = cost_ratios(fronts, OTHER, 30).itertuples()
    moved, base = (front_on(OTHER, front, ranges=False) for front in fronts.values())
    low, high = base.steps[1][[0, -1]]  # the best single model bounds the range of both
    edges = np.linspace(low, high, 6)
    levels = np.linspace(low, high, 5 * 400 + 1)[1:].reshape(5, 400)
    costs = [least_cost(*front.steps, levels) for front in (moved, base)]
    logs = np.log(costs[1] / costs[0]).mean(axis=1)
    for text, sign in ((row.cheaper_at, -1), (row.dearer_at, 1)):
        for part in np.flatnonzero(logs * sign < -1e-3):  # a part of the other sign is not named
            assert f"{edges[part]:.1%} to {edges[part + 1]:.1%}" not in text
    assert row.dearer_at != "none" and row.cheaper_at == "none"


def test_neighbouring_parts_are_one_range_in_words():
    edges = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    chosen = np.array([True, True, False, True])
    assert ranges_in_words(edges, chosen) == "50.0% to 70.0% and 80.0% to 90.0%"
    assert ranges_in_words(edges, ~chosen) == "70.0% to 80.0%"
    assert ranges_in_words(edges, chosen & False) == "none"


def test_the_price_of_accuracy_is_that_on_the_hull_of_the_other_split():
    singles = search(STORE, 1)
    baseline = front_on(OTHER, singles, ranges=False).baseline
    ratio = baseline.cost_at(baseline.best) / baseline.cost_at(baseline.best - 0.02)
    text = price_of_accuracy(singles, OTHER, 0.02)
    assert f"The last 2 points of accuracy, from {baseline.best - 0.02:.2%}" in text
    found, low, high = map(float, re.findall(r"by ([\d.]+) \(95% CI ([\d.]+) to ([\d.]+)", text)[0])
    assert found == pytest.approx(ratio, abs=0.05) and low < found < high
    assert "The last point of accuracy" in price_of_accuracy(singles, OTHER)


def ratios(*rows):
    columns = ["relative_cost", "relative_cost_low", "relative_cost_high"]
    table = pd.DataFrame(rows, [f"m{i}" for i in range(len(rows))], columns).rename_axis("a_b")
    return table.assign(cheaper_at="80.0% to 85.0%", dearer_at="none")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0.9, 0.8, 0.95)], "m0 instead of a b: lower cost, −10.0% (95% CI −20.0% to −5.0%)."),
        ([(1.2, 1.1, 1.3)], "m0 instead of a b: higher cost, +20.0% (95% CI +10.0% to +30.0%)."),
        ([(1.0, 0.9, 1.1)], "no difference in cost found, +0.0% (95% CI −10.0% to +10.0%)."),
        (
            [(0.9, 0.8, 0.95), (1.0, 0.9, 1.1), (1.2, 1.1, 1.3), (1.3, 1.1, 1.4)],
            "Of 4 alternatives to a b: 1 clearly cheaper (m0 −10.0%), "
            "2 clearly more expensive (m2 +20.0%, m3 +30.0%).",
        ),
    ],
)
def test_the_words_of_a_ratio_follow_its_interval(rows, words):
    text = ratio_finding(ratios(*rows), {"a b": a_front()}, OTHER)
    assert words in text and "600 held-out samples of seed 1" in text


def test_shifted_splits_count_if_their_interval_excludes_zero():
    ends = {"difference_low": [-0.2, -0.1, 0.1], "difference_high": [-0.1, 0.1, 0.2]}
    held = pd.DataFrame(ends | {"saving": [1.5, 3.0, 2.0], "samples": [20, 20, 1000]})
    text = shift_finding(held, a_front().point(0))
    assert "model on 1 of 3 shifted splits, clearly more accurate on 1." in text
    assert "Saving: 1.5× to 3.0×.\nm0" in text and "20 or 1,000 samples a split" in text
    exits = held.rename(columns=lambda name: name.replace("difference", "exit_rate"))
    text = shift_finding(exits, a_front().point(0), "exit_rate", 0.15)
    assert "held out on 2 of 3 shifted splits, clearly more inputs on 0." in text


def test_models_count_as_overconfident_if_the_interval_of_their_gap_excludes_zero():
    table = pd.DataFrame({"gap_low": [0.1, -0.1, -0.2], "gap_high": [0.2, 0.1, -0.1]})
    text = calibration_finding(table)
    assert text.startswith("Of 3 models, 1 are clearly overconfident, 1 clearly underconfident.")
    table.index = ["a", "b", "c"]
    words = ["is clearly overconfident", "neither clearly over- nor", "is clearly underconfident"]
    for name, word in zip(table.index, words, strict=True):
        assert f"{name} is {word}".replace("is is", "is") in calibration_finding(table.loc[[name]])
