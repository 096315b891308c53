"""The bootstrap of fixed cascades and its intervals, against loops and known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import slow_cost_ratio
from tiny_stores import noisy_store

from cascadelib import ScoreTable, bootstrap, evaluate, pick, search
from cascadelib.analysis.comparison import resampled_cost_ratio
from cascadelib.analysis.shift import holds
from cascadelib.analysis.uncertainty import interval, resampled_means, sample_counts
from cascadelib.evaluation.intervals import share_interval
from cascadelib.evaluation.pareto import mean_improvement, pareto_front


def make_scores(seed=0, k=120, models=3):
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    margin = np.stack([0.5 + 0.4 * m + ease + rng.normal(size=k) for m in range(models)])
    confidence = np.round(np.abs(margin + 0.3 * rng.normal(size=margin.shape)), 1)  # rounded: ties
    return ScoreTable(margin > 0, confidence, 5.0 ** np.arange(models))


def drawn_rows(k, seed, resample):
    """Return the rows of one resample from the same random numbers."""
    rng = np.random.default_rng(seed)
    return [rng.integers(k, size=k) for _ in range(resample + 1)][-1]


def priced(scores):
    """Return the same scores with a cost per sample."""
    rates = np.random.default_rng(0).uniform(1, 2, scores.correct.shape)
    cost = rates * scores.costs()[:, None]
    return ScoreTable(scores.correct, scores.confidence, cost)


SETS = {  # (store, number of models, score)
    "single models": (make_scores(), 1, "top1"),
    "pairs": (make_scores(), 2, "top1"),
    "all lengths": (make_scores(), (1, 2, 3), "top1"),
    "costs per sample": (priced(make_scores(4)), 2, "top1"),
    "F1": (noisy_store(k=200, models=2, classes=2), 2, "f1"),
}


@pytest.mark.parametrize("case", SETS)
def test_a_resample_equals_the_cascade_evaluated_on_its_rows(case):
    store, n, score = SETS[case]
    front = search(store, n, score=score)
    resampled = bootstrap(store, front, resamples=4, seed=9)
    part = store.take(drawn_rows(len(store), 9, 3))
    for p in range(0, len(front), 3):
        point = front.point(p)
        again = evaluate(part, point)
        assert resampled.accuracy[3, p] == pytest.approx(again.accuracy)
        assert resampled.cost[3, p] == pytest.approx(again.cost)
        assert resampled.exit_rates[3, p, : len(point.models)] == pytest.approx(again.exit_rates)
        if not np.isnan(again.improvement):
            assert resampled.improvement[3, p] == pytest.approx(again.improvement)
    assert resampled.exit_rates.sum(axis=2) == pytest.approx(1)
    singles = search(part, 1, score=score).singles.loc[store.models.index]
    assert resampled.single_accuracy[3] == pytest.approx(singles["accuracy"].to_numpy())
    assert resampled.single_cost[3] == pytest.approx(singles["cost"].to_numpy())


def test_the_set_of_cascades_on_a_resample_equals_its_front_there():
    scores = make_scores(2)
    resampled = bootstrap(scores, search(scores, 2), resamples=3)
    cost = resampled.cost[1]
    accuracy = resampled.accuracy[1]
    baseline = resampled.baselines[1]
    keep = pareto_front(cost, accuracy)
    assert resampled.mean_improvement()[1] == mean_improvement(baseline, cost[keep], accuracy[keep])


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


def test_the_f1_in_holds_has_the_interval_of_its_resamples():
    store, n, score = SETS["F1"]
    point = search(store, n, score=score).point(3)
    held = holds({"here": store}, point, resamples=50).iloc[0]
    assert held["accuracy"] == evaluate(store, point).accuracy
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


def test_an_interval_has_percentiles():
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))
