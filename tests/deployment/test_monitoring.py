"""Running statistics: counts, expected beside measured, drift without labels; and measured time as
tables."""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from bundled_cascade import IMAGES, POINT, SMALL, TEST, VAL

from cascadelib import (
    Cascade,
    DriftSignal,
    LogitStore,
    Method,
    Point,
    ScoreTable,
    datasets,
    evaluate,
    pick,
    search,
)
from cascadelib.deployment.cascade import same_decisions
from cascadelib.deployment.cascade_file import point_for_file
from cascadelib.deployment.decisions import Decisions
from cascadelib.deployment.form import parse_cascade, text_of
from cascadelib.deployment.monitoring import Running
from cascadelib.deployment.policy import Policy
from cascadelib.deployment.timing import pieces_of
from tools.elsewhere import decide_elsewhere, drift_table


def running(metric: str = "max_softmax") -> Any:
    point = pick(search(VAL, 2, metric, models=SMALL), accuracy=0.91, caution=0)
    return Cascade.from_point(point, store=VAL, held_out=TEST)


def test_counts_and_rates() -> None:
    cascade = running()
    first = cascade(IMAGES[:400])
    second = cascade(IMAGES[400:])
    seen = cascade.running
    stages = np.concatenate([first.exit_stage, second.exit_stage])
    assert seen.inputs == 600 and seen.exits.tolist() == np.bincount(stages, minlength=2).tolist()
    np.testing.assert_allclose(seen.exit_rates, np.bincount(stages) / 600)
    table = seen.table
    assert list(table.index) == SMALL and table["inputs"].tolist() == [600, (stages == 1).sum()]
    assert (table["exit_rate_low"] < table["exit_rate"]).all() and (
        table["exit_rate"] < table["exit_rate_high"]
    ).all()
    expected = cascade.point.expected.exit_rates
    assert table["exit_rate_expected"].tolist() == [rate.value for rate in expected]
    assert (table[["model_seconds", "decision_seconds"]] > 0).all(axis=None)
    seen.reset()
    assert (
        seen.inputs == 0
        and np.isnan(seen.exit_rates).all()
        and seen.table["exit_rate"].isna().all()
    )


@pytest.mark.parametrize("metric", ["max_softmax", "entropy"])
def test_drift_is_seen_without_labels_and_its_absence_too(metric: str) -> None:
    cascade = running(metric)
    cascade.run(pieces_of(IMAGES, 100))
    assert not cascade.running.drift().alarm
    cascade.running.reset()
    cascade.run(pieces_of(255 - IMAGES, 100))
    report = cascade.running.drift()
    assert report.alarm and cascade.running.drift().tests.equals(report.tests)


def test_drift_is_that_of_the_signal_and_broken_inputs_say_nothing_of_it() -> None:
    """Asked often or once, in pieces or at once: the capital that whole arrays of stored
    confidences give."""
    rest = TEST.take(slice(600, None))
    cascade = Cascade.from_point(POINT, store=VAL, held_out=rest)
    for piece in pieces_of(IMAGES, 100):
        cascade(piece)
        cascade.running.drift()
    signal = DriftSignal(evaluate(rest, POINT).stage_confidences)
    alone = signal.check(evaluate(TEST.take(slice(0, 600)), cascade).stage_confidences).tests
    pd.testing.assert_frame_equal(cascade.running.drift().tests, alone, rtol=0.01)
    with pytest.warns(RuntimeWarning, match="nan or infinite"):
        cascade(IMAGES[:5] * np.nan)
    pd.testing.assert_frame_equal(cascade.running.drift().tests, alone, rtol=0.01)


def test_a_drift_report_says_whether_its_reference_was_seen() -> None:
    nameless = LogitStore.from_arrays(
        TEST.labels,
        {name: TEST.logits(name) for name in SMALL},
        macs=TEST.models["macs"][SMALL].to_dict(),
    )
    said = {"held out": (VAL, TEST), "chosen on": (VAL, None), "not known": (VAL, nameless)}
    for words, (store, held_out) in said.items():
        watched = Running(point_for_file(POINT, store, held_out))
        assert watched.drift().reference.startswith(words)
    signal = DriftSignal(evaluate(VAL, POINT).stage_confidences)
    assert signal.check([[], []]).reference.startswith("not known")


def test_a_file_without_ties_as_the_versions_before_wrote_it_is_watched_as_well() -> None:
    cascade = running()
    expected = cascade.point.expected
    without = tuple(replace(part, ties=None) for part in expected.confidences)
    point = replace(cascade.point, expected=replace(expected, confidences=without))
    assert "ties" not in text_of(point)
    old = Cascade(parse_cascade(text_of(point)))
    for one in (cascade, old):
        one(IMAGES)
    pd.testing.assert_frame_equal(old.running.drift().tests, cascade.running.drift().tests)


