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
def sweep_shared(events, sure, right, costs, cascade, best):
    """Note every cascade of one set of models whose stages share a single threshold, as it falls from infinity.

    sure float64 [d, k]: confidences at stages 1 … d; events int64 [d·k]: their flat positions, by falling confidence;
    right uint8 [d + 1, k]; costs float64 [d + 1]. A boundary lies where confidences differ, and is noted as how many
    of the events lie above it.
    """
    d, k = sure.shape
    stage, at, boundaries = np.full(k, d, np.int64), np.full(d, k, np.int64), np.zeros(d, np.int64)
    n, value = 0, np.inf
    for s in range(k):
        n += right[d, s]
    for x in range(d * k + 1):
        i, s = (events[x] // k, events[x] % k) if x < d * k else (d, 0)
        if x == 0 or x == d * k or sure[i, s] != value:
            cost = costs[0]
            for j in range(d):
                cost += costs[j + 1] * (at[j] / k)
            if cost <= best.reach[n] and improves(best, n, cost, cascade, at):
                boundaries[0] = x
                note(best, n, cost, cascade, boundaries, at)
        if x < d * k:
            value = sure[i, s]
            if i < stage[s]:
                n += np.int64(right[i, s]) - np.int64(right[stage[s], s])
                at[i : stage[s]] -= 1
                stage[s] = i
