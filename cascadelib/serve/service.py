"""Run a policy on the inputs of many callers."""

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..checks import check_count, check_number, validate_choice
from ..files import digest_of
from ..methods.thresholds import convert_units
from ..policy.calls import Expectation, add_note, failure_of
from ..policy.decisions import (
    ERROR,
    FAILURES,
    MALFORMED,
    TIMEOUT,
    Answer,
    Decisions,
    align_by_model,
    describe_failure,
    find_exits,
    validate_ids,
)
from ..policy.form import parts_as_json
from ..policy.policy import Policy
from .models import Functions, Members
from .monitor import Monitor
from .records import AuditRecord, Record, decisions_of
from .stages import LOG, Caller, DeadlineExceeded, ModelQueue, Overloaded, QueuedInput, Rules


class Service:
    """Run a policy on the inputs of many callers, on one event loop.

    An input is *decided* when it exits at a model, or fails. A call of a model may contain inputs
    of several callers. It starts as soon as inputs wait for the model, if fewer than
    ``concurrency`` calls are running. When a model has answered, its inputs exit or are deferred to
    the next model.

    Parameters
    ----------
    policy : Policy
    calls : list of callable, mapping, or Cascade
        Either a function per model, as in :meth:`Policy.run`, or a :class:`Cascade`. A function
        that is not async runs in a thread. So do the members of a cascade, including ensembles.
    batch_size : int, or one per model, default=64
        Maximum number of inputs per call.
    concurrency : int, or one per model
        Maximum number of simultaneous calls of a model, by default 8. For a cascade, it is the
        maximum over all models together, by default 2, because their calls share the threads of
        torch.
    timeout : float or None, or one per model
        Seconds that a call of a function may take.
    deadline : float, optional
        Seconds until an input must be decided, including the time in queues. If it is not,
        :class:`DeadlineExceeded` is raised. With ``on_error="next"``, an input that already has an
        answer of a model exits with this answer instead.
    queue : int, optional
        Maximum number of undecided inputs. If a caller's inputs would exceed it,
        :class:`Overloaded` is raised immediately. By default, the number is not limited.
    retries : int, or one per model, default=0
        Maximum number of times that an input is retried after an exception or a timeout. A retried
        input has a call to itself, after a pause that grows each time. A model has at most 10
        retries, plus 10% of the number of its inputs.
    on_error : str, default="stop"
        The reaction to a failure of a function. A failure is an exception, a timeout, a malformed
        answer, or a prediction that is not among ``labels``. "stop": the callers of the failed
        inputs get the exception. "next": the inputs are deferred to the next model, or keep the
        answer of a previous model if there is no next one.
    labels, confidence_range
        As in :meth:`Policy.run`.
    monitor : Monitor, optional
        The monitor that counts the decisions. By default, a new one. It is ``service.monitor``.
    audit : float, default=0.0
        Share of the inputs that are audited, in [0, 1]. They are drawn at random. The reference is
        called for an audited input too, unless it has already answered the input.
    reference : str, optional
        The model whose answers the audit compares with the decisions. By default, the last model.
        For a cascade, it may be any model of the zoo.

    Attributes
    ----------
    undecided, refused : int
        Number of inputs that are not yet decided, and of inputs for which :class:`Overloaded` was
        raised.

    Raises
    ------
    ValueError
        If an option has an invalid value, if an option that applies only to functions is set for a
        cascade, or if `calls` are functions and the policy has an ensemble.

    See Also
    --------
    Monitor : Count decisions: exit rates, failures, cost, drift and loss.
    Policy.run : Run a policy synchronously, for one caller.

    Notes
    -----
    If most of the last calls of a function failed, the function is not called any more, except once
    per second to test whether it answers again. Meanwhile, all other inputs of this model fail
    without a call.

    Examples
    --------
    >>> import asyncio
    >>> import cascadelib as cl
    >>> from cascadelib.serve import Service
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> async def small(texts):
    ...     return [text.upper() for text in texts], [len(text) / 10 for text in texts]
    >>> async def large(texts):
    ...     return [text.title() for text in texts], None
    >>> async def main():
    ...     service = Service(policy, [small, large], deadline=10)
    ...     decisions = await service.decide_many(["a question", "why"])
    ...     await service.end()
    ...     return decisions.predictions.tolist(), service.monitor.exits.tolist()
    >>> asyncio.run(main())
    (['A QUESTION', 'Why'], [1, 1])
    """

    def __init__(
        self,
        policy: Policy,
        calls: Any,
        *,
        batch_size: Any = 64,
        concurrency: Any = None,
        timeout: Any = None,
        deadline: float | None = None,
        queue: int | None = None,
        retries: Any = 0,
        on_error: str = "stop",
        labels: Iterable | None = None,
        confidence_range: Sequence[float] | None = None,
        monitor: Monitor | None = None,
        audit: float = 0.0,
        reference: str | None = None,
    ) -> None:
        names = policy.models
        reference = reference or names[-1]
        self.rules = rules_of(policy, monitor)
        self.audit = check_number(audit, "audit", "a share", 0, 1)
        self.deadline = math.inf if deadline is None else check_seconds(deadline, "deadline")
        self.queue = math.inf if queue is None else check_count(queue, "queue")
        self.stops = validate_choice(on_error, ["stop", "next"], "on_error") == "stop"
        self.last = len(names) - 1
        self.models: Functions | Members
        is_cascade = hasattr(calls, "members")
        limits = concurrency or (2 if is_cascade else 8)
        options = [
            per_stage(batch_size, "batch_size", names, reference, check_count),
            per_stage(limits, "concurrency", names, reference, check_count),
            per_stage(timeout, "timeout", names, reference, check_seconds),
            per_stage(retries, "retries", names, reference, check_retries),
        ]
        if is_cascade:
            if (timeout, retries, on_error, labels, confidence_range) != (
                None,
                0,
                "stop",
                None,
                None,
            ):
                raise ValueError(
                    "timeout, retries, on_error, labels and confidence_range apply to functions "
                    "only. The members of a cascade return logits, and run in threads, which "
                    "cannot be stopped"
                )
            self.models = Members(calls, reference, options[0], max(options[1]))
        else:
            validate_choice(reference, names, "model of this policy")
            expectation = Expectation.of(labels, confidence_range)
            self.models = Functions(policy.in_use, calls, reference, expectation)
        # The number of calls that may still start, for all models together.
        self.free = max(options[1]) if is_cascade else math.inf
        self.stages = [ModelQueue(*each) for each in zip(self.models.names, *options)]
        self.undecided = 0
        self.audits = 0
        self.refused = 0
        self.calls: set[asyncio.Task] = set()
        self.is_scheduled = False
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def monitor(self) -> Monitor:
        """Return the monitor of the policy in use."""
        return self.rules.monitor

    async def decide(self, input: Any, id: str | int | None = None) -> Record:
        """Run the policy on one input.

        Parameters
        ----------
        input : Any
            One input of a function, or one sample of a cascade.
        id : str or int, optional
            Name of the input in the monitor, by which it can be labelled later.

        Returns
        -------
        Record

        Raises
        ------
        Overloaded, DeadlineExceeded
            As described for ``queue`` and ``deadline``.
        BaseException
            If a call raises an exception and ``on_error`` is "stop".

        See Also
        --------
        decide_many : Decide several inputs.
        """
        is_array = isinstance(self.models, Members) and hasattr(input, "ndim")
        caller = self._enter(input[None] if is_array else [input], None if id is None else [id])
        await self._wait(caller)
        return caller.items[0].record

    async def decide_many(self, inputs: Any, ids: Sequence | None = None) -> Decisions:
        """Run the policy on several inputs, in the same calls as the inputs of other callers.

        If this call is cancelled, it returns immediately. The models still run on its undecided
        inputs, and the monitor counts them.

        Parameters
        ----------
        inputs : list of N inputs, or batch of a cascade
        ids : list, optional
            Names of the inputs, str or int. By default, inputs are numbered from the start of the
            monitor.

        Returns
        -------
        Decisions
            Decisions in the order of the inputs. Audits may still be running.

        Raises
        ------
        BaseException
            As for :meth:`decide`, or if the caller is cancelled. The attribute ``decided`` of the
            exception has the decisions so far.
        """
        caller = self._enter(inputs, ids)
        await self._wait(caller)
        return self._decisions(caller)

    async def end(self) -> None:
        """Return when all inputs are decided and all audits have ended."""
        await self.idle.wait()

    def reload(self, policy: Policy, monitor: Monitor | None = None) -> Monitor:
        """Use another policy of the same models for new inputs. Undecided inputs keep the old one.

        Parameters
        ----------
        policy : Policy
        monitor : Monitor, optional
            The monitor that counts the decisions of the new policy. By default, a new monitor.

        Returns
        -------
        Monitor
            The monitor of the previous policy. It still counts the undecided inputs of that policy.

        Raises
        ------
        ValueError
            If the models differ.

        See Also
        --------
        Monitor.recertify : Choose and certify other thresholds.
        """
        old = self.rules
        if policy.models != old.point.models:
            raise ValueError(
                f"the policy has the models {list(policy.models)}, but the service runs "
                f"{list(old.point.models)}. Start another service for this policy"
            )
        self.rules = rules_of(policy, monitor)
        LOG.info("policy %s replaces %s: %r", self.rules.checksum, old.checksum, policy)
        return old.monitor

    def _enter(self, inputs: Any, ids: Sequence | None) -> Caller:
        """Queue the inputs of a caller for the first model."""
        kind, sources = self.models.split(inputs)
        count = len(sources)
        names = None if ids is None else validate_ids(ids, count)
        if self.undecided + count > self.queue:
            self.refused += count
            raise Overloaded(
                f"{self.undecided} inputs are undecided, and {count} more exceed queue={self.queue}"
            )
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = now + self.deadline
        rules = self.rules
        first, drawn = rules.monitor.enter(count, self.audit)
        caller = Caller(loop.create_future(), [], count, None if until == math.inf else until)
        for place, (source, is_drawn) in enumerate(zip(sources, drawn.tolist())):
            number = first + place
            record = Record(number if names is None else names[place], number=number)
            record.audited = is_drawn
            record.policy = rules.checksum
            caller.items.append(QueuedInput(record, rules, kind, source, now, until, caller))
        if count:
            self.undecided += count
            self.idle.clear()
            for item in caller.items:
                self._queue(item, 0)
        return caller

    async def _wait(self, caller: Caller) -> None:
        """Wait until the inputs of a caller are decided. Raise the first error of an input."""
        deadline = asyncio.timeout_at(caller.until)
        try:
            async with deadline:
                if caller.undecided:
                    await caller.answered
        except BaseException as error:
            fault = self._end_deadline(caller) if deadline.expired() else error
            if fault is not None:
                with suppress(Exception):  # a class may refuse attributes
                    fault.decided = self._decisions(caller)  # type: ignore[attr-defined]
                raise fault from None

    def _decisions(self, caller: Caller) -> Decisions:
        """Return the decisions of a caller so far."""
        records = [item.record for item in caller.items]
        return decisions_of(records, self.rules.point.models, self.models.unknown)

    def _end_deadline(self, caller: Caller) -> BaseException | None:
        """End the undecided inputs of a caller with their last answers, or return an error."""
        fault = None
        for item in caller.items:
            if not item.is_done:
                if self.stops or "none" not in item.record.failures:
                    name = self.stages[item.stage].name
                    fault = DeadlineExceeded(f"no answer of {name!r} within {self.deadline:g} s")
                cost = None if item.is_called else 0.0
                item.record.add(None, None, FAILURES[TIMEOUT], cost, None)
                self._finish(item)
        return fault

    def _queue(self, item: QueuedInput, number: int) -> None:
        """Queue an item for a model. Calls start in the next iteration of the loop."""
        if number != item.stage:
            item.retries = 0
        item.stage = number
        item.is_called = False
        self.stages[number].queue.append(item)
        self._schedule()

    def _schedule(self) -> None:
        """Start due calls in the next iteration of the loop, after all callers queued inputs."""
        if not self.is_scheduled:
            self.is_scheduled = True
            asyncio.get_running_loop().call_soon(self._start_calls)

    def _start_calls(self) -> None:
        """Start calls while inputs wait and more calls may start. Later models have priority."""
        self.is_scheduled = False
        now = asyncio.get_running_loop().time()
        for stage in reversed(self.stages):
            while stage.queue and stage.free and self.free:
                items = stage.take()
                if items and stage.allows(now):
                    stage.free -= 1
                    self.free -= 1
                    call = asyncio.create_task(self._call(stage, items))
                    self.calls.add(call)
                    call.add_done_callback(self.calls.discard)
                elif items:
                    text = f"model {stage.name!r} is not called, since its last calls failed: "
                    error = ConnectionError(text + stage.last_fault)
                    for item in items:
                        self._settle(item, ERROR, error, None, None, 0.0, 0.0)

    async def _call(self, stage: ModelQueue, items: list[QueuedInput]) -> None:
        """Call a model on a batch. Each input of the batch then exits, is deferred, or fails."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        number = items[0].stage
        rules = items[0].rules
        sources = [item.source for item in items]
        limit = min(max(item.until for item in items) - started, stage.timeout or math.inf)
        is_read = False
        try:
            async with asyncio.timeout(None if limit == math.inf else limit):
                answer = await self.models.ask(number, sources)
            is_read = True
            before = [item.record.prediction for item in items]
            read, sources = self.models.read(
                rules.point, number, sources, answer, before, rules.monitor.equal
            )
        except BaseException as error:  # CancelledError too, since no caller may wait forever
            add_note(error, stage.name, len(items))
            stage.log(error, len(items))
            self._end_call(stage, not is_read)
            kind = MALFORMED if is_read else failure_of(error)
            for item in items:
                self._settle(item, kind, error, None, None, None, loop.time() - started)
        else:
            is_down = (read.failures == TIMEOUT) | (read.failures == ERROR)
            self._end_call(stage, bool(is_down.all()))
            for item, source in zip(items, sources):
                item.source = source
            self._take_answer(stage, items, read, loop.time() - started)

    def _end_call(self, stage: ModelQueue, has_failed: bool) -> None:
        """Allow another call to start. Only calls of functions count for the circuit breaker."""
        stage.free += 1
        self.free += 1
        if isinstance(self.models, Functions):
            stage.update(has_failed)
        if any(each.queue for each in self.stages):
            self._schedule()

    def _take_answer(
        self, stage: ModelQueue, items: list[QueuedInput], answer: Answer, seconds: float
    ) -> None:
        """Let each input of a batch exit, defer it, or retry it, after the answer of a model."""
        point = items[0].rules.point
        number = min(items[0].stage, self.last)
        exits = find_exits(point, number, convert_units(point.metric, answer.confidence))
        predictions = answer.guesses[:, 0].tolist()
        costs = [None] * len(items) if answer.costs is None else answer.costs.tolist()
        columns = (predictions, answer.confidence.tolist(), costs, exits.tolist())
        failures = answer.failures.tolist()
        for row, (item, kind, values) in enumerate(zip(items, failures, zip(*columns))):
            error = None
            if kind and isinstance(self.models, Functions):
                error = predictions[row]
                if not isinstance(error, BaseException):
                    text = describe_failure(point, item.record.id, answer, row)
                    error = ValueError(f"model {stage.name!r}: {text}")
            prediction, confidence, cost, does_exit = values
            self._settle(item, kind, error, prediction, confidence, cost, seconds, does_exit)

    def _settle(
        self,
        item: QueuedInput,
        kind: int,
        error: BaseException | None,
        prediction: Any,
        confidence: float | None,
        cost: float | None,
        seconds: float,
        does_exit: bool = False,
    ) -> None:
        """Let an input exit, defer it, or retry it, after an answer or failure (``kind``)."""
        if item.is_done:
            return
        delay = None
        if kind:
            prediction = confidence = None
        if kind in (TIMEOUT, ERROR):
            delay = self.stages[item.stage].retry_delay(item)
        if delay is not None:
            asyncio.get_running_loop().call_later(delay, self._queue, item, item.stage)
        elif item.caller is None:
            self._resolve(
                item, AuditRecord(item.record.id, prediction, FAILURES[kind], cost, seconds)
            )
        else:
            item.record.add(prediction, confidence, FAILURES[kind], cost, seconds)
            if self.stops and error is not None:
                self._finish(item, error)
            elif item.stage == self.last or (does_exit and not kind):
                self._finish(item)
            else:
                self._queue(item, item.stage + 1)

    def _finish(self, item: QueuedInput, error: BaseException | None = None) -> None:
        """Record that an input is decided. An ``error`` is raised for its caller."""
        caller = item.caller
        assert caller is not None
        item.is_done = True
        now = asyncio.get_running_loop().time()
        item.record.finish(self.models.names, now - item.arrived)
        item.rules.monitor.decide(item.record)
        if item.record.audited:
            self._audit(item)
        caller.undecided -= 1
        self.undecided -= 1
        if not caller.answered.done():
            if error is not None:
                caller.answered.set_exception(error)
            elif not caller.undecided:
                caller.answered.set_result(None)
        self._check_idle()

    def _audit(self, item: QueuedInput) -> None:
        """Queue an input for the reference, unless the reference has answered."""
        record = item.record
        number = len(self.stages) - 1
        # the reference's first place: it may also be a model of the cascade
        stage = self.models.names.index(self.models.names[number])
        method = item.rules.point.method
        is_own_answer = stage < number and (method is None or method.ensemble == "none")
        self.audits += 1
        if is_own_answer and record.failures[stage : stage + 1] == ["none"]:
            answer = record.predictions[stage]
            self._resolve(item, AuditRecord(record.id, answer, cost=0.0, seconds=0.0))
        else:
            until = asyncio.get_running_loop().time() + self.deadline
            self._queue(replace(item, caller=None, is_done=False, until=until), number)

    def _resolve(self, item: QueuedInput, record: AuditRecord) -> None:
        """Record the reference's answer for an audited input."""
        item.is_done = True
        self.audits -= 1
        try:
            item.rules.monitor.resolve(record)
        except Exception as error:  # of monitor.equal
            LOG.warning("the audit of %r failed: %s: %s", record.id, type(error).__name__, error)
        self._check_idle()

    def _check_idle(self) -> None:
        """Wake :meth:`end` if nothing is under way."""
        if not self.undecided and not self.audits:
            self.idle.set()


def rules_of(policy: Policy, monitor: Monitor | None) -> Rules:
    """Return a policy with its monitor and the first 12 digits of its checksum."""
    monitor = monitor or Monitor(policy)
    monitor.refuse_other(policy.point)
    checksum = ""
    with suppress(ValueError):  # a file cannot hold a metric that is a function
        checksum = digest_of(parts_as_json(policy.in_use))[:12]
    return Rules(policy.in_use, monitor, checksum)


def per_stage(
    values: Any, what: str, names: Sequence[str], reference: str, check: Callable
) -> list:
    """Return the value of each model, then that of the reference.

    A reference that is not among the models gets the value of the last model.
    """
    if values is not None and not isinstance(values, Sequence | Mapping):
        values = [values] * len(names)
    each = [check(value, what) for value in align_by_model(names, values, what)]
    return [*each, each[names.index(reference) if reference in names else -1]]


def check_seconds(value: Any, what: str) -> Any:
    """Return a positive number of seconds, or None."""
    return value if value is None else check_number(value, what, "seconds, or None", 1e-9)


def check_retries(value: Any, what: str) -> int:
    """Return a number of retries, 0 or more."""
    return check_count(value, what, 0)
