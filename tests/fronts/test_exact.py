"""The exact search against a loop over all models and thresholds, with ties and extremes."""

import os
import subprocess
import sys
from itertools import combinations, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import (
    as_dict,
    brute_front,
    last_of,
    non_dominated,
    single_cascade,
    slow_stages,
)
from tables_of_scores import (
    COMPILED,
    RELAXED,
    assert_front_of_all,
    assert_same_front,
    synthetic,
    tables,
)

from cascadelib import ScoreTable, evaluate, replay, search
from cascadelib.fronts.cascades import cascades_of, prepare_search
from cascadelib.fronts.exact import search_arrays, search_outcomes
from cascadelib.fronts.graded import search_copies, search_pairs
from cascadelib.methods.thresholds import count_exiting, does_exit
from tools.shared_threshold import search_shared_threshold

LENGTHS = [1, 2, 3, 4, (1, 2), (2, 3), (1, 2, 3), (3, 4), (1, 2, 4)]


@settings(RELAXED, max_examples=150 if COMPILED else 20)
@given(tables(models=(4, 4), samples=(1, 7), levels=3), st.sampled_from(LENGTHS))
def test_the_front_equals_a_loop_over_all_cascades(table, n_models):
    assert_front_of_all(table, n_models)


@RELAXED
@given(tables(models=(4, 4), samples=(2, 6), levels=3), st.sampled_from([2, 3, 4]), st.integers(0))
def test_outcomes_may_depend_on_all_models_of_a_prefix(table, n, seed):
    correct, _, cost = table
    k = correct.shape[1]

    def stage(prefix):
        rng = np.random.default_rng([seed, *prefix])
        return rng.random(k) < 0.6, rng.integers(0, 3, k) / 2

    assert_same_front(search_outcomes(stage, cost, n), brute_front(stage, cost, (n,)), k)


def dense_front(correct, confidence, cost):
    """Return {correct: least cost} of cascades of all models in order, on a grid of thresholds."""
    d = len(cost) - 1
    k = correct.shape[1]
    edges = [np.append(np.unique(own), np.inf) for own in confidence[:d]]
    shape = tuple(map(len, edges))
    hits = np.zeros(shape, np.int64)
    at = [np.zeros(shape, np.int64) for _ in range(d)]
    for s in range(k):
        here = np.ones(shape, bool)
        for i in range(d):
            passes = confidence[i, s] < edges[i].reshape([-1 if j == i else 1 for j in range(d)])
            hits += here & ~passes & correct[i, s]
            here = here & passes
            at[i] += here
        hits += here & correct[d, s]
    total = np.full(shape, cost[0])
    for i in range(d):
        total = total + cost[i + 1] * (at[i] / k)
    np.minimum.at(least := np.full(k + 1, np.inf), hits.ravel(), total.ravel())
    return least


SIZES = [(4, 3, 300), (4, 4, 100), (5, 5, 25)] if COMPILED else [(4, 3, 40), (4, 4, 15)]


@pytest.mark.parametrize("digits", [1, 2, 6])
@pytest.mark.parametrize(("models", "n", "k"), SIZES)
def test_several_levels_of_boxes_equal_a_dense_grid(models, n, k, digits):
    correct, confidence, cost = synthetic(models, k, seed=digits, digits=digits)
    chains = map(list, combinations(range(models), n))
    least = np.min([dense_front(correct[m], confidence[m], cost[m]) for m in chains], axis=0)
    lowest = np.minimum.accumulate(least[::-1])[::-1]
    is_best = least < np.append(lowest[1:], np.inf)
    expected = dict(zip(np.flatnonzero(is_best).tolist(), least[is_best].tolist()))
    assert as_dict(search_arrays(correct, confidence, cost, n), k) == expected


@RELAXED
@given(tables(models=(3, 4)), st.sampled_from([2, 3]))
def test_points_reproduce_their_own_accuracy_cost_and_exit_rates(table, n):
    correct, confidence, cost = table
    k = correct.shape[1]
    points = search_arrays(*table, n)
    for row in range(len(points.cost)):
        models = points.models[row]
        thresholds = points.thresholds[row]
        outcomes = [(correct[m], confidence[m]) for m in models]
        hits, total, stages = single_cascade(outcomes, thresholds, cost[models])
        assert hits == round(points.accuracy[row] * k)
        assert total == pytest.approx(points.cost[row], rel=1e-12)
        np.testing.assert_allclose(
            points.exit_rates[row], np.bincount(stages, minlength=n) / k, atol=1e-12
        )


