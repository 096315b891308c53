"""An audit: the reference runs on a share of all inputs, labels come late or never, and what is
not known counts as what hurts most."""

import hashlib
from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from bundled_cascade import IMAGES, SMALL, TEST, VAL
from deciding import decide

from cascadelib import Cascade, Method, Point, Policy, pick, search
from cascadelib.policy import pieces_of
from cascadelib.policy.decisions import DRAWN, Answer, empty_decisions
from cascadelib.serve import Monitor, audit


def monitored():
    point = pick(search(VAL, 2, models=SMALL), accuracy=0.91)
    cascade = Cascade.from_point(point, store=VAL, held_out=TEST)
    return cascade, Monitor(cascade)


def test_an_audit_runs_the_reference_on_inputs_of_every_stage():
    """With all audited: the disagreements and, once they are labelled, the loss are those of the
    stores."""
    cascade, monitor = monitored()
    labels = TEST.labels[:600]
    decisions = [
        decide(cascade.policy, cascade, piece, monitor=monitor, audit=1.0)
        for piece in pieces_of(IMAGES, 100)
    ]
    said = np.concatenate([d.predictions for d in decisions])
    stages = np.concatenate([d.exit_stage for d in decisions])
    answers = TEST.logits("lenet@28")[:600].argmax(axis=1)
    queue = monitor.to_label().sort_index()  # calls under way simultaneously end in any order
    differ = np.flatnonzero(said != answers)
    assert queue.index.tolist() == differ.tolist() and len(differ) and (stages[differ] == 0).all()
    assert queue.to_numpy().tolist() == np.stack([said, answers], 1)[differ].tolist()
    before = monitor.loss()
    assert before["audited"] == 600 and before["to_label"] == before["disagreed"] == len(differ)
    monitor.label({number: labels[number] for number in differ[::-1]})
    after = monitor.loss(0.0)
    loss = np.mean((answers == labels) * 1.0 - (said == labels))
    assert before["low"] < after["low"] < loss < after["high"] < before["high"]
    assert after["to_label"] == 0 and not monitor.to_label().size and not after["alarm"]
    assert monitor.audit_seconds > 0
    with pytest.raises(ValueError, match="unknown input to label"):
        monitor.label({int(differ[0]): 1})


def test_labels_that_are_none_stay_wanted_and_wrong_ones_are_refused():
    monitor = Monitor(Point(("a", "b"), (0.5,), method=Method()))
    monitor.local.pending.update({3: [1, 2, 0, 0], 5: [0, 2, 0, 1]})
    monitor.local.windows.append(Counter(audited=2))
    for none in (None, np.nan):
        monitor.label({3: none})
    for wrong in ("Sneaker", -1):
        with pytest.raises(ValueError, match="of input 5 is not a class"):
            monitor.label({5: wrong})
    assert monitor.to_label().index.tolist() == [3, 5]
    assert monitor.verdicts == {"lost": 0, "tied": 0, "gained": 0}
    monitor.label({3: 2, 5: np.int64(0)})
    assert monitor.to_label().empty
    assert monitor.verdicts == {"lost": 1, "tied": 0, "gained": 1}


def test_labels_with_one_that_is_refused_are_none_of_them_taken():
    """Of an input that is not in doubt, of one that the reference has yet to answer, of a text."""
    monitor = Monitor(Point(("a", "b"), (0.5,), method=Method()))
    monitor.local.pending.update({3: [1, 2, 0, 0], 5: [0, 2, 0, 1], 7: [0, None, 0, 1]})
    monitor.local.windows.append(Counter(audited=3))
    for refused in ({9: 1}, {7: 1}, {5: "Sneaker"}):
        with pytest.raises(ValueError, match="input"):
            monitor.label({3: 2} | refused)
    assert monitor.to_label().index.tolist() == [3, 5]
    assert monitor.verdicts == {"lost": 0, "tied": 0, "gained": 0}
    monitor.label({3: 2, 5: 2})
    assert monitor.verdicts == {"lost": 2, "tied": 0, "gained": 0}


def test_an_audit_draws_its_share_whatever_stage_inputs_exit_at():
    cascade, monitor = monitored()
    audited = partial(decide, cascade.policy, cascade, monitor=monitor, audit=0.2)
    stages = audited(IMAGES).exit_stage
    drawn = np.flatnonzero(np.random.default_rng(0).random(600) < 0.2)
    assert monitor.audited == len(drawn) and set(stages[drawn]) == {0, 1}
    before = monitor.to_label()
    assert set(before.index) <= set(drawn)
    audited(IMAGES[:0])
    for piece in pieces_of(IMAGES[:50], 10):
        audited(piece)
    assert monitor.to_label().index.max() < 650 and monitor.inputs == 650
    with pytest.raises(ValueError, match="audit must be a share"):
        decide(cascade.policy, cascade, IMAGES[:5], audit=1.5)


