"""Which of two equal cascades is kept."""

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import (
    RELAXED,
    tables,
)
from twins import all_thresholds, single_cascade

from cascadelib.fronts.cascades import extensions
from cascadelib.fronts.exact import (
    search_arrays,
)


@RELAXED
@given(tables(models=(3, 4), samples=(1, 7), levels=3), st.sampled_from([2, 3, (2, 3), (1, 3)]))
def test_equal_cascades_are_told_apart_by_one_rule(table, n_models):
    """At equal accuracy and cost the first in order of length, then models by cost, then the fewest that pass on."""
    correct, confidence, cost = table
    k = correct.shape[1]
    first = {}
    number = 0
    for n in (n_models,) if isinstance(n_models, int) else n_models:
        for cascade in extensions(cost, (), n):
            outcomes = [(correct[m], confidence[m]) for m in cascade]
            for thresholds in product(*(all_thresholds(s) for _, s in outcomes[:-1])):
                hits, _, stages = single_cascade(outcomes, thresholds, cost[list(cascade)])
                at = [sum(s > i for s in stages) for i in range(n - 1)]
                total = cost[cascade[0]]
                for i in range(n - 1):
                    total = total + cost[cascade[1 + i]] * (at[i] / k)
                first[hits] = min(first.get(hits, (np.inf,)), (total, number, at, stages))
            number += 1
    points = search_arrays(correct, confidence, cost, n_models)
    for row, hits in enumerate(np.rint(points.accuracy * k).astype(int)):
        width = points.exit_rates.shape[1]
        assert points.cost[row] == first[hits][0]
        np.testing.assert_allclose(
            points.exit_rates[row], np.bincount(first[hits][3], minlength=width) / k, atol=1e-12
        )
