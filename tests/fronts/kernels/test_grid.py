"""The sweep over all thresholds of one pair, against a loop over thresholds."""

import numpy as np
from hypothesis import given
from references import all_thresholds, last_of, single_cascade
from tables_of_scores import RELAXED, tables

from cascadelib.fronts.kernels.grid import sweep_pair
from cascadelib.fronts.kernels.state import new_best


@RELAXED
@given(tables(models=(2, 2), samples=(1, 12)))
def test_a_sweep_records_the_front_of_a_pair(table):
    correct, confidence, cost = table
    k = correct.shape[1]
    order = np.argsort(-confidence[0], kind="stable")
    _, group = np.unique(-confidence[0][order], return_inverse=True)
    best = new_best(k, 2)
    first, second = correct.astype(np.uint8)
    of_order = order.astype(np.uint32), group.astype(np.int32), first[order]
    sweep_pair(*of_order, second, cost[0], cost[1], 0, best)
    stage = last_of(correct, confidence)
    tried = {}
    for threshold in all_thresholds(confidence[0]):
        hits, total, _ = single_cascade([stage((0,)), stage((0, 1))], [threshold], cost)
        tried[hits] = min(tried.get(hits, np.inf), total)
    for n in range(k + 1):
        least = min([total for hits, total in tried.items() if hits >= n], default=np.inf)
        np.testing.assert_allclose(best.reach[n], least, rtol=1e-12)
    is_on_front = best.reach < np.append(best.reach[1:], np.inf)
    np.testing.assert_array_equal(best.exact[is_on_front], best.reach[is_on_front])
