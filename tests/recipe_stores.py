"""Small stores whose confidences tie, chains, fronts and replays for tests of recipes."""

from functools import partial
from itertools import permutations

import numpy as np
from hypothesis import strategies as st
from tiny_stores import noisy_store

from cascadelib.evaluation.pareto import pareto_front
from cascadelib.fronts.cascades import cascades_of
from tools import recipes


def make_store(seed=0, k=40, models=4, step=0.5, costs=None, classes=3, ease=None):
    """Return a store with logits on a grid, so that confidences tie.

    Without ``ease`` all samples are equally difficult.
    """
    costs = [3.0**i for i in range(models)] if costs is None else costs
    return noisy_store(seed, k, models, classes, 0.8, ease, step=step, costs=costs)


eased_store = partial(make_store, classes=4, ease=1.0)

STORES = st.builds(
    make_store,
    st.integers(0, 10**6),
    st.integers(1, 25),
    st.integers(1, 4),
    st.sampled_from([0.01, 1.0, 4.0]),
    st.sampled_from([[1, 3, 9, 27], [1, 1, 1, 1], [2, 2, 5, 5]]),
)


def rising_chains(costs, most):
    """Yield the positions of all chains of up to ``most`` models with increasing costs."""
    for n in range(1, most + 1):
        for chain in permutations(range(len(costs)), n):
            if all(costs[a] <= costs[b] for a, b in zip(chain, chain[1:])):
                yield chain


def chains_of(store, lengths):
    """Yield (positions, names, costs) of all chains with increasing costs.

    Models of equal cost occur in both orders.
    """
    names = list(store.models.index)
    costs = store.costs("macs")
    for chain in cascades_of(costs, [n for n in lengths if n <= len(names)]):
        yield chain, tuple(names[m] for m in chain), [costs[m] for m in chain]


def assert_front_equals(table, points):
    """Assert that a table has exactly the non-dominated points (accuracy, cost)."""
    accuracy, cost = np.array(points).T
    cost = np.round(cost, 9)
    keep = pareto_front(cost, accuracy)
    np.testing.assert_allclose(table["accuracy"], accuracy[keep], atol=1e-12)
    np.testing.assert_allclose(table["cost"], cost[keep], atol=1e-8)


def assert_replay_equals(store, table, rule):
    """Assert that points replayed on their selection split give the same numbers."""
    again = recipes.replay_points(table, store, rule)
    np.testing.assert_allclose(again["accuracy_replayed"], table["accuracy"], atol=1e-12)
    np.testing.assert_allclose(again["cost_replayed"], table["cost"], rtol=1e-12)


def assert_rising(table):
    """Assert that a table has points that increase in cost and accuracy."""
    assert len(table)
    assert (np.diff(table["cost"]) > 0).all()
    assert (np.diff(table["accuracy"]) > 0).all()
