"""A service of functions: the same decisions as the evaluator, one outcome per input, deadlines,
overload, outages, retries, audits and records. Most tests run in virtual time."""

import asyncio
import json
import math
import operator
import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from deciding import answering, decide, decided, down, hang
from faulty_server import KINDS, LABELS, MODELS, POINT, answer, fault_of, reply_of
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import CALLS, STAGES, call_of, cascades, fails
from policies import POINT as THREE
from virtual_time import run

from cascadelib import Method, Policy, ScoreTable, evaluate
from cascadelib.policy import most_given
from cascadelib.policy.calls import Expectation, plain_columns
from cascadelib.serve import DeadlineExceeded, Monitor, Overloaded, Record, Service, models
from cascadelib.serve.models import Functions

PAIR = Policy(POINT)


def as_coroutine(call):
    async def later(rows):
        await asyncio.sleep(0)
        return call(rows)

    return later


@settings(deadline=None, max_examples=60)
@given(
    cascades(),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
    st.sets(st.integers(0, 3), max_size=2),
)
def test_decisions_equal_those_of_the_evaluator(cascade, batch_size, concurrency, named, failing):
    """At a model that fails, no input exits before the last stage."""
    table, point = cascade
    thresholds = [math.inf if i in failing else t for i, t in enumerate(point.thresholds)]
    expected = evaluate(table, replace(point, thresholds=tuple(thresholds))).exit_stage
    policy = Policy.from_point(point)
    seen = []
    calls = [
        as_coroutine(fails if model in failing else call_of(table, model, seen))
        for model in range(len(table.names))
    ]
    calls = dict(reversed([*zip(policy.models, calls)])) if named else calls
    monitor = Monitor(policy)
    options = {"batch_size": batch_size, "concurrency": concurrency, "on_error": "next"}
    decisions = run(decided(policy, calls, range(len(table)), monitor=monitor, **options))
    np.testing.assert_array_equal(decisions.exit_stage, expected)
    for model in set(range(len(table.names))) - failing:
        reached = np.flatnonzero(expected >= model).tolist()
        assert sorted(row for m, batch in seen if m == model for row in batch) == reached
    assert max((len(batch) for _, batch in seen), default=0) <= batch_size
    assert monitor.exits.tolist() == np.bincount(expected, minlength=len(calls)).tolist()


def test_a_service_and_a_run_decide_alike():
    """Failures included: every seventh input fails at the first model, every eleventh at the
    second. The calls are synchronous and run in threads."""

    def failing(model, every):
        def call(rows):
            predictions, confidences = CALLS[model](rows)
            failed = [
                OSError() if row % every == 0 else each for row, each in zip(rows, predictions)
            ]
            return failed, confidences

        return call

    calls = [failing(0, 7), failing(1, 11), CALLS[2]]
    with pytest.warns(RuntimeWarning, match="failed for"):
        expected = Policy(THREE).run(calls, range(300), batch_size=16, on_error="next")
    service = decide(Policy(THREE), calls, range(300), batch_size=5, on_error="next")
    for name in ("exit_stage", "failures", "confidences", "answered", "predictions", "confidence"):
        np.testing.assert_array_equal(getattr(expected, name), getattr(service, name))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_calls_run_simultaneously_up_to_the_concurrency(concurrency):
    under_way = []
    most = []

    async def slow(rows):
        under_way.append(rows)
        most.append(len(under_way))
        await asyncio.sleep(1)
        under_way.remove(rows)
        return CALLS[0](rows)

    calls = [slow, *map(as_coroutine, CALLS[1:])]
    run(decided(Policy(THREE), calls, range(60), batch_size=5, concurrency=concurrency))
    assert max(most) == concurrency and len(most) == 12


