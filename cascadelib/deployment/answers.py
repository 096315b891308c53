"""What models say of samples, told or asked for by functions, and who leaves where by it: numpy alone."""

import asyncio
import inspect
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import about, brief, check_count, items_of, known, reals
from ..methods.thresholds import own_units

if TYPE_CHECKING:
    from .policy import Policy


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a cascade says of N samples.

    predictions [N]: of a :class:`Cascade` the class, int64, −1 where no model gave a finite output; of a
    :class:`Policy` what it was told, as objects, None where that is nothing. exit_stage int64 [N]: 0 = first model, as
    in an :class:`Evaluation`, −1 where an error came before the decision; confidence float64 [N]: at the exit, in the
    metric's own units; confidences float64 [N, n]: at each stage, nan where a sample did not get there; broken
    int64 [n]: samples for which a model gave nan or infinite logits, or failed; guesses [N, g]: the best classes, best
    first, as many as asked.
    """

    predictions: np.ndarray
    exit_stage: np.ndarray
    confidence: np.ndarray
    confidences: np.ndarray
    broken: np.ndarray
    guesses: np.ndarray

    def __len__(self) -> int:
        return len(self.predictions)

    def __repr__(self) -> str:
        left = [int((self.exit_stage == i).sum()) for i in range(self.confidences.shape[1])]
        return f"<Decisions: {len(self)} samples; so many left at each stage: {left}>"


def nothing(samples: int, models: int) -> Decisions:
    """:class:`Decisions` of samples that no model has seen, for :func:`write_answer` to fill."""
    predictions, confidences = np.full(samples, None), np.full((samples, models), np.nan)
    rest = np.full(samples, np.nan), confidences, np.zeros(models, np.int64), predictions[:, None]
    return Decisions(predictions, np.full(samples, -1), *rest)


def write_answer(
    policy: "Policy", decisions: Decisions, stage: int, rows: np.ndarray, said: Any, sure: Any
) -> None:
    """Write what a model says of the samples ``rows`` int64 [s], predictions and confidences as :meth:`Policy.decide`
    takes them, into ``decisions``, and who leaves by it. ValueError naming the model where they do not fit."""
    before = decisions.predictions[rows] if stage else None
    with about(f"model {policy.models[stage]!r}"):
        said = objects([None] * len(rows) if said is None else said)
        values = (
            np.full(len(rows), np.nan)
            if sure is None
            else np.atleast_1d(reals(sure, "confidences"))
        )
        if not len(said) == len(values) == len(rows) or values.ndim > 1 and not policy.fitted:
            raise ValueError(
                f"{len(said)} predictions, confidences {list(values.shape)} for {len(rows)} samples"
            )
        absent, lowest = (
            np.atleast_2d(np.isnan(values).T).any(axis=0),
            own_units(policy.metric, np.array([-np.inf])),
        )
        if absent.any() and not policy.exits(stage, lowest)[0]:
            raise ValueError(
                f"sample {rows[absent.argmax()]} has no confidence (nan), and −inf would send it on"
            )
        if policy.fitted and any(one is None for one in said):
            raise ValueError("predictions are needed: its confidence is fitted")
        if policy.fitted and sure is not None:
            values = policy.fitted[stage](values, said, before)
        sure = np.where(absent, lowest, values)
        (
            decisions.predictions[rows],
            decisions.confidence[rows],
            decisions.confidences[rows, stage],
        ) = said, sure, sure
        decisions.exit_stage[rows[policy.exits(stage, sure)]] = stage


def objects(values: Any) -> np.ndarray:
    """What ``values`` holds, one by one, as an array of objects [N]."""
    values = items_of(values.tolist() if hasattr(values, "tolist") else values)
    return np.fromiter(values, object, len(values))


def by_model(policy: "Policy", values: Any, what: str) -> list:
    """A value a model, in their order, from a list or {name: value}; None: missing, of the last or of all."""
    names = policy.models
    if isinstance(values, Mapping):
        if not any(name in values for name in names):
            known(next(iter(values), ""), names, "model of this policy")
        return [
            values.get(name) for name in names
        ]  # what other models would need may stand there, too
    values = [None] * len(names) if values is None else items_of(values)
    if not len(names) - 1 <= len(values) <= len(names):
        raise ValueError(
            f"{what} of {len(names)} models are needed ({', '.join(names)}), not of {len(values)}"
        )
    return values + [None] * (len(names) - len(values))


def ask_models(
    policy: "Policy", calls: Any, inputs: Iterable, batch_size: int, concurrency: int, on_error: str
) -> Decisions:
    """:class:`Decisions` by functions that ask the models, see :meth:`Policy.run`."""
    calls = by_model(policy, calls, "calls")
    for name, call in zip(policy.models, calls):
        if not callable(call):
            raise ValueError(
                f"model {name!r}: a function that asks it is needed, not {brief(call)}"
            )
    if (ensemble := (policy.description["method"] or {}).get("ensemble", "none")) != "none":
        raise ValueError(
            f"this policy decides by the outputs of all models so far (ensemble={ensemble!r}), which no single model's "
            "call knows: run it as a cascadelib.Cascade, or give decide() the confidences of the combined outputs"
        )
    if isinstance(inputs, str | bytes | Mapping) or hasattr(inputs, "columns"):
        raise ValueError(f"a list of inputs is needed, not {brief(inputs)}")
    inputs, stops = list(inputs), known(on_error, ["stop", "next"], "on_error") == "stop"
    batch_size, concurrency = (
        check_count(batch_size, "batch_size"),
        check_count(concurrency, "concurrency"),
    )
    decisions, seconds, audit = nothing(len(inputs), len(calls)), np.zeros((len(calls), 2)), None
    stopped: list[BaseException] = []
    failures: dict[int, BaseException] = {}
    lock, loop = threading.Lock(), asyncio.new_event_loop()  # the loop: of all calls that are async
    looping = threading.Thread(target=loop.run_forever, daemon=True)

    def ask(stage, rows):
        if stopped:
            return
        begun = time.perf_counter()
        try:
            answer = calls[stage]([inputs[row] for row in rows])
            if inspect.iscoroutine(answer):
                answer = asyncio.run_coroutine_threadsafe(answer, loop).result()
        except BaseException as error:
            error.add_note(f"in the call of model {policy.models[stage]!r} for {len(rows)} inputs")
            with lock:
                decisions.broken[stage] += len(rows)
                failures.setdefault(stage, error)
            if stops or not isinstance(error, Exception):
                stopped.append(error)
            return
        ended = time.perf_counter()
        with lock:
            try:
                if not (
                    isinstance(answer, tuple | list) and len(answer) == 2 and answer[0] is not None
                ):
                    what = f"model {policy.models[stage]!r}: its call"
                    raise ValueError(
                        f"{what} must return (predictions, confidences), not {brief(answer)}"
                    )
                write_answer(policy, decisions, stage, rows, *answer)
            except ValueError as error:
                stopped.append(error)
            seconds[stage] += ended - begun, time.perf_counter() - ended

    looping.start()
    try:
        with ThreadPoolExecutor(concurrency) as pool:
            for stage in range(len(calls)):
                waiting = np.flatnonzero(decisions.exit_stage < 0)
                parts = [
                    waiting[start : start + batch_size]
                    for start in range(0, len(waiting), batch_size)
                ]
                list(pool.map(ask, [stage] * len(parts), parts))
                if stopped:
                    raise stopped[0]
        decisions.exit_stage[decisions.exit_stage < 0] = (
            len(calls) - 1
        )  # where the last model failed
        audit = audit_of(policy, calls, inputs, batch_size, concurrency, on_error)
    except BaseException as error:
        decisions.predictions[decisions.exit_stage < 0] = None
        with suppress(
            Exception
        ):  # a class may refuse attributes: the error itself goes on all the same
            error.decided = decisions  # type: ignore[attr-defined]
        raise
    finally:
        loop.call_soon_threadsafe(loop.stop)
        looping.join()
        loop.close()
        policy.running.add(decisions, seconds, audit)
    for stage, failure in failures.items():
        text = f"{policy.models[stage]!r} failed for {decisions.broken[stage]} inputs: they went on, or kept their answer"
        warnings.warn(f"{text} ({type(failure).__name__}: {failure})", RuntimeWarning, stacklevel=3)
    return decisions


def audit_of(policy, calls, inputs, batch_size, concurrency, on_error):
    """An audit as :meth:`Running.add` takes it: rows, the reference's predictions, seconds; None where none is due."""
    rows = policy.running.drawn(len(inputs))
    if not len(rows):
        return None
    begun, name = (
        time.perf_counter(),
        known(policy.running.reference, policy.models, "model of this policy"),
    )
    alone = dict(
        policy.description, models=[{"name": name}], thresholds=[], method=None, expected=None
    )
    single, call = (
        replace(policy, description=alone, thresholds=()),
        calls[policy.models.index(name)],
    )
    drawn = [inputs[row] for row in rows]
    said = ask_models(single, [call], drawn, batch_size, concurrency, on_error).predictions
    kept = np.array(
        [answer is not None for answer in said]
    )  # where the reference failed, nothing is known
    return rows[kept], said[kept], time.perf_counter() - begun
