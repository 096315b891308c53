"""Decide the inputs of many callers by a policy."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..checks import check_count, check_number, known
from ..policy.calls import Expectation
from ..policy.decisions import Decisions, align_by_model
from ..policy.policy import Policy
from .asking import Functions, Members
from .engine import CallOptions, Engine
from .monitor import Monitor


class Service(Engine):
    """Decide the inputs of many callers by a policy, on one event loop.

    Inputs of different callers share the calls of a model. Each input is deferred to the next model
    as soon as its answer arrives.

    Parameters
    ----------
    policy : Policy
    calls : list of callable, mapping, or Cascade
        A function per model as in :meth:`Policy.run`. If it is not async, it runs in a thread. Or a
        :class:`Cascade`, whose members run in threads, ensembles included.
    batch_size : int, or one per model, default=64
        Maximum number of inputs per call.
    concurrency : int, or one per model
        Maximum number of simultaneous calls of a model (default: 8). For a cascade it is one number
        for all models (default: 2), whose calls share torch's threads.
    max_wait : float, default=0.005
        Seconds for which an input waits for others, if more can arrive.
    timeout : float or None, or one per model
        Seconds that a call of a function may take.
    on_error : str, default="stop"
        What happens after a failure of a function: an exception, a timeout, a malformed answer, or
        a prediction that is not among ``labels``. "stop": it is raised for the caller. "next": the
        call is repeated for each input of the batch. Inputs that fail are deferred to the next
        model, or keep their answer.
    labels, confidence_range
        As in :meth:`Policy.run`.
    monitor : Monitor, optional
        Counts the decisions. The default is a new one, ``service.monitor``.
    audit : float, default=0.0
        Share of all inputs, drawn at random, for which the reference is called as well.
    reference : str, optional
        The model of the audit. The default is the last one. For a cascade it may be any model of
        the zoo.

    Raises
    ------
    ValueError
        If an option is not one of the above, or does not apply to a cascade, or a policy with an
        ensemble has functions.

    See Also
    --------
    Monitor : Count decisions: exit rates, failures, cost, drift and loss.
    Policy.run : Run a policy synchronously, for one caller.

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
    ...     service = Service(policy, [small, large])
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
        max_wait: float = 0.005,
        timeout: Any = None,
        on_error: str = "stop",
        labels: Iterable | None = None,
        confidence_range: Sequence[float] | None = None,
        monitor: Monitor | None = None,
        audit: float = 0.0,
        reference: str | None = None,
    ) -> None:
        point = policy.in_use
        monitor = monitor or Monitor(policy)
        monitor.refuse_other(policy.point)
        reference = reference or point.models[-1]
        stops = known(on_error, ["stop", "next"], "on_error") == "stop"
        max_wait = check_number(max_wait, "max_wait", "seconds, 0 or more", 0)
        names = point.models
        sizes = per_stage(batch_size, "batch_size", names, reference, check_count)
        models: Functions | Members
        if hasattr(calls, "members"):
            if (timeout, on_error, labels, confidence_range) != (None, "stop", None, None):
                raise ValueError(
                    "timeout, on_error, labels and confidence_range are for functions. The members "
                    "of a cascade run in threads, which cannot be stopped, and return logits"
                )
            most = check_count(2 if concurrency is None else concurrency, "concurrency")
            models = Members(calls, reference, sizes, most)
            stages = len(sizes)
            options = CallOptions(sizes, [most] * stages, [None] * stages, max_wait, stops, most)
        else:
            known(reference, names, "model of this policy")
            expectation = Expectation.of(labels, confidence_range)
            models = Functions(point, monitor, calls, reference, expectation)
            most_each = 8 if concurrency is None else concurrency
            limits = per_stage(most_each, "concurrency", names, reference, check_count)
            timeouts = per_stage(timeout, "timeout", names, reference, check_timeout)
            options = CallOptions(sizes, limits, timeouts, max_wait, stops)
        self.audit = check_number(audit, "audit", "a share", 0, 1)
        super().__init__(point, models, monitor, options)

    async def decide(self, input: Any, id: str | int | None = None) -> dict[str, Any]:
        """Decide one input.

        Parameters
        ----------
        input : Any
            One input of a function, or one sample of a cascade.
        id : str or int, optional
            Name of the input in monitoring and for later labels.

        Returns
        -------
        dict
            Its record: id, prediction, model, status and stage, and for each stage that it reached
            confidences, failures, costs and seconds. See :meth:`Decisions.records`.

        See Also
        --------
        decide_many : Decide several inputs.
        """
        ids = None if id is None else [id]
        is_array = isinstance(self.models, Members) and hasattr(input, "ndim")
        batch = input[None] if is_array else [input]
        decisions = await self.decide_many(batch, ids)
        return decisions.records()[0]

    async def decide_many(self, inputs: Any, ids: Sequence | None = None) -> Decisions:
        """Decide several inputs together with those of other callers.

        A cancelled call returns immediately. Its inputs under way are still decided and counted.

        Parameters
        ----------
        inputs : list of N inputs, or batch of a cascade
        ids : list, optional
            Texts or whole numbers that name the inputs, by default numbers since monitoring began.

        Returns
        -------
        Decisions
            In the order of the inputs. Audits may still be under way.

        Raises
        ------
        BaseException
            If a call raises it and errors stop, or the caller is cancelled. ``error.decided`` has
            the decisions so far.
        """
        return await self.decide_batch(inputs, ids, self.audit)

    async def end(self) -> None:
        """Decide the waiting inputs, and return when all calls have ended, audits included."""
        self.may_come = lambda: False
        self.dispatch_due_batches()
        while self.calls:
            await asyncio.wait(self.calls)


def per_stage(
    values: Any, what: str, names: Sequence[str], reference: str, check: Callable
) -> list:
    """Return one value per model, and that of the reference, by default that of the last model."""
    if values is not None and not isinstance(values, Sequence | Mapping):
        values = [values] * len(names)
    each = [check(value, what) for value in align_by_model(names, values, what)]
    return [*each, each[names.index(reference) if reference in names else -1]]


def check_timeout(value: Any, what: str) -> float | None:
    """Return seconds, more than 0, or None for no timeout."""
    return value if value is None else check_number(value, what, "seconds, or None", 1e-9)
