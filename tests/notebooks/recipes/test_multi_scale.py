"""Budgeted batches against a count and a loop."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_stores import STORES, assert_front_equals, assert_replay_equals, chains_of
from references import single_cascade

from cascadelib import Method
from cascadelib.methods.thresholds import exit_stages
from tools import recipes
from tools.recipes.multi_scale import budgeted


def slow_budget(confidences, shares):
    """Thresholds by counting down the samples that are left, surest first."""
    k = len(confidences[0])
    gone = set()
    thresholds = []
    for confidence, share in zip(confidences, shares[:-1]):
        left = sorted((s for s in range(k) if s not in gone), key=lambda s: -confidence[s])
        most = left[: int(np.floor(share * k + 1e-9))]
        thresholds.append(confidence[most[-1]] if most else np.inf)
        gone |= {s for s in left if confidence[s] >= thresholds[-1]}
    return thresholds


@given(
    st.integers(0, 10**6), st.integers(1, 12), st.lists(st.floats(0.01, 1), min_size=1, max_size=4)
)
def test_budgeted_thresholds_equal_a_count(seed, k, shares):
    rng = np.random.default_rng(seed)
    shares = np.array(shares) / sum(shares)
    confidences = list(rng.integers(0, 4, (len(shares), k)) / 4)
    thresholds = budgeted(confidences, shares)
    assert thresholds.tolist() == slow_budget(confidences, shares)
    distinct = [rng.permutation(k) / k for _ in shares]
    if len(shares) > 1:  # without ties each stage has the share that was asked for
        stages = exit_stages(distinct[:-1], budgeted(distinct, shares))
        assert (
            np.bincount(stages, minlength=len(shares))[:-1] == np.floor(shares[:-1] * k + 1e-9)
        ).all()


@settings(max_examples=10, deadline=None)
@given(STORES, st.sampled_from(["max_softmax", "entropy"]))
def test_budgeted_batch_equals_a_loop(store, metric):
    stage = Method(metric).stage(store, list(store.models.index))
    slow = []
    ratios = np.arange(1, 40) / 20
    for chain, _, costs in chains_of(store, (1, 2, 3)):
        outcomes = [stage((m,)) for m in chain]
        for ratio in ratios:
            shares = np.array([ratio**i for i in range(len(chain))])
            thresholds = slow_budget(
                [confidence for _, confidence in outcomes], shares / shares.sum()
            )
            correct, cost, _ = single_cascade(outcomes, thresholds, costs)
            slow.append((correct / len(store), cost))
    table = recipes.huang_2018(store, metric)
    assert_front_equals(table, slow)
    assert_replay_equals(store, table, metric)