@RELAXED
@given(tables(models=(3, 4)), st.integers(0, 2**31), st.sampled_from([1, 2, 3]))
def test_order_of_models_and_samples_changes_nothing(table, seed, n):
    correct, confidence, cost = table
    rng = np.random.default_rng(seed)
    models = rng.permutation(len(cost))
    samples = rng.permutation(correct.shape[1])
    here = search_arrays(correct, confidence, cost, n)
    there = search_arrays(
        correct[models][:, samples], confidence[models][:, samples], cost[models], n
    )
    np.testing.assert_array_equal(here.accuracy, there.accuracy)
    np.testing.assert_array_equal(here.cost, there.cost)


LARGEST = np.finfo(np.float64).max
ENDS = [-np.inf, -LARGEST, -1.0, 0.0, np.nextafter(0, 1), 1.0, LARGEST, np.inf]


@RELAXED
@given(tables(models=(2, 3), samples=(1, 6)), st.data())
def test_infinite_confidences_equal_brute_force(table, data):
    """The searches and the evaluator agree with a loop, also if a column has only infinities."""
    correct, confidence, cost = table
    m, k = correct.shape
    confidence = np.array(
        [data.draw(st.lists(st.sampled_from(ENDS), min_size=k, max_size=k)) for _ in range(m)]
    )
    for column in range(m):
        whole = data.draw(st.sampled_from([None, None, np.inf, -np.inf]))
        confidence[column] = confidence[column] if whole is None else whole
    tied = np.where(confidence == LARGEST, np.inf, confidence)  # no finite threshold separates them
    n = data.draw(st.integers(2, m))
    stage = last_of(correct, confidence)
    expected = ends_front(correct, tied, cost, n)
    points = search_arrays(correct, confidence, cost, n)
    find = search_pairs if n == 2 else search_copies
    graded = find(prepare_search(stage, cost, n, last_only=True))
    for found in (points, graded):
        assert_same_front(found, expected, k)
    store = ScoreTable(correct, confidence, cost)
    front = search(store, n)
    for row in range(len(points.cost)):
        models = points.models[row]
        thresholds = points.thresholds[row]
        stages = slow_stages(confidence[models[:-1]], thresholds)
        hits = correct[models, :][stages, np.arange(k)]
        assert hits.sum() == round(points.accuracy[row] * k)
        np.testing.assert_allclose(
            points.exit_rates[row], np.bincount(stages, minlength=n) / k, atol=1e-12
        )
        again = evaluate(store, front.point(row))
        assert again.exit_stage.tolist() == stages and again.correct.tolist() == hits.tolist()
        for i in range(n - 1):
            fall = np.sort(confidence[models[i]])[::-1]
            assert count_exiting(fall, thresholds[i]) == slow_stages([fall], [thresholds[i]]).count(
                0
            )
    moved = replay(store, front, ranges=False)
    np.testing.assert_array_equal(moved["accuracy_replayed"], front.table["accuracy"])
    np.testing.assert_array_equal(moved["cost_replayed"], front.table["cost"])


def ends_front(correct, confidence, cost, n):
    """Return {correct samples: least cost} over all cascades and all splits of confidences."""
    best = {}
    k = correct.shape[1]
    for cascade in cascades_of(cost, (n,)):
        ranks = [np.unique(confidence[m], return_inverse=True)[1] for m in cascade[:-1]]
        for edges in product(*(range(r.max() + 2) for r in ranks)):
            stages = np.array(slow_stages(ranks, edges))
            hits = int(correct[list(cascade)][stages, np.arange(k)].sum())
            total = sum(cost[m] * ((stages >= i).sum() / k) for i, m in enumerate(cascade))
            best[hits] = min(best.get(hits, np.inf), total)
    return non_dominated(best)


