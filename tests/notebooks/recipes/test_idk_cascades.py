"""The grid search of IDK cascades against a loop, and with thresholds of one's own."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from recipe_stores import (
    assert_front_equals,
    assert_replay_equals,
    eased_store,
    make_store,
    rising_chains,
)
from references import single_cascade

from cascadelib import Method
from cascadelib.evaluation.pareto import least_cost
from cascadelib.methods.thresholds import convert_units
from tools import recipes


def outcomes_of(store, metric):
    names = list(store.models.index)
    return names, list(store.costs("macs")), Method(metric).stage(store, names)


@pytest.mark.parametrize("metric", ["entropy", "max_softmax"])
@pytest.mark.parametrize("cost_aware", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_wang_2018_equals_a_loop_over_the_grid(metric, cost_aware, seed):
    store = eased_store(seed, models=3, step=2.0, costs=[[3, 5, 6], [4, 4, 5]][seed % 2])
    names, costs, stage = outcomes_of(store, metric)
    k = len(store)
    cheap = []
    dear = []
    for chain in rising_chains(costs, 3):
        outcomes = [stage((m,)) for m in chain]
        points = []
        for thresholds in product(
            *(np.linspace(confidence.min(), confidence.max(), 5) for _, confidence in outcomes[:-1])
        ):
            correct, cost, stages = single_cascade(outcomes, thresholds, [costs[m] for m in chain])
            points.append((round(cost, 9) if cost_aware else sum(stages), -correct, cost))
        for target in range(max(-p[1] for p in points) + 1):
            best = min(p[:2] for p in points if -p[1] >= target)
            alike = [
                p[2] for p in points if p[:2] == best
            ]  # as many models run, as accurate: either may be taken
            cheap.append((-best[1] / k, min(alike)))
            dear.append((-best[1] / k, max(alike)))
    table = recipes.wang_2018(store, metric, cost_aware=cost_aware, grid=5)
    assert_replay_equals(store, table, metric)
    if cost_aware:
        assert_front_equals(table, cheap)
        return
    for target in np.arange(max(a for a, _ in cheap) * k + 1) / k:
        low = min(c for a, c in cheap if a >= target)
        high = min(c for a, c in dear if a >= target)
        assert low - 1e-9 <= table.loc[table["accuracy"] >= target, "cost"].min() <= high + 1e-9


def test_the_cost_oblivious_rule_exits_most_samples_early_at_any_cost():
    store = eased_store(k=400, models=3, step=0.01, costs=[1, 2, 1000])
    aware, oblivious = (
        recipes.wang_2018(store, "max_softmax", cost_aware=aware) for aware in (True, False)
    )
    cheapest = least_cost(
        aware["cost"].to_numpy(), aware["accuracy"].to_numpy(), oblivious["accuracy"].to_numpy()
    )
    assert (cheapest <= oblivious["cost"] + 1e-9).all()
    assert (cheapest < oblivious["cost"] - 1e-3).any()
    pairs = [
        recipes.wang_2018(store, "entropy", n_models=2, cost_aware=aware) for aware in (True, False)
    ]
    pd.testing.assert_frame_equal(*pairs)  # with two models the fewest models run is the least cost


def test_an_explicit_grid_is_used_for_all_stages():
    store = make_store(2, 60, 3)
    given_one = recipes.wang_2018(store, "max_softmax", grid=[0.9, 0.4, 0.6])
    assert {t for row in given_one["thresholds"] for t in row} <= {0.4, 0.6, 0.9}
    pd.testing.assert_frame_equal(
        given_one, recipes.wang_2018(store, "max_softmax", grid=(0.4, 0.6, 0.9))
    )
    assert_replay_equals(store, given_one, "max_softmax")
    entropy = recipes.wang_2018(store, "entropy", grid=[0.2, 0.7])
    assert {t for row in entropy["thresholds"] for t in row} <= {0.2, 0.7}
    assert_replay_equals(store, entropy, "entropy")
    with pytest.raises(ValueError, match="grid"):
        recipes.wang_2018(store, grid=[])


def test_entropy_thresholds_are_in_nats():
    store = eased_store(k=200)
    table = recipes.wang_2018(store)
    values = [t for row in table["thresholds"] for t in row]
    assert min(values) >= convert_units("entropy", 0.0)
    assert max(values) <= np.log(4) + 1e-12
