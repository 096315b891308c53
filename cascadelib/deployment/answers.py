"""The answers of models, given or asked for by functions, and who leaves where: numpy alone."""

import asyncio
import inspect
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import about, brief, check_count, items_of, known, reals
from ..methods.thresholds import own_units
from .decisions import Decisions, nothing

if TYPE_CHECKING:
    from .policy import Policy


def write_answer(
    policy: "Policy",
    decisions: Decisions,
    stage: int,
    rows: np.ndarray,
    predictions: Any,
    confidences: Any,
) -> None:
    """Write what a model says of the samples ``rows`` int64 [s], as :meth:`Policy.decide` takes it,
    into ``decisions``, and who leaves. ValueError naming the model where it does not fit."""
    before = decisions.predictions[rows] if stage else None
    with about(f"model {policy.models[stage]!r}"):
        said = objects([None] * len(rows) if predictions is None else predictions)
        values = checked_confidences(policy, stage, rows, len(said), confidences)
        absent = np.atleast_2d(np.isnan(values).T).any(axis=0)
        if policy.fitted:
            if any(prediction is None for prediction in said):
                raise ValueError("predictions are needed, since its confidence is fitted")
            if confidences is not None:
                values = policy.fitted[stage](values, said, before)
        confidence = np.where(absent, lowest(policy), values)
        decisions.predictions[rows] = said
        decisions.confidence[rows] = confidence
        decisions.confidences[rows, stage] = confidence
        decisions.exit_stage[rows[policy.exits(stage, confidence)]] = stage


def lowest(policy: "Policy") -> np.ndarray:
    """The confidence at which nobody leaves, in the metric's own units: float64 [1]."""
    return own_units(policy.metric, np.array([-np.inf]))


def checked_confidences(
    policy: "Policy", stage: int, rows: np.ndarray, predictions: int, confidences: Any
) -> np.ndarray:
    """Confidences of the samples ``rows`` int64 [s]: float64 [s] or [s, c], nan where None.
    ValueError unless there are as many as predictions and rows, and each that decides is there."""
    if confidences is None:
        values = np.full(len(rows), np.nan)
    else:
        values = np.atleast_1d(reals(confidences, "confidences"))
    if not predictions == len(values) == len(rows) or values.ndim > 1 and not policy.fitted:
        raise ValueError(
            f"{predictions} predictions and confidences of shape {list(values.shape)} "
            f"for {len(rows)} samples; one of each per sample is needed"
        )
    absent = np.atleast_2d(np.isnan(values).T).any(axis=0)
    if absent.any() and not policy.exits(stage, lowest(policy))[0]:
        raise ValueError(
            f"sample {rows[absent.argmax()]} has no confidence (nan); give −inf to pass it on"
        )
    return values


def objects(values: Any) -> np.ndarray:
    """What ``values`` holds, one by one, as an array of objects [N]."""
    values = items_of(values.tolist() if hasattr(values, "tolist") else values)
    return np.fromiter(values, object, len(values))


def by_model(policy: "Policy", values: Any, what: str) -> list:
    """One value per model, in their order, from a list or {name: value}; None where one is missing:
    the last one, or all."""
    names = policy.models
    if isinstance(values, Mapping):
        if not any(name in values for name in names):
            known(next(iter(values), ""), names, "model of this policy")
        return [values.get(name) for name in names]  # values for other models may stand there, too
    values = [None] * len(names) if values is None else items_of(values)
    if not len(names) - 1 <= len(values) <= len(names):
        raise ValueError(
            f"{what} of {len(names)} models are needed ({', '.join(names)}), not of {len(values)}"
        )
    return values + [None] * (len(names) - len(values))


