"""Call the models of a service: the functions of a policy, or the members of a cascade."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import error_context
from ..evaluation.point import Point
from ..policy.calls import Expectation, read_answer, validate_calls
from ..policy.decisions import MALFORMED, Answer, objects

if TYPE_CHECKING:
    from ..policy.cascade import Batch, Cascade


class Functions:
    """The functions of a policy's models. Their answers are checked input by input."""

    unknown = None  # the prediction if no model has answered

    def __init__(self, point: Point, calls: Any, reference: str, expectation: Expectation) -> None:
        self.expectation = expectation
        self.names = [*point.models, reference]
        functions = validate_calls(point, calls)
        self.functions = [*functions, functions[point.models.index(reference)]]

    def split(self, inputs: Any) -> tuple[Any, list]:
        """Return the kind of a caller's inputs, and a source for each."""
        return None, list(inputs)

    async def ask(self, stage: int, sources: list) -> Any:
        """Return the answer of a call, which runs in a new thread unless it is async."""
        call = self.functions[stage]
        if inspect.iscoroutinefunction(call):
            return await call(sources)
        answer = await in_thread(call, sources)
        return await answer if inspect.isawaitable(answer) else answer

    def read(
        self,
        point: Point,
        stage: int,
        sources: list,
        answer: Any,
        before: Sequence,
        equal: Callable[[Any, Any], Any],
    ) -> tuple[Answer, list]:
        """Return the checked answer, and the sources for the next model.

        before: the predictions so far.
        """
        earlier = objects(before) if stage and point.fitted else None
        with error_context(f"model {self.names[stage]!r}"):
            read = read_answer(point, stage, answer, len(sources), earlier, self.expectation, equal)
        return read, sources


class Members:
    """The members of a cascade, in a thread pool whose calls share torch's own threads.

    The reference may be any model of the zoo. A source is a batch and a row of it.
    """

    unknown = -1

    def __init__(
        self, cascade: "Cascade", reference: str, sizes: Sequence[int], threads: int
    ) -> None:
        import torch

        from ..policy.members import Member, member_named

        self.torch = torch
        self.cascade = cascade
        self.sizes = sizes
        self.threads = torch.get_num_threads()
        self.pool = ThreadPoolExecutor(threads)
        self.calls = 0
        named = {member.name: member for member in cascade.members}
        if reference not in named:
            model = member_named(reference, {})
            named[reference] = Member(reference, model.module.eval(), model.transform)
        self.members = [*cascade.members, named[reference]]
        self.names = [member.name for member in self.members]

    def split(self, inputs: Any) -> tuple[Any, list]:
        """Return the kind of a caller's batch, and a source for each sample."""
        from ..policy.cascade import batch_of

        batch = batch_of(self.cascade, inputs)
        return batch.kind, [(batch, row) for row in range(len(batch))]

    async def ask(self, stage: int, sources: list) -> tuple["Batch", np.ndarray]:
        """Return the samples as one batch, and the logits [N, classes] of a stage's model."""
        parts = [
            batch.take(np.array([row for _, row in group]))
            for batch, group in groupby(sources, key=lambda source: source[0])
        ]
        batch = parts[0].joined(parts[1:]) if len(parts) > 1 else parts[0]
        self.calls += 1
        try:
            loop = asyncio.get_running_loop()
            return batch, await loop.run_in_executor(self.pool, self.logits, stage, batch)
        finally:
            self.calls -= 1

    def logits(self, stage: int, batch: "Batch") -> np.ndarray:
        """Compute the logits in a thread of the pool."""
        from ..policy.cascade import logits_of

        # applies to this thread and to new ones, and is reset when this call ends
        self.torch.set_num_threads(max(1, self.threads // (self.calls or 1)))
        try:
            with self.torch.inference_mode():
                return logits_of(self.members[stage], batch, self.sizes[stage])
        finally:
            self.torch.set_num_threads(self.threads)

    def read(
        self, point: Point, stage: int, sources: list, answer: Any, before: Sequence, equal: Any
    ) -> tuple[Answer, list]:
        """Return the output after a stage's model, unchanged if logits are nan or infinite."""
        batch, logits = answer
        after = [(batch, row) for row in range(len(sources))]
        if stage < len(self.cascade.members):
            return self.cascade.answer_after(stage, logits, batch, 1), after
        broken = ~np.isfinite(logits).all(axis=1)
        best = logits.argmax(axis=1)
        return Answer(best[:, None], np.full(len(best), np.nan), broken * MALFORMED), after


async def in_thread(function: Callable, inputs: list) -> Any:
    """Call a function in a daemon thread, which does not delay the end of the process."""
    done: Future = Future()
    context = contextvars.copy_context()

    def work() -> None:
        with suppress(InvalidStateError):  # the caller has given up
            try:
                done.set_result(context.run(function, inputs))
            except BaseException as error:
                done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wrap_future(done)