def test_an_audit_by_another_model_than_the_last():
    cascade, monitor = monitored()
    options = {"monitor": monitor, "audit": 1.0, "reference": "linear@28"}
    said = decide(cascade.policy, cascade, IMAGES[:100], **options).predictions
    answers = TEST.logits("linear@28")[:100].argmax(axis=1)
    assert sorted(monitor.to_label().index) == np.flatnonzero(said != answers).tolist()


def test_a_policy_is_audited_by_its_calls():
    """Two calls, the first confident of all and wrong for every seventh input; the second fails for
    some of those drawn."""
    point = Point(("a", "b"), (0.5,), (1.0, 0.0), 1.0, 1.0, 1.0)
    policy = Policy.from_point(point)
    monitor = Monitor(policy)
    truth = [n % 3 for n in range(70)]

    def first(inputs):
        return [truth[n] + (n % 7 == 0) for n in inputs], [0.9] * len(inputs)

    async def second(inputs):
        if 35 in inputs:
            raise RuntimeError("busy")
        return [truth[n] for n in inputs], None

    options = {"batch_size": 10, "on_error": "next", "monitor": monitor, "audit": 1.0}
    decisions = decide(policy, [first, second], range(70), **options)
    assert (decisions.exit_stage == 0).all() and monitor.audited == 70
    assert monitor.to_label().index.tolist() == [0, 7, 14, 21, 28, 42, 49, 56, 63]
    monitor.label({n: truth[n] for n in monitor.to_label().index})
    assert monitor.verdicts == {"lost": 9, "tied": 0, "gained": 0}
    loss = monitor.loss(0.0, error=0.2)
    assert loss["alarm"] and loss["unknown"] == monitor.audit_failures == 1


def everyone_left(seen, decisions):
    """All of them left at the first stage and are to be audited."""
    count = len(decisions)
    everyone = np.ones(count, bool)
    seen.add(0, decisions, np.arange(count), everyone, (0.0, 0.0), np.full(count, DRAWN))


def test_a_certified_loss_that_is_left_alarms():
    """Outcomes of which 6% are lost: 1% is left, 10% is not; without labels nothing is known."""
    seen = Monitor(Point(("a", "b"), (0.5,)))
    rng = np.random.default_rng(0)
    for _ in range(40):
        said = np.where(rng.random(100) < 0.06, 1, 0)
        decisions = replace(empty_decisions(100, seen.models), ids=seen.enter(100)[0])
        zero = np.zeros(100, np.int8)
        decisions.write(seen.point, 0, np.arange(100), Answer(said[:, None], zero + 0.9, zero))
        everyone_left(seen, decisions)
        seen.resolve(decisions.ids, Answer(0 * said[:, None], zero + 0.9, zero), 1.0)
    assert not seen.loss(0.01)["alarm"]
    seen.label(dict.fromkeys(seen.to_label().index, 0))
    assert (
        seen.loss(0.01)["alarm"]
        and not seen.loss(0.1)["alarm"]
        and seen.loss(0.1)["low"] < 0.06 < seen.loss()["high"]
    )


def audited(seen, said, answers, failures=0):
    """Inputs that leave at the first of two stages, all audited; returns their ids."""
    count = len(said)
    decisions = replace(empty_decisions(count, seen.models), ids=seen.enter(count)[0])
    zero = np.zeros(count, np.int8)
    decisions.write(seen.point, 0, np.arange(count), Answer(said[:, None], zero + 0.9, zero))
    everyone_left(seen, decisions)
    seen.resolve(decisions.ids, Answer(answers[:, None], zero + 0.9, zero + failures), 1.0)
    return decisions.ids


def test_the_loss_of_now_is_seen_beside_that_since_the_start():
    """10,000 inputs without loss, then 1,500 of which 10% are lost."""
    seen = Monitor(Point(("a", "b"), (0.5,)))
    rng = np.random.default_rng(0)
    for share in (*[0.0] * 100, *[0.1] * 15):
        said = (rng.random(100) < share).astype(np.int64)
        audited(seen, said, 0 * said)
    seen.label(dict.fromkeys(seen.to_label().index, 0))
    loss = seen.loss(0.03)
    assert loss["low"] < 0.03 < loss["now_low"] < 0.1 < loss["now_high"] and loss["alarm"]
    assert loss["now_since"] == 10_100


def test_the_bounds_hold_at_all_times_though_references_fail_and_labels_are_late():
    """100 streams of a true loss of 4 points, asked after every 50 inputs; the reference fails more
    often where the input is lost, and half of the labels never come."""
    missed = 0
    now_missed = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        seen = Monitor(Point(("a", "b"), (0.5,)))
        outside = False
        now_outside = False
        for _ in range(8):
            lost = rng.random(50) < 0.04
            fails = rng.random(50) < np.where(lost, 0.3, 0.05)
            audited(seen, lost.astype(np.int64), np.zeros(50, np.int64), 2 * fails)
            wanted = seen.to_label().index
            seen.label(dict.fromkeys(wanted[rng.random(len(wanted)) < 0.3], 0))
            loss = seen.loss(error=0.2)
            outside |= not loss["low"] <= 0.04 <= loss["high"]
            now_outside |= not loss["now_low"] <= 0.04 <= loss["now_high"]
        missed += outside
        now_missed += now_outside
    assert missed <= 31 and now_missed <= 31  # 20, and 2.7 standard deviations