def test_inputs_of_many_callers_share_batches_and_each_caller_gets_its_answers():
    seen = []
    calls = [answering(0.9, 1.0, seen=seen), answering(0.9)]
    monitor = Monitor(POINT)
    records = []
    monitor.on_decision = records.append

    async def main():
        service = Service(PAIR, calls, batch_size=32, concurrency=2, monitor=monitor)

        async def caller(first):
            for row in range(first, first + 20, 2):
                decisions = await service.decide_many([row, row + 1], [f"{row}", f"{row + 1}"])
                assert decisions.ids.tolist() == [f"{row}", f"{row + 1}"]
                assert decisions.predictions.tolist() == [row, row + 1]

        await asyncio.gather(*[caller(20 * number) for number in range(64)])
        await service.end()
        assert service.undecided == 0 and not service.calls

    run(main())
    assert sorted(len(batch) for batch in seen)[len(seen) // 2] == 32 == max(map(len, seen))
    assert Counter(record.id for record in records) == Counter(f"{row}" for row in range(1280))
    assert monitor.inputs == monitor.spent[0] == 1280


def test_an_input_is_deferred_when_its_answer_arrives():
    """The batch of the input 0 is slow. The second model answers all others before."""
    ended = []

    async def first(rows):
        await asyncio.sleep(100 if 0 in rows else 1)
        return rows, [0.1] * len(rows)

    run(decided(PAIR, [first, answering(0.9, seen=ended)], range(60), batch_size=3))
    assert ended[-1] == [0, 1, 2] and sum(map(len, ended)) == 60


def test_an_error_stops_its_callers_and_carries_the_decisions_so_far():
    async def at_seven(rows):
        if 7 in rows:
            await asyncio.sleep(1)
            raise LookupError("seven")
        return CALLS[0](rows)

    async def main():
        calls = [at_seven, *map(as_coroutine, CALLS[1:])]
        service = Service(Policy(THREE), calls, batch_size=5)
        other = asyncio.create_task(service.decide_many(range(300, 300)))
        with pytest.raises(LookupError, match="seven") as caught:
            await service.decide_many(range(300))
        await service.end()
        assert len(await other) == 0
        return caught.value

    error = run(main())
    assert error.__notes__ == ["in the call of model 'm0' for 5 inputs"]
    assert np.flatnonzero(error.decided.status == "error").tolist() == [5, 6, 7, 8, 9]
    ended = error.decided.status == "none"
    np.testing.assert_array_equal(error.decided.exit_stage[ended], STAGES[ended])


def test_a_failed_batch_is_not_called_again_input_by_input():
    """The statuses of a timeout, an exception instead of an answer, and a nan confidence."""
    seen = []

    async def small(rows):
        seen.append(rows)
        if 99 in rows:
            await hang(rows)
        answers = [OSError("reset") if row == 7 else row for row in rows]
        return answers, [math.nan if row == 35 else 0.9 for row in rows], 1.0

    monitor = Monitor(POINT)
    options = {"on_error": "next", "timeout": (2, None), "batch_size": 20, "monitor": monitor}
    decisions = run(decided(PAIR, [small, answering(1)], range(200), **options))
    late = dict.fromkeys(range(80, 100), "timeout")
    failed = {7: "error", 35: "malformed"} | late
    assert {n: s for n, s in enumerate(decisions.status) if s != "none"} == failed
    assert sorted(row for batch in seen for row in batch) == list(range(200))
    assert monitor.failed[0].tolist() == [178, 20, 1, 1, 0]
    assert set(decisions.model[list(failed)]) == {"large"}
    assert monitor.cost()["unknown_calls"] == 20 and monitor.cost()["priced"] == 200


def test_faults_of_every_kind_affect_their_input_only():
    """Models that are slow, fail, hang, hang up and return nonsense, one input per call."""
    numbers = range(300)
    every = 40

    def call_of_faulty(model):
        async def call(inputs):
            body = await answer(model, inputs, every, timeout=10.0)
            if body is None:
                raise ConnectionError("the server hung up")
            answers = json.loads(body)
            return [each[0] for each in answers], [each[1] for each in answers]

        return call

    options = {"labels": LABELS, "confidence_range": (0, 1), "on_error": "next", "timeout": 10.0}
    calls = [call_of_faulty(model) for model in POINT.models]
    decisions = run(decided(PAIR, calls, numbers, batch_size=1, **options))
    kinds = dict(zip(KINDS, (0, 2, 1, 2, 2, 3, 4)))
    faults = [[fault_of(model, n, every) for model in POINT.models] for n in numbers]
    assert {fault for pair in faults for fault in pair} >= {*KINDS}
    for n, (small, large) in zip(numbers, faults):
        failure = kinds.get(small, 0)
        is_deferred = failure > 0 or reply_of("small", n)[1] < 0.5
        assert decisions.exit_stage[n] == is_deferred
        last = kinds.get(large, 0) if is_deferred and large != "nan" else 0
        assert decisions.failures[n].tolist() == [failure, last]
        answered = [i for i in range(is_deferred + 1) if not decisions.failures[n, i]]
        expected = reply_of(POINT.models[answered[-1]], n)[0] if answered else None
        assert decisions.predictions[n] == expected


@pytest.mark.parametrize(("on_error", "outcome"), [("stop", "raises"), ("next", "small")])
def test_at_its_deadline_an_input_keeps_its_answer_or_raises(on_error, outcome):
    async def main():
        calls = [answering(0.1, 1.0, "small"), hang]
        service = Service(PAIR, calls, deadline=3.0, on_error=on_error)
        started = asyncio.get_running_loop().time()
        try:
            found = (await service.decide("x")).prediction
        except DeadlineExceeded as error:
            found = "raises" if "'large' within 3 s" in str(error) else str(error)
        assert asyncio.get_running_loop().time() - started == pytest.approx(3.0)
        return found, service.monitor

    found, monitor = run(main())
    assert found == outcome
    assert monitor.failed[1].tolist() == [0, 1, 0, 0, 0] and monitor.inputs == 1
    assert monitor.cost()["unknown_calls"] == 1


def test_an_input_ends_by_its_deadline_though_its_timers_run_early():
    """A loop runs timers up to its clock's resolution of a nanosecond early: here, that of the
    deadline and that of the call, which raises TimeoutError."""

    async def main():
        asyncio.get_running_loop().call_at(3.0 - 5e-10, list)
        with pytest.raises(DeadlineExceeded):
            await Service(PAIR, [hang, hang], deadline=3.0).decide(1)

    run(main())


def test_the_deadline_includes_the_wait_for_a_free_call():
    """Ten inputs, one call of two seconds at a time, seven seconds for each input."""

    async def main():
        options = {"deadline": 7.0, "batch_size": 1, "concurrency": 1, "on_error": "next"}
        service = Service(PAIR, [answering(0.9, 2.0), down], **options)
        runs = [service.decide(number) for number in range(10)]
        outcomes = await asyncio.gather(*runs, return_exceptions=True)
        assert asyncio.get_running_loop().time() == pytest.approx(7.0)
        return outcomes, service.monitor

    outcomes, monitor = run(main())
    assert [isinstance(each, Record) for each in outcomes] == [True] * 3 + [False] * 7
    assert all(isinstance(each, DeadlineExceeded) for each in outcomes[3:])
    cost = monitor.cost()  # the fourth call had started
    assert cost["unknown_calls"] == 1 and monitor.failed[0].tolist() == [3, 7, 0, 0, 0]


def test_a_full_queue_refuses_all_inputs_of_a_caller_at_once():
    async def main():
        service = Service(PAIR, [answering(0.9, 5.0), down], queue=10)
        first = asyncio.create_task(service.decide_many(range(8)))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="8 inputs are undecided, and 3 more exceed queue=10"):
            await service.decide_many(range(3))
        assert (await service.decide(1)).prediction == 1
        await first
        assert service.refused == 3 and service.monitor.inputs == 9

    run(main())


