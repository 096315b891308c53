"""P-values are valid: exact sums over all outcomes of few samples, reference implementations, and
the numbers of other libraries."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import beta, binom, binomtest, multinomial, multivariate_hypergeom

from cascadelib.evaluation.intervals import BETS
from cascadelib.guarantees import p_values
from cascadelib.guarantees.p_values import (
    betting_p_value,
    cost_p_value,
    f1_p_value,
    paired_p_value,
    probability_as_extreme,
    signed_root,
)


def every_outcome(k):
    """All (lost, gained) of k samples."""
    return [(a, b) for a in range(k + 1) for b in range(k + 1 - a)]


def root_by_optimization(lost, gained, k, loss):
    """Reference: the signed root of the likelihood ratio, whose nuisance is searched on a line."""
    if lost - gained == pytest.approx(k * loss):
        return 0.0
    counts = np.array([lost, gained, k - lost - gained])

    def minus_likelihood(q):
        return -xlogy(counts, [q + loss, q, 1 - loss - 2 * q]).sum()

    at_end = min(minus_likelihood(0.0), minus_likelihood((1 - loss) / 2))
    bounds = (0.0, (1 - loss) / 2)
    found = minimize_scalar(minus_likelihood, bounds=bounds, options={"xatol": 1e-12})
    ratio = xlogy(counts, counts / k).sum() + min(at_end, found.fun)
    return math.copysign(math.sqrt(2 * max(0.0, ratio)), lost - gained - k * loss)


def probability_of(pairs, k, parts):
    """P(one of these (lost, gained) of k samples), if the parts are lost, gained and the same."""
    lost, gained = np.array(pairs).reshape(-1, 2).T
    return multinomial.pmf(np.stack([lost, gained, k - lost - gained], axis=1), k, parts).sum()


@pytest.mark.parametrize(("k", "epsilon"), [(12, 0.1), (24, 0.05), (24, 0.0), (20, 0.2)])
def test_a_paired_p_value_holds_its_level_for_every_loss_of_epsilon(k, epsilon):
    """P(p ≤ δ) ≤ δ, summed over all outcomes of k samples, for distributions with a loss of ε or
    more."""
    outcomes = every_outcome(k)
    for level in (0.05, 0.2):
        rejected = [(a, b) for a, b in outcomes if paired_p_value(a, b, k, epsilon, level) <= level]
        assert rejected or (k, level) == (12, 0.05)
        for loss in (epsilon, epsilon + 0.05):
            for psi in np.linspace(max(loss, 1e-6), 1, 25):
                parts = [(psi + loss) / 2, (psi - loss) / 2, 1 - psi]
                assert probability_of(rejected, k, parts) <= level


# A smaller loss would change ties of the statistic by less than the tolerance of both sides.
LOSSES = st.just(0.0) | st.floats(1e-6, 0.4)


@given(st.integers(1, 25), LOSSES, st.floats(0.01, 1), st.data())
@settings(max_examples=60)
def test_probability_of_outcomes_as_extreme_equals_the_sum(k, loss, psi, data):
    assume(psi >= loss)
    a, b = data.draw(st.sampled_from(every_outcome(k)))

    def root(lost, gained):
        return root_by_optimization(lost, gained, k, loss)

    limit = root(a, b) + 1e-6  # the optimizer is less exact than the formula
    extreme = [(c, d) for c, d in every_outcome(k) if root(c, d) <= limit]
    slow = min(1, probability_of(extreme, k, [(psi + loss) / 2, (psi - loss) / 2, 1 - psi]))
    found = probability_as_extreme(a, a + b, k, loss, np.array([psi]))[0]
    assert found == pytest.approx(slow, abs=1e-9)


def test_a_truncated_sum_adds_the_probability_of_both_tails():
    """Only 10 gained samples of 10 are as extreme as themselves."""
    psi = np.array([0.6, 0.9])
    found = probability_as_extreme(0, 10, 10, 0.5, psi)
    gained = (psi - 0.5) / 2
    assert found == pytest.approx(gained**10 + 2 * p_values.NEGLIGIBLE, rel=1e-9, abs=0)


@given(st.integers(1, 400), st.floats(0, 0.99), st.data())
@settings(max_examples=100)
def test_the_signed_root_rises_with_the_lost_samples(samples, loss, data):
    """The bisection rests on this."""
    discordant = data.draw(st.integers(0, samples))
    lost = np.arange(discordant + 1)
    roots = signed_root(lost, np.full(discordant + 1, discordant), samples, loss)
    assert np.all(roots[1:] >= roots[:-1] - p_values.TIED)


@pytest.mark.parametrize("epsilon", [0.005, 0.01, 0.02, 0.03, 0.05])
@pytest.mark.parametrize("gained", [0, 1])
def test_more_labels_without_a_loss_never_cost_a_certificate(epsilon, gained):
    """Without a discordant sample the test is as powerful as (1 − ε)^n ≤ δ allows, up to γ."""
    delta = 0.05
    counts = range(20, 701)
    certified = [paired_p_value(0, gained, n, epsilon, delta) <= delta for n in counts]
    assert certified == sorted(certified)
    if not gained:
        least = math.ceil(math.log(delta * (1 - p_values.NUISANCE)) / math.log(1 - epsilon))
        assert least <= counts[certified.index(True)] <= least + 3  # the grid's error


def test_few_lost_samples_of_few_labels_can_certify():
    """At ε = 2%, 0.5% lost and 200 labels, the test that orders outcomes by estimated p-values
    (Lloyd, 2008) has a power of 0.37 at this level."""
    rejected = [
        (lost, gained)
        for lost in range(6)
        for gained in range(3)
        if paired_p_value(lost, gained, 200, 0.02) <= 0.05
    ]
    assert probability_of(rejected, 200, [0.005, 0.0, 0.995]) > 0.36


def test_without_a_margin_a_paired_p_value_is_near_mcnemars_exact_test():
    for lost, gained in ((2, 15), (10, 30), (20, 21)):
        mcnemar = binom.cdf(lost, lost + gained, 0.5)
        ours = paired_p_value(lost, gained, 1000, 0.0, level=mcnemar)
        assert 0.3 * mcnemar <= ours <= 1.2 * mcnemar


def test_a_paired_p_value_has_the_recorded_value_of_each_grid():
    """A bound between the points of a grid that is too small or too large shows only here."""
    assert paired_p_value(0, 8, 193, 0.005) == pytest.approx(0.0038478856965, rel=1e-9)
    assert paired_p_value(41, 9, 2260, 0.02) == pytest.approx(0.0436246126787, rel=1e-9)


def test_a_loss_of_exactly_epsilon_has_a_root_of_zero():
    """The loss 3 / 188 is not exact in binary, so the difference is a rounding error."""
    assert signed_root(np.array([3]), np.array([3]), 188, 3 / 188).tolist() == [0]


def test_a_betting_p_value_holds_its_level_if_a_file_is_sorted_by_its_errors():
    """All numbers of errors are enumerated. One order of the samples for all files fails."""
    k = 211
    epsilon = 0.3
    level = 0.05
    counts = np.arange(int(binom.ppf(1e-9, k, epsilon)), int(binom.ppf(1 - 1e-9, k, epsilon)))
    chances = binom.pmf(counts, k, epsilon)
    files = [(np.arange(k) >= k - count).astype(float) for count in counts]
    errors = [
        chances @ [betting_p_value(losses, epsilon, level, seed) <= level for losses in files]
        for seed in range(60)
    ]
    assert errors[0] > 0.2
    assert np.mean(errors) <= level + 3 * np.std(errors) / np.sqrt(60) < errors[0]
    assert len({betting_p_value(files[9], epsilon) for _ in range(9)}) > 1
    assert betting_p_value(np.zeros(2000), 0.01) < 0.05 < betting_p_value(np.full(2000, 0.02), 0.01)


@pytest.mark.nightly
@pytest.mark.parametrize(("k", "frame"), [(60, 200), (160, 200), (200, 200), (900, 0)])
def test_bets_and_f1_hold_their_level_for_rows_of_a_table(k, frame):
    """The table loses exactly ε. k of its rows are drawn, with replacement if frame is 0."""
    rng = np.random.default_rng(0)
    draws = 300
    level = 0.1
    rows = [rng.choice(200, k, replace=not frame) for _ in range(draws)]
    losses = np.r_[np.ones(20), np.full(20, 0.5), np.full(20, -0.5), np.zeros(140)]
    rejected = [
        betting_p_value(losses[drawn], 0.1, level, seed, frame) <= level
        for seed, drawn in enumerate(rows)
    ]
    assert sum(rejected) <= binom.ppf(0.999, draws, level)
    positive = np.arange(200) < 100
    reference = np.arange(200) >= 10
    correct = np.arange(200) >= 30
    epsilon = 180 / 190 - 140 / 170  # F1 is 2 TP / (2 TP + errors)

    def share_certified(epsilon):
        p_values = [
            f1_p_value(reference[at], correct[at], positive[at], epsilon, level, seed, frame)
            for seed, at in enumerate(rows)
        ]
        return np.mean(np.array(p_values) <= level)

    assert share_certified(epsilon) <= binom.ppf(0.999, draws, level) / draws
    assert frame or share_certified(2 * epsilon) > 0.2


def betting_slowly(losses, epsilon, level, frame=0):
    """Reference implementation: the capital, bet by bet, in the same shuffled order."""
    losses = np.random.default_rng(0).permutation(losses)
    k = len(losses)
    capital = 1.0
    most = 1.0
    past = []
    mean_of = lambda d: sum(d) / (len(d) + 1)  # noqa: E731
    for i, d in enumerate(losses):
        squares = sum((past[j] - mean_of(past[: j + 1])) ** 2 for j in range(i))
        variance = (0.25 + squares) / (i + 1)
        left = (frame * epsilon - sum(past)) / (frame - i) if frame else epsilon
        bet = min(np.sqrt(2 * np.log(1 / level) / (k * variance)), 0.75 / (1 + abs(left)))
        capital *= 1 + bet * (left - d)
        most = max(most, capital)
        past = [*past, d]
    return min(1.0, 1 / most)


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=30),
    st.floats(0, 0.5),
    st.sampled_from([0, 30, 45]),
)
@settings(max_examples=60)
def test_betting_equals_a_loop(losses, epsilon, frame):
    found = betting_p_value(np.array(losses), epsilon, seed=0, frame=frame)
    assert found == pytest.approx(betting_slowly(losses, epsilon, 0.05, frame))


@pytest.mark.parametrize(("rows", "labels", "epsilon"), [(60, 24, 0.05), (40, 30, 0.1)])
def test_a_paired_p_value_holds_its_level_for_a_uniform_draw_of_a_table(rows, labels, epsilon):
    """P(p ≤ δ) ≤ δ, summed over all draws without replacement, for every table with a loss of ε."""
    need = round(rows * epsilon)
    for level in (0.05, 0.2):
        rejected = [
            (lost, gained, labels - lost - gained)
            for lost in range(labels + 1)
            for gained in range(labels + 1 - lost)
            if paired_p_value(lost, gained, labels, epsilon, level) <= level
        ]
        assert rejected
        for gained in range((rows - need) // 2 + 1):
            counts = [gained + need, gained, rows - need - 2 * gained]
            chance = multivariate_hypergeom.pmf(np.array(rejected), counts, labels)
            assert np.nansum(chance) <= level


def decided(lost, gained, samples, epsilon, level):
    return paired_p_value(lost, gained, samples, epsilon, level) <= level


@given(st.integers(20, 300), st.sampled_from([0.0, 0.02, 0.1]), st.data())
@settings(max_examples=60)
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
@settings(max_examples=40)
def test_the_cost_of_two_stages_is_tested_by_the_exact_binomial_test(k, passed, budget):
    passed = min(passed, k)
    exits = np.arange(k) < passed
    theirs = binomtest(passed, k, (budget - 1) / 8, alternative="less").pvalue
    assert cost_p_value(exits, [1.0, 8.0], budget) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize(("scale", "least"), [(1.0, 1.0), (np.linspace(0.1, 1, 90), 0.0)])
def test_costs_of_three_stages_and_prices_are_bet_on_between_their_bounds(scale, least):
    exits = np.random.default_rng(0).choice(3, 90, p=[0.7, 0.2, 0.1])
    costs = [scale, 4 * scale, 20 * scale]
    paid = scale * np.array([1.0, 5.0, 25.0])[exits]
    for budget in (4.2, 9.0):
        expected = betting_p_value(
            (paid - least) / (25 - least), (budget - least) / (25 - least), 0.1, 3
        )
        assert cost_p_value(exits, costs, budget, 0.1, seed=3) == pytest.approx(expected, rel=1e-9)
    assert cost_p_value(exits, costs, 9.0, 0.1) < 0.1


def test_a_budget_outside_all_costs_needs_no_test():
    exits = np.array([0, 0, 1])
    assert [cost_p_value(exits, [1.0, 8.0], budget) for budget in (9.0, 1.0)] == [0, 1]
    assert [cost_p_value(exits * 0, [2.0], budget) for budget in (2.0, 1.9)] == [0, 1]


@given(st.integers(1, 40), st.integers(0, 10**6), st.floats(0, 0.3))
@settings(max_examples=40)
def test_the_capital_of_f1_is_the_least_over_all_f1_of_the_reference(k, seed, epsilon):
    """Reference implementation: the capital at each θ, bet by bet."""
    rng = np.random.default_rng(seed)
    positive, hits, correct = rng.random((3, k)) < 0.6
    found = f1_p_value(hits, correct, positive, epsilon, 0.1, 0)
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
    assert f1_p_value(np.ones(k, bool), np.ones(k, bool), none, 0.1) == 1  # θ is unknown
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
    largest = probability_as_extreme(lost, discordant, samples, epsilon, shares).max()
    found = paired_p_value(lost, gained, samples, epsilon, level)
    assert min(1.0, largest + gamma) <= found <= 1


@pytest.mark.parametrize(
    ("lost", "gained", "samples", "epsilon"), [(2, 1, 60, 0.0), (0, 0, 60, 0.01), (60, 0, 60, 0.1)]
)
def test_a_paired_p_value_adds_what_its_interval_of_discordant_samples_may_miss(
    lost, gained, samples, epsilon, monkeypatch
):
    """If every outcome is impossible, the p-value is γ = level / 500, half at each end."""
    searched = []

    def impossible(lost, discordant, samples, loss, psi):
        step = math.sqrt((psi[2] - 2 * psi[1] + psi[0]) / 2)  # of √(ψ − ε), which is even
        first, last = np.sqrt(psi[[0, -1]] - epsilon - step**2 / 4)
        searched.append(((first - step / 2) ** 2 + epsilon, (last + step / 2) ** 2 + epsilon))
        return np.zeros(len(psi))

    monkeypatch.setattr(p_values, "probability_as_extreme", impossible)
    assert paired_p_value(lost, gained, samples, epsilon, 0.2) == 0.2 / 500
    interval = binomtest(lost + gained, samples).proportion_ci(1 - 0.2 / 500)
    ends = max(interval.low, epsilon), interval.high
    assert searched == [pytest.approx(ends, abs=1e-10)]


@pytest.mark.parametrize(("below", "grids"), [(0.5, 1), (1.5, 4)])
def test_a_paired_p_value_is_refined_until_it_decides(below, grids, monkeypatch):
    """A p-value that exceeds the level with γ at one point of the grid cannot fall below it."""
    level = 0.2
    sizes = []

    def constant(lost, discordant, samples, loss, psi):
        sizes.append(len(psi))
        return np.full(len(psi), level - below * level / 500)

    monkeypatch.setattr(p_values, "probability_as_extreme", constant)
    assert paired_p_value(5, 1, 60, 0.02, level) > level
    assert sizes == list(p_values.GRIDS[:grids])


def test_a_paired_p_value_is_gamma_if_too_few_samples_are_discordant():
    gamma = 0.2 / 500
    high = beta.isf(gamma / 2, 4, 57)
    assert paired_p_value(2, 1, 60, high + 1e-9, 0.2) == gamma
    assert paired_p_value(2, 1, 60, high - 1e-9, 0.2) > gamma


def test_f1_spends_a_five_hundredth_of_the_level_on_the_f1_of_the_reference(capture):
    """The p-value is 1 if both have equal answers, and γ if the reference's interval is below ε."""
    calls = capture(p_values, "share_interval", (0.2, 0.5))  # F1 of 1/3 to 2/3
    positive = np.arange(10) < 4
    correct = np.arange(10) != 9
    assert f1_p_value(correct, correct, positive, 0.0, 0.2) == 1.0
    ((counted, *options),) = calls
    assert len(counted) == 5 and options == [1 - 0.2 / 500, "exact"]  # 4 true positives, an error
    assert f1_p_value(correct, correct, positive, 0.67, 0.2) == 0.2 / 500
    assert f1_p_value(correct, correct, positive, 0.66, 0.2) > 0.2 / 500


