"""Greedy cascades against a loop over models and thresholds, and their share of correct answers."""

from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_stores import STORES, assert_front_equals, assert_replay_equals, eased_store
from references import single_cascade

from cascadelib import Method, search
from tools import recipes
from tools.recipes.greedy import greedy


def outcomes_of(store, metric):
    """(correct, confidence) of each model alone."""
    stage = Method(metric).stage(store, list(store.models.index))
    return [stage((m,)) for m in range(len(store.models))]


def slow_greedy(outcomes, costs, least):
    """Accuracy, cost and models of Streeter's cascade, by sets of samples."""
    k = len(outcomes[0][0])
    hits = [[bool(each) for each in correct] for correct, _ in outcomes]
    reference = max(range(len(costs)), key=lambda m: (sum(hits[m]), -m))
    left = set(range(k))
    chain = []
    cost = 0.0
    correct = 0
    while left:
        best = (0.0, None, None)
        for m in set(range(len(costs))) - set(chain):
            for threshold in {outcomes[m][1][j] for j in left}:
                answered = {j for j in left if outcomes[m][1][j] >= threshold}
                own = sum(hits[m][j] for j in answered)
                theirs = sum(hits[reference][j] for j in answered)
                gain = len(answered) / costs[m]
                if own >= least * theirs - 1e-9 and (gain, -m) > (best[0], -(best[1] or 0)):
                    best = (gain, m, answered)
        _, m, answered = best
        cost += costs[m] * len(left) / k
        correct += sum(hits[m][j] for j in answered)
        chain.append(m)
        left -= answered
    return correct / k, cost, chain


@settings(max_examples=30, deadline=None)
@given(STORES, st.sampled_from(["logits_margin", "entropy"]))
def test_greedy_cascades_equal_a_loop(store, metric):
    outcomes = outcomes_of(store, metric)
    costs = store.costs("macs")
    with patch("tools.recipes.greedy.SHARES", np.linspace(0, 1, 7)):
        table = recipes.streeter_2018(store, metric)
    slow = [slow_greedy(outcomes, costs, least) for least in np.linspace(0, 1, 7)]
    assert_front_equals(table, [point[:2] for point in slow])
    names = list(store.models.index)
    assert {tuple(names[m] for m in chain) for *_, chain in slow} >= set(table["models"])
    assert_replay_equals(store, table, metric)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1))
def test_a_greedy_cascade_keeps_its_share_of_what_the_reference_gets_correct(seed, least):
    outcomes = outcomes_of(eased_store(seed, k=100), "max_softmax")
    costs = np.array([1.0, 3.0, 9.0, 27.0])
    correct = [hits for hits, _ in outcomes]
    reference = correct[int(np.argmax([hits.mean() for hits in correct]))]
    orders = [np.argsort(-confidence) for _, confidence in outcomes]
    chain, thresholds = greedy(outcomes, orders, costs, least * reference)
    kept, _, stages = single_cascade(
        [outcomes[m] for m in chain], thresholds, [costs[m] for m in chain]
    )
    assert kept >= least * reference.sum() - 1e-6
    assert len(set(chain)) == len(chain) == len(thresholds) + 1
    assert set(stages) == set(range(len(chain)))


def test_a_rule_with_rising_costs_does_not_beat_the_exact_front():
    for seed in range(5):
        store = eased_store(seed, k=200)
        table = recipes.streeter_2018(store)
        rising = [len(row) <= 3 and list(row) == sorted(row) for row in table["models"]]
        table = table[rising]
        least = search(store, (1, 2, 3), "logits_margin").cost_at(table["accuracy"].to_numpy())
        assert (least <= table["cost"] * (1 + 1e-12)).all()
