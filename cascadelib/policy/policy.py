"""The decisions of a cascade without its models. To load a policy and to decide takes numpy alone:
neither torch nor pandas nor compiled kernels."""

import inspect
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import about, brief, check_count, items_of, known, reals
from ..evaluation.point import Point
from ..files import replacing
from ..methods.fitted import Fitted
from ..methods.thresholds import own_units
from .calls import (
    Expectation,
    add_note,
    checked_calls,
    failed_answer,
    failure_of,
    first_fault,
    read_answer,
)
from .decisions import (
    MALFORMED,
    Decisions,
    alike_in_kind,
    answer_of,
    by_model,
    checked_ids,
    columns_read,
    complaint,
    exits_after,
    in_one_order,
    nothing,
)
from .form import read_point, text_of


@dataclass(frozen=True, repr=False)
class Policy:
    """Which models run, in which order, and which samples leave after each: a cascade without its
    models.

    :class:`Cascade` decides by one, and either reads what the other wrote; here the models' answers
    come from the caller (:meth:`decide`), or from functions that ask them (:meth:`run`).

    Parameters
    ----------
    point : Point
        What the file says.
    thresholds : tuple of float, optional
        In use, one fewer than models, in the metric's own units, without nan (default: the
        point's).

    Raises
    ------
    ValueError
        For another number of thresholds.
    """

    point: Point
    thresholds: tuple[float, ...] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        given = self.point.thresholds if self.thresholds is None else self.thresholds
        values = tuple(reals(items_of(given), "thresholds").tolist())
        if len(values) != len(self.models) - 1 or any(map(math.isnan, values)):
            raise ValueError(
                f"{len(self.models) - 1} thresholds without nan are needed, not {values}"
            )
        object.__setattr__(self, "thresholds", values)

    @classmethod
    def from_point(cls, point: Point, store: Any = None, held_out: Any = None) -> "Policy":
        """The policy of a :class:`Point`; store, held_out: as in :meth:`Cascade.from_point`."""
        from .cascade_file import point_for_file

        return cls(point_for_file(point, store, held_out))

    @classmethod
    def load(cls, path: str | Path, edited: bool = False) -> "Policy":
        """A policy from :meth:`save` or :meth:`Cascade.save`.

        Parameters
        ----------
        path : path
        edited : bool
            Whether the file may have been edited since it was written.

        Raises
        ------
        ValueError
            Names the file and what is wrong with it: no regular file, no JSON, another format or
            version, an edit, or a part that no cascade can have.
        """
        return cls(read_point(path, edited))

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all, with its point's thresholds, on which the
        expectations rest; ValueError for a metric or an ensemble that is a function."""
        text = text_of(self.point)
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def __repr__(self) -> str:
        return f"<Policy: {self.in_use.chain}, {self.in_use.decided_by}>"

    @cached_property
    def in_use(self) -> Point:
        """The point at the thresholds in use."""
        if self.thresholds == self.point.thresholds:
            return self.point
        return replace(self.point, thresholds=self.thresholds)

    @property
    def cascades(self) -> tuple[Point, ...]:
        """The one cascade that it is: what :func:`points_of` asks for."""
        return (self.in_use,)

    @property
    def models(self) -> tuple[str, ...]:
        """Names, in the order in which they run."""
        return self.point.models

    @property
    def metric(self) -> str | None:
        """The metric that thresholds are on; None where that has no name: of a ScoreTable, or
        fitted."""
        return self.point.metric

    @property
    def fitted(self) -> tuple[Fitted, ...]:
        """The fitted confidence after each model; empty where there is none."""
        return self.point.fitted

    def exits(self, stage: int, confidence: np.ndarray) -> np.ndarray:
        """Which samples leave after a stage (0 = first model), bool [N]: all after the last one;
        nan passes on.

        confidence: float [N] of the cascade's output after that stage (of an ensemble, where the
        method has one), in the metric's own units. Raises ValueError for a stage that is not there.
        """
        values = own_units(self.metric, reals(confidence, "confidence"))
        return exits_after(self.in_use, stage, values)

    def decide(self, confidences: Any, predictions: Any = None) -> Decisions:
        """Who leaves where, from what the models say of N samples: :class:`Decisions`, by the rule
        of :func:`evaluate`.

        confidences: of each model, in their order or as {name: …}, [N] in the metric's own units,
        of the output after that stage (of an ensemble, where the method has one), or [N, c] columns
        that a fitted confidence reads (higher = surer); nan only where no sample gets; the last
        model's decide nothing and may be missing. predictions: likewise, [N] each, of any kind.
        ValueError naming the model where something is missing, or of another length."""
        point = self.in_use
        scores, answers = in_one_order(
            point,
            by_model(point.models, confidences, "confidences"),
            by_model(point.models, predictions, "predictions"),
        )
        columns = [
            values if values is None else columns_read(point, stage, values)
            for stage, values in enumerate(scores)
        ]
        answers, unknown = alike_in_kind(answers)
        sizes = {len(values) for values in (*columns, *answers) if values is not None}
        if len(sizes) > 1:
            raise ValueError(
                f"confidences and predictions must be of equally many samples, not {sorted(sizes)}"
            )
        decisions = nothing(max(sizes, default=0), point.models, unknown)
        ids = np.arange(len(decisions))
        decisions = replace(decisions, ids=ids)
        rows: Any = slice(None)  # the same as ids, and nothing is copied
        for stage, (said, column) in enumerate(zip(answers, columns)):
            said = np.full(len(ids), None) if said is None else said[rows]
            values = column if column is None else column[rows]
            before = decisions.predictions[rows] if stage and point.fitted else None
            with about(f"model {point.models[stage]!r}"):
                answer = answer_of(point, stage, said, values, before, np.zeros(len(ids), np.int8))
                for row in np.flatnonzero(answer.failures)[:1]:
                    raise ValueError(complaint(point, ids[row], answer, row))
            left = decisions.write(point, stage, rows, answer)
            rows = ids = ids[np.flatnonzero(~left)]
        return decisions

    def run(
        self,
        calls: Any,
        inputs: Iterable,
        ids: Sequence | None = None,
        *,
        batch_size: int = 64,
        on_error: str = "stop",
        labels: Iterable | None = None,
        confidence_range: Sequence[float] | None = None,
    ) -> Decisions:
        """Ask the models, batch by batch, each about the inputs that are still undecided.

        Calls run in this thread, one after another. For many calls at once, async calls, timeouts
        and monitoring, use :class:`cascadelib.serve.Service`.

        Parameters
        ----------
        calls : list of callable, or mapping
            A function per model, in their order or as {name: function}: from a list of inputs to
            (predictions, confidences) or (predictions, confidences, cost). Predictions and
            confidences are one per input, the cost is one number per input or one for all.
            Confidences are those that :meth:`decide` takes. If the last model has none, they are
            None. An exception among the predictions is the failure of its input.
        inputs : iterable
        ids : list, optional
            Texts or whole numbers that name the inputs; by default their positions.
        batch_size : int, default=64
            Inputs of one call, at most.
        on_error : str, default="stop"
            What happens after a failure: an exception, a malformed answer, or a prediction that is
            not among ``labels``. "stop": it is raised. "next": the inputs of the batch are asked
            about one by one, and those that fail are deferred to the next model or keep their
            answer.
        labels : iterable, optional
            The predictions that may come.
        confidence_range : (float, float), optional
            The least and the largest confidence that may come, in the metric's native units. −inf
            (+inf if lower is more confident) always defers an input.

        Returns
        -------
        Decisions
            In the order of the inputs.

        Raises
        ------
        ValueError
            If an option is not one of the above, or the policy has an ensemble.
        BaseException
            What a call raises; ``error.decided`` has the decisions so far.

        See Also
        --------
        Policy.decide : Decide from confidences that are there already.
        """
        functions = checked_calls(self.in_use, calls)
        for name, call in zip(self.models, functions):
            if inspect.iscoroutinefunction(call):
                raise ValueError(
                    f"model {name!r}: its call is async, and run is not: use "
                    "cascadelib.serve.Service(policy, calls)"
                )
        size = check_count(batch_size, "batch_size")
        stops = known(on_error, ["stop", "next"], "on_error") == "stop"
        expectation = Expectation.of(labels, confidence_range)
        if isinstance(inputs, str | bytes | Mapping) or hasattr(inputs, "columns"):
            raise ValueError(f"a list of inputs is needed, not {brief(inputs)}")
        inputs = list(inputs)
        rows = np.arange(len(inputs))
        decisions = nothing(len(inputs), self.models).take(rows)
        decisions = replace(decisions, ids=checked_ids(ids, len(rows)))
        run = CallRun(self.in_use, functions, inputs, decisions, expectation, stops)
        try:
            for stage in range(len(functions)):
                starts = range(0, len(rows), size)
                deferred = [run.ask(stage, rows[start : start + size]) for start in starts]
                rows = np.concatenate([rows[:0], *deferred])
        except BaseException as error:
            run.attach_decided(error)
            raise
        run.warn_of_failures()
        return decisions


@dataclass(eq=False)
class CallRun:
    """One :meth:`Policy.run`: its decisions so far, and the first failure of each stage."""

    point: Point
    functions: Sequence[Callable]
    inputs: Sequence
    decisions: Decisions
    expectation: Expectation
    stops: bool
    faults: dict[int, BaseException] = field(default_factory=dict)

    def ask(self, stage: int, rows: np.ndarray) -> np.ndarray:
        """Ask the model of a stage about some inputs, and return those that are deferred."""
        name = self.point.models[stage]
        before = self.decisions.predictions[rows] if stage else None
        begun = time.perf_counter()
        kind = None
        try:
            answer = self.functions[stage]([self.inputs[row] for row in rows.tolist()])
            seconds = time.perf_counter() - begun
            kind = MALFORMED
            with about(f"model {name!r}"):
                read = read_answer(self.point, stage, answer, len(rows), before, self.expectation)
            fault = first_fault(self.point, read, self.decisions.ids[rows], name)
            if fault is not None and self.stops:
                raise fault
        except Exception as error:
            add_note(error, name, len(rows))
            if self.stops:
                raise
            if len(rows) > 1:
                return np.concatenate([self.ask(stage, row) for row in rows[:, None]])
            seconds = time.perf_counter() - begun
            fault = error
            read = failed_answer(kind or failure_of(error))
        if fault is not None:
            self.faults.setdefault(stage, fault)
        self.decisions.seconds[rows, stage] = seconds
        left = self.decisions.write(self.point, stage, rows, read)
        return rows[~left]

    def attach_decided(self, error: BaseException) -> None:
        """Hand the decisions so far to the caller with an exception."""
        self.decisions.undecide()
        with suppress(Exception):  # a class may refuse attributes
            error.decided = self.decisions  # type: ignore[attr-defined]

    def warn_of_failures(self) -> None:
        """Warn of each model that failed."""
        for stage, error in self.faults.items():
            text = (
                f"{self.point.models[stage]!r} failed for {self.decisions.broken[stage]} inputs: "
                "they went on to the next model, or kept their answer "
                f"({type(error).__name__}: {error})"
            )
            warnings.warn(text, RuntimeWarning, stacklevel=3)
