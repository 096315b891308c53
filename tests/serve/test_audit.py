"""An audit: the reference runs on a share of all inputs, labels come late or never, and unknown
outcomes count as the worst case."""

import hashlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import Point
from cascadelib.evaluation.intervals import anytime_lower
from cascadelib.serve import AuditRecord, Monitor, Record, audit, counts
from cascadelib.serve.counts import AuditedInput

PAIR = Point(("a", "b"), (0.5,))


def audited(seen, predictions, answers, failures=None, ids=None):
    """Count inputs that exit at the first model, all audited. Return their ids."""
    first = seen.arrivals
    ids = range(first, first + len(predictions)) if ids is None else ids
    failures = ["none"] * len(predictions) if failures is None else failures
    for name, prediction, answer, failure in zip(ids, predictions, answers, failures):
        lists = ([prediction], [0.9], ["none"], [1.0], [0.1])
        record = Record(name, prediction, "a", "none", 0, *lists, audited=True)
        found = AuditRecord(name, answer, failure, 10.0, 1.0)
        seen.observe([record, found])
    return list(ids)


def test_an_alarm_needs_labels_and_a_loss_above_epsilon():
    """Of 4,000 inputs 6% are lost: more than 1%, less than 10%."""
    seen = Monitor(PAIR)
    rng = np.random.default_rng(0)
    audited(seen, (rng.random(4000) < 0.06).astype(int).tolist(), [0] * 4000)
    before = seen.loss(0.01)
    assert not before["alarm"] and before["audited"] == 4000
    assert before["to_label"] == before["disagreed"] == len(seen.to_label())
    seen.label(dict.fromkeys(seen.to_label().index, 0))
    loss = seen.loss(0.01)
    assert loss["alarm"] and not seen.loss(0.1)["alarm"] and loss["to_label"] == 0
    assert before["low"] < loss["low"] < 0.06 < loss["high"] <= before["high"]
    assert seen.audit_cost == 40_000 and seen.audit_seconds == 4000
    with pytest.raises(ValueError, match="unknown input to label"):
        seen.label({0: 1})


def test_missing_labels_are_skipped_and_impossible_ones_are_refused():
    monitor = Monitor(PAIR)
    audited(monitor, [1, 0], [2, 2], ids=[3, 5])
    for none in (None, np.nan):
        monitor.label({3: none})
    for wrong in ("Sneaker", -1):
        with pytest.raises(ValueError, match="of input 5 is not a class"):
            monitor.label({5: wrong})
    assert sorted(monitor.to_label().index) == [3, 5]
    assert monitor.verdicts == {"lost": 0, "tied": 0, "gained": 0}
    monitor.label({3: 2, 5: np.int64(0)})
    assert monitor.to_label().empty
    assert monitor.verdicts == {"lost": 1, "tied": 0, "gained": 1}


def test_if_one_label_is_refused_no_label_is_recorded():
    """For an unknown input, for one that the reference has not answered, and a text."""
    monitor = Monitor(PAIR)
    audited(monitor, [1, 0, 0], [2, 2, None], ["none", "none", "timeout"], ids=[3, 5, 7])
    for refused in ({9: 1}, {7: 1}, {5: "Sneaker"}):
        with pytest.raises(ValueError, match="input"):
            monitor.label({3: 2} | refused)
    assert sorted(monitor.to_label().index) == [3, 5]
    assert monitor.verdicts == {"lost": 0, "tied": 0, "gained": 0}
    monitor.label({3: 2, 5: 2})
    assert monitor.verdicts == {"lost": 2, "tied": 0, "gained": 0}


def test_the_current_loss_is_bounded_next_to_that_since_the_start():
    """10,000 inputs without loss, then 1,500 of which 10% are lost."""
    seen = Monitor(PAIR)
    rng = np.random.default_rng(0)
    for share in (*[0.0] * 100, *[0.1] * 15):
        audited(seen, (rng.random(100) < share).astype(int).tolist(), [0] * 100)
    seen.label(dict.fromkeys(seen.to_label().index, 0))
    loss = seen.loss(0.03)
    assert loss["low"] < 0.03 < loss["now_low"] < 0.1 < loss["now_high"] and loss["alarm"]
    assert loss["now_since"] == 10_000


