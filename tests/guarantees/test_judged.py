"""Certificates from the labels of a judge and few true ones."""

import numpy as np
import pytest
from scipy.stats import beta, binom

import cascadelib as cl
from cascadelib.guarantees import judged
from cascadelib.guarantees.judged import judged_p_value

ACCEPT = ("independent", "overlap", "reference complete", "confidences", "rows aligned")


def drawn(rng, disagreements, lost, gained, errors, audited):
    """Return true losses, those of a judge who favours the cascade at times, and audits."""
    chances = [lost, gained, 1 - lost - gained]
    truth = rng.choice([1, -1, 0], disagreements, p=chances)
    said = np.where(rng.random(disagreements) < errors, -1, truth)
    return truth, said, np.arange(disagreements) < audited


@pytest.mark.parametrize("errors", [0.05, 0.4])
def test_a_judge_who_favours_the_cascade_does_not_break_the_guarantee(errors):
    """The loss is exactly ε = 2%, and by the judge it is far smaller."""
    broken = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        losses, said, is_audited = drawn(rng, rng.binomial(3_000, 0.1), 0.45, 0.25, errors, 60)
        broken += judged_p_value(losses, said, is_audited, 3_000, 0.02, 0.2) <= 0.2
    assert broken <= binom.ppf(0.9999, 150, 0.2)


def test_every_share_of_the_level_is_used_once(monkeypatch):
    """Bounds on disagreements and judged losses use a fifth, the test of the errors the rest."""
    calls = []
    monkeypatch.setattr(judged, "paired_p_value", lambda *given: calls.append(given) or 0.01)
    losses = np.array([1] * 30 + [-1] * 20 + [0] * 50)
    said = np.where(np.arange(100) == 35, 1, losses)
    p = judged_p_value(losses, said, np.arange(100) >= 30, 1_000, 0.05, 0.1)
    ((more, fewer, audited, may_err, level),) = calls
    assert (more, fewer, audited) == (0, 1, 70) and level == pytest.approx(0.08)
    share = beta.isf(0.01, 101, 900)
    most = beta.isf(0.005, 32, 69) - beta.ppf(0.005, 19, 82)
    assert may_err == pytest.approx((0.05 / share - most) / 2)
    assert p == pytest.approx(0.02 + 0.01)


def test_errors_of_one_keep_their_mean_when_they_are_rounded(monkeypatch):
    calls = []
    monkeypatch.setattr(judged, "paired_p_value", lambda *given: calls.append(given) or 0.01)
    is_audited = np.arange(8_000) < 2_000
    for truth, said in ((1, 0), (0, 1), (1, -1), (-1, 1)):
        by_judge = np.where(is_audited, said, -1)
        judged_p_value(np.full(8_000, truth), by_judge, is_audited, 10**5, 0.04)
    means = [(more - fewer) / audited for more, fewer, audited, *_ in calls]
    assert means[:2] == pytest.approx([0.5, -0.5], abs=0.05) and means[2:] == [1, -1]


def test_without_audits_or_with_too_large_losses_the_p_value_is_1():
    losses = np.zeros(100, int)
    assert judged_p_value(losses, losses, np.zeros(100, bool), 1_000, 0.05) == 1
    assert judged_p_value(losses + 1, losses + 1, np.ones(100, bool), 1_000, 0.05) == 1


def graded_table(rows=40_000, seed=0):
    """A table without labels, the true labels, and those of a judge who errs on 3%."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(rows)
    truth = rng.choice(["a", "b", "c"], rows)
    others = {"a": "b", "b": "c", "c": "a"}
    wrong = np.array([others[label] for label in truth.tolist()])
    small = np.where(rng.random(rows) < 0.45 * (1 - confidence), wrong, truth)
    large = np.where(rng.random(rows) < 0.1, np.roll(wrong, 1), truth)
    said = np.where(rng.random(rows) < 0.03, wrong, truth)
    predictions = [small, large]
    table = cl.ScoreTable(
        None, [confidence, confidence], [1, 9], ["small", "large"], predictions=predictions
    )
    return table, truth, said


def test_a_judge_s_labels_certify_with_fewer_true_labels():
    table, truth, said = graded_table()
    point = cl.Point(("small", "large"), (0.6,), cost_kind="cost")
    ids = cl.to_label(table, [point], "large")
    true_labels = {name: truth[int(name)] for name in ids[:150]}
    judge = {name: said[int(name)] for name in ids}
    given = {"reference": "large", "accept": ACCEPT}
    alone = cl.certify(table, [point], 0.02, labels=true_labels, labels_in_order=True, **given)
    found = cl.certify(table, [point], 0.02, labels=true_labels, judge=judge, **given)
    assert alone.point is None and found.point.models == ("small", "large")
    assert "150 true labels bound its errors" in str(found)
    assert found.table["accuracy_loss"][0] < 0.02
    flattering = {name: table.predictions[0][int(name)] for name in ids}
    given |= {"labels": true_labels, "judge": flattering}
    assert cl.certify(table, [point], 0.02, **given).point is None


def test_a_judge_labels_all_disagreements():
    table, truth, said = graded_table(2_000)
    point = cl.Point(("small", "large"), (0.6,), cost_kind="cost")
    ids = cl.to_label(table, [point], "large")
    judge = {name: said[int(name)] for name in ids[5:]}
    with pytest.raises(ValueError, match="not the first ones that to_label returns"):
        cl.certify(table, [point], 0.02, reference="large", judge=judge, accept=ACCEPT)
