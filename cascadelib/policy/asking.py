"""A policy's models are functions of lists of inputs, async or not: how they are asked, and what of
their answers is taken. Takes numpy alone."""

import asyncio
import contextvars
import inspect
import os
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

from ..checks import about, brief, check_count, check_number, items_of, known, reals
from ..evaluation.point import Point
from .decisions import (
    ANY,
    MALFORMED,
    UNKNOWN,
    Answer,
    Decisions,
    answer_of,
    by_model,
    complaint,
    objects,
)
from .engine import Engine, Group, Terms, failure_of

LOOP_LOCK = threading.Lock()


class Asking(Engine):
    """Runs of a policy: ``decide`` inputs of many callers together; the last call is the audit's."""

    def __init__(self, point: Point, running: Any, calls: Any, terms: Terms) -> None:
        super().__init__(point, running, terms)
        functions = checked_calls(point, calls)
        self.functions = [*functions, functions[point.models.index(running.reference)]]

    async def once(self, inputs: Iterable, ids: Sequence | None) -> Decisions:
        """The run of one caller, with a warning for each model that failed."""
        if isinstance(inputs, str | bytes | Mapping) or hasattr(inputs, "columns"):
            raise ValueError(f"a list of inputs is needed, not {brief(inputs)}")
        self.may_come = lambda: False
        try:
            decisions = await self.decide(list(inputs), ids, audited=True)
        finally:
            self.close()
        for stage, queue in enumerate(self.queues):
            if queue.error is None:
                continue
            what = f"the reference {self.name_of(stage)!r} failed: inputs stay in doubt"
            if stage <= self.last:
                what = (
                    f"{self.name_of(stage)!r} failed for {decisions.broken[stage]} inputs: they "
                    "went on to the next model, or kept their answer"
                )
            text = f"{what} ({type(queue.error).__name__}: {queue.error})"
            warnings.warn(text, RuntimeWarning, stacklevel=3)
        return decisions

    async def answer(self, stage: int, group: Group) -> Any:
        """What a call returns, in a thread of its own unless it is async."""
        call = self.functions[stage]
        async with asyncio.timeout(self.terms.timeouts[stage]):
            if inspect.iscoroutinefunction(call):
                return await call(group.inputs)
            answer = await in_thread(call, group.inputs)
            return await answer if inspect.isawaitable(answer) else answer

    def read(self, stage: int, group: Group, answer: Any) -> Answer:
        """What a call returned, checked input by input; an exception among the predictions is the
        failure of its input."""
        name = self.name_of(stage)
        predictions, confidences, costs = answer_in(answer, name)
        with about(f"model {name!r}"):
            said = objects(predictions)
            if len(said) != len(group):
                raise ValueError(f"{len(said)} predictions for {len(group)} inputs")
            failures = np.array([self.kind_in(prediction) for prediction in said], np.int8)
            if stage <= self.last:
                before = self.decisions.predictions[group.numbers] if stage else None
                before = self.running.alike(before, said)
                bounds = self.terms.bounds
                read = answer_of(self.point, stage, said, confidences, before, failures, bounds)
            else:
                read = Answer(said[:, None], np.full(len(said), np.nan), failures)
            read.costs = costs_in(costs, len(group))
            self.complain(stage, group, read)
        return read

    def kind_in(self, prediction: Any) -> int:
        """What is wrong with one prediction, as a place in FAILURES."""
        if isinstance(prediction, BaseException):
            return failure_of(prediction)
        if prediction is None:
            return MALFORMED
        labels = self.terms.labels
        with suppress(TypeError):  # no label is unhashable
            return 0 if labels is None or prediction in labels else UNKNOWN
        return UNKNOWN

    def complain(self, stage: int, group: Group, read: Answer) -> None:
        """Keep what is wrong with the first input that failed, or raise it where errors stop."""
        for row in np.flatnonzero(read.failures)[:1]:
            error = read.guesses[row, 0]
            if not isinstance(error, BaseException):
                name = self.decisions.ids[group.numbers[row]]
                error = ValueError(complaint(self.point, name, read, row))
            if self.terms.stops and stage <= self.last:
                raise error
            self.remember(stage, error)