def test_the_bounds_hold_though_references_fail_and_labels_are_late():
    """40 streams of a true loss of 4 points, looked at after every 50 inputs. The reference fails
    more often for lost inputs, and half of the labels never come."""
    missed = Counter()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        seen = Monitor(PAIR)
        outside = set()
        for _ in range(8):
            lost = rng.random(50) < 0.04
            fails = rng.random(50) < np.where(lost, 0.3, 0.05)
            failures = np.where(fails, "error", "none").tolist()
            audited(seen, lost.astype(int).tolist(), [0] * 50, failures)
            wanted = seen.to_label().index
            seen.label(dict.fromkeys(wanted[rng.random(len(wanted)) < 0.3], 0))
            loss = seen.loss(error=0.2)
            for ends in (("low", "high"), ("now_low", "now_high")):
                if not loss[ends[0]] <= 0.04 <= loss[ends[1]]:
                    outside.add(ends)
        missed.update(outside)
    assert all(count <= 15 for count in missed.values())  # 8, and 2.7 standard deviations


def test_the_fewest_labels_that_can_renew_a_certificate_are_named():
    rng = np.random.default_rng(0)
    predictions = (rng.random(3000) < 0.05).astype(int).tolist()
    seen = Monitor(PAIR)
    audited(seen, predictions, [0] * 3000)
    loss = seen.loss(0.04)
    first = loss["label_first"]
    assert loss["high"] > 0.04 and 0 < len(first) < loss["to_label"]
    for count, is_enough in ((len(first) - 1, False), (len(first), True)):
        again = Monitor(PAIR)
        audited(again, predictions, [0] * 3000)
        again.label(dict.fromkeys(first[:count], 1))  # the cascade is correct
        assert (again.loss(0.04)["high"] <= 0.04) == is_enough
    assert seen.loss(0.5)["label_first"] == []
    current = {name for name in seen.to_label().index if name >= 1000}
    assert set(seen.loss(-0.9)["label_first"]) == current  # even all labels may not be enough


def test_an_alarm_names_the_model_and_the_labels_that_renew_the_certificate():
    """3,000 inputs of which 10% are lost, then 3,000 better ones: the loss since the start alarms
    permanently. The current loss falls to ε with the named labels, and not with one fewer."""
    rng = np.random.default_rng(0)
    shares = np.repeat([0.1, 0.02], 3000)
    predictions = (rng.random(6000) < shares).astype(int).tolist()

    def alarmed():
        seen = Monitor(Point(("a", "b", "c"), (0.5, 0.5)))
        audited(seen, predictions[:3000], [0] * 3000)
        seen.label(dict.fromkeys(seen.to_label().index, 0))
        audited(seen, predictions[3000:], [0] * 3000)
        return seen

    loss = alarmed().loss(0.03)
    first = loss["label_first"]
    assert loss["alarm"] and loss["low"] > 0.03 and loss["lost_at"] == "a"
    assert loss["now_high"] > 0.03 and 0 < len(first) and min(first) >= 4000
    for count, is_enough in ((len(first) - 1, False), (len(first), True)):
        seen = alarmed()
        seen.label(dict.fromkeys(first[:count], 1))  # the cascade is correct
        assert (seen.loss(0.03)["now_high"] <= 0.03) == is_enough
    everything = seen.to_label().index.union(first)
    now = [name for name in everything if name >= 4000]
    by_digest = sorted(now, key=lambda name: hashlib.sha256(str(name).encode()).digest())
    assert first == by_digest[: len(first)]


def test_an_audited_id_that_is_pending_already_stays_unknown():
    seen = Monitor(PAIR)
    records = [Record("x", 0, "a", "none", 0, [0], [0.9], ["none"], [1.0], [0.1], audited=True)]
    seen.local.pending["x"] = AuditedInput(0, 0, 0)
    seen.observe(records)
    assert seen.loss()["audited"] == 1 and seen.loss()["unknown"] == 1


def test_an_id_that_is_audited_again_after_its_label_is_listed_once():
    seen = Monitor(PAIR)
    audited(seen, [1], [0], ids=["x"])
    seen.label({"x": 0})
    seen.local.decisions_by_id.clear()  # as after 65,536 other ids
    seen.observe([Record("x", 1, "a", "none", 0, [1], [0.9], ["none"], [1.0], [0.1], audited=True)])
    assert seen.to_label().empty
    seen.observe([AuditRecord("x", 0)])
    assert seen.to_label().index.tolist() == ["x"]


