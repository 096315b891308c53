"""Two-model cascades at every threshold, and cascades of any length with one threshold for all stages."""

import numpy as np

from ..._kernels import kernel
from .state import improves, note


@kernel
def sweep_pair(group, right_1, right_2, cost_1, cost_2, cascade, best):
    """Note every boundary of one pair; samples in falling confidence of the first model.

    group int32 [k]; right_1, right_2 uint8 [k]. From always to never exiting, so that cost rises: then noting a
    cascade lowers ``reach`` only where nothing cheaper has been, and all of them together touch each n about once.
    """
    k, n = len(group), 0
    at, boundary = np.empty(1, np.int64), np.zeros(1, np.int64)
    for p in range(k):
        n += right_1[p]
    for passed in range(k + 1):
        first = k - passed  # the first sample that passes on
        if passed > 0:
            n += np.int64(right_2[first]) - np.int64(right_1[first])
        cost = cost_1 + cost_2 * (passed / k)
        if cost > best.reach[n] or (0 < passed < k and group[first] == group[first - 1]):
            continue
        at[0] = passed
        if improves(best, n, cost, cascade, at):
            boundary[0] = group[k - 1] + 1 if passed == 0 else group[first]
            note(best, n, cost, cascade, boundary, at)


@kernel
def sweep_shared(order, sure, right, costs, cascade, best, levels):
    """Note every cascade of one set of models whose stages share a single threshold, as it falls from infinity.

    order int64 [d, k]: samples by falling confidence at stages 1 … d; sure float64 [d, k]; right uint8 [d + 1, k];
    costs float64 [d + 1]. The confidences of all stages are merged in falling order; a boundary lies where they
    differ, and is noted as the positions (one a stage) up to which samples exit. levels int64 [d]: scratch.
    """
    d, k = order.shape
    stage = np.full(k, d, np.int64)
    n, at = 0, np.full(d, k, np.int64)
    levels[:] = 0
    for s in range(k):
        n += right[d, s]
    while True:
        cost = costs[0]
        for i in range(d):
            cost += costs[i + 1] * (at[i] / k)
        if cost <= best.reach[n] and improves(best, n, cost, cascade, at):
            note(best, n, cost, cascade, levels, at)
        value, more = -np.inf, False
        for i in range(d):
            if levels[i] < k:
                value, more = max(value, sure[i, order[i, levels[i]]]), True
        if not more:
            return
        for i in range(d):
            while levels[i] < k and sure[i, order[i, levels[i]]] == value:
                s = order[i, levels[i]]
                levels[i] += 1
                if i < stage[s]:
                    n += np.int64(right[i, s]) - np.int64(right[stage[s], s])
                    for later in range(i, stage[s]):
                        at[later] -= 1
                    stage[s] = i
