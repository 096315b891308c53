"""Two-model cascades at every threshold."""

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