class Asking:
    """One run of a policy: calls, inputs, and what the models have said so far, of all threads."""

    def __init__(
        self, policy: "Policy", calls: Sequence[Callable], inputs: Sequence, stops: bool
    ) -> None:
        self.policy = policy
        self.calls = calls
        self.inputs = inputs
        self.stops = stops
        self.decisions = nothing(len(inputs), len(calls))
        self.seconds = np.zeros((len(calls), 2))  # in the model, and in the exit decision
        self.stopped: list[BaseException] = []
        self.failures: dict[int, BaseException] = {}
        self.lock = threading.Lock()
        self.loop = asyncio.new_event_loop()  # of all calls that are async
        self.looping = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.looping.start()

    def ask(self, stage: int, rows: np.ndarray) -> None:
        """Ask a stage's model about the samples ``rows`` int64 [s], and note its answer."""
        if self.stopped:
            return
        begun = time.perf_counter()
        try:
            answer = self.calls[stage]([self.inputs[row] for row in rows])
            if inspect.iscoroutine(answer):
                answer = asyncio.run_coroutine_threadsafe(answer, self.loop).result()
        except BaseException as error:
            self.note_failure(stage, len(rows), error)
            return
        ended = time.perf_counter()
        with self.lock:
            try:
                name = self.policy.models[stage]
                predictions, confidences = answer_in(answer, name)
                write_answer(self.policy, self.decisions, stage, rows, predictions, confidences)
            except ValueError as error:
                self.stopped.append(error)
            self.seconds[stage] += ended - begun, time.perf_counter() - ended

    def note_failure(self, stage: int, inputs: int, error: BaseException) -> None:
        """A call raised: count its inputs, and stop where that is asked for, or on an interrupt."""
        error.add_note(f"in the call of model {self.policy.models[stage]!r} for {inputs} inputs")
        with self.lock:
            self.decisions.broken[stage] += inputs
            self.failures.setdefault(stage, error)
        if self.stops or not isinstance(error, Exception):
            self.stopped.append(error)

    def ask_all(self, batch_size: int, concurrency: int) -> None:
        """Ask each model about the samples that are undecided by then; raises what stopped it."""
        exit_stage = self.decisions.exit_stage
        with ThreadPoolExecutor(concurrency) as pool:
            for stage in range(len(self.calls)):
                waiting = np.flatnonzero(exit_stage < 0)
                starts = range(0, len(waiting), batch_size)
                parts = [waiting[start : start + batch_size] for start in starts]
                list(pool.map(self.ask, [stage] * len(parts), parts))
                if self.stopped:
                    raise self.stopped[0]
        exit_stage[exit_stage < 0] = len(self.calls) - 1  # where the last model failed

    def close(self) -> None:
        """End the event loop and its thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.looping.join()
        self.loop.close()


def answer_in(answer: Any, name: str) -> tuple[Any, Any]:
    """(predictions, confidences) that the call of the model ``name`` returned; else ValueError."""
    pair = isinstance(answer, tuple | list) and len(answer) == 2
    if not pair or answer[0] is None:
        what = f"model {name!r}: its call"
        raise ValueError(f"{what} must return (predictions, confidences), not {brief(answer)}")
    predictions, confidences = answer
    return predictions, confidences


def checked_calls(policy: "Policy", calls: Any) -> list[Callable]:
    """One function per model, in their order. ValueError where one is missing or none can do."""
    functions = by_model(policy, calls, "calls")
    for name, call in zip(policy.models, functions):
        if not callable(call):
            raise ValueError(
                f"model {name!r}: a function that asks it is needed, not {brief(call)}"
            )
    ensemble = (policy.description["method"] or {}).get("ensemble", "none")
    if ensemble != "none":
        raise ValueError(
            "this policy decides by the outputs of all models so far "
            f"(ensemble={ensemble!r}), which no single model's call knows: run it as a "
            "cascadelib.Cascade, or give decide() the confidences of the combined outputs"
        )
    return functions


def ask_models(
    policy: "Policy", calls: Any, inputs: Iterable, batch_size: int, concurrency: int, on_error: str
) -> Decisions:
    """:class:`Decisions` by functions that ask the models, see :meth:`Policy.run`."""
    functions = checked_calls(policy, calls)
    if isinstance(inputs, str | bytes | Mapping) or hasattr(inputs, "columns"):
        raise ValueError(f"a list of inputs is needed, not {brief(inputs)}")
    listed = list(inputs)
    stops = known(on_error, ["stop", "next"], "on_error") == "stop"
    batch_size = check_count(batch_size, "batch_size")
    concurrency = check_count(concurrency, "concurrency")
    asking = Asking(policy, functions, listed, stops)
    decisions = asking.decisions
    audit = None
    try:
        asking.ask_all(batch_size, concurrency)
        audit = audit_of(policy, functions, listed, batch_size, concurrency, on_error)
    except BaseException as error:
        decisions.predictions[decisions.exit_stage < 0] = None
        with suppress(Exception):  # a class may refuse attributes: the error itself goes on
            error.decided = decisions  # type: ignore[attr-defined]
        raise
    finally:
        asking.close()
        policy.running.add(decisions, asking.seconds, audit)
    for stage, failure in asking.failures.items():
        warnings.warn(
            f"{policy.models[stage]!r} failed for {decisions.broken[stage]} inputs: they went on "
            f"to the next model, or kept their answer ({type(failure).__name__}: {failure})",
            RuntimeWarning,
            stacklevel=3,
        )
    return decisions


def audit_of(
    policy: "Policy",
    calls: Sequence[Callable],
    inputs: Sequence,
    batch_size: int,
    concurrency: int,
    on_error: str,
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """An audit as :meth:`Running.add` takes it: rows int64 [a], the reference's predictions [a],
    seconds; None where none is due."""
    rows = policy.running.drawn(len(inputs))
    if not len(rows):
        return None
    begun = time.perf_counter()
    name = known(policy.running.reference, policy.models, "model of this policy")
    description = dict(
        policy.description, models=[{"name": name}], thresholds=[], method=None, expected=None
    )
    alone = replace(policy, description=description, thresholds=())
    call = calls[policy.models.index(name)]
    drawn = [inputs[row] for row in rows]
    predictions = ask_models(alone, [call], drawn, batch_size, concurrency, on_error).predictions
    # where the reference failed, nothing is known
    kept = np.array([prediction is not None for prediction in predictions])
    return rows[kept], predictions[kept], time.perf_counter() - begun