def terms_of(
    names: Sequence[str],
    reference: str,
    batch_size: Any = 64,
    concurrency: Any = 8,
    max_wait: float = 0.005,
    timeout: Any = None,
    on_error: str = "stop",
    labels: Iterable | None = None,
    confidence_range: Sequence[float] | None = None,
) -> Terms:
    """The :class:`Terms` of what :meth:`Policy.together` is given, checked."""
    audit = names.index(known(reference, names, "model of this policy"))

    def per_stage(values: Any, what: str, check: Callable) -> list:
        """One value per model, and that of the reference once more."""
        if values is not None and not isinstance(values, Sequence | Mapping):
            values = [values] * len(names)
        each = [check(value, what) for value in by_model(names, values, what)]
        return [*each, each[audit]]

    return Terms(
        per_stage(batch_size, "batch_size", check_count),
        per_stage(concurrency, "concurrency", check_count),
        per_stage(timeout, "timeout", check_timeout),
        check_number(max_wait, "max_wait", "seconds, 0 or more", 0),
        known(on_error, ["stop", "next"], "on_error") == "stop",
        labels if labels is None else frozenset(labels),
        checked_bounds(confidence_range),
    )


def check_timeout(value: Any, what: str) -> float | None:
    """Seconds, more than 0; None: no end."""
    return value if value is None else check_number(value, what, "seconds, or None", 1e-9)


def checked_bounds(bounds: Sequence[float] | None) -> tuple[float, float]:
    """(least, most) that a confidence may be."""
    if bounds is None:
        return ANY
    values = reals(bounds, "confidence_range")
    if values.shape != (2,) or not values[0] < values[1]:
        raise ValueError(f"confidence_range must be (least, most), not {brief(bounds)}")
    return float(values[0]), float(values[1])


def answer_in(answer: Any, name: str) -> tuple[Any, Any, Any]:
    """(predictions, confidences, cost) that the call of the model ``name`` returned; the cost is
    None where it says nothing of it. Else ValueError."""
    is_answer = isinstance(answer, tuple | list) and len(answer) in (2, 3)
    if not is_answer or answer[0] is None:
        what = f"model {name!r}: its call"
        raise ValueError(
            f"{what} must return (predictions, confidences) or (predictions, confidences, cost), "
            f"not {brief(answer)}"
        )
    predictions, confidences, *cost = answer
    return predictions, confidences, cost[0] if cost else None


def costs_in(cost: Any, inputs: int) -> Any:
    """Cost of each input, from one each, or from one for all of them."""
    if cost is None:
        return None
    costs = reals(cost, "costs")
    if costs.shape not in ((), (inputs,)) or not (costs >= 0).all():
        raise ValueError(f"costs must be one number, or one for each of {inputs} inputs, 0 or more")
    return costs if costs.ndim else np.full(inputs, costs / inputs)


def checked_calls(point: Point, calls: Any) -> list[Callable]:
    """One function per model, in their order. ValueError where one is missing or none can do."""
    functions = by_model(point.models, calls, "calls")
    for name, call in zip(point.models, functions):
        if not callable(call):
            raise ValueError(
                f"model {name!r}: a function that asks it is needed, not {brief(call)}; the policy's "
                f"models are {list(point.models)}, given is {brief(items_of(calls))}"
            )
    ensemble = "none" if point.method is None else point.method.ensemble
    if ensemble != "none":
        raise ValueError(
            "this policy decides by the outputs of all models so far "
            f"(ensemble={ensemble!r}), which no single model's call knows: run it as a "
            "cascadelib.Cascade, or give decide() the confidences of the combined outputs"
        )
    return functions


async def in_thread(function: Callable, inputs: list) -> Any:
    """What a function returns, asked in a thread that nothing waits for at the end of the process."""
    done: Future = Future()
    context = contextvars.copy_context()

    def work() -> None:
        with suppress(InvalidStateError):  # nobody waits any more
            try:
                done.set_result(context.run(function, inputs))
            except BaseException as error:
                done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wrap_future(done)


@lru_cache(1)
def loop_of(process: int) -> asyncio.AbstractEventLoop:
    """A loop that runs in a thread for as long as the process does; a fork needs one of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name=f"cascadelib-{process}").start()
    return loop


def from_synchronous(coroutine: Coroutine) -> Any:
    """What a coroutine returns or raises, on one loop of all callers, so that clients may outlive a
    run. An interrupt of this thread cancels it, and has what was decided until then."""
    done: Future = Future()

    async def noted() -> None:
        try:
            done.set_result(await coroutine)
        except BaseException as error:  # even an interrupt: the loop lives on
            done.set_exception(error)

    with LOOP_LOCK:
        loop = loop_of(os.getpid())
    if asyncio._get_running_loop() is loop:
        coroutine.close()
        raise ValueError("an async call that asks a policy in turn must await its arun")
    future = asyncio.run_coroutine_threadsafe(noted(), loop)
    try:
        return done.result()
    except BaseException as interrupt:
        if not done.done():  # it is this thread that is interrupted
            future.cancel()
            with suppress(TimeoutError):
                cancelled = done.exception(1)
                interrupt.decided = getattr(cancelled, "decided", None)  # type: ignore[attr-defined]
        raise
