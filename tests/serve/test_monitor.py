"""A monitor: counts, expected next to measured figures, drift without labels, failures, restarts
and replayed logs."""

import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bundled_cascade import IMAGES, POINT, SMALL, TEST, VAL
from deciding import decide
from watched_policy import WATCHED, count_inputs, record_of

from cascadelib import (
    Cascade,
    LogitStore,
    Point,
    Policy,
    ScoreTable,
    evaluate,
    pick,
    search,
)
from cascadelib.policy import pieces_of
from cascadelib.policy.cascade_file import point_for_file
from cascadelib.policy.confidence_summary import summary
from cascadelib.serve import AuditRecord, DriftSignal, Monitor
from cascadelib.serve.counts import AuditedInput
from cascadelib.serve.monitor import BETS, evidence_of
from tools.monitored import drift_table

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
SPEC = importlib.util.spec_from_file_location("benchmarks_serve", BENCHMARKS / "serve.py")
benchmarks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(benchmarks)


def monitored(metric="max_softmax"):
    point = pick(search(VAL, 2, metric, models=SMALL), accuracy=0.91, caution=0)
    cascade = Cascade.from_point(point, store=VAL, held_out=TEST)
    return cascade, Monitor(cascade)


def test_counts_and_rates():
    cascade, seen = monitored()
    first = decide(cascade.policy, cascade, IMAGES[:400], monitor=seen)
    second = decide(cascade.policy, cascade, IMAGES[400:], monitor=seen)
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
    assert (table["model_seconds"] > 0).all()
    seen = Monitor(cascade)
    assert seen.inputs == 0
    assert np.isnan(seen.exit_rates).all() and seen.table["exit_rate"].isna().all()


@pytest.mark.parametrize("metric", ["max_softmax", "entropy"])
def test_drift_is_detected_without_labels(metric):
    cascade, monitor = monitored(metric)
    monitor.observe(cascade.run(pieces_of(IMAGES, 100)))
    assert not monitor.drift().alarm
    monitor = Monitor(cascade)
    monitor.observe(cascade.run(pieces_of(255 - IMAGES, 100)))
    report = monitor.drift()
    assert report.alarm and monitor.drift().tests.equals(report.tests)


def test_drift_equals_that_of_the_signal_and_skips_inputs_that_failed():
    """The capital does not depend on the number of looks or on batches."""
    rest = TEST.take(slice(600, None))
    cascade = Cascade.from_point(POINT, store=VAL, held_out=rest)
    monitor = Monitor(cascade)
    for piece in pieces_of(IMAGES, 100):
        monitor.observe(cascade(piece))
        monitor.drift()
    signal = DriftSignal(evaluate(rest, POINT).stage_confidences)
    alone = signal.check(evaluate(TEST.take(slice(0, 600)), cascade).stage_confidences).tests
    pd.testing.assert_frame_equal(monitor.drift().tests, alone, rtol=0.01)
    with pytest.warns(RuntimeWarning, match="nan or infinite"):
        monitor.observe(cascade(IMAGES[:5] * np.nan))
    pd.testing.assert_frame_equal(monitor.drift().tests, alone, rtol=0.01)


def test_decisions_of_a_run_are_counted_as_those_of_a_service():
    cascade, monitor = monitored()
    decide(cascade.policy, cascade, IMAGES[:200], monitor=monitor, concurrency=1)
    other = Monitor(cascade)
    other.observe(cascade.run([IMAGES[:200]]))
    same = ["inputs", "broken", "exit_rate", "exit_rate_low", "spent"]
    pd.testing.assert_frame_equal(other.table[same], monitor.table[same])
    pd.testing.assert_frame_equal(other.drift().tests, monitor.drift().tests, rtol=0.01)