def test_the_fewest_labels_that_can_renew_a_certificate_are_named():
    seen = Monitor(Point(("a", "b"), (0.5,)))
    rng = np.random.default_rng(0)
    said = (rng.random(3000) < 0.05).astype(np.int64)
    audited(seen, said, 0 * said)
    loss = seen.loss(0.04)
    first = loss["label_first"]
    assert loss["high"] > 0.04 and 0 < len(first) < loss["to_label"]
    for count, is_enough in ((len(first) - 1, False), (len(first), True)):
        again = Monitor(seen.point)
        ids = audited(again, said, 0 * said)
        assert (ids == np.arange(3000)).all()
        again.label(dict.fromkeys(first[:count], 1))  # the cascade is correct
        assert (again.loss(0.04)["high"] <= 0.04) == is_enough
    assert seen.loss(0.5)["label_first"] == []
    of_now = {name for name in seen.to_label().index if name >= 1000}
    assert set(seen.loss(-0.9)["label_first"]) == of_now  # even all may not do


def test_an_alarm_says_where_and_names_the_labels_that_renew_the_certificate():
    """3,000 inputs of which 10% are lost, then 3,000 better ones: the loss since the start alarms
    for good, that of now comes under ε with the labels that are named, and not with one fewer."""
    rng = np.random.default_rng(0)
    said = np.concatenate([rng.random(3000) < 0.1, rng.random(3000) < 0.02]).astype(np.int64)

    def alarmed():
        seen = Monitor(Point(("a", "b", "c"), (0.5, 0.5)))
        audited(seen, said[:3000], 0 * said[:3000])
        seen.label(dict.fromkeys(seen.to_label().index, 0))
        audited(seen, said[3000:], 0 * said[3000:])
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


def test_one_id_that_comes_twice_stays_in_doubt():
    seen = Monitor(Point(("a", "b"), (0.5,)))
    decisions = replace(empty_decisions(2, seen.models), ids=np.array(["x", "x"], object))
    zero = np.zeros(2, np.int8)
    decisions.write(seen.point, 0, np.arange(2), Answer(zero[:, None], zero + 0.9, zero))
    everyone_left(seen, decisions)
    seen.resolve(["x", "x"], Answer(zero[:, None], zero + 0.9, zero), 1.0)
    loss = seen.loss()
    assert loss["audited"] == 2 and loss["unknown"] == 1


def test_an_input_that_no_model_answered_takes_a_label_as_well():
    seen = Monitor(Point(("a", "b"), (0.5,)))
    seen.local.windows.append(Counter(audited=1))
    seen.local.pending["x"] = [None, "heron", 0, 0]
    assert seen.to_label().loc["x"].tolist() == [None, "heron"]
    seen.label({"x": "heron"})
    assert seen.verdicts == {"lost": 1, "tied": 0, "gained": 0}


@pytest.fixture
def bounds_asked(monkeypatch):
    """What :func:`anytime_lower` is called with: (lost, same, gained, error)."""
    calls = []

    def captured(lost, same, gained, error):
        calls.append((lost, same, gained, error))
        return -1.0

    monkeypatch.setattr(audit, "anytime_lower", captured)
    return calls


def test_each_end_of_the_loss_gets_half_of_the_error(bounds_asked):
    """With counts that all differ: 3 lost and 5 gained of each window, 7 in doubt for good, 2
    without an answer of the reference."""
    seen = Monitor(Point(("a", "b"), (0.5,)))
    for audited in (40, 50, 60):
        seen.local.windows.append(Counter(audited=audited, lost=3, tied=1, gained=5, since=0))
    seen.local.pending.update({"x": [0, None, 2, 0], "y": [0, None, 0, 0]})
    seen.local.sums["forgotten"] = 7
    seen.loss(error=0.24)
    # 150 audited less 9 lost, 15 gained and 9 in doubt
    assert bounds_asked[:2] == [(9, 117, 24, 0.12), (15, 117, 18, 0.12)]
    of_now = 0.24 / 6 / 2
    counts_of_now = [(6, 86, 18, of_now), (10, 86, 14, of_now)]
    assert bounds_asked[2:4] == [pytest.approx(counts) for counts in counts_of_now]


@pytest.mark.parametrize("windows", [0, 1, 2, 3, 10])
def test_the_errors_of_all_windows_of_now_add_up_to_the_error(windows, bounds_asked):
    """1 / 2 + 1 / 6 + 1 / 12 + …, half of each at each end."""
    seen = Monitor(Point(("a", "b"), (0.5,)))
    seen.local.windows += [Counter(since=0) for _ in range(windows)]
    seen.loss(error=0.1)
    start = max(0, windows - 2)
    of_now = 0.1 * (1 / (start + 1) - 1 / (start + 2))
    assert [call[-1] for call in bounds_asked[:4]] == pytest.approx([0.05, 0.05] + [of_now / 2] * 2)
