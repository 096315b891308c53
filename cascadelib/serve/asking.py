"""Call the models of a service: the functions of a policy, or the members of a cascade."""

import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import about
from ..evaluation.point import Point
from ..policy.calls import Expectation, first_fault, read_answer, validate_calls
from ..policy.decisions import MALFORMED, Answer, Decisions
from .monitor import Monitor

if TYPE_CHECKING:
    from ..policy.cascade import Batch, Cascade


@dataclass(eq=False)
class Inputs:
    """A list of inputs of functions, and their numbers int64 [N]."""

    rows: np.ndarray
    inputs: list
    kind: Any = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Any) -> "Inputs":
        """Return some of the inputs, by a slice or int64 [n]."""
        is_slice = isinstance(rows, slice)
        inputs = self.inputs[rows] if is_slice else [self.inputs[row] for row in rows.tolist()]
        return Inputs(self.rows[rows], inputs)

    def joined(self, others: "Sequence[Inputs]") -> "Inputs":
        """Return these inputs, followed by those of other batches."""
        parts = (self, *others)
        inputs = [each for part in parts for each in part.inputs]
        return Inputs(np.concatenate([part.rows for part in parts]), inputs)


class Functions:
    """The functions of a policy's models. Their answers are checked input by input."""

    skips = False  # whether inputs for which a model failed skip to the last one
    unknown = None  # the prediction if no model has answered

    def __init__(
        self,
        point: Point,
        monitor: Monitor,
        calls: Any,
        reference: str,
        expectation: Expectation,
    ) -> None:
        self.point = point
        self.monitor = monitor
        self.expectation = expectation
        self.names = [*self.point.models, reference]
        functions = validate_calls(self.point, calls)
        self.functions = [*functions, functions[self.point.models.index(reference)]]

    def batch_of(self, inputs: Any) -> Inputs:
        """Return a caller's list of inputs as a batch."""
        inputs = list(inputs)
        return Inputs(np.arange(len(inputs)), inputs)

    async def ask(self, stage: int, batch: Inputs) -> Any:
        """Return the answer of a call, which runs in a new thread unless it is async."""
        call = self.functions[stage]
        if inspect.iscoroutinefunction(call):
            return await call(batch.inputs)
        answer = await in_thread(call, batch.inputs)
        return await answer if inspect.isawaitable(answer) else answer

    def read(
        self, stage: int, batch: Inputs, answer: Any, decisions: Decisions
    ) -> tuple[Answer, BaseException | None]:
        """Return the checked answer, and an exception for the first input that failed."""
        before = decisions.predictions[batch.rows] if stage else None
        equal = self.monitor.equal
        with about(f"model {self.names[stage]!r}"):
            read = read_answer(
                self.point, stage, answer, len(batch), before, self.expectation, equal
            )
        return read, first_fault(self.point, read, decisions.ids[batch.rows], self.names[stage])


class Members:
    """The members of a cascade, in a thread pool whose calls share torch's own threads.

    The reference may be any model of the zoo.
    """

    skips = True
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

    def batch_of(self, inputs: Any) -> "Batch":
        """Return a caller's batch. Batches of different forms are not joined."""
        from ..policy.cascade import batch_of

        return batch_of(self.cascade, inputs)

    async def ask(self, stage: int, batch: "Batch") -> np.ndarray:
        """Return the logits [N, classes] of a stage's model."""
        self.calls += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.pool, self.logits, stage, batch)
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
        self, stage: int, batch: "Batch", answer: np.ndarray, decisions: Decisions
    ) -> tuple[Answer, None]:
        """Return the output after a stage's model, unchanged if logits are nan or infinite."""
        if stage < len(self.cascade.members):
            return self.cascade.answer_after(stage, answer, batch, 1), None
        broken = ~np.isfinite(answer).all(axis=1)
        best = answer.argmax(axis=1)
        return Answer(best[:, None], np.full(len(best), np.nan), broken * MALFORMED), None


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
