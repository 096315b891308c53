"""Each input has one outcome, for any interleaving of requests, answers, failures, disconnects,
deadlines and reloads. The machine ends the calls of the models itself, in virtual time."""

import asyncio
import math
from collections import Counter
from dataclasses import replace
from unittest.mock import patch

from faulty_server import POINT
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from virtual_time import VirtualLoop

from cascadelib import Policy
from cascadelib.serve import DeadlineExceeded, Overloaded, Service, stages

OUTCOMES = ["exit", "defer", "raise", "time out", "nan", "one fails", "too few"]


def answer_of(outcome, inputs):
    """The answer of a call, or its exception."""
    confidences = [0.1 if outcome == "defer" else 0.9] * len(inputs)
    answers = list(inputs)
    if outcome == "raise":
        return OSError("reset")
    if outcome == "time out":
        return TimeoutError()
    if outcome == "nan":
        confidences[-1] = math.nan
    if outcome == "one fails":
        answers[0] = OSError("one")
    return answers[outcome == "too few" :], confidences, 1.0


class Interleavings(RuleBasedStateMachine):
    @initialize(
        deadline=st.sampled_from([None, 3.0]),
        timeout=st.sampled_from([None, 2.0]),
        retries=st.sampled_from([0, 2]),
        on_error=st.sampled_from(["stop", "next"]),
        batch_size=st.integers(1, 3),
        concurrency=st.integers(1, 2),
        audit=st.sampled_from([0.0, 0.5, 1.0]),
        queue=st.sampled_from([None, 6]),
        reference=st.sampled_from(POINT.models),
    )
    def start(self, **options):
        # Calls of a model stop after two failures.
        self.patch = patch.object(stages, "FAILURE_WEIGHT", 0.5)
        self.patch.start()
        self.loop = VirtualLoop()
        self.options = options
        self.under_way = []  # (model, inputs, future) of each call
        self.records = []
        self.audits = []
        self.accepted = 0
        self.monitors = []
        self.requests = []  # (time of the request, its task)
        calls = {name: self.call_of(name) for name in POINT.models}
        self.service = Service(Policy(POINT), calls, **options)
        self.watch(self.service.monitor)

    def watch(self, monitor):
        self.monitors.append(monitor)
        monitor.on_decision = self.records.append
        monitor.on_audit = self.audits.append

    def call_of(self, model):
        async def call(inputs):
            future = self.loop.create_future()
            self.under_way.append((model, inputs, future))
            return await future

        return call

    def wait(self, seconds=0.0):
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self.under_way = [call for call in self.under_way if not call[-1].done()]

    @rule(count=st.integers(0, 4))
    def request(self, count):
        first = self.accepted
        inputs = range(first, first + count)
        ids = [f"{number}" for number in inputs]
        refused = self.service.refused
        decides_one = count == 1
        decide = self.service.decide if decides_one else self.service.decide_many
        arguments = (first, ids[0]) if decides_one else (inputs, ids)
        self.requests.append((self.loop.time(), self.loop.create_task(decide(*arguments))))
        self.wait()
        if self.service.refused == refused:
            self.accepted += count

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def answer(self, data, outcome):
        _, inputs, future = data.draw(st.sampled_from(self.under_way))
        found = answer_of(outcome, inputs)
        if isinstance(found, Exception):
            future.set_exception(found)
        else:
            future.set_result(found)
        self.wait()

    @rule(seconds=st.sampled_from([0.05, 0.5, 1.5]))
    def pass_time(self, seconds):
        self.wait(seconds)

    @precondition(lambda self: self.requests)
    @rule(data=st.data())
    def disconnect(self, data):
        _, task = data.draw(st.sampled_from(self.requests))
        task.cancel()
        self.wait()

    @rule(threshold=st.sampled_from([0.05, 0.5, 0.95]))
    def reload(self, threshold):
        self.service.reload(Policy(replace(POINT, thresholds=(threshold,))))
        self.monitors.append(self.service.monitor)

    @invariant()
    def each_input_has_one_outcome(self):
        decided = Counter(record.id for record in self.records)
        assert max(decided.values(), default=1) == 1
        assert self.service.undecided == self.accepted - len(self.records)
        resolved = Counter(record.id for record in self.audits)
        assert max(resolved.values(), default=1) == 1
        audited = sum(record.audited for record in self.records)
        assert self.service.audits == audited - len(self.audits)

    @invariant()
    def no_request_waits_after_its_deadline(self):
        deadline = self.options["deadline"] or math.inf
        now = self.loop.time()
        assert all(task.done() or now <= start + deadline for start, task in self.requests)

    @invariant()
    def a_model_has_no_more_calls_than_its_concurrency(self):
        running = Counter(model for model, *_ in self.under_way)
        assert max(running.values(), default=0) <= self.options["concurrency"]
        assert all(len(inputs) <= self.options["batch_size"] for _, inputs, _ in self.under_way)

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        while self.service.undecided or self.service.audits:
            for _, inputs, future in self.under_way:
                future.set_result(answer_of("exit", inputs))
            self.wait(0.5)
        self.wait(0.5)
        self.each_input_has_one_outcome()
        assert sum(monitor.inputs for monitor in self.monitors) == self.accepted
        assert not self.service.calls and not self.under_way
        for queue in self.service.queues:
            assert queue.slots.free == self.options["concurrency"]
        for _, task in self.requests:
            assert task.done()
            error = None if task.cancelled() else task.exception()
            expected = (OSError, TimeoutError, ValueError, DeadlineExceeded, Overloaded)
            assert error is None or isinstance(error, expected)
        self.loop.close()
        self.patch.stop()


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
