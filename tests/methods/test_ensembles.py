"""Mean ensembles of many combinations equal NumPy, one combination at a time."""

from itertools import combinations

import numpy as np
import pytest

from cascadelib import LogitStore, Method
from cascadelib.methods import method
from cascadelib.methods.confidence_metrics import confidence, metric_of, softmax
from cascadelib.methods.ensembles import ensemble_of
from cascadelib.methods.method import ModelsOnSplit


def make(models, k, classes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, k)
    shared = rng.normal(size=(k, classes))
    logits = [
        shared + rng.normal(size=(k, classes)) + 1.5 * np.eye(classes)[labels]
        for _ in range(models)
    ]
    return labels, [z.astype(np.float32) for z in logits]


def rank_of(mean, labels):
    """Number of classes before the label, one sample at a time."""
    ranks = []
    for row, y in zip(mean, labels):
        ranks.append(sum(v > row[y] or (v == row[y] and c < y) for c, v in enumerate(row)))
    return np.array(ranks)


def mean_stage(logits, temperatures, labels, rank, ensemble):
    """Max softmax of means of arrays [k, classes]."""
    names = [f"m{i}" for i in range(len(logits))]
    store = LogitStore.from_arrays(labels, dict(zip(names, logits)))
    split = ModelsOnSplit(store, names, list(temperatures), metric_of("max_softmax"), rank)
    return ensemble_of(ensemble).stage_function(split)


@pytest.mark.parametrize("ensemble", ["mean_logits", "mean_softmax"])
@pytest.mark.parametrize(("classes", "rank"), [(2, 1), (5, 1), (60, 1), (60, 5)])
def test_the_mean_of_every_combination_equals_numpy(ensemble, classes, rank):
    labels, logits = make(5, 700, classes, seed=classes)
    t = np.array([1.0, 0.7, 2.0, 1.3, 1.0])
    stage = mean_stage(logits, t, labels, rank, ensemble)
    prefixes = [p for n in (1, 2, 3, 4) for p in combinations(range(5), n)]
    stage.prepare(prefixes, prefixes)
    for prefix in prefixes:
        members = [logits[m].astype(float) / t[m] for m in prefix]
        mean = np.mean(
            members if ensemble == "mean_logits" else [softmax(z) for z in members], axis=0
        )
        correct, confidences = stage(prefix)
        np.testing.assert_array_equal(correct, rank_of(mean, labels) < rank)
        expected = (
            confidence(mean, "max_softmax") if ensemble == "mean_logits" else mean.max(axis=1)
        )
        np.testing.assert_allclose(confidences, expected, rtol=1e-12)


@pytest.mark.parametrize("metric", ["softmax_margin", "entropy", "top2_softmax_sum", "max_softmax"])
def test_a_single_prefix_has_the_same_bits_as_among_many(metric):
    labels, logits = make(4, 600, 7, seed=1)
    store = LogitStore.from_arrays(labels, {f"m{i}": z for i, z in enumerate(logits)})
    stage = Method(metric, "mean_softmax").stage(store, ["m0", "m1", "m2", "m3"])
    prefixes = list(combinations(range(4), 2))
    stage.prepare(prefixes, prefixes)
    for prefix in prefixes:
        alone = Method(metric, "mean_softmax").stage(store, [f"m{m}" for m in prefix])((0, 1))
        np.testing.assert_array_equal(alone[0], stage.correct(prefix))
        np.testing.assert_array_equal(alone[1], stage(prefix)[1])


def test_confidences_of_views_are_computed_once_for_the_store(monkeypatch):
    labels, logits = make(2, 80, 4, seed=2)
    store = LogitStore.from_arrays(labels, {"a": logits[0], "b": logits[1]})
    computed = []
    real = method.sums
    monkeypatch.setattr(method, "sums", lambda *given: computed.append(given) or real(*given))
    rows = np.random.default_rng(0).permutation(80)
    for half in (rows[:40], rows[40:]):
        for name in ("softmax_margin", "entropy"):
            found = method.cached_confidence(store.take(half), "a", name, 2.0)
            assert found == pytest.approx(confidence(logits[0][half], name, 2.0))
    assert len(computed) == 1
