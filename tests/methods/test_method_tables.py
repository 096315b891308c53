"""Every metric × ensemble × temperature makes equal decisions in the evaluator and in cascades."""

import numpy as np
import pytest
from tiny_stores import noisy_store

import cascadelib as cl
from cascadelib import Method, evaluate, search
from cascadelib.methods.confidence_metrics import (
    METRICS,
    Metric,
    confidence,
    metric_of,
    predict_rows,
)
from cascadelib.methods.ensembles import ENSEMBLES, Ensemble

K = 240
CLASSES = 5
# Logits on a grid, so that confidences tie.
STORE = noisy_store(0, K, 3, CLASSES, step=0.5, costs=[1, 5, 20])
MODELS = {name: lambda rows, name=name: STORE.logits(name)[rows] for name in STORE.models.index}


def combinations():
    """All valid methods of the registered metrics and ensembles."""
    for metric in (*METRICS, "top2_softmax_sum"):
        for name, ensemble in ENSEMBLES.items():
            if metric_of(metric).of_softmax is not None or not ensemble.of_softmax:
                yield from (Method(metric, name, temperature) for temperature in (False, True))


def assert_equal_decisions(method):
    """Assert the same exit stages and classes at several thresholds, in batches and as a stream."""
    method = method.fit(STORE)
    found = search(STORE, 3, method)
    rows = np.unique(np.linspace(0, len(found.table) - 1, 3).astype(int))
    for point in [found.point(int(row)) for row in rows]:
        expected = evaluate(STORE, point)
        assert (expected.accuracy, expected.cost) == (point.accuracy, point.cost)
        cascade = cl.Cascade.from_point(point, MODELS)
        batches = np.array_split(np.arange(K), 7)
        for decisions in (cascade(np.arange(K)), cascade.run(batches)):
            np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
            np.testing.assert_array_equal(decisions.predictions == STORE.labels, expected.correct)


FUNCTIONS = [
    Method(lambda z: z.max(axis=1) - z.mean(axis=1)),
]


@pytest.mark.parametrize("method", [*combinations(), *FUNCTIONS])
def test_evaluator_and_cascade_make_equal_decisions(method):
    assert_equal_decisions(method)


@pytest.mark.parametrize("metric", [*METRICS, "top2_softmax_sum"])
def test_predictions_of_a_batch_equal_those_of_a_split(metric):
    z = np.asarray(STORE.logits("m1"))
    predictions, confidences = predict_rows(z, metric_of(metric), 0.7)
    np.testing.assert_allclose(confidences, confidence(z, metric, 0.7), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(predictions, z.argmax(axis=1))


def test_one_object_adds_a_metric(monkeypatch):
    added_metric = Metric("added_here", lambda p: np.sum(p**2, axis=1) - 1, negated=True)
    monkeypatch.setitem(METRICS, added_metric.name, added_metric)
    added = [method for method in combinations() if method.metric == "added_here"]
    assert {method.ensemble for method in added} == set(ENSEMBLES)
    for method in added:
        assert_equal_decisions(method)
    front = search(STORE, 2, "added_here")
    finite = [t[0] for t in front.table["thresholds"] if np.isfinite(t[0])]
    assert min(finite) >= 0  # 1 − Σ p²: its own units
    assert cl.explore(STORE, front=front).point.method.metric == "added_here"


class Strongest(Ensemble):
    """The model with the largest logit."""

    name = "strongest"
    last_only = False

    def stage_function(self, split):
        everything = slice(0, len(split.store))

        def stage(prefix):
            z = np.stack([split.logits(m, everything) for m in prefix])
            chosen = z.max(axis=2).argmax(axis=0)
            correct_, confidences = zip(*(split.single_outcome(m) for m in prefix))
            return tuple(np.choose(chosen, list(part)) for part in (correct_, confidences))

        return stage

    def memory(self, samples, classes):
        return (np.full(samples, -np.inf),)

    def add_model(self, metric, temperature, logits, before):
        own = (
            super()
            .add_model(metric, temperature, logits, before)
            ._replace(memory=logits.max(1) / temperature)
        )
        return own.where(before.memory >= own.memory, before)


def test_one_object_adds_an_ensemble(monkeypatch):
    monkeypatch.setitem(ENSEMBLES, "strongest", Strongest())
    for method in combinations():
        if method.ensemble == "strongest":
            assert_equal_decisions(method)
