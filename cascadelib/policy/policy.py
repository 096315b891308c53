"""The decisions of a cascade without its models. To load a policy and to decide takes numpy alone:
neither torch nor pandas nor compiled kernels."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import about, items_of, reals
from ..evaluation.point import Point
from ..files import replacing
from ..methods.fitted import Fitted
from ..methods.thresholds import own_units
from .asking import Asking, from_synchronous, terms_of
from .decisions import (
    Decisions,
    alike_in_kind,
    answer_of,
    by_model,
    columns_read,
    complaint,
    exits_after,
    in_one_order,
    nothing,
)
from .form import read_point, text_of


@dataclass(frozen=True, repr=False)
class Policy:
    """Which models run, in which order, and which samples leave after each: a cascade without its models.

    :class:`Cascade` decides by one, and either reads what the other wrote; here the models' answers come from the
    caller (:meth:`decide`), or from functions that ask them (:meth:`run`).

    Parameters
    ----------
    point : Point
        What the file says.
    thresholds : tuple of float, optional
        In use, one fewer than models, in the metric's own units, without nan (default: the point's).

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
        """Write the file, whole or not at all, with its point's thresholds, on which the expectations rest; ValueError
        for a metric or an ensemble that is a function."""
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
        """The metric that thresholds are on; None where that has no name: of a ScoreTable, or fitted."""
        return self.point.metric

    @property
    def fitted(self) -> tuple[Fitted, ...]:
        """The fitted confidence after each model; empty where there is none."""
        return self.point.fitted

    @cached_property
    def running(self) -> Any:
        """Counts, time and drift of what :meth:`run` decided: a :class:`Running`."""
        from .monitoring import Running

        return Running(self.point)

    def exits(self, stage: int, confidence: np.ndarray) -> np.ndarray:
        """Which samples leave after a stage (0 = first model), bool [N]: all after the last one; nan passes on.

        confidence: float [N] of the cascade's output after that stage (of an ensemble, where the method has one), in
        the metric's own units. Raises ValueError for a stage that is not there.
        """
        values = own_units(self.metric, reals(confidence, "confidence"))
        return exits_after(self.in_use, stage, values)

    def decide(self, confidences: Any, predictions: Any = None) -> Decisions:
        """Who leaves where, from what the models say of N samples: :class:`Decisions`, by the rule of :func:`evaluate`.

        confidences: of each model, in their order or as {name: …}, [N] in the metric's own units, of the output after
        that stage (of an ensemble, where the method has one), or [N, c] columns that a fitted confidence reads (higher
        = surer); nan only where no sample gets; the last model's decide nothing and may be missing. predictions:
        likewise, [N] each, of any kind. ValueError naming the model where something is missing, or of another length.
        """
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

    def together(self, calls: Any, **options: Any) -> Asking:
        """What asks the models about the inputs of many callers together, on one event loop.

        Parameters
        ----------
        calls : list of callable, or mapping
            A function for each model, in their order or as {name: function}, async or not (then it
            runs in a thread): from a list of inputs to (predictions, confidences), one each an
            input, or (predictions, confidences, cost), cost one number for all of them, or one
            each. Confidences as :meth:`decide` takes them, at the method's temperature; of the last
            model None, where it has none. An exception among the predictions is the failure of its
            input. Whoever calls a service retries within the function.
        batch_size, concurrency : int, or one per model
            Inputs in one call (64), and calls of a model under way at once (8), at most.
        max_wait : float
            Seconds for which an input waits for others until its model is asked, where more can
            come (0.005).
        timeout : float or None, or one per model
            Seconds that a call may take (None).
        on_error : str
            What a failure leads to, be it an exception, a timeout, or an answer that is malformed
            or no label: "stop" (the default: it goes on to the caller), or "next" (a batch is asked again input
            by input; each that fails alone goes to the next model, or keeps the answer that it
            has).
        labels : iterable, optional
            The answers that may come.
        confidence_range : (float, float), optional
            The confidences that may come, in the metric's own units; −inf (+inf where lower is
            surer) passes an input on in any case.

        Returns
        -------
        Asking
            ``await asking.decide(inputs, ids)`` for each caller; an input moves on when its own
            answer is there. A failure that stops is that of its caller alone. ``await
            asking.end()`` when no more can come.

        Raises
        ------
        ValueError
            For a policy with an ensemble, and for what is none of the above.
        """
        terms = terms_of(self.models, self.running.reference, **options)
        return Asking(self.in_use, self.running, calls, terms)

    async def arun(
        self, calls: Any, inputs: Iterable, ids: Sequence | None = None, **options: Any
    ) -> Decisions:
        """Ask the models, each about those of N inputs that are undecided, on the caller's event loop.

        An input moves on when its own answer is there. Cancelled, it returns at once, and what was
        decided is in ``error.decided``, as after any other error. Models that failed are named in a
        warning.

        Parameters
        ----------
        calls : list of callable, or mapping
            See :meth:`together`, which also has the options: ``batch_size``, ``concurrency``,
            ``max_wait``, ``timeout``, ``on_error``, ``labels``, ``confidence_range``.
        inputs : iterable
        ids : list, optional
            What each input is called in ``decisions.ids``, in :attr:`running` and by late labels;
            by default a number.

        Returns
        -------
        Decisions
            In the order of the inputs.
        """
        return await self.together(calls, **options).once(inputs, ids)

    def run(
        self, calls: Any, inputs: Iterable, ids: Sequence | None = None, **options: Any
    ) -> Decisions:
        """:meth:`arun` from synchronous code; in a coroutine it would block the caller's loop.

        Async calls run on one loop in a thread of its own, which lives as long as the process: a
        client may be used in many runs. An interrupt (Ctrl-C) returns at once.
        """
        return from_synchronous(self.arun(calls, inputs, ids, **options))
