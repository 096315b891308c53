"""Votes and functions as ensembles equal loops over samples and other ensembles."""

from collections import Counter

import numpy as np
import pytest
from references import brute_front
from tiny_stores import noisy_store

from cascadelib import Method, evaluate, pick, search


def make_store(seed=0, k=40, models=4):
    """Return a store with logits on a grid, so that votes and confidences tie."""
    costs = [3**i for i in range(models)]
    return noisy_store(seed, k, models, classes=4, signal=0.8, step=0.5, costs=costs)


def slow_vote(votes, confidence):
    """(class, confidence) of one sample's vote."""
    count = Counter(votes)
    tied = [c for c in count if count[c] == max(count.values())]
    strength = {}
    for c in tied:
        strength[c] = max(s for v, s in zip(votes, confidence) if v == c)
    winner = max(tied, key=lambda c: (strength[c], -votes.index(c)))
    return winner, strength[winner]


@pytest.mark.parametrize("metric", ["max_softmax", "entropy"])
def test_a_vote_equals_counting(metric):
    store = make_store(k=300, models=5)
    names = list(store.models.index)
    stage = Method(metric, "vote").stage(store, names)
    single = [Method(metric).stage(store, names)((m,))[1] for m in range(5)]
    classes = [store.logits(name).argmax(axis=1) for name in names]
    for prefix in [(0,), (1, 3), (0, 1, 2), (0, 1, 2, 4), (4, 2, 3, 1, 0)]:
        correct, confidence = stage(prefix)
        for j in range(len(store)):
            winner, voice = slow_vote(
                [int(classes[m][j]) for m in prefix], [single[m][j] for m in prefix]
            )
            assert (correct[j], confidence[j]) == (winner == store.labels[j], voice)


def test_the_front_of_votes_equals_brute_force():
    store = make_store(2, k=12, models=3)
    method = Method(ensemble="vote")
    brute = brute_front(
        method.stage(store, list(store.models.index)), store.costs("macs"), (1, 2, 3)
    )
    table = search(store, (1, 2, 3), method).table
    assert dict(zip((table["accuracy"] * 12).round().astype(int), table["cost"])) == pytest.approx(
        brute
    )


def test_a_function_that_averages_is_the_mean_ensemble():
    store = make_store(k=5000)
    for temperature in (False, True):
        own = Method("entropy", lambda z: z.mean(axis=0), temperature).fit(store)
        known = Method("entropy", "mean_logits", temperature).fit(store)
        ours, theirs = (m.stage(store, list(store.models.index))((0, 2, 3)) for m in (own, known))
        assert np.array_equal(ours[0], theirs[0])
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-12)


def test_a_function_of_the_last_model_is_no_ensemble():
    store = make_store(k=200)
    own, none = (search(store, 3, Method(ensemble=e)) for e in (lambda z: z[-1], "none"))
    assert own.table[["accuracy", "cost"]].equals(none.table[["accuracy", "cost"]])
    point = pick(own, "match_best", caution=0)
    assert evaluate(store, point).accuracy == point.accuracy


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: z[0, :, :2], "shape"),
        (lambda z: z.mean(axis=0) * np.nan, "nan"),
        (lambda z: 1.0, "shape"),
    ],
)
def test_the_result_of_a_function_is_checked(function, message):
    with pytest.raises(ValueError, match=message):
        search(make_store(), 2, Method(ensemble=function))
