"""Runs of cascades on a store, against a loop over samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import slow_stages
from scipy.special import softmax
from tiny_stores import three_models, three_scores

from cascadelib import Point, Policy, ScoreTable, certify, evaluate, search
from cascadelib.evaluation import run as run_module
from cascadelib.evaluation.run import sums_of_reached
from cascadelib.methods.ensembles import MeanStage
from cascadelib.methods.thresholds import exit_stages

EXTREMES = [0.0, 0.25, 0.5, 1.0, np.inf, -np.inf, np.nan]  # confidences
LIMITS = [0.0, 0.25, 0.5, 1.0, np.inf, -np.inf]


@settings(max_examples=60)
@given(st.integers(1, 3), st.integers(1, 12), st.booleans(), st.integers(0, 999))
def test_a_run_equals_a_loop_over_samples(n, k, own_costs, seed):
    rng = np.random.default_rng(seed)
    confidence = rng.choice(EXTREMES[:4], (n, k))
    correct = rng.random((n, k)) < 0.5
    limits = tuple(rng.choice(LIMITS, n - 1))
    cost = np.arange(1.0, n + 1)
    if own_costs:
        cost = cost[:, None] + np.arange(k) / 8
    table = ScoreTable(correct, confidence, cost, "abc"[:n])
    run = evaluate(table, Point(tuple("abc"[:n]), limits, cost_kind="cost"))
    stages = slow_stages(confidence, limits)
    costs = np.broadcast_to(cost.T, (k, n))
    paid = [own[: stage + 1].sum() for own, stage in zip(costs, stages)]
    assert run.exit_stage.tolist() == stages
    assert run.correct.tolist() == [correct[stage, sample] for sample, stage in enumerate(stages)]
    assert run.accuracy == np.mean(run.correct)
    assert run.cost == pytest.approx(np.mean(paid))
    assert run.exit_rates == tuple(stages.count(stage) / k for stage in range(n))
    reached = [[s for s in range(k) if stages[s] >= stage] for stage in range(n)]
    found = [values.tolist() for values in run.stage_confidences]
    assert found == [confidence[stage, rows].tolist() for stage, rows in enumerate(reached)]
    best = max(range(n), key=lambda model: (correct[model].mean(), -model))
    assert run.saving == pytest.approx(np.mean(cost[best]) / run.cost)


def test_on_logits_a_cascade_needs_a_method_and_a_single_model_does_not():
    store = three_models()
    names = tuple(store.models.index)
    alone = evaluate(store, [Point(names[:1], ()), Point(names[:1], (), method="entropy")])
    assert alone[0].correct.tolist() == alone[1].correct.tolist()
    with pytest.raises(ValueError, match="has no method, so its thresholds are for given conf"):
        evaluate(store, Point(names[:2], (0.5,)))


def test_one_cascade_gives_a_run_and_several_a_list():
    store = three_scores()
    other = three_scores(1)
    front = search(store, 2)
    point = front.point(3)
    run = evaluate(other, point)
    assert evaluate(other, Policy.from_point(point)).accuracy == run.accuracy
    runs = evaluate(other, front)
    assert [one.cost for one in runs] == [evaluate(other, p).cost for p in front.cascades]
    assert len(evaluate(other, [point])) == 1
    certificate = certify(other, front, 0.2, 0.5)
    assert len(evaluate(other, certificate)) == len(certificate.certified) > 0
    assert evaluate(store, point).measured_point == point
    assert "saving" in repr(run)


def test_the_last_confidence_of_a_mean_is_computed_when_it_is_read(monkeypatch):
    """It decides nothing, and it is the slowest to compute at 1,000 classes."""
    lengths = []
    compute = MeanStage._mean_confidence

    def counted(stage, values, members, new):
        lengths.append(members.shape[1])
        return compute(stage, values, members, new)

    monkeypatch.setattr(MeanStage, "_mean_confidence", counted)
    store = three_models()
    names = tuple(store.models.index)
    point = search(store, 3, "max_softmax_mean_logits").point(-1)
    lengths.clear()
    found = evaluate(store, replace(point, models=names, thresholds=(0.6, 0.7)))
    assert 0 < found.accuracy < 1 and set(lengths) == {2}
    mean = np.mean([store.logits(name) for name in names], axis=0)
    assert found.confidences[2] == pytest.approx(softmax(mean, axis=1).max(axis=1))
    assert set(lengths) == {2, 3}


@settings(max_examples=200)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 7), st.booleans(), st.integers(0, 999))
def test_sums_at_many_thresholds_equal_a_loop(n, k, points, is_shared, seed):
    """Also with equal thresholds of all stages, extreme confidences, and blocks of few tuples."""
    rng = np.random.default_rng(seed)
    confidences = list(rng.choice(EXTREMES, (n - 1, k)))
    thresholds = rng.choice(LIMITS, (points, n - 1))
    if is_shared and n > 1:
        thresholds[:] = thresholds[:, :1]
    counts = rng.integers(0, 3, (k, 2)).astype(np.int32)
    values = rng.integers(-1, 2, (n, k)).astype(np.int8)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(run_module, "SUMS_AT_ONCE", int(rng.choice([4, 2**24])))
        found, graded = sums_of_reached(confidences, thresholds, [values, values / 4], counts)
    for point, limits in enumerate(thresholds):
        stages = exit_stages([*confidences, np.zeros(k)], limits)
        for stage in range(n):
            expected = (values[stage] * (stages >= stage)) @ counts
            np.testing.assert_array_equal(found[stage, point], expected)
            np.testing.assert_allclose(graded[stage, point], expected / 4, atol=1e-12)