def test_a_drift_report_states_whether_its_reference_was_held_out():
    nameless = LogitStore.from_arrays(
        TEST.labels,
        {name: TEST.logits(name) for name in SMALL},
        macs=TEST.models["macs"][SMALL].to_dict(),
    )
    stores = {"held out": (VAL, TEST), "chosen on": (VAL, None), "not known": (VAL, nameless)}
    for words, (store, held_out) in stores.items():
        watched = Monitor(point_for_file(POINT, store, held_out))
        assert watched.drift().reference.startswith(words)
    signal = DriftSignal(evaluate(VAL, POINT).stage_confidences)
    assert signal.check([[], []]).reference.startswith("not known")


def test_totals_of_eight_threads_add_up():
    """Each thread counts the same decisions; threads take turns as often as they can."""
    cascade, monitor = monitored()
    interval = sys.getswitchinterval()
    once = cascade(IMAGES[:50])
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            tables = [
                table
                for _, table in pool.map(
                    lambda _: (monitor.observe(once), monitor.table), range(64)
                )
            ]
    finally:
        sys.setswitchinterval(interval)
    assert monitor.inputs == 64 * 50
    assert monitor.exits.tolist() == (64 * np.bincount(once.exit_stage, minlength=2)).tolist()
    assert monitor.drift().tests["inputs"][0] == monitor.inputs
    assert all(table["exit_rate"].sum() == pytest.approx(1) for table in tables)


def test_a_last_model_without_confidences_raises_no_alarm():
    rng = np.random.default_rng(0)
    table = ScoreTable(np.ones((2, 2000), bool), rng.random((2, 2000)), [1, 5], ["a", "b"])
    point = Point(("a", "b"), (0.5,), (0.5, 0.5), 1.0, 1.0, 1.0, cost_kind="cost")
    policy = Policy.from_point(point, store=table)
    monitor = Monitor(policy)
    calls = [
        lambda x: ([0] * len(x), rng.random(len(x))),
        lambda x: ([0] * len(x), None),
    ]
    monitor.observe(policy.run(calls, range(1000)))
    report = monitor.drift()
    assert report.tests["inputs"].tolist() == [1000, 0] and not report.alarm


def test_streams_are_monitored_separately():
    cascade, _ = monitored()
    table = drift_table(
        cascade, {"same": pieces_of(IMAGES, 100), "other": pieces_of(255 - IMAGES, 100)}
    )
    assert table["alarm"].tolist() == ["–", "ALARM"]
    rates = cascade(255 - IMAGES).exit_stage == 0
    assert table.loc["other", "exit_rate"] == pytest.approx(rates.mean(), abs=0.01)
    assert (table["exit_rate_expected"] == cascade.point.expected.exit_rates[0].value).all()


def test_restarts_change_no_figure(tmp_path):
    path = tmp_path / "monitor.json"
    never = Monitor(WATCHED)
    restarted = Monitor(WATCHED)
    for start in range(0, 2000, 200):
        count_inputs(never, start, 200)
        never.drift()
        count_inputs(restarted, start, 200)
        restarted.save(path)
        restarted = Monitor.load(path)
    for one in (restarted, Monitor.load(path)):
        pd.testing.assert_frame_equal(one.drift().tests, never.drift().tests)
        pd.testing.assert_frame_equal(one.to_label(), never.to_label())
        assert one.loss().to_dict() == never.loss().to_dict()
        assert one.cost().equals(never.cost())
        assert one.failed.tolist() == never.failed.tolist() and one.inputs == 2000
        same = ["inputs", "broken", "exit_rate", "exit_rate_low", "spent"]
        pd.testing.assert_frame_equal(one.table[same], never.table[same])
    assert len(never.to_label()) > 100


