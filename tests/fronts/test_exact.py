"""The exact search against a loop over all models and thresholds, with ties and extremes."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import (
    as_dict,
    brute_front,
    last_of,
    slow_stages,
)
from tables_of_scores import (
    COMPILED,
    RELAXED,
    assert_certified,
    assert_equal_points,
    assert_front_of_all,
    assert_same_front,
    synthetic,
    tables,
)

from cascadelib import ScoreTable, evaluate, replay, search
from cascadelib.fronts import curves, exact
from cascadelib.fronts.cascades import cascades_of, prepare_search
from cascadelib.fronts.curves import search_copies, search_pairs
from cascadelib.fronts.exact import search_arrays, search_outcomes
from cascadelib.methods.thresholds import count_exiting, does_exit

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


TWENTY_ORDERS = np.geomspace(1, 1e20, 4)
SIZES = [(4, 3, 300, None), (4, 4, 100, None), (5, 5, 25, None)]
SIZES += [(4, 3, 300, TWENTY_ORDERS), (3, 3, 150, np.zeros(3))]
SMALL = [(4, 3, 40, None), (4, 4, 15, None), (4, 3, 20, TWENTY_ORDERS), (3, 3, 30, np.zeros(3))]


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize(("models", "n", "k", "cost"), SIZES if COMPILED else SMALL)
def test_several_levels_of_boxes_equal_a_dense_grid(models, n, k, cost, digits):
    correct, confidence, drawn = synthetic(models, k, seed=digits, digits=digits)
    cost = drawn if cost is None else cost
    chains = map(list, cascades_of(cost, (n,)))
    least = np.min([dense_front(correct[m], confidence[m], cost[m]) for m in chains], axis=0)
    lowest = np.minimum.accumulate(least[::-1])[::-1]
    is_best = least < np.append(lowest[1:], np.inf)
    expected = dict(zip(np.flatnonzero(is_best).tolist(), least[is_best].tolist()))
    assert as_dict(search_arrays(correct, confidence, cost, n), k) == expected


LARGEST = np.finfo(np.float64).max
ENDS = np.array([-np.inf, -LARGEST, -1.0, 0.0, np.nextafter(0, 1), 1.0, LARGEST, np.inf])


@RELAXED
@given(tables(models=(2, 4), samples=(1, 6), levels=len(ENDS)), st.integers(1, 3))
def test_infinite_confidences_equal_brute_force(table, n):
    """The searches and the evaluator agree with a loop, also if a column has only infinities."""
    correct, levels, cost = table
    n = min(n, len(cost))
    k = correct.shape[1]
    rank = np.rint(3 * levels).astype(int)
    confidence = ENDS[rank]
    tied = np.minimum(rank, 6)  # no finite threshold separates the largest float from inf
    expected = brute_front(last_of(correct, tied), cost, (n,))
    points = search_arrays(correct, confidence, cost, n)
    prepared = prepare_search(last_of(correct, confidence), cost, n, last_only=True)
    for found in (points, (search_copies if n > 2 else search_pairs)(prepared)):
        assert_same_front(found, expected, k)
    store = ScoreTable(correct, confidence, cost)
    front = search(store, n)
    for row in range(len(front)):
        models = points.models[row]
        thresholds = points.thresholds[row]
        run = evaluate(store, front.point(row))
        stages = slow_stages(confidence[models[:-1]], thresholds) if n > 1 else [0] * k
        assert run.exit_stage.tolist() == stages
        assert run.correct.tolist() == correct[models, :][stages, np.arange(k)].tolist()
        assert (run.accuracy, run.cost) == (points.accuracy[row], pytest.approx(points.cost[row]))
        assert points.exit_rates[row] == pytest.approx(np.bincount(stages, minlength=n) / k)
        for i in range(n - 1):
            fall = np.sort(confidence[models[i]])[::-1]
            stays = slow_stages([fall], [thresholds[i]])
            assert count_exiting(fall, thresholds[i]) == stays.count(0)
    moved = replay(store, front, ranges=False)
    np.testing.assert_array_equal(moved["accuracy_replayed"], front.table["accuracy"])
    np.testing.assert_array_equal(moved["cost_replayed"], front.table["cost"])


def test_never_defers_infinite_confidences_and_always_exits_minus_inf():
    confidence = np.array([np.inf, 1.0, -np.inf])
    assert does_exit(confidence, np.inf).tolist() == [False] * 3
    assert does_exit(confidence, -np.inf).tolist() == [True] * 3
    assert does_exit(np.array([np.nan, np.inf]), 0.0).tolist() == [False, True]


@pytest.mark.parametrize("ready_after", [0, 3, np.inf])
def test_while_another_process_compiles_pairs_are_searched_until_the_deadline(
    ready_after, monkeypatch
):
    """The clock advances only when the search waits: by a second, until 600 have passed."""
    table = synthetic(4, 200 if COMPILED else 20, seed=0)
    pairs, triples = (search_arrays(*table, n) for n in (2, 3))
    waits = []
    clock = lambda: len(waits) + 0.5  # noqa: E731
    for module in (exact.time, curves):
        monkeypatch.setattr(module, "monotonic", clock)
    monkeypatch.setattr(exact.time, "sleep", waits.append)
    monkeypatch.setattr(exact, "start_compiling", lambda: None)
    monkeypatch.setattr(exact, "are_kernels_ready", lambda: len(waits) >= ready_after)
    early = search_arrays(*table, 3, time_limit=600)
    if np.isfinite(ready_after):
        assert_equal_points(early, triples)
        assert early.floor is None and len(waits) == ready_after
        return
    assert len(waits) == 600
    assert_certified(early, triples, np.inf)
    monkeypatch.setattr(exact, "search_counted", None)  # no kernel is called
    alone = search_arrays(*table, 2, time_limit=600)
    assert len(waits) == 600 and alone.floor is None
    for field in ("accuracy", "cost"):
        np.testing.assert_array_equal(getattr(alone, field), getattr(pairs, field))
        assert set(getattr(alone, field)[alone.models[:, -1] < 3]) <= set(getattr(early, field))


def test_a_process_marks_the_folder_of_compiled_kernels(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # the process is fast, and compiles nothing
    monkeypatch.setattr(exact, "cache_folder", lambda: tmp_path / "kernels")
    monkeypatch.setattr(exact, "sweep_pair", SimpleNamespace(signatures=[]))
    monkeypatch.setattr(exact.numba.config, "DISABLE_JIT", 0)
    assert not exact.are_kernels_ready()
    assert exact.start_compiling.__wrapped__().wait() == 0
    (made,) = tmp_path.glob("kernels-*")
    made.rename(tmp_path / "kernels")
    assert exact.are_kernels_ready()


def test_the_warm_up_of_methods_calls_kernels_with_arrays_that_fit():
    exact.compile_ensembles()