def test_totals_of_eight_threads_add_up() -> None:
    """Each thread runs the same images; threads change places as often as they can."""
    cascade = running()
    interval = sys.getswitchinterval()
    once = cascade(IMAGES[:100])
    cascade.running.reset()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            tables = [
                t
                for _, t in pool.map(
                    lambda _: (cascade(IMAGES[:100]), cascade.running.table), range(160)
                )
            ]
            tables += pool.map(
                lambda _: (cascade.running.add(once, np.ones((2, 2))), cascade.running.table)[1],
                range(800),
            )
    finally:
        sys.setswitchinterval(interval)
    seen = cascade.running
    assert seen.inputs == 960 * 100
    assert seen.exits.tolist() == (960 * np.bincount(once.exit_stage, minlength=2)).tolist()
    assert 800 <= seen.seconds[1, 1] < 900 and seen.drift().tests["inputs"][0] == seen.inputs
    assert all(table["exit_rate"].sum() == pytest.approx(1) for table in tables)


def test_an_audit_runs_the_reference_on_inputs_of_every_stage() -> None:
    """With all audited: the disagreements and, once they are labelled, the loss are those of the
    stores."""
    cascade = running()
    labels = TEST.labels[:600]
    cascade.running.audit = 1.0
    decisions = [cascade(piece) for piece in pieces_of(IMAGES, 100)]
    said = np.concatenate([d.predictions for d in decisions])
    stages = np.concatenate([d.exit_stage for d in decisions])
    answers = TEST.logits("lenet@28")[:600].argmax(axis=1)
    queue = cascade.running.to_label()
    differ = np.flatnonzero(said != answers)
    assert queue.index.tolist() == differ.tolist() and len(differ) and (stages[differ] == 0).all()
    assert queue.to_numpy().tolist() == np.stack([said, answers], 1)[differ].tolist()
    before = cascade.running.loss()
    assert before["audited"] == 600 and before["to_label"] == before["disagreed"] == len(differ)
    cascade.running.label({number: labels[number] for number in differ[::-1]})
    after = cascade.running.loss(0.0)
    loss = np.mean((answers == labels) * 1.0 - (said == labels))
    assert before["low"] < after["low"] < loss < after["high"] < before["high"]
    assert after["to_label"] == 0 and not cascade.running.to_label().size and not after["alarm"]
    assert cascade.running.audit_seconds > 0
    with pytest.raises(ValueError, match="unknown input to label"):
        cascade.running.label({int(differ[0]): 1})


def test_labels_that_are_none_stay_wanted_and_wrong_ones_are_refused() -> None:
    running = Running(Point(("a", "b"), (0.5,), method=Method()))
    running.doubts.update({3: (1, 2), 5: (0, 2)})
    for nothing in (None, np.nan):
        running.label({3: nothing})
    for wrong in ("Sneaker", -1):
        with pytest.raises(ValueError, match="of input 5 is not a class"):
            running.label({5: wrong})
    assert running.to_label().index.tolist() == [3, 5]
    assert running.verdicts == {"lost": 0, "tied": 0, "gained": 0}
    running.label({3: 2, 5: np.int64(0)})
    assert running.to_label().empty
    assert running.verdicts == {"lost": 1, "tied": 0, "gained": 1}


def test_an_audit_draws_its_share_whatever_stage_inputs_leave_at() -> None:
    cascade = running()
    cascade.running.audit = 0.2
    stages = cascade(IMAGES).exit_stage
    drawn = np.flatnonzero(np.random.default_rng(0).random(600) < 0.2)
    assert cascade.running.audited == len(drawn) and set(stages[drawn]) == {0, 1}
    before = cascade.running.to_label()
    assert set(before.index) <= set(drawn)
    cascade(IMAGES[:0])
    cascade.run(pieces_of(IMAGES[:50], 10))
    assert cascade.running.to_label().index.max() < 650 and cascade.running.inputs == 650
    cascade.running.audit = 1.5
    with pytest.raises(ValueError, match="audit must be a share"):
        cascade(IMAGES[:5])


def test_an_audit_by_another_model_than_the_last() -> None:
    cascade = running()
    cascade.running.audit = 1.0
    cascade.running.reference = "linear@28"
    said = cascade(IMAGES[:100]).predictions
    answers = TEST.logits("linear@28")[:100].argmax(axis=1)
    assert cascade.running.to_label().index.tolist() == np.flatnonzero(said != answers).tolist()


