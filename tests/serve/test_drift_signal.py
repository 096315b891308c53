"""The warning without labels: how often it alarms on unchanged data, whether it sees changed ones,
and bad input."""

import itertools
import math
import operator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import LogitStore, evaluate, pick, search
from cascadelib.policy.confidence_summary import HELD_OUT, WITHOUT_CHOOSING, summary
from cascadelib.serve import DriftSignal
from cascadelib.serve.drift_signal import BET_SIZES, Capital, DriftReport, describe_reference


def store_of(k, seed, scale=1.0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    clean = scale * (2 + rng.normal(size=(k, 1))) * np.eye(4)[labels]
    logits = {
        name: s * clean + noise * rng.normal(size=(k, 4))
        for name, s in (("a", 0.7), ("b", 1.0), ("c", 1.4))
    }
    return LogitStore.from_arrays(labels, logits, macs={"a": 1, "b": 5, "c": 25})


@pytest.fixture(scope="module")
def point():
    return pick(search(store_of(1000, 0), 3), "max_improvement")


def test_stage_confidences_belong_to_the_samples_that_reach_the_stage(point):
    store = store_of(300, 1)
    found = evaluate(store, point).stage_confidences
    left = np.arange(300)
    p = None
    for i, model in enumerate(point.models):
        z = store.logits(model).astype(float)
        p = (np.exp(z) / np.exp(z).sum(1, keepdims=True)).max(1)
        np.testing.assert_allclose(found[i], p[left])
        if i < 2:
            left = left[p[left] < point.thresholds[i]]


def slow_capital(reference, live):
    """The theorem word by word: the urn's chances, each bet's mean gain, each bet from each start,
    as products."""
    urn = [*reference.counts, 1]
    bins = []
    for x in live:
        bins.append(sum(edge < x for edge in reference.values))
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


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=70, unique=True),
    st.integers(2, 12),
    st.randoms(),
)
def test_the_capital_equals_that_of_a_slow_reference_implementation(numbers, count, random):
    random.shuffle(numbers)
    live = numbers[:count]
    reference = summary(np.array(numbers[count:]))
    capital = Capital(reference)
    path = np.concatenate([capital.add(part) for part in np.array_split(live, 2)])
    np.testing.assert_allclose(np.exp(path), slow_capital(reference, live), rtol=1e-9)
    assert capital.largest_log == max([0.0, *path]) and capital.inputs == len(live)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_capital_is_a_martingale_over_all_orders_of_reference_and_stream(k):
    """Exactly, without simulation: its mean over all orders of k + 4 numbers is the stake, at each
    time."""
    orders = [np.array(order, float) for order in itertools.permutations(range(k + 4))]
    paths = np.exp([Capital(summary(order[:k])).add(order[k:]) for order in orders])
    np.testing.assert_allclose(paths.mean(axis=0), 1, rtol=1e-12)
    assert paths.std() > 0.01  # and it does bet


@pytest.mark.parametrize("values", [3, 40])
def test_capital_is_a_martingale_where_numbers_are_equal(values):
    """Numbers of few values, parted at random: the mean capital over 4,000 draws is the stake."""
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(4000):
        numbers = rng.integers(0, values, 20).astype(float)
        short = summary(numbers[:10])
        capital = Capital(replace(short, ties=ties_of(numbers[:10], short, rng)))
        capital.rng = rng
        ends.append(np.exp(capital.add(numbers[10:])[-1]))
    assert abs(np.mean(ends) - 1) < 4 * np.std(ends) / np.sqrt(len(ends))


def ties_of(numbers, short, rng):
    """Other random second numbers for the edges of a summary, in which every number is an edge."""
    return np.concatenate(
        [np.sort(rng.random((numbers == v).sum())) for v in np.unique(numbers)]
    ).tolist()


def test_unchanged_streams_never_alarm_more_often_than_stated(point):
    """A short run of the study in benchmarks/analysis.py: 300 draws of a reference of 500 and a
    stream of 3,000, asked all the time, at a rate of 10% for the whole of it."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        first, second = rng.normal(size=(2, 3500))
        second = np.where(first < 0.3, first + second, np.nan)  # of those that pass on
        stages = [(values[:500], values[500:]) for values in (first, second)]
        signal = DriftSignal([a[~np.isnan(a)] for a, _ in stages], 0.1)
        alarms += signal.check([b[~np.isnan(b)] for _, b in stages]).alarm
    assert alarms <= 47  # more with a probability of 1 in 1,000 at exactly 10%


def test_a_late_shift_is_detected():
    rng = np.random.default_rng(1)
    signal = DriftSignal([rng.normal(size=5000)])
    assert not signal.check([rng.normal(size=10_000)]).alarm
    assert signal.check([rng.normal(0.5, 1, 500)]).alarm


@pytest.mark.parametrize("change", [{"noise": 1.6}, {"scale": 0.7}])
def test_changed_data_alarm(point, change):
    signal = DriftSignal(evaluate(store_of(2000, 1), point).stage_confidences, 0.001)
    report = signal.check(evaluate(store_of(500, 2, **change), point).stage_confidences)
    assert report.alarm
    assert report.tests["p"].min() <= 0.001 and report.tests["inputs"][0] == 500
    assert signal.check(evaluate(store_of(500, 3), point).stage_confidences).alarm  # an alarm stays
    unchanged = DriftSignal(evaluate(store_of(2000, 1), point).stage_confidences, 0.001)
    assert not unchanged.check(evaluate(store_of(500, 3), point).stage_confidences).alarm


def test_the_same_samples_do_not_alarm_and_lie_in_the_middle(point):
    store = store_of(500, 4)
    report = DriftSignal(evaluate(store, point).stage_confidences).check(
        evaluate(store, point).stage_confidences
    )
    assert not report.alarm
    np.testing.assert_allclose(report.tests["mean_rank"], 0.5, atol=0.01)


def test_stages_that_no_sample_reaches_raise_no_alarm():
    signal = DriftSignal((np.linspace(0, 1, 100), np.empty(0)))
    report = signal.check([np.linspace(0, 1, 50), np.linspace(0, 1, 20)])
    assert report.tests["inputs"].tolist() == [50, 20] and report.tests["capital"][
        1
    ] == pytest.approx(1)
    assert not report.alarm


def test_a_report_states_whether_the_reference_was_held_out():
    """By the description of the intervals in a cascade's file. Other descriptions are unknown."""
    assert describe_reference(HELD_OUT).startswith("held out: the reference's samples had no part")
    assert describe_reference(WITHOUT_CHOOSING).startswith(
        "chosen on: the reference's samples had a"
    )
    for unknown in (None, "90%"):
        assert describe_reference(unknown) == DriftReport.reference
    assert DriftReport.reference.startswith("not known")