def test_every_request_has_one_outcome_through_an_outage():
    """5% of the calls fail, 2% of the callers disconnect, and the large model hangs for ten
    seconds: nothing is late, the model in the outage is hardly called, and it recovers."""
    rng = random.Random(0)
    rate = 100
    seconds = 40
    outage = (10.0, 20.0)
    deadline = 5.0
    called = []

    def model(name, low, high):
        async def call(inputs):
            now = asyncio.get_running_loop().time()
            called.extend((name, now) for _ in inputs)
            if name == "large" and outage[0] <= now < outage[1]:
                await hang(inputs)
            await asyncio.sleep(rng.uniform(low, high))
            if rng.random() < 0.05:
                raise OSError("reset by peer")
            return [name] * len(inputs), [(each % 100) / 100 for each in inputs]

        return call

    async def main():
        loop = asyncio.get_running_loop()
        options = {"deadline": deadline, "timeout": 2.0, "on_error": "next", "retries": 1}
        calls = [model("small", 0.05, 0.2), model("large", 0.3, 1.0)]
        service = Service(PAIR, calls, batch_size=1, concurrency=256, **options)
        outcomes = []

        async def request(number):
            started = loop.time()
            decision = asyncio.create_task(service.decide(number, f"{number}"))
            patience = rng.uniform(0, 0.05) if rng.random() < 0.02 else None
            try:
                status = (await asyncio.wait_for(decision, patience)).status
            except (TimeoutError, DeadlineExceeded) as error:
                status = type(error).__name__
            outcomes.append((number, started, loop.time() - started, status))

        requests = []
        for number in range(rate * seconds):
            requests.append(asyncio.create_task(request(number)))
            await asyncio.sleep(1 / rate)
        await asyncio.gather(*requests)
        await service.end()
        return outcomes, service.monitor

    outcomes, monitor = run(main())
    assert sorted(number for number, *_ in outcomes) == list(range(rate * seconds))
    assert monitor.inputs == rate * seconds
    assert max(latency for *_, latency, _ in outcomes) <= deadline + 0.1
    arrivals = sum(outage[0] <= start < outage[1] for _, start, *_ in outcomes) / 2
    in_outage = sum(name == "large" and outage[0] <= at < outage[1] for name, at in called)
    assert in_outage < arrivals / 2
    assert sum(name == "small" for name, _ in called) <= 1.1 * rate * seconds + 10
    after = Counter(status for _, start, _, status in outcomes if start > outage[1] + 2)
    assert after["none"] > 0.9 * after.total() and after["DeadlineExceeded"] == 0


