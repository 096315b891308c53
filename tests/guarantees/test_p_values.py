"""P-values are valid: exact sums over all outcomes of few samples, slow twins, and MAPIE's
numbers."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom, binomtest, multinomial

from cascadelib.evaluation.intervals import BETS
from cascadelib.guarantees import p_values
from cascadelib.guarantees.p_values import (
    betting_p_value,
    cost_p_value,
    drawn_p_value,
    f1_p_value,
    paired_p_value,
    probability_as_extreme,
)


@pytest.mark.parametrize(("k", "most", "epsilon"), [(40, 6, 0.25), (50, 14, 0.2)])
def test_no_distribution_with_that_loss_is_rejected_too_often_on_a_draw_of_labels(k, most, epsilon):
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


def decided(lost, gained, samples, epsilon, level):
    return paired_p_value(lost, gained, samples, epsilon, level) <= level


@given(st.integers(20, 300), st.sampled_from([0.0, 0.02, 0.1]), st.data())
@settings(max_examples=60, deadline=None)
def test_missing_labels_certify_nothing_that_some_labels_would_not(k, epsilon, data):
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
def test_the_cost_of_two_stages_is_tested_by_the_exact_binomial_test(k, passed, budget):
    passed = min(passed, k)
    exits = np.arange(k) < passed
    theirs = binomtest(passed, k, (budget - 1) / 8, alternative="less").pvalue
    assert cost_p_value(exits, [1.0, 8.0], budget) == pytest.approx(theirs, rel=1e-9)


def test_costs_that_no_draw_can_change():
    exits = np.array([0, 0, 1])
    assert cost_p_value(exits, [1.0, 8.0], 9.0) == 0 and cost_p_value(exits, [1.0, 8.0], 1.0) == 1
    assert (
        cost_p_value(np.zeros(3, int), [2.0], 2.0) == 0
        and cost_p_value(np.zeros(3, int), [2.0], 1.9) == 1
    )


def test_cost_of_three_stages_and_of_samples_holds_its_level():
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


def answers(rng, k, gap):
    """(positive, reference right, cascade right) bool [k], and the true difference of their F1."""
    positive = rng.random(k) < 0.4
    correct = rng.random(k) < 0.85
    return positive, correct, correct & (rng.random(k) >= gap)


def test_f1_holds_its_level_and_is_not_idle():
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
def test_f1_is_bet_on_by_constant_bets_and_no_f1_of_the_reference_leaves_less(k, seed, epsilon):
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


def test_a_reference_without_true_positives_loses_nothing():
    none = np.zeros(50, bool)
    k = 50
    assert f1_p_value(np.ones(k, bool), np.ones(k, bool), none, 0.1) == 1  # θ is not known at all
    assert f1_p_value(none, none, np.ones(k, bool), 0.5) < 0.05  # F1 of 0 cannot fall


@pytest.mark.parametrize(
    ("lost", "gained", "samples", "epsilon", "level"),
    [(2, 1, 60, 0.1, 0.2), (0, 0, 30, 0.1, 0.1), (5, 3, 40, 0.2, 0.05), (9, 0, 20, 0.1, 0.2)],
)
def test_a_p_value_is_at_least_the_largest_probability_and_what_the_interval_may_miss(
    lost, gained, samples, epsilon, level
):
    gamma = level / 500
    discordant = lost + gained
    low = beta.ppf(gamma / 2, discordant, samples - discordant + 1) if discordant else 0.0
    high = beta.isf(gamma / 2, discordant + 1, samples - discordant)
    shares = np.linspace(max(low, epsilon), high, 5001)
    largest = probability_as_extreme(lost - gained, discordant, samples, epsilon, shares).max()
    found = paired_p_value(lost, gained, samples, epsilon, level)
    assert min(1.0, largest + gamma) <= found <= 1


@pytest.mark.parametrize(
    ("lost", "gained", "samples", "epsilon"), [(2, 1, 60, 0.0), (0, 0, 60, 0.01), (60, 0, 60, 0.1)]
)
def test_a_paired_p_value_adds_what_its_interval_of_discordant_samples_may_miss(
    lost, gained, samples, epsilon, monkeypatch
):
    """If no outcome were possible, γ = level / 500 would be all of it: half at each end."""
    searched = []

    def impossible(s, discordant, samples, loss, psi):
        half = (psi[1] - psi[0]) / 2
        searched.append((psi[0] - half, psi[-1] + half))
        return np.zeros(len(psi))

    monkeypatch.setattr(p_values, "probability_as_extreme", impossible)
    assert paired_p_value(lost, gained, samples, epsilon, 0.2) == 0.2 / 500
    interval = binomtest(lost + gained, samples).proportion_ci(1 - 0.2 / 500)
    ends = max(interval.low, epsilon), interval.high
    assert searched == [pytest.approx(ends, abs=1e-12)]


def test_a_paired_p_value_is_gamma_if_too_few_samples_are_discordant():
    gamma = 0.2 / 500
    high = beta.isf(gamma / 2, 4, 57)
    assert paired_p_value(2, 1, 60, high + 1e-9, 0.2) == gamma
    assert paired_p_value(2, 1, 60, high - 1e-9, 0.2) > gamma


def test_a_draw_of_labels_spends_a_tenth_of_the_level_on_the_share_of_disagreements(monkeypatch):
    calls = []

    def captured(*arguments):
        calls.append(arguments)
        return 0.25

    monkeypatch.setattr(p_values, "paired_p_value", captured)
    share = beta.isf(0.02, 31, 170)  # of 200 samples 30 disagree
    assert drawn_p_value(3, 1, 20, 30, 200, 0.01, 0.2) == pytest.approx(0.27)
    assert calls == [pytest.approx((3, 1, 20, 0.01 / share, 0.2 - 0.02), rel=1e-12)]
    assert drawn_p_value(3, 1, 20, 200, 200, 0.01, 0.2) == pytest.approx(0.27)
    assert calls[1] == pytest.approx((3, 1, 20, 0.01, 0.2 - 0.02))  # all disagree: share 1
    assert drawn_p_value(0, 0, 0, 30, 200, 0.01, 0.2) == 1.0
    assert drawn_p_value(0, 0, 0, 30, 200, share + 1e-9, 0.2) == pytest.approx(0.02)
    monkeypatch.setattr(p_values, "paired_p_value", lambda *_: 0.99)
    assert drawn_p_value(3, 1, 20, 30, 200, 0.01, 0.2) == 1.0


def test_f1_spends_a_five_hundredth_of_the_level_on_the_f1_of_the_reference(monkeypatch):
    """Of samples that both answer alike no gambler wins: the value is 1. If the interval of the
    reference lies below ε, γ is all of it."""
    levels = []

    def captured(counted, level, method):
        levels.append((len(counted), level, method))
        return 0.2, 0.5  # F1 of 1/3 to 2/3

    monkeypatch.setattr(p_values, "share_interval", captured)
    positive = np.arange(10) < 4
    correct = np.arange(10) != 9
    assert f1_p_value(correct, correct, positive, 0.0, 0.2) == 1.0
    assert levels == [(5, 1 - 0.2 / 500, "exact")]  # four true positives and an error
    assert f1_p_value(correct, correct, positive, 0.67, 0.2) == 0.2 / 500
    assert f1_p_value(correct, correct, positive, 0.66, 0.2) > 0.2 / 500


def test_the_f1_p_value_adds_gamma_to_the_inverse_of_the_capital(monkeypatch):
    """One bet of 1/2 on θ known to be 2/3: each sample that only the cascade gets right multiplies
    the capital by a number that can be written down."""
    monkeypatch.setattr(p_values, "share_interval", lambda *_: (0.5, 0.5))
    monkeypatch.setattr(p_values, "BETS", np.array([0.5]))
    k = 3
    wrong = np.zeros(k, bool)
    theirs = -2 / 3  # of an error of the reference
    ours = 2 * (1 - 2 / 3 + 0.1)  # of a true positive of the cascade
    capital = (1 - 0.5 * (theirs - ours) / 2) ** k
    found = f1_p_value(wrong, ~wrong, ~wrong, 0.1, 0.2)
    assert found == pytest.approx(0.2 / 500 + 1 / capital, rel=1e-12)


def test_a_betting_p_value_is_the_inverse_of_the_largest_capital(monkeypatch):
    """The bets may use the level that is handed on, but no bet exceeds 0.75 / (1 + |ε|)."""
    levels = []

    def captured(losses, capital, mean):
        levels.append((capital, mean))
        return np.full(len(losses), 9.0)

    monkeypatch.setattr(p_values, "plug_in_bets", captured)
    bet = 0.75 / 1.25
    for epsilon in (0.25, -0.25):
        losses = np.full(6, epsilon - 0.5)
        expected = (1 + bet * 0.5) ** -6
        assert betting_p_value(losses, epsilon, 0.04) == pytest.approx(expected, rel=1e-12)
        assert betting_p_value(losses + 1.0, epsilon, 0.04) == 1.0
    assert levels == [(1 / 0.04, 0.0)] * 4
