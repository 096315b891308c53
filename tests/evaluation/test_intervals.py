"""Intervals in closed form, against known truth and slow reference implementations."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascadelib.evaluation.intervals import (
    BETS,
    anytime_lower,
    betting_interval,
    cost_interval,
    difference_interval,
    paired_difference_interval,
    share_interval,
)

Z = 1.959963984540054  # the 97.5% quantile of the normal distribution


def test_wilsons_interval_equals_its_formula_and_includes_one():
    n = 50
    a = 43 / 50
    centre = a + Z**2 / (2 * n)
    half = Z * np.sqrt(a * (1 - a) / n + Z**2 / (4 * n**2))
    expected = ((centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n))
    assert share_interval(np.arange(n) < 43) == pytest.approx(expected)
    low, high = share_interval(np.ones(10, bool))
    assert 0.6 < low < high == 1.0


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=1), st.lists(st.booleans(), min_size=1))
def test_differences_of_independent_samples_follow_newcombes_formula(first, second):
    a = np.mean(first)
    b = np.mean(second)
    low_a, high_a = share_interval(first)
    low_b, high_b = share_interval(second)
    low = b - a - math.hypot(b - low_b, high_a - a)
    high = b - a + math.hypot(high_b - b, a - low_a)
    assert difference_interval(first, second) == pytest.approx((low, high), abs=1e-9)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_differences_of_paired_samples_follow_the_formula_of_agresti_and_min(pairs):
    first, second = np.array(pairs).T
    gained = sum(b and not a for a, b in pairs) + 0.5
    lost = sum(a and not b for a, b in pairs) + 0.5
    k = len(pairs) + 2
    half = Z * math.sqrt((gained + lost) - (gained - lost) ** 2 / k) / k
    difference = (gained - lost) / k
    expected = (max(-1, difference - half), min(1, difference + half))
    assert paired_difference_interval(first, second) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 1.0], [1.0, 0.0]), "bool"),
        (([], []), "at least one"),
        (([True], [True, False]), "needs the same"),
    ],
)
def test_intervals_of_graded_or_unequal_samples_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        paired_difference_interval(*arguments)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.booleans(), st.floats(0.5, 0.99))
def test_cost_intervals_equal_their_definition(exits, by_sample, level):
    """All shares hold simultaneously. A rare or unseen stage has a wide interval as well."""
    exits = np.array(exits)
    costs = list(10.0 ** np.arange(4))
    if by_sample:
        costs = [c * np.random.default_rng(0).choice([0.5, 1.5], len(exits)) for c in costs]
        paid = [sum(c[row] for c in costs[: stage + 1]) for row, stage in enumerate(exits)]
        expected = betting_interval(np.array(paid), costs[0].min(), sum(costs).max(), level)
    else:
        each = 1 - (1 - level) / 3
        shares = [share_interval(exits >= stage, each, "exact") for stage in (1, 2, 3)]
        expected = 1 + np.sum(np.multiply(shares, [[10], [100], [1000]]), axis=0)
    assert cost_interval(exits, costs, level) == pytest.approx(tuple(expected))


def test_the_cost_of_one_stage_is_exact():
    assert cost_interval(np.zeros(50, int), [3.0]) == (3.0, 3.0)
    assert cost_interval(np.zeros(50, int), [np.full(50, 3.0)]) == (3.0, 3.0)


def capital_slowly(x, mean, wealth):
    """Return the largest capital of bets on values above ``mean``, bet after bet."""
    capital = 1.0
    most = 1.0
    past = 0.5
    spread = 0.25
    for i, value in enumerate(x):
        bet = min(np.sqrt(2 * np.log(wealth) / (len(x) * spread / (i + 1))), 0.75 / mean)
        capital *= 1 + bet * (value - mean)
        most = max(most, capital)
        past = past + value
        spread += (value - past / (i + 2)) ** 2
    return most


@given(st.lists(st.floats(0, 1), min_size=2, max_size=60), st.floats(0.6, 0.99))
@example(
    [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], 0.75
)  # bets win early and lose later
@settings(max_examples=50)
def test_a_betting_interval_contains_the_means_that_bets_do_not_refute(values, level):
    low, high = betting_interval(np.array(values), 0, 1, level)
    assert 0 <= low <= np.mean(values) + 1e-9 and np.mean(values) - 1e-9 <= high <= 1
    x = np.random.default_rng(0).permutation(values)
    wealth = 2 / (1 - level)
    for side, end in ((x, low), (1 - x, 1 - high)):
        assert end < 1e-6 or capital_slowly(side, end * 0.99, wealth) >= wealth * (1 - 1e-6)
        wins = capital_slowly(side, min(1, end + 1e-6), wealth) > wealth * (1 + 1e-6)
        assert not wins or end == pytest.approx(side.mean())  # an interval contains its estimate


@settings(max_examples=60)
@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=40), st.floats(0.001, 0.3), st.floats(0, 1))
def test_an_anytime_bound_is_where_the_capital_reaches_its_limit(values, error, up):
    """The capital is a plain product over the values."""
    low = anytime_lower(*(values.count(d) for d in (1, 0, -1)), error)

    def capital(mean):
        return math.fsum(
            math.prod(1 + c * (d - mean) / (1 + mean) for d in values) for c in BETS
        ) / len(BETS)

    above = low + up * (1 - low)
    assert -1 <= low <= np.mean(values or [1]) + 1e-9 and (
        low == 1 or capital(above + 1e-9) < (1 + 1e-6) / error
    )
    assert low == -1 or capital(-1 + (1 - 1e-6 - 1e-3 * up) * (1 + low)) > (1 - 1e-6) / error


def test_no_bet_can_lose_more_than_the_capital():
    """A bet b multiplies it by 1 + b (d − mean) ÷ (1 + mean), which is 1 − b for d = −1."""
    assert 0 < min(BETS) and max(BETS) <= 1


def test_an_anytime_bound_falls_if_unknown_values_count_as_gains():
    for counts in itertools.product(range(0, 30, 7), repeat=3):
        lost, same, gained = counts
        assert (
            anytime_lower(lost, same, gained + 5, 0.05)
            <= anytime_lower(lost + 2, same + 1, gained + 2, 0.05) + 1e-9
        )