def test_a_cancelled_caller_returns_at_once_and_its_inputs_are_decided():
    async def main():
        service = Service(PAIR, [answering(0.9, 5.0), down], batch_size=10, concurrency=1)
        caller = asyncio.create_task(service.decide_many(range(20)))
        other = asyncio.create_task(service.decide_many(range(20, 30)))
        await asyncio.sleep(7)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await caller
        assert asyncio.get_running_loop().time() == pytest.approx(7)
        assert caught.value.decided.status.tolist() == ["none"] * 10 + ["undecided"] * 10
        assert (await other).predictions.tolist() == list(range(20, 30))
        await service.end()
        assert service.monitor.inputs == 30

    run(main())


def test_a_call_that_ends_in_a_base_exception_leaves_no_caller_waiting():
    class Odd(BaseException):
        pass

    async def odd(inputs):
        raise Odd

    async def main():
        with pytest.raises(Odd):
            await Service(PAIR, [odd, odd]).decide(1)

    run(main())


@pytest.mark.parametrize("as_answer", [False, True])
def test_a_stop_iteration_leaves_no_caller_waiting(as_answer):
    """A future refuses this exception."""

    def small(inputs):
        return ([StopIteration()], [0.9]) if as_answer else next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(asyncio.wait_for(Service(PAIR, [small, down]).decide(1), 10))


def test_money_is_known_per_stage_and_per_input():
    monitor = Monitor(POINT)
    rng = np.random.default_rng(0)

    async def small(rows):
        return rows, rng.random(len(rows)), [1.0] * len(rows)

    calls = [small, answering(0.9, cost=10.0)]
    decisions = run(decided(PAIR, calls, range(400), monitor=monitor))
    is_deferred = decisions.exit_stage == 1
    paid = np.where(is_deferred, 11.0, 1.0)
    np.testing.assert_allclose(np.nansum(decisions.costs, axis=1), paid)
    assert monitor.spent.tolist() == [400.0, 10.0 * is_deferred.sum()]
    cost = monitor.cost()
    assert cost["priced"] == 400 and cost["mean"] == pytest.approx(paid.mean())
    assert cost["low"] == pytest.approx(paid.mean() - 1.96 * paid.std() / 20)
    assert monitor.table["spent"].tolist() == monitor.spent.tolist()
    assert np.isnan(Monitor(POINT).cost()["mean"]) and Monitor(POINT).cost()["priced"] == 0


def test_the_reference_is_not_asked_again_in_an_audit():
    """All inputs are audited. The large model is called once for each, whether it decides or
    audits."""
    seen = []
    rng = np.random.default_rng(0)

    async def small(rows):
        return rows, rng.random(len(rows))

    monitor = Monitor(POINT)
    calls = [small, answering(0.9, seen=seen)]
    run(decided(PAIR, calls, range(100), monitor=monitor, audit=1.0))
    assert sorted(row for batch in seen for row in batch) == list(range(100))
    assert monitor.audited == 100 and monitor.audit_cost == monitor.exits[0]
    assert monitor.loss()["unknown"] == 0


def test_audits_and_decisions_share_the_calls_of_a_model():
    under_way = []
    most = []

    async def small(rows):
        return rows, [0.1 if row % 2 else 0.9 for row in rows]

    async def large(rows):
        under_way.append(rows)
        most.append(len(under_way))
        await asyncio.sleep(1)
        under_way.remove(rows)
        return rows, None

    options = {"batch_size": 1, "concurrency": 3, "audit": 1.0}
    run(decided(PAIR, [small, large], range(60), **options))
    assert max(most) == 3 and len(most) == 60


