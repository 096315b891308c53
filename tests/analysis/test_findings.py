"""Findings state held-out values and intervals, in the words of the intervals."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from tiny_stores import three_models

from cascadelib import LogitStore, mean_improvement_moved, pick, search
from cascadelib.analysis import (
    calibration_finding,
    cost_ratios,
    finding,
    front_finding,
    front_on,
    holds,
    mean_cost_ratio,
    pair_trend,
    price_of_accuracy,
    ratio_finding,
    shift_finding,
)
from cascadelib.analysis.findings import in_samples

STORE = three_models()
OTHER = three_models(1)


@cache
def a_front():
    return search(STORE)


MACS = dict(zip(STORE.models.index, STORE.models["macs"]))


@cache
def a_finding():
    return finding(a_front(), OTHER, pick(a_front(), "max_improvement", caution=0))


def test_a_finding_has_the_values_of_the_other_split():
    found = a_finding()
    row = holds({"": OTHER}, pick(a_front(), "max_improvement", caution=0), 2).iloc[0]
    assert found.is_held_out and found.samples == len(OTHER)
    assert (found.saving, *found.saving_ends) == tuple(row.filter(like="cost_ratio"))
    assert (found.difference, *found.difference_ends) == tuple(row.filter(like="difference"))
    assert (found.exit_rate, *found.exit_ends) == tuple(
        row[["exit_rate", "exit_rate_low", "exit_rate_high"]]
    )
    text = str(found)
    assert f"{row['accuracy']:.2%} instead of {row['last_model_accuracy']:.2%}" in text
    assert "600 held-out samples of seed 1" in text and "optimistic" not in text


def test_a_finding_on_the_selection_split_is_named_optimistic():
    found = finding(a_front(), STORE, a_front().point(0))
    assert "samples that selected it (optimistic)" in str(found) and "held-out" not in str(found)


AS_ACCURATE = "as accurate as the large model, within the error ("


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"saving": 2.0, "saving_ends": (1.5, 2.5)}, "saved", "2.00× fewer MACs (95% CI 1.50 to 2"),
        ({"saving": 0.5, "saving_ends": (0.4, 0.8)}, "saved", "2.00× more MACs (95% CI 1.25 to 2."),
        ({"saving": 1.1, "saving_ends": (0.9, 1.3)}, "saved", "No clear saving: 1.10× (95% CI 0.9"),
        ({"saving": 1.0, "saving_ends": (1.0, 1.0)}, "saved", "1.00× fewer MACs (95% CI 1.00 to 1"),
        ({"difference_ends": (-0.01, 0.02)}, "kept", AS_ACCURATE),
        ({"difference_ends": (0.001, 0.02)}, "kept", "more accurate than the large model ("),
        ({"difference_ends": (-0.02, -0.001)}, "kept", "less accurate than the large model ("),
        ({"difference_ends": (0.0, 0.0)}, "kept", AS_ACCURATE),
    ],
)
def test_the_words_of_a_finding_follow_its_intervals(change, name, words):
    assert getattr(replace(a_finding(), **change), name).startswith(words)


def test_a_front_finding_has_the_mean_on_the_other_split():
    mean = mean_improvement_moved(OTHER, a_front(), ranges=False)
    text = front_finding(a_front(), OTHER, 20)
    assert f"cost {mean:.2f}× as much" in text and "600 samples of seed 1" in text


def test_a_front_finding_needs_two_single_models():
    logits = {name: 9 * np.eye(5)[:2] for name in MACS}
    same = LogitStore.from_arrays([0, 1], logits, macs=MACS, classes=tuple("abcde"))
    text = front_finding(a_front(), same, 5)
    assert text == "The cheapest single model is also the most accurate one on held-out data"
    assert in_samples(same, "held-out samples") == "2 held-out samples"


def test_one_pair_has_no_trend():
    text = pair_trend(pairs_of(2, 1), "x", "y")
    assert text.startswith("Too few pairs for a trend\n") and "nan" not in text


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
        (1, "The x and y of pairs rise together\nRank correlation +1.00"),
        (-1, "The x and y of pairs go in opposite directions\nRank correlation −1.00"),
        (0, "The x and y of pairs are not clearly related\n"),
    ],
)
def test_a_trend_is_stated_if_its_interval_excludes_zero(relation, words):
    assert pair_trend(pairs_of(8, relation), "x", "y", 50).startswith(words)


def test_the_price_of_accuracy_compares_two_models_on_the_other_split():
    singles = search(STORE, 1)
    text = price_of_accuracy(singles, OTHER, loss=1)  # any model is accurate enough
    rows = OTHER.models
    drop = 100 * (rows["top1"].iloc[-1] - rows["top1"].iloc[0])
    assert text.startswith(f"The last {drop:.2f} points of accuracy (95% CI ")
    assert "need 100.0× more MACs\nm2 instead of m0, 600 held-out samples of seed 1" in text
    assert "m2 instead of m2" in price_of_accuracy(singles, OTHER, loss=0)


def test_cost_ratios_are_those_of_the_other_split_with_simultaneous_intervals():
    fronts = {"two": a_front(), "three": search(STORE, 3), "one": search(STORE, 1)}
    table = cost_ratios(fronts, OTHER, 30)
    moved = {name: front_on(OTHER, front, ranges=False) for name, front in fronts.items()}
    for name, row in table.iterrows():
        ratio = 1 / mean_cost_ratio(moved[name], moved["two"])
        assert row["cost_ratio"] == pytest.approx(ratio)
        assert row["cost_ratio_low"] < ratio < row["cost_ratio_high"]
    assert table.index.name == "two" and list(table.index) == ["three", "one"]
    single = cost_ratios({name: fronts[name] for name in ("two", "one")}, OTHER, 30).loc["one"]
    rows = (single, table.loc["one"])
    alone, both = (np.log(row["cost_ratio_high"] / row["cost_ratio"]) for row in rows)
    assert both / alone == pytest.approx(norm.isf(0.0125) / norm.isf(0.025))
    with pytest.raises(ValueError, match="pass two fronts or more"):
        cost_ratios({"two": a_front()}, OTHER)


def ratios(*rows):
    columns = ["cost_ratio", "cost_ratio_low", "cost_ratio_high"]
    return pd.DataFrame(rows, [f"m{i}" for i in range(len(rows))], columns).rename_axis("a_b")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(0.9, 0.8, 0.95)], "the cost is clearly lower: −10.0% (95% CI −20.0% to −5.0%)"),
        ([(1.2, 1.1, 1.3)], "the cost is clearly higher: +20.0% (95% CI +10.0% to +30.0%)"),
        ([(1.0, 0.9, 1.1)], "the cost does not clearly differ: +0.0% (95% CI −10.0% to +10.0%)"),
        (
            [(0.9, 0.8, 0.95), (1.0, 0.9, 1.1), (1.2, 1.1, 1.3), (1.3, 1.1, 1.4)],
            "Of 4 alternatives, 1 cost clearly less than a b, 2 clearly more",
        ),
    ],
)
def test_the_words_of_a_ratio_follow_its_interval(rows, words):
    assert words in ratio_finding(ratios(*rows))


def test_shifted_splits_count_if_their_interval_excludes_zero():
    ends = {"difference_low": [-0.2, -0.1, 0.1], "difference_high": [-0.1, 0.1, 0.2]}
    text = shift_finding(pd.DataFrame(ends | {"cost_ratio": [1.5, 3.0, 2.0]}))
    assert "on 1 of 3 shifted splits, more accurate on 1, at 1.5× to 3.0× lower cost" in text


def test_models_count_as_overconfident_if_the_interval_of_their_gap_excludes_zero():
    table = pd.DataFrame({"gap_low": [0.1, -0.1, -0.2], "gap_high": [0.2, 0.1, -0.1]})
    assert "1 of 3 models are overconfident, 1 are underconfident" in calibration_finding(table)
