"""The report about a log, compared with a loop over its rows."""

import hashlib

import numpy as np
import pytest

from cascadelib.evaluation.intervals import anytime_lower
from cascadelib.monitoring import audited_table, monitor
from cascadelib.monitoring.drift import log_capital
from cascadelib.monitoring.report import failure_evidence
from cascadelib.policy import FAILURES
from tests.monitoring.logs import (
    MODELS,
    PAIR,
    POLICY,
    disagreeing,
    frame,
    policy_with_figures,
    random_rows,
    row,
)


@pytest.mark.parametrize("seed", range(5))
def test_counts_and_costs_equal_a_loop_over_the_rows(seed):
    rows = random_rows(300, seed)
    report = monitor(frame(rows), POLICY)
    for stage, name in enumerate(MODELS):
        reached = [each for each in rows if each["stage"] >= stage]
        found = report.stages.loc[name]
        assert found["inputs"] == len(reached)
        for failure in FAILURES:
            assert found[failure] == sum(each["failures"][stage] == failure for each in reached)
        others = [
            each["failures"][stage] == "none" and each["models"][stage] != name for each in reached
        ]
        assert found["other_model"] == sum(others)
        assert found["exit_rate"] == np.mean([each["stage"] == stage for each in rows])
        assert found["exit_rate_low"] < found["exit_rate"] < found["exit_rate_high"]
        spent = sum(each["costs"][stage] or 0 for each in reached)
        assert found["spent"] == pytest.approx(spent)
    paid = []
    for each in rows:
        pairs = list(zip(each["failures"], each["costs"]))
        if all(failure != "none" or cost is not None for failure, cost in pairs):
            paid.append(sum(cost or 0 for _, cost in pairs))
    assert report.cost["priced"] == len(paid)
    assert report.cost["mean"] == pytest.approx(np.mean(paid))
    half = 1.96 * np.std(paid) / np.sqrt(len(paid))
    assert report.cost["high"] - report.cost["mean"] == pytest.approx(half)


@pytest.mark.parametrize("seed", range(5))
def test_verdicts_and_bounds_equal_a_loop_over_the_rows(seed):
    rows = random_rows(400, seed)
    rng = np.random.default_rng(seed)
    labels = {each["id"]: str(rng.choice(["yes", "no", "maybe"])) for each in rows[::2]}
    counts = dict.fromkeys(("agreed", "lost", "tied", "gained", "open", "unknown"), 0)
    wanted = []
    for each in filter(lambda each: each["audited"], rows):
        answer = [None, *filter(lambda given: given is not None, each["predictions"])][-1]
        label = labels.get(each["id"])
        if each["reference"] is None:
            verdict = "unknown"
        elif answer == each["reference"]:
            verdict = "agreed"
        elif label is None:
            verdict = "open"
            wanted.append(each["id"])
        else:
            gain = (answer == label) - (each["reference"] == label)
            verdict = ("lost", "tied", "gained")[gain + 1]
        counts[verdict] += 1
    report = monitor(frame(rows), POLICY, labels, classes=["yes", "no", "maybe", ""], error=0.1)
    loss = report.loss
    assert min(counts.values()) > 0 and loss[list(counts)].to_dict() == counts
    same = counts["agreed"] + counts["tied"]
    rest = loss["audited"] - same
    low = anytime_lower(counts["lost"], same, rest - counts["lost"], 0.05)
    high = -anytime_lower(counts["gained"], same, rest - counts["gained"], 0.05)
    assert (loss["low"], loss["high"]) == (low, high)
    assert report.to_label == sorted(wanted, key=lambda a: hashlib.sha256(a.encode()).digest())


def test_labels_only_narrow_the_bounds_and_a_loss_alarms():
    log = disagreeing()
    before = monitor(log, PAIR, epsilon=0.1)
    after = monitor(log, PAIR, dict.fromkeys(before.to_label, "yes"), epsilon=0.1)
    assert before.loss["low"] < after.loss["low"] < 1 / 3 < after.loss["high"]
    assert not before.loss["alarm"] and after.loss["alarm"]


def test_windows_have_their_own_share_of_the_error():
    log = disagreeing()
    labels = dict.fromkeys(monitor(log, PAIR).to_label, "yes")
    windows = monitor(log, PAIR, labels, window=100.0, error=0.06).windows
    assert windows.index.tolist() == [1000.0, 1100.0, 1200.0]
    for number, error in enumerate([0.03, 0.01, 0.005]):
        found = windows.iloc[number]
        assert found["low"] == anytime_lower(found["lost"], found["agreed"], 0, error / 2)
    assert windows["lost"].sum() == 100


def test_the_evidence_of_failures_equals_its_recursion():
    has_failed = np.random.default_rng(0).random(200) < 0.05
    values = [0.0] * 3
    for failed in has_failed:
        factors = [1 + bet * (99 if failed else -1) for bet in (0.02, 0.1, 0.5)]
        values = [(value + 1) * factor for value, factor in zip(values, factors)]
    assert failure_evidence(has_failed) == pytest.approx(np.mean(values))
    assert failure_evidence(has_failed[:0]) == 0


def test_an_outage_is_failing_until_it_ends():
    broken = {"failures": ["error", "none"], "predictions": [None, "yes"]}
    outage = [row(n, PAIR, [None, None], ["", "yes"], **broken) for n in range(20)]
    well = [row(n) for n in range(20, 1100)]
    assert monitor(frame(outage), PAIR).stages["failing"].tolist() == [True, False]
    assert not monitor(frame(outage + well), PAIR).stages["failing"].any()


def test_drift_reads_the_confidences_in_order_until_a_failure_or_another_model():
    policy = policy_with_figures()
    confidences = np.random.default_rng(1).random(400) ** 2
    rows = []
    for number, value in enumerate(confidences.tolist()):
        values = [value] if value >= 0.5 else [value, None]
        rows.append(row(number, policy, values, ["yes"] * len(values)))
    for number in range(400, 500):
        rows.append(row(number, policy, [0.0, None], ["yes", "no"], models=["spare", "large"]))
    found = monitor(frame(rows).sample(frac=1, random_state=0), policy).drift.loc["small"]
    path = log_capital(policy.point.expected.confidences[0], confidences)
    assert found["inputs"] == 400 and found["alarm"]
    assert found["capital"] == pytest.approx(np.exp(path[-1]))
    assert found["p"] == pytest.approx(2 * np.exp(-path.max()))
    assert found["since"] == 1001.0 + path.argmin() if path.min() < 0 else found["since"] == 1000
    assert monitor(frame([row(1)]), PAIR).drift.empty


def test_a_policy_may_be_named_by_its_file(tmp_path):
    rows = frame([row(number, audited=True, reference="yes") for number in range(9)])
    PAIR.save(tmp_path / "policy.json")
    for path in (tmp_path / "policy.json", str(tmp_path / "policy.json")):
        assert repr(monitor(rows, path)) == repr(monitor(rows, PAIR))
        assert len(audited_table(rows, path)) == 9
    for call in (monitor, audited_table):
        with pytest.raises(ValueError, match="policy must be a Policy or the path of its file, no"):
            call(rows, PAIR.point)
    with pytest.raises(FileNotFoundError):
        monitor(rows, "other.json")
