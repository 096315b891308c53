"""The dynamic threshold against a loop over the stream."""

import numpy as np
import pytest
from hypothesis import given, settings
from recipe_stores import STORES, assert_front_equals, assert_replay_equals, chains_of

from cascadelib.methods.confidence_metrics import softmax
from tools import recipes
from tools.recipes.big_little import dynamic_exits, follow


def slow_stream(margins, agree, target):
    t = 0.5
    stages = []
    for margin, same in zip(margins, agree):
        stages.append(int(margin < t))
        if stages[-1]:
            t = np.clip(t + (-0.01 * target if same else 0.01 * (1 - target)), 0, 1)
    return stages


@settings(max_examples=20, deadline=None)
@given(STORES)
def test_the_dynamic_threshold_equals_a_loop(store):
    slow = []
    targets = np.arange(41) / 40
    for _, (a, b), (c1, c2) in chains_of(store, [2]):
        p = np.sort(softmax(store.logits(a)), axis=1)
        first, second = (store.logits(name).argmax(axis=1) for name in (a, b))
        for target in targets:
            stages = slow_stream(p[:, -1] - p[:, -2], first == second, target)
            correct = np.where(stages, second, first) == store.labels
            slow.append((correct.mean(), c1 + c2 * np.mean(stages)))
    if len(store.models) == 1:
        with pytest.raises(ValueError, match="of 1 models"):
            recipes.park_2015_dynamic(store)
    else:
        table = recipes.park_2015_dynamic(store)
        assert_front_equals(table, slow)
        assert_replay_equals(store, table, dynamic_exits)


def test_the_dynamic_threshold_reaches_its_share_of_disagreement():
    rng = np.random.default_rng(1)
    margin = rng.random(50_000)
    agrees = rng.random(50_000) < margin
    for target in (0.6, 0.75, 0.9):  # of those with margin < t a share 1 − t / 2 is disagreed on
        stage = follow(margin, ~agrees, 0.5, target)
        assert np.mean(~agrees[stage == 1]) == pytest.approx(target, abs=0.03)
        assert margin[20_000:][stage[20_000:] == 1].max() < 2 * (1 - target) + 0.25
