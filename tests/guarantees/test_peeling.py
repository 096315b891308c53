"""Peeling equals a slow reference implementation, and its guarantees hold at the boundary."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from cascadelib.guarantees import peeling
from cascadelib.guarantees.peeling import (
    common_classes,
    errors_allowed,
    peel_table,
    removal_order,
    usual_labels,
)


def remaining(confidence, predictions, drawn, wrong, ties, known, most):
    """Remove row by row. Return the remaining rows, the classes and the class of each row."""
    n = len(confidence)
    seen = [predictions[row] for row in range(n) if known[row]]
    classes = [None, *sorted(each for each in set(seen) if seen.count(each) >= 0.05 * len(seen))]
    group = [classes.index(each) if each in classes else 0 for each in predictions]
    opened = [[] for _ in classes]
    left = sorted(range(n), key=lambda row: (confidence[row], ties[row]))

    def risk(row):
        rank = sum(confidence[known] < confidence[row]) / (sum(known) + 1)
        last = opened[group[row]][-60:]
        return (sum(last) + 20 * (1 - rank) ** 2 / 2) / (len(last) + 20)

    while left and sum(wrong[row] for row in left) > most:
        first = {group[row]: row for row in reversed(left)}
        row = max((first[each] for each in sorted(first)), key=risk)
        left.remove(row)
        if drawn[row]:
            opened[group[row]].append(wrong[row])
    return left, classes, group


@st.composite
def tables(draw):
    """Return confidences, predictions, drawn rows, wrong drawn rows, and ties."""
    n = draw(st.integers(1, 16))
    levels = draw(st.sampled_from([[0.5, 0.9, 1.0], [-3.0, 0.0, 7.5], [-9e300, 0.2, 0.3, 0.4]]))
    confidence = draw(st.lists(st.sampled_from(levels), min_size=n, max_size=n))
    predictions = draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    drawn = rng.permutation(n) < draw(st.integers(1, n))
    wrong = drawn & (rng.random(n) < draw(st.sampled_from([0.0, 0.3, 1.0])))
    return np.array(confidence), np.array(predictions), drawn, wrong, rng.random(n)


@settings(max_examples=60)
@given(tables(), st.sampled_from([0.0, 0.1, 0.4, 0.9]), st.sampled_from([0.05, 0.3, 0.6]))
def test_peeling_equals_peeling_row_by_row(table, epsilon, delta):
    drawn = table[2]
    kept, borders = peel_table(*table, epsilon, delta)
    allowed = errors_allowed(len(drawn), drawn.sum(), epsilon, delta)
    stay, _, _ = remaining(*table, np.ones_like(drawn), allowed[0])
    assert kept.tolist() == [row in stay and not drawn[row] for row in range(len(drawn))]
    stay, classes, group = remaining(*table, ~drawn, allowed[1])
    for number, name in enumerate(classes):
        inside = [table[0][row] for row in stay if group[row] == number]
        assert borders.pop(name) == min(inside, default=np.inf)
    assert not borders


@settings(max_examples=60)
@given(tables(), st.integers(0, 999))
def test_the_order_depends_on_no_remaining_row_that_must_stay_unknown(table, seed):
    """Redraw remaining rows, or move a drawn one: the rows that were removed before are the same.

    For the table, it is unknown which rows are drawn, for the source where a drawn row is.
    """
    confidence, predictions, drawn, wrong, ties = (each.copy() for each in table)
    rng = np.random.default_rng(seed)

    def order(known, drawn, wrong):
        group = common_classes(predictions[known], predictions)[1]
        return removal_order(confidence, group, known, drawn, wrong, ties).tolist()

    everything = np.ones_like(drawn)
    before = order(everything, drawn, wrong)
    removed = int(rng.integers(len(drawn)))
    rest = np.array(before[removed:])
    drawn[rest] = drawn[rng.permutation(rest)]
    wrong[rest] = drawn[rest] & (rng.random(len(rest)) < 0.5)
    assert order(everything, drawn, wrong)[:removed] == before[:removed]

    before = order(~drawn, drawn, wrong)
    rest = before[removed:]
    row, place = rng.choice(rest), rng.choice(rest)
    if drawn[row]:
        predictions[row] = predictions[place]
        confidence[row] = confidence[place]
        ties[row] = ties[place] + 1e-9
        wrong[row] = not wrong[row]
        assert order(~drawn, drawn, wrong)[:removed] == before[:removed]


@pytest.mark.parametrize(
    ("n", "labels", "epsilon", "levels"),
    [(12, 6, 0.3, [0.5, 0.9]), (12, 7, 0.2, None), (11, 6, 0.3, [0.5, 0.9, 1]), (12, 0, 0.3, None)],
)
def test_over_all_draws_a_table_breaks_its_guarantee_as_often_as_the_theorem_states(
    n, labels, epsilon, levels, monkeypatch
):
    labels = labels or usual_labels(n, epsilon, 0.05)
    monkeypatch.setattr(peeling, "errors_allowed", functools.cache(errors_allowed))
    may_stay = int(epsilon * n)
    allowed = errors_allowed(n, labels, epsilon, 0.05)[0]
    stated = hypergeom.cdf(allowed, n, allowed + may_stay + 1, labels)
    rng = np.random.default_rng(0)
    shares = []
    for number in range(4):
        confidence = rng.random(n) if levels is None else rng.choice(levels, n)
        predictions = rng.integers(0, 3, n).astype(str)
        wrong = rng.permutation(n) < allowed + may_stay + 1 + 2 * (number == 3)
        broken = []
        for rows in itertools.combinations(range(n), labels):
            drawn = np.isin(np.arange(n), rows)
            kept, _ = peel_table(
                confidence, predictions, drawn, wrong & drawn, rng.random(n), epsilon, 0.05
            )
            broken.append(np.sum(kept & wrong) > may_stay)
        shares.append(np.mean(broken))
    assert max(shares) == pytest.approx(stated, abs=1e-9) and stated <= 0.05


def broken_at_source(draws, share):
    """Return how often the policy keeps more than ε = 10% wrong of a source of noise."""
    broken = []
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        predictions = rng.integers(0, 16, 200).astype(str)
        drawn = np.arange(200) < 80
        wrong = drawn & (rng.random(200) < share)
        table = rng.random(200), predictions, drawn, wrong, rng.random(200)
        _, borders = peel_table(*table, 0.1, 0.2)
        ends = [borders.get(str(each), borders[None]) for each in range(16)]
        broken.append(share * np.mean(1 - np.clip(ends, 0, 1)) > 0.1)
    return np.mean(broken)


def test_the_guarantee_about_new_rows_holds_and_an_order_by_hidden_labels_breaks_it(monkeypatch):
    """Its error is at most the largest probability of an outcome that is at most δ."""
    monkeypatch.setattr(peeling, "errors_allowed", functools.cache(errors_allowed))
    stated = binom.cdf(errors_allowed(200, 80, 0.1, 0.2)[1], 80, 0.1)
    assert broken_at_source(400, 0.1 + 1e-9) <= binom.ppf(0.9999, 400, stated) / 400
    assert broken_at_source(100, 0.2) <= stated

    def wrong_share(wrong, is_drawn, prior):
        return np.full(len(wrong), wrong.mean())

    monkeypatch.setattr(peeling, "lowest_risks", wrong_share)
    assert broken_at_source(100, 0.2) > 0.4


def test_rare_classes_share_one_border():
    predictions = np.array(["a"] * 60 + ["b"] * 36 + ["c", "d", "e", "f"])
    classes, group = common_classes(predictions, predictions)
    assert classes == [None, "a", "b"]
    assert np.unique(group[96:]).tolist() == [0]


def test_the_usual_number_of_labels_allows_three_errors():
    assert usual_labels(100_000, 0.05, 0.05) == round(1.5 * 100_000 ** (2 / 3))
    for rows, epsilon in ((1_000, 0.01), (3_000, 0.005)):
        labels = usual_labels(rows, epsilon, 0.05)
        assert errors_allowed(rows, labels, epsilon, 0.05)[0] == 3
        assert errors_allowed(rows, labels - 1, epsilon, 0.05)[0] < 3
    assert usual_labels(5, 0.1, 0.05) == 5