def test_an_audit_ends_at_its_deadline_and_its_wait_is_no_failed_call():
    """One call of one second at a time, three seconds for each of ten audits."""
    seen = []

    async def main():
        calls = [answering(0.9), answering(1, 1.0, seen=seen)]
        service = Service(PAIR, calls, batch_size=1, concurrency=1, deadline=3.0, audit=1.0)
        await service.decide_many(range(10))
        await service.end()
        assert asyncio.get_running_loop().time() == pytest.approx(3.0, abs=0.02)
        return service

    service = run(main())
    assert len(seen) <= 4 and service.queues[-1].failed_share < 0.1
    assert service.monitor.audited == 10 and service.monitor.audit_failures >= 7


def test_a_retried_audit_does_not_change_the_record_of_its_input():
    attempts = Counter()

    async def large(rows):
        attempts.update(rows)
        if attempts[rows[0]] == 1:
            raise OSError("reset")
        return rows, None

    async def main():
        service = Service(PAIR, [answering(0.9), large], audit=1.0, retries=1)
        record = await service.decide(1)
        await service.end()
        return record, service.monitor

    record, monitor = run(main())
    assert attempts == {1: 2} and monitor.loss()["unknown"] == 0
    assert record.retries == 0


def test_audits_end_after_the_answer_and_their_failures_hide_nothing():
    """The reference times out for exactly the inputs that are lost: the bounds include them."""

    async def large(rows):
        await asyncio.sleep(5)
        if rows[0] % 10 == 0:
            raise TimeoutError("no answer")
        return rows, None

    async def main():
        options = {"batch_size": 1, "concurrency": 64, "audit": 1.0}
        service = Service(PAIR, [answering(0.9), large], **options)
        await service.decide_many(range(1000))
        assert asyncio.get_running_loop().time() == 0 and service.audits == 1000
        assert service.monitor.loss()["unknown"] == 1000
        await service.end()
        return service.monitor

    loss = (monitor := run(main())).loss(0.01)
    assert loss["unknown"] == monitor.audit_failures == 100
    assert loss["low"] < -0.05 and loss["high"] > 0.1 and loss["now_high"] > 0.1
    assert not loss["alarm"] and loss["label_first"] == []


def test_an_audit_never_raises_into_the_path_of_decisions():
    monitor = Monitor(POINT)
    monitor.equal = lambda one, other: 1 / 0
    calls = [answering(0.9), answering(0.9)]
    decisions = run(decided(PAIR, calls, range(50), monitor=monitor, audit=1.0))
    assert (decisions.exit_stage == 0).all()
    assert monitor.loss()["unknown"] == 50


def test_answers_agree_if_the_caller_defines_it():
    def same_day(one, other):
        return [int(part) for part in one.split("/")] == [int(part) for part in other.split("/")]

    monitor = Monitor(POINT)
    monitor.equal = same_day
    small = [("5/1/2021", "05/01/2021"), ("6/1/2021", "05/01/2021")]
    calls = [lambda rows, i=i: ([small[row][i] for row in rows], [0.9] * len(rows)) for i in (0, 1)]
    decide(PAIR, calls, range(2), ["same", "other"], monitor=monitor, audit=1.0)
    assert monitor.to_label().index.tolist() == ["other"]
    monitor.label({"other": "5/01/2021"})
    assert monitor.verdicts == {"lost": 1, "tied": 0, "gained": 0}


def test_a_callback_that_fails_warns_and_stops_nothing():
    monitor = Monitor(POINT)
    monitor.on_decision = lambda record: record.nothing
    with pytest.warns(RuntimeWarning, match="on_decision failed for"):
        run(decided(PAIR, [answering(0.9), down], range(3), monitor=monitor))
    assert monitor.inputs == 3


def test_a_policy_is_replaced_while_inputs_are_under_way():
    strict = Policy(replace(POINT, thresholds=(0.95,)))
    records = []

    async def main():
        service = Service(PAIR, [answering(0.9, 1.0, "small"), answering(0.9, 1.0, "large")])
        old = service.monitor
        old.on_decision = records.append
        before = asyncio.create_task(service.decide("x"))
        await asyncio.sleep(0.5)
        assert service.reload(strict) is old
        after = asyncio.create_task(service.decide("y"))
        assert (await before).prediction == "small" and (await after).prediction == "large"
        assert (old.inputs, service.monitor.inputs) == (1, 1)
        assert before.result().policy != after.result().policy
        ensemble = replace(POINT, method=Method(ensemble="mean_logits"))
        for other, text in ((THREE, r"the models \['m0'"), (ensemble, "mean_logits")):
            with pytest.raises(ValueError, match=text + ".*but the service runs"):
                service.reload(Policy(other))

    run(main())
    assert [record.prediction for record in records] == ["small", "large"]


