"""Run a policy on the inputs of many callers."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ..checks import check_count, check_number, validate_choice
from ..evaluation.point import Point
from ..files import digest_of
from ..policy.calls import Expectation, add_note, failure_of
from ..policy.decisions import (
    ERROR,
    FAILURES,
    MALFORMED,
    TIMEOUT,
    Decisions,
    align_by_model,
    validate_ids,
)
from ..policy.form import parts_as_json
from ..policy.policy import Policy
from .models import Functions, Members, Reply
from .monitor import Monitor
from .records import AuditRecord, Record, decisions_of
from .stages import (
    LOG,
    DeadlineExceeded,
    ModelQueue,
    Overloaded,
    QueuedInput,
    Rules,
    Slots,
)

TIMER_SECONDS = 1e-6  # a timer may run this much before its time
IDLE_SECONDS = 0.01  # pause between two checks in Service.end


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
        that is not async runs in a thread. The members of a cascade run in threads too.
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
        answer, or a prediction that is not among ``labels``. "stop": the exception is raised for
        the callers of the failed inputs. "next": the inputs are deferred to the next model. At the
        last model, they keep the answer of a previous one.
    labels, confidence_range
        As in :meth:`Policy.run`.
    monitor : Monitor, optional
        The monitor that counts the decisions. By default, a new one. It is ``service.monitor``.
    audit : float, default=0.0
        Share of the inputs that are audited, in [0, 1]. They are drawn at random. For an audited
        input the service also calls the `reference`, unless it has already answered the input.
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
        is_cascade = hasattr(calls, "members")
        if concurrency is None:
            concurrency = 2 if is_cascade else 8
        self.rules = rules_of(policy, monitor)

        def per_stage(values: Any, what: str, check: Callable) -> list:
            """Return the value of each model, then that of the reference.

            A reference that is not among the models gets the value of the last model.
            """
            if values is not None and not isinstance(values, Sequence | Mapping):
                values = [values] * len(names)
            checked = [check(value, what) for value in align_by_model(names, values, what)]
            return [*checked, checked[names.index(reference) if reference in names else -1]]

        options = [
            per_stage(batch_size, "batch_size", check_count),
            per_stage(concurrency, "concurrency", check_count),
            per_stage(timeout, "timeout", check_seconds),
            per_stage(retries, "retries", partial(check_count, least=0)),
        ]
        self.models: Functions | Members
        if is_cascade:
            of_functions = [timeout, retries, on_error, labels, confidence_range]
            if of_functions != [None, 0, "stop", None, None]:
                raise ValueError(
                    "timeout, retries, on_error, labels and confidence_range apply to functions "
                    "only. The members of a cascade return logits, and run in threads, which "
                    "cannot be stopped"
                )
            refuse_other_models(policy.in_use, calls.point)
            self.models = Members(calls, reference, options[0], max(options[1]))
        else:
            validate_choice(reference, names, "model of this policy")
            expectation = Expectation(labels, confidence_range)
            self.models = Functions(policy.in_use, calls, reference, expectation)
        shared = Slots(max(options[1]))  # by all members of a cascade
        slots = [shared if is_cascade else Slots(limit) for limit in options[1]]
        if reference in names:  # audits and decisions share the calls of a model
            slots[-1] = slots[names.index(reference)]
        options[1] = slots
        # The queue of each model, and that of the audit.
        self.queues = [ModelQueue(*each) for each in zip(self.models.names, *options)]
        self.audit = check_number(audit, "audit", "a share", 0, 1)
        self.deadline = check_seconds(deadline, "deadline")
        self.queue = math.inf if queue is None else check_count(queue, "queue")
        self.stops = validate_choice(on_error, ["stop", "next"], "on_error") == "stop"
        self.last = len(names) - 1
        self.reference = self.models.names.index(reference)  # its stage
        self.undecided = 0
        self.audits = 0
        self.refused = 0
        self.calls: set[asyncio.Task] = set()
        self.is_scheduled = False
        # Inputs with a deadline, the earliest first, and the event loop with a timer for it.
        self.timed: deque[QueuedInput] = deque()
        self.timed_loop: asyncio.AbstractEventLoop | None = None

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
        (item,) = self._enter(input[None] if is_array else [input], None if id is None else [id])
        return await item.decided

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
        items = self._enter(inputs, ids)
        try:
            await asyncio.gather(*[item.decided for item in items])
        except BaseException as error:
            with suppress(Exception):  # a class may refuse attributes
                error.decided = self._decisions(items)  # type: ignore[attr-defined]
            raise
        return self._decisions(items)

    async def end(self) -> None:
        """Return when all inputs are decided and all audits have ended."""
        while self.undecided or self.audits:
            await asyncio.sleep(IDLE_SECONDS)

    def reload(self, policy: Policy, monitor: Monitor | None = None) -> Monitor:
        """Use another policy of the same models for new inputs. Undecided inputs keep the old one.

        Parameters
        ----------
        policy : Policy
        monitor : Monitor, optional
            The monitor that counts the decisions of the new policy. By default, a new monitor, with
            ``equal``, ``on_decision`` and ``on_audit`` of the previous one.

        Returns
        -------
        Monitor
            The monitor of the previous policy. It still counts the undecided inputs of that policy.

        Raises
        ------
        ValueError
            If the models, the metric, the ensemble or the temperatures differ.

        See Also
        --------
        Monitor.recertify : Choose and certify other thresholds.
        """
        old = self.rules
        refuse_other_models(policy.in_use, old.point)
        if monitor is None:
            monitor = Monitor(policy)
            for name in ("equal", "on_decision", "on_audit"):
                setattr(monitor, name, getattr(old.monitor, name))
        self.rules = rules_of(policy, monitor)
        LOG.info("policy %s replaces %s: %r", self.rules.checksum, old.checksum, policy)
        return old.monitor

    def _enter(self, inputs: Any, ids: Sequence | None) -> list[QueuedInput]:
        """Queue the inputs of a caller for the first model."""
        kind, sources = self.models.split(inputs)
        count = len(sources)
        is_texts = type(ids) is list and list(map(type, ids)) == [str] * count
        if ids is not None and not is_texts:
            ids = validate_ids(ids, count).tolist()
        if self.undecided + count > self.queue:
            self.refused += count
            raise Overloaded(
                f"{self.undecided} inputs are undecided, and {count} more exceed queue={self.queue}"
            )
        rules = self.rules
        first, drawn = rules.monitor.enter(count, self.audit)
        items = []
        for place, (source, is_drawn) in enumerate(zip(sources, drawn)):
            number = first + place
            name = number if ids is None else ids[place]
            record = Record(name, number=number, audited=is_drawn, policy=rules.checksum)
            items.append(self._add(record, rules, kind, source, 0))
        self.undecided += count
        return items

    def _add(self, record: Record, rules: Rules, kind: Any, source: Any, stage: int) -> QueuedInput:
        """Queue an input for a model, and watch its deadline."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = now + self.deadline
        item = QueuedInput(record, rules, kind, source, now, until, loop.create_future())
        self._queue(item, stage)
        while self.timed and self.timed[0].is_done:
            self.timed.popleft()
        if until < math.inf:
            self.timed.append(item)
            if self.timed_loop is not loop:
                self._end_deadlines()
        return item

    def _decisions(self, items: list[QueuedInput]) -> Decisions:
        """Return the decisions of a caller so far."""
        records = [item.record for item in items]
        return decisions_of(records, self.rules.point.models, self.models.unknown)

    def _end_deadlines(self) -> None:
        """End the inputs whose deadline has passed. Set a timer for the next deadline.

        An undecided input exits with its last answer, or fails.
        """
        loop = asyncio.get_running_loop()
        now = loop.time() + TIMER_SECONDS
        while self.timed and (self.timed[0].is_done or self.timed[0].until <= now):
            item = self.timed.popleft()
            record = item.record
            if item.is_done:
                continue
            if item.stage > self.last:
                self._end_audit(item, AuditRecord(record.id, failure=FAILURES[TIMEOUT]))
                continue
            error = None
            if self.stops or "none" not in record.failures:
                name = self.queues[item.stage].name
                error = DeadlineExceeded(f"no answer of {name!r} within {self.deadline:g} s")
            record.add(None, None, FAILURES[TIMEOUT], None if item.is_called else 0.0, None)
            self._finish(item, error)
        self.timed_loop = None
        if self.timed:
            self.timed_loop = loop
            loop.call_at(self.timed[0].until, self._end_deadlines)

    def _queue(self, item: QueuedInput, stage: int) -> None:
        """Queue an input for a model. Calls start in the next iteration of the loop."""
        item.stage = stage
        self.queues[stage].waiting.append(item)
        self._schedule()

    def _schedule(self) -> None:
        """Start calls in the next iteration of the loop, after all callers queued their inputs."""
        if not self.is_scheduled:
            self.is_scheduled = True
            asyncio.get_running_loop().call_soon(self._start_calls)

    def _start_calls(self) -> None:
        """Start calls while inputs wait and more calls may start. Later models have priority.

        Inputs of a model whose calls have stopped fail, also if no more calls may start.
        """
        self.is_scheduled = False
        now = asyncio.get_running_loop().time()
        for queue in reversed(self.queues):
            while queue.waiting and (queue.slots.free or queue.is_open):
                items = queue.take_batch()
                if items and queue.may_call(now):
                    queue.slots.free -= 1
                    self.calls.add(asyncio.create_task(self._call(queue, items)))
                elif items:
                    text = f"model {queue.name!r} is not called, since its last calls failed: "
                    error = ConnectionError(text + queue.last_fault)
                    for item in items:
                        self._settle(item, Reply(cost=0.0, failure=ERROR, error=error), 0.0)

    async def _call(self, queue: ModelQueue, items: list[QueuedInput]) -> None:
        """Call a model on a batch. Each input of the batch then exits, is deferred, or fails."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        rules = items[0].rules
        stage = items[0].stage
        until = min(started + queue.timeout, max([item.until for item in items]))
        is_answered = False
        try:
            async with asyncio.timeout_at(None if until == math.inf else until):
                answer = await self.models.call(stage, [item.source for item in items])
            is_answered = True
            replies = self.models.read(rules.point, stage, items, answer, rules.monitor.equal)
        except BaseException as error:  # CancelledError too, since no caller may wait forever
            add_note(error, queue.name, len(items))
            queue.log(error, len(items))
            failure = MALFORMED if is_answered else failure_of(error)
            replies = [Reply(failure=failure, error=error)] * len(items)
        self.calls.discard(asyncio.current_task())  # type: ignore[arg-type]
        queue.slots.free += 1
        if isinstance(self.models, Functions):
            queue.update(all([reply.failure in (TIMEOUT, ERROR) for reply in replies]))
        seconds = loop.time() - started
        for item, reply in zip(items, replies):
            self._settle(item, reply, seconds)
        self._schedule()

    def _settle(self, item: QueuedInput, reply: Reply, seconds: float) -> None:
        """Let an input exit, defer it, or retry it, after the reply of a model."""
        if item.is_done:
            return
        item.is_called = False
        record = item.record
        is_audit = item.stage > self.last
        delay = None
        if reply.failure in (TIMEOUT, ERROR):
            delay = self.queues[item.stage].retry_delay(item)
        failure = FAILURES[reply.failure]
        if delay is not None:
            if not is_audit:
                record.retries += 1
            asyncio.get_running_loop().call_later(delay, self._queue, item, item.stage)
        elif is_audit:
            answer = AuditRecord(record.id, reply.prediction, failure, reply.cost, seconds)
            self._end_audit(item, answer)
        else:
            record.add(reply.prediction, reply.confidence, failure, reply.cost, seconds)
            if self.stops and reply.error is not None:
                self._finish(item, reply.error)
            elif item.stage == self.last or (reply.does_exit and not reply.failure):
                self._finish(item)
            else:
                item.retries = 0
                self._queue(item, item.stage + 1)

    def _finish(self, item: QueuedInput, error: BaseException | None = None) -> None:
        """Record that an input is decided. An ``error`` is raised for its caller."""
        item.is_done = True
        now = asyncio.get_running_loop().time()
        item.record.finish(self.models.names, now - item.arrived)
        item.rules.monitor.decide(item.record)
        if item.record.audited:
            self._start_audit(item)
        self.undecided -= 1
        if item.decided.done():  # its caller was cancelled
            return
        if error is None:
            item.decided.set_result(item.record)
        else:
            # A future refuses a StopIteration.
            is_odd = isinstance(error, StopIteration)
            item.decided.set_exception(RuntimeError(repr(error)) if is_odd else error)

    def _start_audit(self, item: QueuedInput) -> None:
        """Queue an input for the reference, unless the reference has answered."""
        record = item.record
        method = item.rules.point.method
        has_answer = record.failures[self.reference : self.reference + 1] == ["none"]
        self.audits += 1
        if has_answer and (method is None or method.ensemble == "none"):
            answer = record.predictions[self.reference]
            self._end_audit(item, AuditRecord(record.id, answer, cost=0.0, seconds=0.0))
        else:
            self._add(record, item.rules, item.kind, item.source, self.last + 1)

    def _end_audit(self, item: QueuedInput, record: AuditRecord) -> None:
        """Record the reference's answer for an audited input, or its failure."""
        item.is_done = True
        self.audits -= 1
        try:
            item.rules.monitor.resolve(record)
        except Exception as error:  # raised by monitor.equal
            LOG.warning("the audit of %r failed: %s: %s", record.id, type(error).__name__, error)