def test_an_input_that_no_model_answered_takes_a_label():
    seen = Monitor(PAIR)
    audited(seen, [None], ["heron"], ids=["x"])
    assert seen.to_label().loc["x"].tolist() == [None, "heron"]
    seen.label({"x": "heron"})
    assert seen.verdicts == {"lost": 1, "tied": 0, "gained": 0}


@settings(deadline=None, max_examples=60)
@given(
    *[st.integers(0, 200)] * 2,
    *[st.integers(0, 20)] * 4,
    st.floats(-0.9, 1.0),
    st.floats(0.001, 0.5),
)
def test_the_least_number_of_labels_is_that_at_which_the_bound_falls_to_epsilon(
    agreed, tied, lost, gained, unanswered, disagreed, epsilon, error
):
    found = Counter(agreed=agreed, tied=tied, lost=lost, gained=gained, open=disagreed)
    found["audited"] = found.total() + unanswered

    def bound(labels):
        won = gained + labels
        same = agreed + tied
        return -anytime_lower(won, same, found["audited"] - same - won, error / 2)

    numbers = [labels for labels in range(disagreed + 1) if bound(labels) <= epsilon]
    expected = numbers[0] if numbers else disagreed + 1
    assert audit.least_labels(found, error, epsilon) == expected


def test_the_work_of_a_bound_does_not_grow_with_the_pending_audits(monkeypatch):
    """A search over 2¹⁶ numbers takes 17 evaluations. Only current ids are read after an alarm."""
    evaluated = []
    hashed = []
    evaluate = audit.log_evidence
    digest = counts.digest_of_id
    monkeypatch.setattr(audit, "log_evidence", lambda *args: evaluated.append(1) or evaluate(*args))
    assert audit.least_labels(Counter(audited=2**16, open=2**16), 0.05, 0.01) < 2**16
    assert len(evaluated) <= 17
    seen = Monitor(PAIR)
    audited(seen, [1, 0] * 1750, [0] * 3500)
    monkeypatch.setattr(counts, "digest_of_id", lambda name: hashed.append(name) or digest(name))
    current = seen.loss(-0.9)["label_first"]
    assert sorted(current) == sorted(hashed) == list(range(2000, 3500, 2))


@pytest.fixture
def bound_calls(monkeypatch):
    """What :func:`anytime_lower` is called with: (lost, same, gained, error)."""
    calls = []

    def captured(lost, same, gained, error):
        calls.append((lost, same, gained, error))
        return -1.0

    monkeypatch.setattr(audit, "anytime_lower", captured)
    return calls


def test_each_end_of_the_loss_gets_half_of_the_error(bound_calls):
    """With counts that all differ. 9 of the inputs have no verdict."""
    seen = Monitor(PAIR)
    window = Counter(audited=50, agreed=38, lost=3, tied=1, gained=5, since=0)
    seen.local.windows = {1: window, 2: window}
    seen.local.total = Counter(audited=150, agreed=114, lost=9, tied=3, gained=15)
    seen.loss(error=0.24)
    # counts of (lost, same, gained or pending), and of (gained, same, lost or pending)
    assert bound_calls[:2] == [(9, 117, 24, 0.12), (15, 117, 18, 0.12)]
    error_now = 0.24 / 6 / 2
    assert bound_calls[2:4] == [
        pytest.approx((6, 78, 16, error_now)),
        pytest.approx((10, 78, 12, error_now)),
    ]


@pytest.mark.parametrize("start", [0, 1, 8])
def test_the_errors_of_all_current_windows_add_up_to_the_error(start, bound_calls):
    """1 / 2 + 1 / 6 + 1 / 12 + …, half of each at each end."""
    seen = Monitor(PAIR)
    seen.local.windows = {number: Counter(since=0) for number in (start, start + 1)}
    seen.loss(error=0.1)
    error_now = 0.1 * (1 / (start + 1) - 1 / (start + 2))
    assert [call[-1] for call in bound_calls[:4]] == pytest.approx(
        [0.05, 0.05] + [error_now / 2] * 2
    )