def test_the_f1_p_value_adds_gamma_to_the_inverse_of_the_capital(monkeypatch):
    """One bet of 1/2 at θ = 2/3. Each sample on which only the cascade is correct multiplies the
    capital by the same number."""
    monkeypatch.setattr(p_values, "share_interval", lambda *_: (0.5, 0.5))
    monkeypatch.setattr(p_values, "BETS", np.array([0.5]))
    k = 3
    wrong = np.zeros(k, bool)
    theirs = -2 / 3  # of an error of the reference
    ours = 2 * (1 - 2 / 3 + 0.1)  # of a true positive of the cascade
    capital = (1 - 0.5 * (theirs - ours) / 2) ** k
    found = f1_p_value(wrong, ~wrong, ~wrong, 0.1, 0.2)
    assert found == pytest.approx(0.2 / 500 + 1 / capital, rel=1e-12)


def test_a_betting_p_value_is_the_inverse_of_the_largest_capital(capture):
    """Bets depend on the level, but no bet exceeds 0.75 / (1 + |ε|)."""
    calls = capture(p_values, "plug_in_bets", np.full(6, 9.0))
    bet = 0.75 / 1.25
    for epsilon in (0.25, -0.25):
        losses = np.full(6, epsilon - 0.5)
        expected = (1 + bet * 0.5) ** -6
        assert betting_p_value(losses, epsilon, 0.04) == pytest.approx(expected, rel=1e-12)
        assert betting_p_value(losses + 1.0, epsilon, 0.04) == 1.0
    assert [call[1:] for call in calls] == [(1 / 0.04, 0.0)] * 4