def test_workers_are_counted_together():
    workers = [Monitor(WATCHED) for _ in range(3)]
    for number, worker in enumerate(workers):
        names = [f"{number}-{row}" for row in range(400)]
        count_inputs(worker, 400 * number, 400, names, shift=0.3 * (number == 1))
    drifted = workers[1].drift().tests
    audited = sum(worker.audited for worker in workers)
    whole = Monitor(WATCHED)
    for worker in workers:
        assert whole.merge(worker) is whole
    assert whole.inputs == 1200 and whole.exits.sum() == 1200 and whole.audited == audited
    assert whole.loss()["audited"] == audited
    tests = whole.drift().tests
    assert tests["inputs"][0] == 1200 and tests["alarm"][0]
    assert tests["p"][0] == pytest.approx(3 * drifted["p"][0])  # at α / 3
    assert tests["since"].tolist() == drifted["since"].tolist()
    assert set(whole.to_label().index) == {
        name for worker in workers for name in worker.to_label().index
    }


def test_states_with_equal_ids_are_not_merged():
    one = Monitor(WATCHED)
    other = Monitor(WATCHED)
    count_inputs(one, 0, 100)
    count_inputs(other, 0, 100)
    with pytest.raises(ValueError, match="ids are pending in several.*ids="):
        one.merge(other)
    assert one.inputs == 100


def test_damaged_files_and_predictions_that_are_not_json_are_refused(tmp_path):
    path = tmp_path / "monitor.json"
    monitor = Monitor(WATCHED)
    count_inputs(monitor, 0, 100)
    monitor.save(path)
    text = path.read_text()
    for damaged in (text[:-9], text.replace("monitor 3", "running 2"), "{}", "[]", "no JSON"):
        path.write_text(damaged)
        with pytest.raises(ValueError, match=r"monitor\.json: not a state that Monitor.save wrote"):
            Monitor.load(path)
    path.write_text(text)
    monitor.local.pending["x"] = AuditedInput(object(), 0, 0)
    with pytest.raises(ValueError, match="a pending prediction cannot be saved"):
        monitor.save(path)
    assert Monitor.load(path).inputs == 100 and len(list(tmp_path.iterdir())) == 1


def alarms_of_workers(streams, workers, restarts, alpha):
    """Return the number of services that alarm, on inputs drawn as the reference. The services are
    read after each 20 inputs."""
    alarms = 0
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        reference = [summary(rng.random(300))]
        fresh = DriftSignal(reference)
        states = [json.dumps(fresh.state())] * workers
        is_alarm = False
        for _ in range(restarts):
            workers_now = []
            for number, state in enumerate(states):
                worker = DriftSignal(reference)
                worker.restore(json.loads(state))
                worker.add(0, rng.random(20))
                states[number] = json.dumps(worker.state())
                workers_now.append(worker)
            is_alarm |= workers_now[0].report(alpha, workers_now[1:]).alarm
        alarms += is_alarm
    return alarms


def test_false_alarms_are_as_rare_as_stated_over_all_workers_and_restarts():
    """10 workers with 50 restarts each, at 20%."""
    assert alarms_of_workers(10, workers=10, restarts=50, alpha=0.2) <= 5


def test_the_benchmark_computes_the_capitals_of_the_signal():
    """``benchmarks/run.py alarms`` relative to signals that are restarted after each piece."""
    rng = np.random.default_rng(0)
    capitals = []
    bins = []
    for shift in (0.0, 0.0, 0.1, 0.3):
        reference = summary(rng.random(300))
        live = rng.random(400) * (1 - shift)
        bins.append(np.searchsorted(reference.values, live))
        state = DriftSignal([reference]).state()
        for start in range(0, 400, 20):
            signal = DriftSignal([reference])
            signal.restore(json.loads(json.dumps(state)))
            signal.add(0, live[start : start + 20])
            state = signal.state()
        capitals.append(np.exp(signal.stages[0].largest_log))
    np.testing.assert_allclose(benchmarks.largest_capitals(reference, np.array(bins)), capitals)
    assert capitals[3] > 100 > capitals[0]