def test_a_last_model_without_confidences_says_nothing_of_drift() -> None:
    rng = np.random.default_rng(0)
    table = ScoreTable(np.ones((2, 2000), bool), rng.random((2, 2000)), [1, 5], ["a", "b"])
    point = Point(("a", "b"), (0.5,), (0.5, 0.5), 1.0, 1.0, 1.0, cost_kind="cost")
    policy = Policy.from_point(point, store=table)
    policy.run(
        [lambda x: ([0] * len(x), rng.random(len(x))), lambda x: ([0] * len(x), None)], range(1000)
    )
    report = policy.running.drift()
    assert report.tests["inputs"].tolist() == [1000, 0] and not report.alarm


def test_a_policy_is_audited_by_its_calls() -> None:
    """Two calls, the first confident of all and wrong for every seventh input; the second fails for
    some of those drawn."""
    point = Point(("a", "b"), (0.5,), (1.0, 0.0), 1.0, 1.0, 1.0)
    policy = Policy.from_point(point)
    policy.running.audit = 1.0
    truth = [n % 3 for n in range(70)]

    def first(inputs: Any) -> tuple:
        return [truth[n] + (n % 7 == 0) for n in inputs], [0.9] * len(inputs)

    async def second(inputs: Any) -> tuple:
        if 35 in inputs:
            raise RuntimeError("busy")
        return [truth[n] for n in inputs], None

    with pytest.warns(RuntimeWarning, match="busy"):
        decisions = policy.run([first, second], range(70), batch_size=10, on_error="next")
    assert (decisions.exit_stage == 0).all() and policy.running.audited == 60
    assert policy.running.to_label().index.tolist() == [0, 7, 14, 21, 28, 42, 49, 56, 63]
    policy.running.label({n: truth[n] for n in policy.running.to_label().index})
    assert policy.running.verdicts == {"lost": 9, "tied": 0, "gained": 0}
    assert policy.running.loss(0.0)["alarm"]


def test_a_certified_loss_that_is_left_alarms() -> None:
    """Outcomes of which 6% are lost: 1% is left, 10% is not; without labels nothing is known."""
    seen = Running(Point(("a", "b"), (0.5,)), audit=1.0)
    rng = np.random.default_rng(0)
    for _ in range(40):
        said = np.where(rng.random(100) < 0.06, 1, 0)
        nothing = np.full((100, 2), np.nan), np.zeros(2, np.int64), said[:, None]
        seen.add(
            Decisions(said, np.zeros(100, np.int64), np.full(100, np.nan), *nothing),
            audit=(np.arange(100), 0 * said, 1),
        )
    assert not seen.loss(0.01)["alarm"]
    seen.label(dict.fromkeys(seen.to_label().index, 0))
    assert (
        seen.loss(0.01)["alarm"]
        and not seen.loss(0.1)["alarm"]
        and seen.loss(0.1)["low"] < 0.06 < seen.loss()["high"]
    )


def test_drift_needs_something_to_expect() -> None:
    cascade = Cascade.from_point(POINT)
    with pytest.raises(ValueError, match="nothing is expected"):
        cascade.running.drift()


def test_texts_of_the_bundled_zoo() -> None:
    val, test = (LogitStore(f"data/reviews/{split}") for split in ("val", "test"))
    point = pick(
        search(val.select(["bag_of_words", "electra_h32_l1", "electra_h64_l1"]), 2), "match_best"
    )
    cascade = Cascade.from_point(point, store=val)
    assert cascade.differences == ()
    sentences = datasets.reviews("test").batch(0, 200)
    counts = same_decisions(
        test.take(slice(0, 200)), point, cascade.run(pieces_of(list(sentences), 64))
    )
    assert counts["other"] == 0 and counts["near"] <= 1


def test_streams_are_watched_one_by_one() -> None:
    cascade = running()
    table = drift_table(
        cascade, {"same": pieces_of(IMAGES, 100), "other": pieces_of(255 - IMAGES, 100)}
    )
    assert table["alarm"].tolist() == ["–", "ALARM"]
    assert table.loc["other", "exit_rate"] == cascade.running.exit_rates[0]
    assert (table["exit_rate_expected"] == cascade.point.expected.exit_rates[0].value).all()


def test_a_fresh_process_decides_alike(tmp_path: Path) -> None:
    cascade = Cascade.from_point(POINT, store=VAL)
    cascade.save(tmp_path / "cascade.json")
    there = decide_elsewhere(tmp_path / "cascade.json", IMAGES[:100])
    here = cascade(IMAGES[:100])
    assert there.predictions.tolist() == here.predictions.tolist()
    assert there.exit_stage.tolist() == here.exit_stage.tolist()