@RELAXED
@given(tables(models=(2, 3), samples=(1, 6)), st.data())
def test_one_threshold_for_all_stages_with_infinite_confidences(table, data):
    correct, _, cost = table
    m, k = correct.shape
    ends = st.sampled_from([-np.inf, 0.0, 1.0, np.inf])
    confidence = np.array([data.draw(st.lists(ends, min_size=k, max_size=k)) for _ in range(m)])
    n = data.draw(st.integers(2, m))
    best = {}
    for cascade in cascades_of(cost, (n,)):
        for t in [-np.inf, 0.0, 1.0, LARGEST, np.inf]:
            stages = np.array(slow_stages(confidence[list(cascade[:-1])], [t] * (n - 1)))
            hits = int(correct[list(cascade)][stages, np.arange(k)].sum())
            total = sum(cost[m] * ((stages >= i).sum() / k) for i, m in enumerate(cascade))
            best[hits] = min(best.get(hits, np.inf), total)
    points = search_shared_threshold(last_of(correct, confidence), cost, n)
    assert_same_front(points, non_dominated(best), k)
    for row in range(len(points.cost)):
        stages = slow_stages(confidence[points.models[row][:-1]], points.thresholds[row])
        np.testing.assert_allclose(
            points.exit_rates[row], np.bincount(stages, minlength=n) / k, atol=1e-12
        )


def test_never_defers_infinite_confidences_and_always_exits_minus_inf():
    confidence = np.array([np.inf, 1.0, -np.inf])
    assert does_exit(confidence, np.inf).tolist() == [False] * 3
    assert does_exit(confidence, -np.inf).tolist() == [True] * 3
    assert does_exit(np.array([np.nan, np.inf]), 0.0).tolist() == [False, True]


def test_with_constant_confidence_all_exit_or_none():
    correct = np.array([[True, False, False], [True, True, False]])
    points = search_arrays(correct, np.ones((2, 3)), [1.0, 3.0], 2)
    assert points.cost.tolist() == [1.0, 4.0]
    assert points.thresholds[:, 0].tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize("seed", range(8))
def test_of_free_models_the_most_accurate_cascade_is_found(seed):
    rng = np.random.default_rng(seed)
    k = 300
    correct = rng.random((3, k)) < np.array([[0.8], [0.75], [0.7]])
    confidence = rng.random((3, k)) + 0.3 * correct
    most = 0
    for a, b, c in permutations(range(3)):
        order = np.argsort(-confidence[b])
        for limit in [*confidence[a], np.inf]:
            passes = confidence[a] < limit
            gains = (correct[b] & passes)[order].astype(int) - (correct[c] & passes)[order]
            base = correct[a][~passes].sum() + correct[c][passes].sum()
            most = max(most, base + np.append(0, np.cumsum(gains)).max())
    points = search_arrays(correct, confidence, np.zeros(3), 3)
    assert points.accuracy.tolist() == [most / k]
    assert points.cost.tolist() == [0.0]


COLD = """
import sys, time
import numpy as np
from cascadelib.fronts.exact import are_kernels_ready, search_arrays, start_compiling
rng = np.random.default_rng(0)
table = rng.random((4, 2000)) < 0.8, rng.random((4, 2000)), [1, 2, 4, 8]
before = time.monotonic()
for n in (2, 3):
    points = search_arrays(*table, n, time_limit=0.5)
    print(len(points.cost), points.models.shape[1], points.floor is None)
start_compiling().kill()
assert not are_kernels_ready()
print("late" if time.monotonic() > before + 30 else "")
"""


@pytest.mark.skipif(not COMPILED, reason="kernels are not compiled")
def test_a_limit_is_kept_while_kernels_are_compiled(tmp_path):
    """Pairs are complete without kernels. Longer cascades have the points of pairs, and a gap."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COLD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    pairs, triples, late = done.stdout.splitlines()
    assert pairs.split()[1:] == ["2", "True"] and triples.split()[1:] == ["3", "False"]
    assert int(triples.split()[0]) > 4 and late == ""


def test_pairs_are_found_without_kernels():
    rng = np.random.default_rng(0)
    table = rng.random((4, 300)) < 0.8, rng.integers(0, 9, (4, 300)) / 9, np.array([1, 2, 2, 8.0])
    for n in (1, 2, (1, 2)):
        search_ = prepare_search(last_of(*table[:2]), table[2], n, last_only=True)
        found = search_pairs(search_)
        expected = search_arrays(*table, n)
        np.testing.assert_array_equal(found.accuracy, expected.accuracy)
        np.testing.assert_array_equal(found.cost, expected.cost)
