"""P-values are valid: exact sums over all outcomes of few samples, slow twins, and MAPIE's
numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, multinomial

from cascadelib.evaluation.intervals import BETS
from cascadelib.guarantees.p_values import cost_p_value, drawn_p_value, f1_p_value, paired_p_value


@pytest.mark.parametrize(("k", "most", "epsilon"), [(40, 6, 0.25), (50, 14, 0.2)])
def test_no_distribution_with_that_loss_is_rejected_too_often_on_a_draw_of_labels(
    k: int, most: int, epsilon: float
) -> None:
    """d of k samples disagree, min(most, d) of them are labelled: P(p ≤ δ) ≤ δ, summed over all
    outcomes."""
    level = 0.2
    rejected = {}
    for d in range(k + 1):
        m = min(most, d)
        every = [(a, b) for a in range(m + 1) for b in range(m + 1 - a)]
        rejected[d] = [
            (a, b) for a, b in every if drawn_p_value(a, b, m, d, k, epsilon, level) <= level
        ]
    assert any(rejected.values())
    for share in np.linspace(epsilon, 1, 12):
        for gain in np.linspace(0, (1 - epsilon / share) / 2, 4):
            parts = [epsilon / share + gain, gain, 1 - epsilon / share - 2 * gain]
            of_draw = {
                d: sum(
                    multinomial.pmf([a, b, min(most, d) - a - b], min(most, d), parts)
                    for a, b in pairs
                )
                for d, pairs in rejected.items()
                if pairs
            }
            assert sum(binom.pmf(d, k, share) * p for d, p in of_draw.items()) <= level


def decided(lost: Any, gained: Any, samples: Any, epsilon: Any, level: Any) -> Any:
    return paired_p_value(lost, gained, samples, epsilon, level) <= level


@given(st.integers(20, 300), st.sampled_from([0.0, 0.02, 0.1]), st.data())
@settings(max_examples=60, deadline=None)
def test_missing_labels_certify_nothing_that_some_labels_would_not(
    k: int, epsilon: float, data: st.DataObject
) -> None:
    d = data.draw(st.integers(0, min(k, 25)))
    m = data.draw(st.integers(0, d))
    lost = data.draw(st.integers(0, min(m, 3)))
    gained = data.draw(st.integers(0, m - lost))
    level = 0.2
    every = [
        (a, b)
        for a in range(lost, lost + d - m + 1)
        for b in range(gained, gained + d - m - (a - lost) + 1)
    ]
    bound = paired_p_value(lost, gained, k, epsilon, level, (lost + d - m, lost + gained + d - m))
    assert bound > level or all(decided(a, b, k, epsilon, level) for a, b in every)
    if m == d:
        assert bound == paired_p_value(lost, gained, k, epsilon, level)


@given(st.integers(1, 400), st.integers(0, 400), st.floats(1.05, 8.9))
@settings(max_examples=40, deadline=None)
def test_the_cost_of_two_stages_is_tested_by_the_exact_binomial_test(
    k: int, passed: int, budget: float
) -> None:
    passed = min(passed, k)
    exits = np.arange(k) < passed
    theirs = binomtest(passed, k, (budget - 1) / 8, alternative="less").pvalue
    assert cost_p_value(exits, [1.0, 8.0], budget) == pytest.approx(theirs, rel=1e-9)


def test_costs_that_no_draw_can_change() -> None:
    exits = np.array([0, 0, 1])
    assert cost_p_value(exits, [1.0, 8.0], 9.0) == 0 and cost_p_value(exits, [1.0, 8.0], 1.0) == 1
    assert (
        cost_p_value(np.zeros(3, int), [2.0], 2.0) == 0
        and cost_p_value(np.zeros(3, int), [2.0], 1.9) == 1
    )


def test_cost_of_three_stages_and_of_samples_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    draws = 1000
    level = 0.1
    most = binom.ppf(0.999, draws, level)
    for k in (100, 500):
        three = rng.choice(3, (draws, k), p=[0.7, 0.2, 0.1])
        assert (
            sum(
                cost_p_value(e, [1.0, 4.0, 20.0], 1 + 4 * 0.3 + 20 * 0.1, level) <= level
                for e in three
            )
            <= most
        )
        prices = rng.choice([0.5, 1.5], (draws, k))
        rows = zip(three > 0, prices)
        assert (
            sum(
                cost_p_value(e.astype(int), [p, 9 * p], 1 + 9 * 0.3, level) <= level
                for e, p in rows
            )
            <= most
        )
    assert cost_p_value(three[0], [1.0, 4.0, 20.0], 6.0, level) < level


def answers(rng: np.random.Generator, k: int, gap: Any) -> tuple:
    """(positive, reference right, cascade right) bool [k], and the true difference of their F1."""
    positive = rng.random(k) < 0.4
    correct = rng.random(k) < 0.85
    return positive, correct, correct & (rng.random(k) >= gap)


def test_f1_holds_its_level_and_is_not_idle() -> None:
    truth = answers(np.random.default_rng(0), 2_000_000, 0.05)
    f1 = [2 * (r & truth[0]).sum() / (2 * (r & truth[0]).sum() + (~r).sum()) for r in truth[1:]]
    rng = np.random.default_rng(1)
    draws = 400
    level = 0.1
    epsilon = f1[0] - f1[1]
    for k in (500, 2000):
        drawn = [answers(rng, k, 0.05) for _ in range(draws)]
        at_the_edge = np.array([f1_p_value(r, c, y, epsilon, level) for y, r, c in drawn])
        further_away = np.array([f1_p_value(r, c, y, 3 * epsilon, level) for y, r, c in drawn])
        assert (at_the_edge <= level).sum() <= binom.ppf(0.999, draws, level)
        assert (further_away <= level).mean() > 0.2


@given(st.integers(1, 40), st.integers(0, 10**6), st.floats(0, 0.3))
@settings(max_examples=40, deadline=None)
def test_f1_is_bet_on_by_constant_bets_and_no_f1_of_the_reference_leaves_less(
    k: int, seed: int, epsilon: float
) -> None:
    """A slow twin: the capital at each θ, bet by bet; the value is that of the worst θ, or more."""
    rng = np.random.default_rng(seed)
    positive, hits, correct = rng.random((3, k)) < 0.6
    found = f1_p_value(hits, correct, positive, epsilon, 0.1)
    true_positives = int((hits & positive).sum())
    errors = int((~hits).sum())
    assume(true_positives + errors)
    ends = binomtest(true_positives, true_positives + errors).proportion_ci(1 - 0.1 / 500)
    low = 2 * ends.low / (1 + ends.low)
    high = 2 * ends.high / (1 + ends.high)
    assume(high > epsilon)
    order = np.random.default_rng(0).permutation(k)
    lowest = np.inf
    for theta in np.linspace(max(low, epsilon), high, 20):
        capitals = np.ones(len(BETS))
        most = 1.0
        for i in order:
            theirs = 2 * (1 - theta) * (hits[i] and positive[i]) - theta * (not hits[i])
            own = 2 * (1 - theta + epsilon) * (correct[i] and positive[i])
            own -= (theta - epsilon) * (not correct[i])
            capitals *= 1 - BETS * (theirs - own) / 2
            most = max(most, capitals.mean())
        lowest = min(lowest, most)
    assert found >= min(1, 0.1 / 500 + 1 / lowest) - 1e-9


def test_a_reference_without_true_positives_loses_nothing() -> None:
    none = np.zeros(50, bool)
    k = 50
    assert f1_p_value(np.ones(k, bool), np.ones(k, bool), none, 0.1) == 1  # θ is not known at all
    assert f1_p_value(none, none, np.ones(k, bool), 0.5) < 0.05  # F1 of 0 cannot fall
