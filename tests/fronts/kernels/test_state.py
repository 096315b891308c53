"""The recorded cascades: the order of equal ones, and the least cost at each n."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from references import every_exit
from tables_of_scores import RELAXED, tables, uncompiled

from cascadelib.fronts.cascades import cascades_of
from cascadelib.fronts.exact import search_arrays
from cascadelib.fronts.kernels.state import (
    improves,
    merge_best,
    must_search,
    new_best,
    record,
    same_reach,
)


@RELAXED
@given(tables(models=(3, 4), samples=(1, 7), levels=3), st.sampled_from([2, 3, (2, 3), (1, 3)]))
def test_of_equal_cascades_the_first_is_recorded(table, n_models):
    """The order is by length, then by models, then by the fewest deferred samples."""
    correct, confidence, cost = table
    k = correct.shape[1]
    lengths = np.atleast_1d(n_models).tolist()
    numbers = {cascade: number for number, cascade in enumerate(cascades_of(cost, lengths))}
    first = {}
    for models, stages in every_exit(confidence, cost, lengths):
        hits = correct[models][stages, np.arange(k)].sum()
        at = [sum(s > i for s in stages) for i in range(len(models) - 1)]
        total = cost[models[0]]
        for m, deferred in zip(models[1:], at):
            total = total + cost[m] * (deferred / k)
        entry = total, numbers[tuple(models)], at, stages
        first[hits] = min(first.get(hits, (np.inf,)), entry)
    points = search_arrays(correct, confidence, cost, n_models)
    for row, hits in enumerate(np.rint(points.accuracy * k).astype(int)):
        width = points.exit_rates.shape[1]
        assert points.cost[row] == first[hits][0]
        np.testing.assert_allclose(
            points.exit_rates[row], np.bincount(first[hits][3], minlength=width) / k, atol=1e-12
        )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=12))
def test_reach_is_the_least_cost_with_at_least_n_correct_for_every_order_of_records(cascades):
    shared = new_best(5, 2)
    threads = [same_reach(shared), same_reach(shared)]
    for number, (n, cost) in enumerate(cascades):
        best = threads[number % 2]
        at = np.array([number])
        if improves(best, n, float(cost), number, at):
            record(best, n, float(cost), number, at, at)
    merge_best(shared, threads)
    for n in range(6):
        least = min([cost for hits, cost in cascades if hits >= n], default=np.inf)
        assert shared.reach[n] == least
        # Of equal costs at n the first cascade is recorded, unless more correct ones cost less.
        noted = [(cost, number) for number, (hits, cost) in enumerate(cascades) if hits == n]
        more = min([cost for hits, cost in cascades if hits > n], default=np.inf)
        if noted and min(noted)[0] < more:
            assert (shared.exact[n], shared.where[n, 0]) == min(noted)


@pytest.mark.parametrize(("known", "is_recorded"), [(4.0, False), (5.0, False), (6.0, True)])
def test_a_cascade_is_recorded_if_more_correct_samples_cost_more(known, is_recorded):
    best = new_best(5, 2)
    at = np.zeros(1, int)
    record(best, 3, known, 0, at, at)
    assert improves(best, 2, 5.0, 1, at) == is_recorded


@pytest.mark.parametrize("cost", [0.0, 1.0])
def test_at_the_deadline_every_box_is_skipped_and_its_cost_is_a_bound(cost):
    best = new_best(3, 2)
    box = 2, cost, 1, np.zeros(1, np.int64)
    assert uncompiled(must_search)(best, *box, np.zeros(4))
    assert not uncompiled(must_search)(best, *box, np.full(4, np.inf))
    assert best.floor.tolist() == [np.inf, np.inf, cost, np.inf]
