"""Patience against a loop, sample by sample."""

import numpy as np
from hypothesis import given, settings
from recipe_stores import STORES, assert_front_equals, assert_replay_equals, chains_of

from tools import recipes
from tools.recipes.patience import patience_outcomes


def slow_patience(store, names, costs, patience):
    """Accuracy and cost, sample by sample."""
    correct = 0
    cost = 0.0
    for j, label in enumerate(store.labels):
        count = 0
        before = None
        for name, price in zip(names, costs):
            answer = int(np.argmax(store.logits(name)[j]))
            cost += price
            count = count + 1 if answer == before else 0
            before = answer
            if count == patience:
                break
        correct += answer == label
    return correct / len(store), cost / len(store)


@settings(max_examples=25, deadline=None)
@given(STORES)
def test_patience_equals_a_loop(store):
    slow = [
        slow_patience(store, names, costs, patience)
        for _, names, costs in chains_of(store, range(1, 5))
        for patience in range(1, len(names) + 1)
    ]
    table = recipes.zhou_2020(store)
    assert_front_equals(table, slow)
    assert_replay_equals(store, table, patience_outcomes)
