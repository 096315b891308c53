"""Fronts and cascades that are evaluated on another split, against loops and evaluate."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import segment_range
from tiny_stores import three_models

from cascadelib import (
    ScoreTable,
    bootstrap,
    certify,
    evaluate,
    pick,
    replay,
    search,
)
from cascadelib.analysis.shift import front_on, holds, mean_improvement_moved
from cascadelib.evaluation.evaluation import outcomes_of
from cascadelib.evaluation.intervals import cost_interval

STORE = three_models(ids=False)
OTHER = three_models(1, noise=1.5, ids=False)


@pytest.mark.parametrize("method", ["max_softmax", "entropy", "max_softmax_mean_logits_ts"])
def test_a_replayed_point_is_the_point_evaluated_there(method):
    front = search(STORE, (1, 2, 3), method)
    moved = replay(OTHER, front, ranges=False)
    assert (moved["replayed"] == "point").all()
    for row in moved.iloc[::7].itertuples():
        check_row(row, OTHER, front.point(0))
    changes = [a != b for a, b in zip(moved["models"], moved["models"][1:])]
    assert moved["segment"].iloc[-1] == sum(changes)


@given(st.integers(0, 1000), st.integers(1, 3))
@settings(max_examples=25)
def test_many_thresholds_of_a_cascade_are_counted_as_one_by_one(seed, length):
    """Thresholds are confidences of samples, "always" or "never", more than one grid holds."""
    rng = np.random.default_rng(seed)
    template = search(OTHER, 3).point(-1)
    models = template.models[:length]
    outcomes = outcomes_of(OTHER, models, template.method, "top1")
    confidences = [confidence for _, confidence in outcomes]
    points = []
    for _ in range(60):
        thresholds = [rng.choice([*values[:20], -np.inf, np.inf]) for values in confidences[:-1]]
        points.append(replace(template, models=models, thresholds=tuple(thresholds)))
    moved = replay(OTHER, points)
    runs = evaluate(OTHER, points)
    assert moved["accuracy_replayed"].tolist() == [run.accuracy for run in runs]
    assert moved["cost_replayed"].tolist() == [run.cost for run in runs]
    assert moved["exit_rates_replayed"].tolist() == [run.exit_rates for run in runs]


def ranges_of(front, store):
    """Return, for each segment of pairs, the outcome at every threshold of its range, by a loop."""
    costs = dict(zip(store.models.index, store.costs(front.cost_kind)))
    parts = []
    points = [front.point(row) for row in range(len(front))]
    for models, segment in groupby(points, lambda point: point.models):
        outcomes = outcomes_of(store, models, front.method, front.score)
        ends = [point.inside[0] for point in segment]
        prices = [costs[name] for name in models]
        parts.append(segment_range(outcomes, min(ends), max(ends), prices))
    return parts


def check_row(row, store, point):
    """Compare a row with the cascade evaluated at its threshold."""
    result = evaluate(store, replace(point, models=row.models, thresholds=row.thresholds))
    found = (row.accuracy_replayed, row.cost_replayed)
    assert found == pytest.approx((result.accuracy, result.cost), rel=1e-12)
    assert row.improvement_replayed == pytest.approx(result.improvement, nan_ok=True)


def check_ranges(front, store, quality):
    """Compare segments with a loop, and each row with the cascade evaluated at its threshold."""
    moved = replay(store, front)
    expected_ranges = ranges_of(front, store)
    assert moved["segment"].unique().tolist() == list(range(len(expected_ranges)))
    for (_, rows), expected in zip(moved.groupby("segment"), expected_ranges):
        found = sorted(zip(rows["accuracy_replayed"], rows["cost_replayed"]))
        wanted = sorted((quality(correct), cost) for correct, cost in expected)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
        assert rows["cost_replayed"].is_monotonic_increasing
    for row in moved.iloc[:: max(1, len(moved) // 20)].itertuples():
        check_row(row, store, front.point(0))
    return moved


@st.composite
def two_tables(draw):
    """Draw score tables of a few models on two splits, with many equal confidences."""
    models = draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cost = rng.integers(1, 4, models)
    sizes = draw(st.tuples(st.integers(1, 12), st.integers(1, 30)))
    levels = draw(st.integers(1, 6))
    return [
        ScoreTable(rng.random((models, k)) < 0.6, rng.integers(0, levels, (models, k)) / 4, cost)
        for k in sizes
    ]


@settings(max_examples=40)
@given(two_tables())
def test_every_threshold_of_a_segments_range_is_replayed(tables):
    here, there = tables
    check_ranges(search(here, 2), there, lambda correct: correct.mean())


@pytest.mark.parametrize("score", ["top1", "top2"])
@pytest.mark.parametrize("method", ["entropy", "softmax_margin", "max_softmax_mean_logits_ts"])
def test_ranges_have_native_units_for_every_score(method, score):
    front = search(STORE, 2, method, score=score)
    moved = check_ranges(front, OTHER, lambda correct: correct.mean())
    assert (moved["replayed"] == "range").all() and len(moved) > len(front)
    own = [t for pair in moved["thresholds"] for t in pair if np.isfinite(t)]
    assert (min(own) >= 0) and (method != "entropy" or max(own) <= np.log(5))


def test_ranges_support_graded_scores_and_costs_per_sample():
    rng = np.random.default_rng(0)
    here, there = (
        ScoreTable(
            rng.integers(0, 3, (3, 60)) / 2,
            rng.integers(0, 9, (3, 60)),
            rng.uniform(1, 2, (3, 60)) * [[1], [4], [9]],
        )
        for _ in range(2)
    )
    front = search(here, 2)
    for row in replay(there, front).itertuples():
        check_row(row, there, front.point(0))


def test_longer_cascades_are_replayed_as_points_as_the_table_states():
    front = search(STORE, (2, 3))
    moved = replay(OTHER, front)
    lengths = moved["models"].map(len)
    assert set(lengths) == {2, 3}
    assert moved["replayed"].tolist() == lengths.map({2: "range", 3: "point"}).tolist()
    points = replay(OTHER, front, ranges=False)
    triples = points["models"].map(len) == 3
    for column in ("models", "thresholds", "accuracy", "cost_replayed", "segment"):
        assert moved.loc[lengths == 3, column].tolist() == points.loc[triples, column].tolist()
    assert moved["segment"].is_monotonic_increasing
    assert moved.index.tolist() == list(range(len(moved)))


def test_a_front_replayed_on_its_selection_split_does_not_change():
    front = search(STORE, 2)
    moved = replay(STORE, front, ranges=False)
    assert moved["accuracy_replayed"].equals(moved["accuracy"])
    assert moved["cost_replayed"].equals(moved["cost"])
    for ranges in (True, False):
        there = front_on(STORE, front, ranges)
        pd.testing.assert_frame_equal(
            there.table.drop(columns="thresholds"), front.table.drop(columns="thresholds")
        )
        assert there.singles.equals(front.singles) and there.selected_on == front.selected_on
        with pytest.raises(ValueError, match="no certified gap"):
            _ = there.gap
    assert mean_improvement_moved(STORE, front) == front.mean_improvement()


def test_a_certificate_is_replayed_point_by_point():
    certificate = certify(OTHER, search(STORE, 2), 0.2, 0.5)
    assert certificate.certified
    moved = replay(OTHER, certificate)
    assert (moved["replayed"] == "point").all()
    assert moved["thresholds"].tolist() == [p.thresholds for p in certificate.certified]
    runs = evaluate(OTHER, certificate)
    assert moved["saving_replayed"].tolist() == [run.saving for run in runs]


def test_holds_has_a_row_per_split_and_wider_intervals_at_a_higher_level():
    point = pick(search(STORE, 2), "match_best", caution=0)
    table = holds({"here": STORE, "there": OTHER}, point, resamples=100)
    here = table.loc["here"]
    assert here["accuracy"] == point.accuracy
    assert here["difference_low"] < here["difference"] < here["difference_high"]
    assert here["saving"] == pytest.approx(
        STORE.models.loc[point.models[-1], "macs"] / here["cost"]
    )
    assert here["saving_low"] < here["saving"] < here["saving_high"]
    wider = holds({"here": STORE}, point, resamples=100, level=0.999).loc["here"]
    for name in ("saving", "difference", "exit_rate"):
        assert wider[f"{name}_low"] < here[f"{name}_low"]
        assert here[f"{name}_high"] < wider[f"{name}_high"]
    assert table.loc["there", "exit_rates"] == evaluate(OTHER, point).exit_rates


@pytest.mark.parametrize("differs_by_sample", [False, True])
def test_the_costs_of_a_saving_share_its_error_if_both_are_uncertain(differs_by_sample):
    rng = np.random.default_rng(0)
    k = 200
    correct = rng.random((2, k)) < [[0.6], [0.9]]
    cost = [[1], [4]] * rng.uniform(0.5, 1.5, (2, k)) if differs_by_sample else [1, 4]
    table = ScoreTable(correct, rng.random((2, k)), cost)
    point = search(table, 2).point(3)
    row = holds({"here": table}, point, resamples=20, level=0.9).loc["here"]
    run = evaluate(table, point)
    level = 0.95 if differs_by_sample else 0.9
    least, most = cost_interval(run.exit_stage, run.costs, level)
    cheapest, dearest = cost_interval(np.zeros(k, int), [run.costs[-1]], level)
    assert (row["saving_low"], row["saving_high"]) == (cheapest / most, dearest / least)


def test_percentiles_of_an_improvement_are_nan_near_the_best_single_model():
    """The factor is not defined for resamples that exceed it."""
    point = search(STORE, 2).point(-7)
    drawn = bootstrap(STORE, point, resamples=100)
    share = np.mean(drawn.accuracy[:, 0] >= [baseline.best for baseline in drawn.baselines])
    assert 0 < share < 0.5
    for factor, is_undefined in ((0.99, True), (1.01, False)):
        held = holds({"here": STORE}, point, 100, level=1 - 2 * factor * share).loc["here"]
        assert np.isnan([held["improvement_low"], held["improvement_high"]]).all() == is_undefined
        assert is_undefined or held["improvement_low"] < held["improvement_high"]
        assert np.isfinite(held["improvement"])
