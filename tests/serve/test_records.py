"""Records of decisions and audits: JSON lines, replayed logs, and other engines."""

import asyncio
import json
import math
import random
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from deciding import answering
from faulty_server import POINT
from virtual_time import run
from watched_policy import WATCHED, record_of

from cascadelib import Policy
from cascadelib.serve import Monitor, Record, Service, read_log

PAIR = Policy(POINT)


def test_a_record_has_all_of_a_decision_and_is_a_line_of_json():
    async def small(rows):
        return ["heron", TimeoutError()], [0.9, 0.9], 2.0

    async def main():
        calls = [small, answering(-math.inf, name="egret", cost=3.0)]
        service = Service(PAIR, calls, on_error="next")
        service.monitor.on_decision = records.append
        await service.decide_many([1, 2], ["one", "two"])

    records = []
    run(main())
    first, second = records
    assert (first.id, first.prediction, first.model, first.stage) == ("one", "heron", "small", 0)
    assert (first.confidences, first.failures, first.costs) == ([0.9], ["none"], [1.0])
    assert second.failures == ["timeout", "none"] and second.status == "timeout"
    assert second.predictions == [None, "egret"] and second.model == "large"
    assert second.latency >= sum(second.seconds) >= 0 and len(first.policy) == 12
    again = next(iter(read_log([second.to_json() + "\n"])))
    assert again.confidences[0] is None and again.confidences[1] < -1e308
    assert replace(again, confidences=second.confidences) == second
    assert json.loads(first.to_json())["status"] == "none"


def logged(count, seed=0, audit=0.3):
    """The log of a service with faults: records in the order of decisions, and audits."""
    rng = random.Random(seed)

    def model(low, high):
        async def call(inputs):
            await asyncio.sleep(rng.uniform(low, high))
            if rng.random() < 0.1:
                raise OSError("reset")
            return ["yes"] * len(inputs), [(each * 37 % 100) / 100 for each in inputs], 1.0

        return call

    log = []

    async def main():
        monitor = Monitor(WATCHED)
        monitor.on_decision = monitor.on_audit = log.append
        options = {"batch_size": 1, "concurrency": 64, "on_error": "next", "audit": audit}
        service = Service(WATCHED, [model(0.1, 0.2), model(1, 2)], monitor=monitor, **options)

        async def later(number):
            await asyncio.sleep(number / 50)
            await service.decide(number, f"{number % (count - 20)}")

        await asyncio.gather(*map(later, range(count)))
        await service.end()
        return monitor

    return run(main()), log


def figures(monitor):
    """Everything that a monitor reports, but the seconds that depend on the machine."""
    drop = ["model_seconds"]
    return {
        "loss": monitor.loss(0.02).to_dict(),
        "drift": monitor.drift().tests.to_dict(),
        "table": monitor.table.drop(columns=drop).to_dict(),
        "failing": monitor.failing().to_dict(),
        "cost": monitor.cost().to_dict(),
        "to_label": monitor.to_label().to_dict(),
        "sums": [monitor.audit_cost, monitor.arrivals, monitor.audit_failures],
    }


def test_a_killed_process_that_replays_its_log_equals_one_that_was_not_killed(tmp_path):
    """The state is older than the log. Its lines are observed again, all of them, twice, and in
    several orders."""
    never_killed, log = logged(600)
    expected = figures(never_killed)
    assert never_killed.audit_failures > 5 and expected["sums"][1] == 600
    assert {each.repeat for each in log if isinstance(each, Record)} == {0, 1}
    lines = [each.to_json() + "\n" for each in log]
    for saved_at in (0, 250, 500):
        before = Monitor(WATCHED)
        before.observe(read_log(lines[:saved_at]))
        before.save(tmp_path / "state.json")
        killed = Monitor.load(tmp_path / "state.json")
        for _ in range(2):
            killed.observe(read_log([*lines, '{"id": "cut off']))
        found = figures(killed)
        if saved_at:  # confidences of later inputs precede those of inputs under way at the kill
            found["drift"] = expected["drift"] = None
        assert repr(found) == repr(expected)


def test_another_engine_that_observes_the_same_records_monitors_alike():
    service, log = logged(400, seed=1)
    other = Monitor(WATCHED)
    other.observe(log)
    assert repr(figures(other)) == repr(figures(service))


def test_confidences_enter_the_drift_signal_in_the_order_of_arrival():
    """Inputs of low confidence are decided last, which is not drift."""
    rng = np.random.default_rng(3)
    monitor = Monitor(WATCHED)
    values = rng.random(1000).tolist()
    first, _ = monitor.enter(1000)
    records = [
        record_of(number, [value] if value >= 0.5 else [value, None], number=first + number)
        for number, value in enumerate(values)
    ]
    for record in sorted(records, key=lambda record: record.stage):
        monitor.decide(record)
    in_order = Monitor(WATCHED)
    in_order.observe(records)
    pd.testing.assert_frame_equal(monitor.drift().tests, in_order.drift().tests)
    assert not monitor.drift().alarm


def test_a_last_model_without_confidences_does_not_drift_in_a_log():
    """Infinite confidences are the largest float in a log."""
    monitors = [Monitor(WATCHED), Monitor(WATCHED)]
    records = [record_of(number, [0.1, -math.inf]) for number in range(500)]
    monitors[0].observe(records)
    monitors[1].observe(read_log(record.to_json() + "\n" for record in records))
    for monitor in monitors:
        assert monitor.drift().tests["inputs"].tolist() == [500, 0]


def test_a_torn_line_within_a_log_is_named():
    torn = '{"id": "a", "pr' + Record("b").to_json() + "\n"
    with pytest.raises(ValueError, match="line 2 of the log is not a record .*Remove the line"):
        list(read_log([Record("a").to_json() + "\n", torn]))