def test_repeated_inputs_raise_no_alarm_if_their_ids_repeat():
    """Every input arrives four times. Without ids, the repeats look like drift."""
    alarms = {True: 0, False: 0}
    for seed in range(10):
        scores = np.random.default_rng(1000 + seed).random(1500)
        rows = np.repeat(np.arange(1500), 4)
        for is_known in alarms:
            monitor = Monitor(WATCHED)
            for row, number in zip(rows.tolist(), range(6000)):
                exits = bool(scores[row] >= 0.5)
                values = [float(scores[row])] if exits else [float(scores[row]), None]
                record = record_of(row if is_known else number, values)
                monitor.decide(record)
            report = monitor.drift(0.05)
            alarms[is_known] += report.alarm
            if is_known:
                assert report.tests["inputs"][0] == 1500 and monitor.inputs == 6000
    assert alarms[True] <= 2 and alarms[False] >= 5


def outage(failures, good):
    """Return a monitor after a number of successful calls, then failures."""
    monitor = Monitor(WATCHED)
    monitor.local.sums["failed"][0][0] = good
    monitor.local.latest_failures[0].extend([0] * min(good, 1024) + failures)
    return monitor


@pytest.mark.parametrize("good", [0, 10_000, 120_960_000])
def test_an_outage_alarms_within_a_hundred_calls_at_any_age_and_ends(good):
    for most in (0.01, 0.05, 0.2):
        monitor = outage([2] * 40, good)
        assert monitor.failing(most)["alarm"].tolist() == [True, False]
        assert not outage([2], good).failing(most)["alarm"].any()
        monitor.local.latest_failures[0].extend([0] * 1000)
        assert not monitor.failing(most)["alarm"].any()


def test_the_evidence_of_failures_is_a_shiryaev_roberts_statistic():
    """By its recursion. Its mean grows by at most 1 per input at the acceptable rate, and models
    and workers share it."""
    rng = np.random.default_rng(0)
    failures = (rng.random(300) < 0.1).tolist()
    statistics = np.zeros(3)
    bets = BETS[:, 0]
    for failed in failures:
        statistics = (statistics + 1) * (1 + bets * (1 / 0.1 - 1) if failed else 1 - bets)
    assert evidence_of(failures, 0.1) == pytest.approx(statistics.mean())
    assert 0.1 * (1 + bets * 9) + 0.9 * (1 - bets) == pytest.approx(np.ones(3))
    monitor = outage([int(failed) for failed in failures], 0)
    other = outage([1, 1], 0)
    other.local.identity = "other"
    monitor.others = {"other": other.local}
    total = (evidence_of(failures, 0.1) + evidence_of([1, 1], 0.1)) / 2
    assert monitor.failing(0.1)["evidence"].iloc[0] == pytest.approx(total)


def test_false_alarms_of_failures_are_as_rare_as_stated():
    """At the acceptable rate of 5%, alarms set at 200 inputs come after 200 inputs or more in the
    mean, over 200 streams that end at the alarm."""
    rng = np.random.default_rng(1)
    lengths = []
    for _ in range(200):
        statistics = np.zeros(3)
        length = 0
        while statistics.mean() < 200:
            grows = rng.random() < 0.05
            bets = BETS[:, 0]
            statistics = (statistics + 1) * (1 + bets * 19 if grows else 1 - bets)
            length += 1
        lengths.append(length)
    assert np.mean(lengths) + 2 * np.std(lengths) / np.sqrt(200) >= 200


def test_one_label_among_many_disagreements_rebuilds_nothing():
    monitor = Monitor(WATCHED)
    for number in range(5000):
        record = record_of(number, [0.9], audited=True)
        monitor.observe([record, AuditRecord(number, "no")])
    assert monitor.loss(0.01)["to_label"] == len(monitor.to_label(most=None)) == 5000
    assert len(monitor.to_label()) == len(monitor.loss(0.01)["label_first"]) == 1000
    before = monitor.local.open_ids
    monitor.label({5: "no"})
    assert monitor.local.open_ids is before and len(before) == 5000
    assert monitor.loss()["to_label"] == 4999 and 5 not in monitor.to_label(most=None).index
