"""What a drag reads, against `cl.evaluate`: any thresholds, ties, empty stages, one class, one
model, both ends."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.explorer.state import (
    bin_of,
    edges_of,
    falling,
    grid_curve,
    grid_edges,
    histogram,
    on_split,
    reading_at,
    threshold_text,
)
from cascadelib.fronts.exact import SearchTask
from cascadelib.methods.thresholds import (
    between_ties,
    exiting,
    next_exits,
    own_units,
    threshold_for,
)

RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = ["a", "b", "c", "d"]


@st.composite
def score_tables(draw: Any, samples: tuple[int, ...] = (1, 12), levels: int = 4) -> tuple:
    """A ScoreTable of four models with heavy ties, and how many of them to cascade."""
    k = draw(st.integers(*samples))
    correct = draw(
        st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=4, max_size=4)
    )
    confidence = draw(
        st.lists(st.lists(st.integers(0, levels), min_size=k, max_size=k), min_size=4, max_size=4)
    )
    cost = sorted(draw(st.lists(st.sampled_from([1.0, 2.0, 2.5, 7.0]), min_size=4, max_size=4)))
    return cl.ScoreTable(np.array(correct), np.array(confidence) / 7, cost, NAMES), draw(
        st.integers(1, 4)
    )


def cascade_of(store: cl.LogitStore, n: int, method: Any = None, cost: str = "cost") -> Any:
    task = SearchTask(store, method, "top1", cost, "all")
    return on_split(store, task, list(store.models.index)[:n], store.models["top1"].idxmax())


def evaluated(
    store: cl.LogitStore, n: int, thresholds: Any, method: Any = None, cost: str = "cost"
) -> Any:
    metric = method.metric if method else None
    own = tuple(np.atleast_1d(own_units(metric, thresholds)).tolist())
    point = cl.Point(tuple(store.models.index)[:n], own, (), 0.0, 0.0, 0.0, method, "top1", cost)
    return cl.evaluate(store, point)


def assert_equal_reading(
    store: cl.LogitStore, n: int, thresholds: Any, method: Any = None, cost: str = "cost"
) -> None:
    read = reading_at(cascade_of(store, n, method, cost), thresholds)
    expected = evaluated(store, n, thresholds, method, cost)
    assert (read.accuracy, read.cost) == (expected.accuracy, expected.cost)
    assert read.exit_rates == expected.exit_rates
    assert read.improvement == pytest.approx(expected.improvement, nan_ok=True)
    np.testing.assert_array_equal(read.exit_stage, expected.exit_stage)
    np.testing.assert_array_equal(read.correct, expected.correct)
    correct = [np.count_nonzero(expected.correct[expected.exit_stage == i]) for i in range(n)]
    assert read.exits_correct.tolist() == correct


@RELAXED
@given(score_tables(), st.data())
def test_a_reading_equals_evaluate_exactly(table: Any, data: st.DataObject) -> None:
    store, n = table
    ends = st.sampled_from([-np.inf, np.inf, *np.arange(-1, 6) / 7])
    assert_equal_reading(store, n, data.draw(st.lists(ends, min_size=n - 1, max_size=n - 1)))


@pytest.mark.parametrize(
    "method", ["entropy", "max_softmax_mean_logits_ts", "softmax_margin_most_confident_ts"]
)
@pytest.mark.parametrize("n", [2, 3, 4])
def test_every_method_on_logits_and_on_another_split(method: str, n: int) -> None:
    rng = np.random.default_rng(n)
    splits = []
    for k in (300, 200):
        labels = rng.integers(0, 7, k)
        ease = rng.normal(size=(k, 1))
        logits = {
            m: (1.0 + i) * np.eye(7)[labels] * (1 + ease) + rng.normal(size=(k, 7))
            for i, m in enumerate(NAMES)
        }
        splits.append(
            cl.LogitStore.from_arrays(
                labels, logits, macs={m: 10.0**i for i, m in enumerate(NAMES)}
            )
        )
    method = cl.METHODS[method].fit(splits[0])
    cascade = cascade_of(splits[0], n, method, "macs")
    for share in (0.0, 0.3, 0.9, 1.0):
        thresholds = []
        for stage in range(n - 1):
            fall = falling(cascade, [*thresholds, 0], stage)
            count = between_ties(fall, round(share * len(fall)))
            thresholds.append(threshold_for(fall, count))
        for store in splits:
            assert_equal_reading(store, n, thresholds, method, "macs")


@RELAXED
@given(score_tables(), st.data())
def test_the_steps_of_a_slider_are_the_distinct_confidences_that_arrive(
    table: Any, data: st.DataObject
) -> None:
    store, n = table
    n = max(n, 2)
    cascade = cascade_of(store, n)
    thresholds = data.draw(
        st.lists(st.sampled_from([-np.inf, np.inf, 0.2, 0.5]), min_size=n - 1, max_size=n - 1)
    )
    stage = data.draw(st.integers(0, n - 2))
    fall = falling(cascade, thresholds, stage)
    arrives = evaluated(store, n, thresholds).exit_stage >= stage
    assert fall.tolist() == sorted(cascade.confidences[stage][arrives], reverse=True)

    counts = [0]
    count = 0
    while (after := next_exits(fall, count, 1)) != count:
        assert next_exits(fall, after, -1) == count
        counts.append(count := after)
    assert counts == [int(np.sum(fall >= v)) for v in (np.inf, *np.unique(fall)[::-1])]
    assert next_exits(fall, 0, -1) == 0
    for wanted in range(-1, len(fall) + 2):
        nearest = between_ties(fall, wanted)
        assert nearest in counts and abs(nearest - wanted) == min(abs(c - wanted) for c in counts)


@RELAXED
@given(score_tables(), st.sampled_from(["entropy", "max_softmax"]))
def test_a_threshold_parts_what_it_should_and_so_does_its_text(table: Any, metric: str) -> None:
    cascade = cascade_of(table[0], 2)
    fall = falling(cascade, [0], 0)
    for count in {between_ties(fall, c) for c in range(len(fall) + 1)}:
        threshold = threshold_for(fall, count)
        assert exiting(fall, threshold) == np.count_nonzero(fall >= threshold) == count
        text = threshold_text(fall, threshold, metric)
        ends = {"always": -np.inf, "never": np.inf}
        again = ends[text] if text in ends else float(own_units(metric, float(text)))
        assert exiting(fall, again) == count


def test_text_has_the_digits_that_it_takes() -> None:
    fall = np.array([0.9503, 0.95020001, 0.9502, 0.5])
    texts = [threshold_text(fall, threshold_for(fall, c), None) for c in range(5)]
    assert texts == ["never", "0.9503", "0.95020001", "0.7251", "always"]


@RELAXED
@given(score_tables())
def test_the_grid_holds_what_evaluate_measures(table: Any) -> None:
    store, n = table
    cascade = cascade_of(store, n)
    edges = grid_edges(cascade)
    accuracy, cost = grid_curve(cascade, edges)
    assert accuracy.shape == cost.shape == tuple(len(e) for e in edges)
    for cell, thresholds in zip(np.ndindex(accuracy.shape), product(*edges)):
        expected = evaluated(store, n, thresholds)
        assert accuracy[cell] == expected.accuracy
        assert cost[cell] == pytest.approx(expected.cost, rel=1e-12)


def test_graded_scores_and_costs_a_sample() -> None:
    rng = np.random.default_rng(0)
    store = cl.ScoreTable(
        rng.random((3, 40)), rng.integers(0, 5, (3, 40)), rng.uniform(1, 2, (3, 40)), NAMES[:3]
    )
    for thresholds in product([-np.inf, 1, 2.5, np.inf], repeat=2):
        read = reading_at(cascade_of(store, 3), thresholds)
        expected = evaluated(store, 3, thresholds)
        assert (read.accuracy, read.cost) == (expected.accuracy, expected.cost)
    accuracy, cost = grid_curve(cascade_of(store, 3), [np.array([2.5]), np.array([1.0])])
    expected = evaluated(store, 3, (2.5, 1.0))
    assert (accuracy[0, 0], cost[0, 0]) == pytest.approx((expected.accuracy, expected.cost))


@RELAXED
@given(score_tables())
def test_a_histogram_counts_each_sample_that_arrives_once(table: Any) -> None:
    cascade = cascade_of(table[0], 3)
    edges = edges_of(cascade, 1)
    bins = bin_of(cascade.confidences[1], edges)
    correct, incorrect = histogram(cascade, [0.3, 0.0], 1, bins)
    arrives = cascade.confidences[0] < 0.3
    for counted, kind in ((correct, cascade.correct[1]), (incorrect, ~cascade.correct[1])):
        expected = np.histogram(cascade.confidences[1][arrives & kind], edges)[0]
        assert counted.tolist() == expected.tolist()


def test_f1_is_that_of_evaluate() -> None:
    rng = np.random.default_rng(5)
    k = 90
    labels = rng.integers(0, 2, k)
    logits = {
        m: (0.4 + i) * np.eye(2)[labels] + rng.normal(size=(k, 2)).round(1)
        for i, m in enumerate(NAMES)
    }
    store = cl.LogitStore.from_arrays(
        labels, logits, macs={m: 10.0**i for i, m in enumerate(NAMES)}
    )
    for n in (1, 2, 3):
        cascade = on_split(
            store, SearchTask(store, cl.Method(), "f1", "macs", "all"), NAMES[:n], "d"
        )
        edges = [np.array([np.inf, 0.9, 0.6, -np.inf])] * (n - 1)
        f1, _ = grid_curve(cascade, edges)
        for cell, thresholds in zip(np.ndindex(f1.shape), product(*edges)):
            point = cl.Point(tuple(NAMES[:n]), thresholds, (), 0.0, 0.0, 0.0, cl.Method(), "f1")
            expected = cl.evaluate(store, point).accuracy
            assert reading_at(cascade, thresholds).accuracy == expected
            assert f1[cell] == pytest.approx(expected)