def test_a_new_policy_is_monitored_with_the_same_equality():
    async def main():
        service = Service(PAIR, [answering(0.9, name="Yes"), answering(1, name="yes")], audit=1.0)
        service.monitor.equal = lambda one, other: one.lower() == other.lower()
        service.reload(Policy(replace(POINT, thresholds=(0.6,))))
        await service.decide(1)
        await service.end()
        return service.monitor

    monitor = run(main())
    assert monitor.audited == 1 and monitor.loss()["disagreed"] == 0


def test_several_answers_are_one():
    assert most_given(["b", "a", "a", "b", "a"], costs=[1, 2, 3, 4, 5]) == ("a", 0.6, 15.0)
    assert most_given(["b", "a"]) == ("b", 0.5, 0.0)
    answer, share, _ = most_given(["1", "01", "2"], equal=lambda a, b: int(a) == int(b))
    assert (answer, share) == ("1", 2 / 3)
    with pytest.raises(ValueError, match="answers are needed"):
        most_given([])


VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0, 1.5, -math.inf, math.inf, math.nan, 1])
ANSWERS = st.sampled_from(["heron", "egret", "zebra", 1, None, OSError("down"), ["a list"]])
SCORES = ScoreTable(np.ones((2, 50), bool), np.linspace(0.2, 1, 100).reshape(2, 50), [1, 9], MODELS)
EXPECTED = Policy.from_point(replace(POINT, cost_kind="cost"), SCORES).point


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(ANSWERS, VALUES, VALUES), min_size=1, max_size=3),
    st.sampled_from([POINT, EXPECTED]),
    st.integers(0, 2),
    st.sampled_from([None, LABELS]),
    st.sampled_from([None, (0, 1)]),
    st.sampled_from(["columns", "one cost", "no cost", "no confidence"]),
)
def test_a_plain_answer_is_read_like_any_other(rows, point, stage, labels, bounds, form):
    """Lists of floats are read without arrays. The replies equal those of the general path."""
    predictions, confidences, costs = map(list, zip(*rows))
    answer = {
        "columns": (predictions, confidences, costs),
        "one cost": (predictions, confidences, 1.5),
        "no cost": (predictions, confidences),
        "no confidence": (predictions, None, costs),
    }[form]
    expectation = Expectation(labels, bounds)
    if plain_columns(point, stage, answer, len(rows), expectation) is None:
        return
    functions = Functions(point, [len, len], "large", expectation)
    items = [SimpleNamespace(record=Record(row)) for row in range(len(rows))]
    plain = functions.read(point, stage, items, answer, operator.eq)
    with patch.object(models, "plain_columns", lambda *args: None):
        general = functions.read(point, stage, items, answer, operator.eq)
    if stage == 2:  # an audit has no confidences
        general = [reply._replace(confidence=None) for reply in general]
        plain = [reply._replace(confidence=None) for reply in plain]
    assert plain == general


@pytest.mark.parametrize("point", [POINT, EXPECTED])
def test_valid_answers_are_plain(point):
    expectation = Expectation(LABELS, (0, 1))
    answers = ["heron", "egret"]
    columns = plain_columns(point, 0, (answers, [0.4, 0.55], 3.0), 2, expectation)
    assert columns == (answers, [0.4, 0.55], [1.5, 1.5])
    columns = plain_columns(point, 1, (answers, None), 2, expectation)
    assert columns == (answers, [-math.inf] * 2, [None] * 2)


def test_undecided_inputs_are_not_observed():
    """Those of an error that stopped a run count when they are decided."""

    def at_seven(rows):
        if 7 in rows:
            raise LookupError("seven")
        return CALLS[0](rows)

    policy = Policy(THREE)
    with pytest.raises(LookupError) as caught:
        policy.run([at_seven, *CALLS[1:]], range(10), [*"abcdefghij"], batch_size=2)
    monitor = Monitor(policy)
    monitor.observe(caught.value.decided)
    ended = caught.value.decided.exit_stage >= 0
    assert 0 < monitor.inputs == monitor.exits.sum() == ended.sum() < 10
