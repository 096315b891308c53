"""A service decides as the evaluator does, whatever its batches, calls under way and callers;
no failure concerns any other input."""

import asyncio
import math
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from deciding import decide
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import CALLS, POINT, STAGES, TABLE, call_of, cascades, fails

from cascadelib import Policy, evaluate
from cascadelib.serve import Monitor, Service


def awaited(call):
    async def later(rows):
        await asyncio.sleep(0)
        return call(rows)

    return later


@settings(deadline=None, max_examples=40)
@given(cascades(), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_decides_as_the_evaluator(cascade, batch_size, concurrency, named):
    table, point = cascade
    policy = Policy.from_point(point)
    expected = evaluate(table, point)
    seen = []
    calls = [call_of(table, model, seen) for model in range(len(table.names))]
    calls = [awaited(call) if model % 2 else call for model, call in enumerate(calls)]
    calls = dict(reversed([*zip(policy.models, calls)])) if named else calls
    monitor = Monitor(policy)
    options = {"batch_size": batch_size, "concurrency": concurrency, "monitor": monitor}
    decisions = decide(policy, calls, range(len(table)), **options)
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    rows = range(len(table))
    assert decisions.predictions.tolist() == list(zip(expected.exit_stage.tolist(), rows))
    for model in range(len(table.names)):
        reached = [row for row, stage in enumerate(expected.exit_stage) if stage >= model]
        assert sorted(row for m, batch in seen if m == model for row in batch) == reached
    assert max(len(batch) for _, batch in seen) <= batch_size
    assert monitor.inputs == len(table)
    assert monitor.exit_rates.tolist() == list(expected.exit_rates)


@settings(deadline=None, max_examples=40)
@given(cascades(), st.sets(st.integers(0, 3)))
def test_a_model_that_fails_is_as_one_at_which_nobody_exits(cascade, failing):
    table, point = cascade
    thresholds = [math.inf if i in failing else t for i, t in enumerate(point.thresholds)]
    calls = [fails if i in failing else call_of(table, i) for i in range(len(table.names))]
    options = {"batch_size": 3, "on_error": "next"}
    decisions = decide(Policy.from_point(point), calls, range(len(table)), **options)
    expected = evaluate(table, replace(point, thresholds=tuple(thresholds))).exit_stage
    np.testing.assert_array_equal(decisions.exit_stage, expected)


def test_a_service_and_a_run_decide_alike():
    """Failures included: every seventh input fails at the first model, every eleventh at the
    second."""

    def failing(model, every):
        def call(rows):
            predictions, confidences = CALLS[model](rows)
            failed = [
                OSError() if row % every == 0 else said for row, said in zip(rows, predictions)
            ]
            return failed, confidences

        return call

    calls = [failing(0, 7), failing(1, 11), CALLS[2]]
    policy = Policy(POINT)
    with pytest.warns(RuntimeWarning, match="failed for"):
        run = policy.run(calls, range(300), batch_size=16, on_error="next")
    service = decide(policy, calls, range(300), batch_size=5, on_error="next")
    for name in ("exit_stage", "failures", "confidences", "answered", "predictions"):
        np.testing.assert_array_equal(getattr(run, name), getattr(service, name))


def test_calls_of_a_model_run_simultaneously_but_no_more_than_asked():
    lock = threading.Lock()
    now = [0]
    most = [0]

    def slow(rows):
        with lock:
            now[0] += 1
            most[0] = max(now[0], *most)
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return CALLS[0](rows)

    for concurrency in (1, 3):
        most[0] = 0
        options = {"batch_size": 5, "concurrency": concurrency}
        decide(Policy(POINT), [slow, *CALLS[1:]], range(60), **options)
        assert most[0] == concurrency


def test_an_exception_stops_and_brings_what_was_decided():
    def at_seven(rows):
        if 7 in rows:
            raise LookupError("seven")
        return CALLS[0](rows)

    async def main():
        options = {"batch_size": 5, "concurrency": 1}
        service = Service(Policy(POINT), [at_seven, *CALLS[1:]], **options)
        with pytest.raises(LookupError, match="seven") as caught:
            await service.decide_many(range(300))
        await service.end()
        return caught.value

    error = asyncio.run(main())
    assert error.__notes__ == ["in the call of model 'm0' for 5 inputs"]
    assert (error.decided.exit_stage[5:10] == -1).all()
    decided = error.decided.exit_stage >= 0
    np.testing.assert_array_equal(error.decided.exit_stage[decided], STAGES[decided])


def test_drift_of_a_service():
    policy = Policy.from_point(POINT, TABLE)
    seen = {}
    for name, first in (
        ("as before", CALLS[0]),
        ("other", lambda rows: (rows, [0.21] * len(rows))),
    ):
        seen[name] = Monitor(policy)
        decide(policy, [first, *CALLS[1:]], range(300), monitor=seen[name])
        assert seen[name].inputs == 300 and (seen[name].table["model_seconds"] > 0).all()
    assert not seen["as before"].drift().alarm and seen["other"].drift().alarm