def refuse_other_models(point: Point, running: Point) -> None:
    """Raise ValueError if a policy and the running one differ in more than the thresholds."""
    if describe_models(point) != describe_models(running):
        raise ValueError(
            f"the policy has {describe_models(point)}, but the service runs "
            f"{describe_models(running)}. Start another service for this policy"
        )


def describe_models(point: Point) -> str:
    """Describe the models of a cascade, and how their confidences are computed."""
    text = f"the models {list(point.models)}"
    if point.method is not None:
        temperatures = sorted((point.method.temperatures or {}).items())
        text += f" and the method {point.method} with temperatures {temperatures}"
    return text


def rules_of(policy: Policy, monitor: Monitor | None) -> Rules:
    """Return a policy with its monitor and the first 12 digits of its checksum."""
    monitor = monitor or Monitor(policy)
    monitor.refuse_other(policy.point)
    checksum = ""
    with suppress(ValueError):  # a file cannot hold a metric that is a function
        checksum = digest_of(parts_as_json(policy.in_use))[:12]
    return Rules(policy.in_use, monitor, checksum)


def check_seconds(value: Any, what: str) -> Any:
    """Return a positive number of seconds, or infinity for None."""
    return math.inf if value is None else check_number(value, what, "seconds, or None", 1e-9)
