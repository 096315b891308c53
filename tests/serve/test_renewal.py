"""A new certificate from audited inputs, when the small model has become worse."""

from dataclasses import replace

import numpy as np
import pytest

from cascadelib import Method, Point, Policy
from cascadelib.serve import AuditRecord, Monitor, Record, renewal

EPSILON = 0.03


def world(count, seed, worse=0.06):
    """Labels, predictions of the small and the large model, and confidences of the small one."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    hard = rng.random(count)
    small, large = (
        np.where(rng.random(count) > share * hard**2, labels, (labels + 1) % 4)
        for share in (0.75, 0.25)
    )
    small = np.where(rng.random(count) < worse, (small + 1) % 4, small)
    confidence = np.clip(1 - hard + 0.15 * rng.normal(size=count), 0, 1)
    return labels, small, large, confidence


def audited(monitor, small, large, confidence, threshold):
    """Count audited inputs of the policy."""
    for number, (first, second, value) in enumerate(zip(small, large, confidence)):
        stage = int(value < threshold)
        lists = ([f"c{first}", f"c{second}"], [value, 1.0], ["none"] * 2, [1.0, 9.0], [0.1] * 2)
        prediction = f"c{second if stage else first}"
        record = Record(
            f"x{number}", prediction, "small", "none", stage, *(each[: stage + 1] for each in lists)
        )
        record.audited = True
        monitor.observe([record, AuditRecord(f"x{number}", f"c{second}")])


@pytest.fixture(scope="module")
def renewed():
    """The renewal without labels, with all that it names, and the true loss of a threshold."""
    labels, small, large, confidence = world(4000, 21)
    policy = Policy(Point(("small", "large"), (0.53,), (0.5, 0.5), cost=5.0, cost_kind="cost"))
    monitor = Monitor(policy)
    audited(monitor, small.tolist(), large.tolist(), confidence.tolist(), 0.53)
    known = {f"x{number}": f"c{label}" for number, label in enumerate(labels)}
    first = monitor.recertify(EPSILON)
    second = first.label({name: known[name] for name in first.to_label})
    return first, second, monitor, known


def loss_at(threshold):
    labels, small, large, confidence = world(200_000, 22)
    exits = confidence >= threshold
    return np.mean(((large == labels) * 1.0 - (small == labels))[exits]) * exits.mean()


def test_few_labels_certify_another_threshold(renewed):
    first, second, monitor, known = renewed
    assert loss_at(0.53) > EPSILON > loss_at(second.policy.thresholds[0])
    assert second.policy.thresholds[0] > 0.53
    assert second.to_label == [] and 500 < len(first.to_label) < 1500
    assert first.policy is None or first.policy.thresholds > second.policy.thresholds
    assert "loses at most 3.00% of accuracy against large" in str(second.certificate)


def test_more_labels_never_certify_less(renewed):
    first, second, _, known = renewed
    partly = first.label({name: known[name] for name in first.to_label[:400]})
    certified = [len(each.certificate.certified) for each in (first, partly, second)]
    assert certified == sorted(certified)
    assert first.label({"x1": "heron", "another": "c1"}).labels == first.labels


def test_the_new_policy_is_saved_and_monitored(renewed, tmp_path):
    """Its drift signal compares the first model's confidences with those of the audited inputs."""
    _, second, _, _ = renewed
    second.policy.save(tmp_path / "policy.json")
    policy = Policy.load(tmp_path / "policy.json")
    assert policy.thresholds == second.policy.thresholds and policy.point.premises
    for shift, alarms in ((0.0, False), (-0.2, True)):
        monitor = Monitor(policy)
        *_, confidence = world(2000, 23)
        audited(monitor, [0] * 2000, [0] * 2000, (confidence + shift).tolist(), 0.7)
        assert monitor.drift().alarm == alarms


def test_the_level_of_a_renewal_is_delta_and_its_thresholds_use_no_label(renewed, monkeypatch):
    _, _, monitor, _ = renewed
    deltas = []

    def captured(table, points, epsilon, delta, **options):
        deltas.append((epsilon, delta, options["reference"]))
        return replace(first.certificate, epsilon=epsilon, delta=delta)

    first = renewed[0]
    monkeypatch.setattr(renewal, "certify", captured)
    again = monitor.recertify(0.02, delta=0.01)
    for each in (again, again, again.label({})):  # computed once per set of labels
        assert each.certificate.delta == 0.01
    assert deltas == [(0.02, 0.01, "large")] * 2
    ladder_ids = set(again.points[0].thresholds_from.sample_ids.tolist())
    assert len(ladder_ids) == 500 and not ladder_ids & set(again.table.sample_ids.tolist())
    assert len(again.table) == 3500 == len(monitor.recertify(0.02, rows=4000).table)


def test_thresholds_of_a_metric_stay_in_its_units():
    """Entropy: an input exits if it is low."""
    labels, small, large, confidence = world(1500, 5, worse=0.0)
    point = Point(("small", "large"), (0.5,), method=Method("entropy"))
    monitor = Monitor(point)
    audited(monitor, small.tolist(), large.tolist(), (1 - confidence).tolist(), -1.0)
    found = monitor.recertify(0.2).policy
    assert found.metric == "entropy" and 0 < found.thresholds[0] < 1
    assert found.exits(0, np.array([0.0, 1.0])).tolist() == [True, False]


def test_a_renewed_policy_is_saved_although_the_small_model_has_failed(tmp_path):
    monitor = Monitor(Policy(Point(("small", "large"), (0.5,))))
    for number in range(400):
        confidence = number * 37 % 400 / 400
        small = "no" if number % 7 == 0 and confidence < 0.5 else "yes"
        rows = [[small], [confidence], ["none"], [1.0], [0.1]]
        if number == 300:
            rows = [[None, "yes"], [None, None], ["error", "none"], [None, 1.0], [0.1, 0.1]]
        stage = len(rows[0]) - 1
        record = Record(number, rows[0][-1], ("small", "large")[stage], rows[2][0], stage, *rows)
        record.audited = True
        monitor.observe([record, AuditRecord(number, "yes")])
    policy = monitor.recertify(epsilon=0.05).policy
    policy.save(tmp_path / "policy.json")
    values = Policy.load(tmp_path / "policy.json").point.expected.confidences[0].values
    assert np.isfinite(values).all()
