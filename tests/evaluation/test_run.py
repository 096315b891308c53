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
from cascadelib.methods.ensembles import MeanStage

SCORES = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 12), st.booleans(), st.data())
def test_a_run_equals_a_loop_over_samples(n, k, own_costs, data):
    draw = data.draw
    confidence = np.array(
        draw(st.lists(st.lists(SCORES, min_size=k, max_size=k), min_size=n, max_size=n))
    )
    correct = np.array(
        draw(st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=n, max_size=n))
    )
    limits = tuple(
        draw(st.lists(SCORES | st.sampled_from([np.inf, -np.inf]), min_size=n - 1, max_size=n - 1))
    )
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
