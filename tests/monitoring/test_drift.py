"""The bets against drift: equal to the theorem word by word, and a martingale."""

import itertools
import math
import operator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cascadelib.monitoring.drift import BET_SIZES, log_capital
from cascadelib.policy.confidence_summary import summary


def slow_capital(reference, live):
    """The theorem word by word: the urn's chances, each bet's mean gain, each bet from each start,
    as products."""
    urn = [*reference.counts, 1]
    bins = [sum(edge < x for edge in reference.values) for x in live]
    middle = [(sum(urn[:b]) + urn[b] / 2) / sum(urn) for b in range(len(urn))]
    bets = [(x * s, y * s) for s in BET_SIZES for x, y in ((1, -1), (-1, 1), (1, 1), (-1, -1))]
    factors = []
    for t, b in enumerate(bins):
        chance = [(urn[c] + bins[:t].count(c)) / (sum(urn) + t) for c in range(len(urn))]
        gain = [[m**x * (1 - m) ** y for m in middle] for x, y in bets]
        factors.append([own[b] / math.fsum(map(operator.mul, own, chance)) for own in gain])
    aside = [1 / (1 + math.log(1 + t)) for t in range(len(live) + 1)]
    found = []
    for t in range(1, len(live) + 1):
        started = [
            (aside[s] - aside[s + 1]) * math.prod(f[j] for f in factors[s:t])
            for s in range(t)
            for j in range(12)
        ]
        found.append(aside[t] + math.fsum(started) / len(bets))
    return found


@pytest.fixture(params=[3, 2**14])
def part(request, monkeypatch):
    """Numbers at a time, which must not matter."""
    monkeypatch.setattr("cascadelib.monitoring.drift.PART", request.param)


@pytest.mark.usefixtures("part")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=70, unique=True),
    st.integers(2, 12),
    st.randoms(use_true_random=False),
)
def test_the_capital_equals_that_of_a_slow_reference_implementation(numbers, count, random):
    random.shuffle(numbers)
    reference = summary(np.array(numbers[count:]))
    path = log_capital(reference, np.array(numbers[:count]))
    np.testing.assert_allclose(np.exp(path), slow_capital(reference, numbers[:count]), rtol=1e-9)


@pytest.mark.usefixtures("part")
@pytest.mark.parametrize("k", [1, 2, 3])
def test_capital_is_a_martingale_over_all_orders_of_reference_and_stream(k):
    """Exactly, without simulation: its mean over all orders of k + 4 numbers is the stake."""
    orders = [np.array(order, float) for order in itertools.permutations(range(k + 4))]
    paths = np.exp([log_capital(summary(order[:k]), order[k:]) for order in orders])
    np.testing.assert_allclose(paths.mean(axis=0), 1, rtol=1e-12)
    assert paths.std() > 0.01  # and it does bet


def test_capital_is_a_martingale_where_numbers_are_equal():
    """Numbers of few values, parted at random: the mean capital over 4,000 draws is the stake."""
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(4000):
        numbers = rng.integers(0, 3, 20).astype(float)
        short = summary(numbers[:10])
        ties = [np.sort(rng.random((numbers[:10] == value).sum())) for value in range(3)]
        short = replace(short, ties=tuple(np.concatenate(ties).tolist()))
        ends.append(np.exp(log_capital(short, numbers[10:])[-1]))
    assert abs(np.mean(ends) - 1) < 4 * np.std(ends) / np.sqrt(len(ends))


def test_a_late_shift_alarms():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=10_000), rng.normal(0.5, 1, 500)])
    path = log_capital(summary(rng.normal(size=5000)), values)
    assert path[:10_000].max() < math.log(100) < path.max()
