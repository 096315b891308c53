"""The bootstrap of fixed cascades and its intervals, against loops and known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import slow_cost_ratio
from tiny_stores import noisy_store

from cascadelib import LogitStore, ScoreTable, bootstrap, evaluate, pick, search
from cascadelib.analysis.comparison import resampled_cost_ratio
from cascadelib.analysis.shift import holds
from cascadelib.analysis.uncertainty import basic_interval, interval, resampled_means, sample_counts
from cascadelib.evaluation.intervals import share_interval
from cascadelib.evaluation.pareto import mean_improvement, pareto_front


def make_scores(
    seed=0,
    k=120,
    models=3,
):
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    margin = np.stack([0.5 + 0.4 * m + ease + rng.normal(size=k) for m in range(models)])
    confidence = np.round(np.abs(margin + 0.3 * rng.normal(size=margin.shape)), 1)  # rounded: ties
    return ScoreTable(margin > 0, confidence, 5.0 ** np.arange(models))


def drawn_rows(k, seed, resample):
    """Return the rows of one resample from the same random numbers."""
    rng = np.random.default_rng(seed)
    return [rng.integers(k, size=k) for _ in range(resample + 1)][-1]


@pytest.mark.parametrize("n", [1, 2, (1, 2, 3)])
def test_a_resample_equals_the_cascade_evaluated_on_its_rows(n):
    scores = make_scores()
    front = search(scores, n)
    resampled = bootstrap(scores, front, resamples=4, seed=9)
    part = scores.take(drawn_rows(len(scores), 9, 3))
    for p in range(0, len(front), 3):
        point = front.point(p)
        again = evaluate(part, point)
        assert resampled.accuracy[3, p] == pytest.approx(again.accuracy)
        assert resampled.cost[3, p] == pytest.approx(again.cost)
        assert resampled.exit_rates[3, p, : len(point.models)] == pytest.approx(again.exit_rates)
        if not np.isnan(again.improvement):
            assert resampled.improvement[3, p] == pytest.approx(again.improvement)
    assert resampled.exit_rates.sum(axis=2) == pytest.approx(1)
    assert resampled.single_accuracy[3] == pytest.approx(part.models["top1"].to_numpy())


def test_the_set_of_cascades_on_a_resample_equals_its_front_there():
    scores = make_scores(2)
    resampled = bootstrap(scores, search(scores, 2), resamples=3)
    cost = resampled.cost[1]
    accuracy = resampled.accuracy[1]
    baseline = resampled.baselines[1]
    keep = pareto_front(cost, accuracy)
    assert resampled.mean_improvement()[1] == mean_improvement(baseline, cost[keep], accuracy[keep])
    at = np.linspace(baseline.accuracy.min(), baseline.best, 7)
    expected = [baseline.cost_at(a) / min(cost[accuracy >= a], default=np.inf) for a in at]
    assert resampled.improvement_at(at)[1] == pytest.approx(expected)


def test_the_cost_ratio_of_two_sets_equals_a_loop():
    scores = make_scores(3, k=300)
    sets = [search(scores, n) for n in (2, 3)]
    first, second = (bootstrap(scores, front, resamples=3, seed=5) for front in sets)
    ratios = resampled_cost_ratio(first, second)
    for r in range(3):
        base = first.baselines[r]
        singles = list(zip(base.cost[base.front], base.accuracy[base.front]))
        fronts = (list(zip(*drawn.fronts[r])) for drawn in (first, second))
        assert ratios[r] == pytest.approx(slow_cost_ratio(*fronts, singles))
    assert resampled_cost_ratio(first, first) == pytest.approx(1)


def test_f1_is_resampled():
    store = noisy_store(k=200, models=2, classes=2)
    front = search(store, 2, score="f1")
    resampled = bootstrap(store, front, resamples=3, seed=4)
    part = store.take(drawn_rows(200, 4, 2))
    for row in range(0, len(front), 5):
        again = evaluate(part, front.point(row))
        assert resampled.accuracy[2, row] == pytest.approx(again.accuracy)
    singles = search(part, 1, score="f1").singles["accuracy"]
    assert resampled.single_accuracy[2] == pytest.approx(singles.to_numpy())
    held = holds({"here": store}, front.point(3), resamples=50).iloc[0]
    assert held["accuracy"] == evaluate(store, front.point(3)).accuracy
    assert held["difference_low"] <= held["difference"] <= held["difference_high"]
    assert held["accuracy_low"] <= held["accuracy"] <= held["accuracy_high"]


def test_the_accuracy_in_holds_has_wilsons_interval():
    scores = make_scores(6)
    point = pick(search(scores, 2), "match_best", caution=0)
    held = holds({"here": scores}, point, 20).iloc[0]
    wilson = share_interval(evaluate(scores, point).correct)
    assert (held["accuracy_low"], held["accuracy_high"]) == wilson
    narrower = holds({"here": scores}, point, 20, level=0.8).iloc[0]
    assert narrower["accuracy_low"] > wilson[0] and narrower["accuracy_high"] < wilson[1]


def test_costs_per_sample_are_resampled():
    scores = make_scores(4, models=2)
    cost = np.random.default_rng(0).uniform([[1], [5]], [[2], [9]], (2, 120))
    scores = ScoreTable(scores.correct, scores.confidence, cost)
    point = pick(search(scores, 2), "max_improvement")
    resampled = bootstrap(scores, point, resamples=2, seed=1)
    part = scores.take(drawn_rows(120, 1, 1))
    assert resampled.cost[1, 0] == pytest.approx(evaluate(part, point).cost)
    assert resampled.single_cost[1] == pytest.approx(part.costs())


@settings(max_examples=50)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 1000))
def test_means_of_a_resample_equal_a_loop(k, columns, seed):
    rng = np.random.default_rng(seed)
    counts = sample_counts(k, 3, seed)
    assert (counts.sum(axis=0) == k).all()
    for values in (rng.random((columns, k)) < 0.5, rng.random((columns, k))):
        found = resampled_means(counts, values)
        for r in range(3):
            rows = np.repeat(np.arange(k), counts[:, r])
            np.testing.assert_allclose(found[r], values[:, rows].mean(axis=1), atol=1e-12)


def test_one_sample_of_one_model_is_resampled():
    store = LogitStore.from_arrays([0], {"a": np.array([[1.0, 0.0]])}, macs={"a": 5})
    resampled = bootstrap(store, search(store, 1), resamples=2)
    assert resampled.accuracy.tolist() == [[1.0], [1.0]]
    assert resampled.improvement.tolist() == [[1.0], [1.0]]


def test_the_basic_interval_mirrors_the_percentiles():
    values = np.arange(101.0)
    assert interval(values, 0.9) == pytest.approx((5, 95))
    assert basic_interval(values, 40.0, 0.9) == pytest.approx((-15, 75))
