"""Findings state held-out values and intervals, in the words of the intervals."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny_stores import three_models

from cascadelib import mean_improvement_moved, pick, search
from cascadelib.analysis import finding, front_finding, holds, pair_trend

STORE = three_models()
OTHER = three_models(1)
FRONT = search(STORE)
FOUND = finding(FRONT, OTHER, pick(FRONT, "max_improvement", caution=0))


def test_a_finding_has_the_values_of_the_other_split():
    row = holds({"": OTHER}, pick(FRONT, "max_improvement", caution=0), 2).iloc[0]
    assert FOUND.is_held_out and FOUND.samples == len(OTHER)
    assert (FOUND.saving, *FOUND.saving_ends) == tuple(row.filter(like="cost_ratio"))
    assert (FOUND.difference, *FOUND.difference_ends) == tuple(row.filter(like="difference"))
    assert (FOUND.exit_rate, *FOUND.exit_ends) == tuple(
        row[["exit_rate", "exit_rate_low", "exit_rate_high"]]
    )
    assert f"{row['accuracy']:.2%} instead of {row['last_model_accuracy']:.2%}" in str(FOUND)
    assert "600 held-out samples of seed 1" in str(FOUND) and "optimistic" not in str(FOUND)


def test_a_finding_on_the_selection_split_is_named_optimistic():
    found = finding(FRONT, STORE, FRONT.point(0))
    assert "samples that selected it (optimistic)" in str(found) and "held-out" not in str(found)


@pytest.mark.parametrize(
    ("saving", "ends", "words"),
    [
        (2.0, (1.5, 2.5), "2.00× fewer MACs (95% CI 1.50 to 2.50)"),
        (0.5, (0.4, 0.8), "2.00× more MACs (95% CI 1.25 to 2.50)"),
        (1.1, (0.9, 1.3), "No clear saving: 1.10× (95% CI 0.90 to 1.30)"),
        (1.0, (1.0, 1.0), "1.00× fewer MACs (95% CI 1.00 to 1.00)"),
    ],
)
def test_the_words_of_a_saving_follow_its_interval(saving, ends, words):
    assert replace(FOUND, saving=saving, saving_ends=ends).saved == words


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((-0.01, 0.02), "as accurate as the large model, within the error"),
        ((0.001, 0.02), "more accurate than the large model"),
        ((-0.02, -0.001), "less accurate than the large model"),
        ((0.0, 0.0), "as accurate as the large model, within the error"),
    ],
)
def test_the_words_of_a_difference_follow_its_interval(ends, words):
    assert replace(FOUND, difference_ends=ends).kept.startswith(f"{words} (")


def test_a_front_finding_has_the_mean_on_the_other_split():
    mean = mean_improvement_moved(OTHER, FRONT, ranges=False)
    text = front_finding(FRONT, OTHER, 20)
    assert f"cost {mean:.2f}× as much" in text and "600 samples of seed 1" in text


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


def test_two_models_show_no_trend():
    assert "are not clearly related" in pair_trend(pairs_of(2, 1), "x", "y", 5)
