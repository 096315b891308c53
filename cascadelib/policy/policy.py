"""Decide by a cascade without its models.

Loading a policy and deciding need NumPy, but not torch, pandas or compiled kernels.
"""

import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_count, error_context, items_of, validate_choice
from ..evaluation.point import Point
from ..files import digest_of, read_json, write_text
from ..labels import as_real_array
from .calls import Expectation, call_model, first_fault, list_inputs, read_answer, validate_calls
from .decisions import (
    Decisions,
    align_inputs,
    check_answer,
    empty_decisions,
    exits_of,
    objects,
    validate_ids,
)
from .form import LARGEST, parse_cascade, parts_as_json, text_of, without_old_figures


@dataclass(frozen=True, repr=False)
class Policy:
    """Decide which samples exit after each model, without the models themselves.

    The models' answers come from the caller (:meth:`decide`) or from functions that call the models
    (:meth:`run`). :class:`Cascade` reads and writes the same file.

    Parameters
    ----------
    point : Point
        The chosen cascade, with all that its file stores. For other thresholds, pass
        ``dataclasses.replace(point, thresholds=…)``.

    Raises
    ------
    ValueError
        If the number of thresholds is wrong, or one is nan.

    See Also
    --------
    Cascade : A policy with its torch models.
    cascadelib.monitor : Monitor a running policy from its log.

    Examples
    --------
    >>> import cascadelib as cl
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.55,)))
    >>> policy
    <Policy: small at 0.55 → large, given confidences>
    >>> policy.decide([[0.9, 0.1, 0.6]]).exit_stage.tolist()
    [0, 1, 0]
    """

    point: Point

    def __post_init__(self) -> None:
        values = as_real_array(items_of(self.point.thresholds), "thresholds")
        if len(values) != len(self.models) - 1 or np.isnan(values).any():
            raise ValueError(
                f"{len(self.models) - 1} thresholds without nan are needed, not {values.tolist()}"
            )

    @classmethod
    def from_point(cls, point: Point, store: Any = None, held_out: Any = None) -> "Policy":
        """Return the policy of a point, with its expected figures.

        Parameters
        ----------
        point : Point
        store : LogitStore or ScoreTable, optional
            The selection split.
        held_out : LogitStore or ScoreTable, optional
            Another split. The expected figures are measured on it. If it is None, they are measured
            on `store`.

        Returns
        -------
        Policy

        Raises
        ------
        ValueError
            If samples of `held_out` repeat each other.

        See Also
        --------
        Cascade.from_point : The same with torch models.
        """
        from .cascade_file import point_for_file

        return cls(point_for_file(point, store, held_out))

    @classmethod
    def load(cls, path: str | Path) -> "Policy":
        """Read a policy that :meth:`save` or :meth:`Cascade.save` wrote.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Policy

        Raises
        ------
        ValueError
            If the file is not regular, is not JSON, has another format or version, was edited, or
            has an invalid part. The message names the file and the fault.
        """
        content = read_json(Path(path), LARGEST)
        with error_context(str(path)):
            return cls(parse_cascade(content))

    def save(self, path: str | Path) -> None:
        """Write the policy to a file atomically.

        If other thresholds were chosen than those in use, the file has no figures and no guarantee.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        ValueError
            If the metric or the ensemble is a function.
        """
        write_text(path, text_of(without_old_figures(self.point)))

    def __repr__(self) -> str:
        return f"<Policy: {self.point.chain}, {self.point.decided_by}>"

    @property
    def cascades(self) -> tuple[Point, ...]:
        """Return the policy's only point, for :func:`points_of`."""
        return (self.point,)

    @property
    def models(self) -> tuple[str, ...]:
        """Return the names of the models in the order in which they run."""
        return self.point.models

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds, in the metric's native units."""
        return self.point.thresholds

    @cached_property
    def checksum(self) -> str:
        """Return 12 digits that name the policy in a log.

        They depend on all that decides: the models, the thresholds, and the method with its fits.
        They do not depend on measured figures or a guarantee.

        Raises
        ------
        ValueError
            If the metric or the ensemble is a function.
        """
        parts = parts_as_json(self.point)
        return digest_of([parts[name] for name in ("models", "thresholds", "method")])[:12]

    def step(
        self,
        stage: int,
        predictions: Any,
        confidences: Any = None,
        labels: Iterable | None = None,
        confidence_range: Sequence[float] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decide N samples that have reached a stage, from the answers of its model.

        It is one stage of :meth:`run`, for an engine that calls the models.

        Parameters
        ----------
        stage : int
            0 = first model.
        predictions : sequence of N answers
            An exception is the failure of its sample.
        confidences : array of shape (N,), optional
            As in :meth:`run`. The last model needs none.
        labels : iterable, optional
            The valid predictions. The default: all are valid.
        confidence_range : (float, float), optional
            The least and the largest valid confidence, as in :meth:`run`. Without it, confidences
            in percent are not recognized in batches of at most 8 samples.

        Returns
        -------
        exits : bool array of shape (N,)
            A sample whose model has failed does not exit before the last stage.
        failures : int8 array of shape (N,)
            Failure of the model for each sample, as a position in ``cascadelib.policy.FAILURES``:
            none, timeout, error, malformed, unknown label.

        Raises
        ------
        ValueError
            If there is no such stage, or lengths differ.

        See Also
        --------
        Policy.run : Call the models, one after another.
        cascadelib.monitor : Monitor the policy from a log of such steps.

        Examples
        --------
        >>> import cascadelib as cl
        >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
        >>> exits, failures = policy.step(0, ["yes", "no", None], [0.9, 0.1, 0.8])
        >>> exits.tolist(), failures.tolist()
        ([True, False, False], [0, 0, 3])
        """
        stage = check_count(stage, "stage", 0, len(self.thresholds))
        answers = objects(predictions)
        with error_context(f"model {self.models[stage]!r}"):
            answer = read_answer(
                self.point,
                stage,
                (answers, confidences),
                len(answers),
                Expectation(labels, confidence_range),
            )
        return exits_of(self.point, stage, answer), answer.failures

    def decide(self, confidences: Any, predictions: Any = None) -> Decisions:
        """Decide N samples from confidences and predictions of the models, as :func:`evaluate`.

        Parameters
        ----------
        confidences : list of arrays, or mapping from model to array
            One array of shape (n_samples,) per model, in the metric's native units. If the method
            has an ensemble, it is the confidence of the ensemble's output. A fitted confidence
            reads columns of shape (n_samples, n_columns), higher = more confident. A value may be
            nan only if its sample does not reach the stage. The last model's array may be missing.
        predictions : list of arrays, or mapping from model to array, optional
            Each of shape (n_samples,), of any kind.

        Returns
        -------
        Decisions

        Raises
        ------
        ValueError
            If a value is missing, or lengths differ. The message names the model.

        See Also
        --------
        Policy.run : Call the models for undecided inputs only.
        """
        point = self.point
        columns, answers = align_inputs(point, confidences, predictions)
        answers = [each if each is None else objects(each) for each in answers]
        sizes = {len(values) for values in (*columns, *answers) if values is not None}
        if len(sizes) > 1:
            raise ValueError(
                "confidences and predictions must have the same number of samples, not "
                f"{sorted(sizes)}"
            )
        rows = np.arange(max(sizes, default=0))
        decisions = empty_decisions(rows, point.models)
        for stage, (predicted, column) in enumerate(zip(answers, columns)):
            predicted = np.full(len(rows), None) if predicted is None else predicted[rows]
            values = column if column is None else column[rows]
            with error_context(f"model {point.models[stage]!r}"):
                no_failures = np.zeros(len(rows), np.int8)
                answer = check_answer(point, stage, predicted, values, no_failures)
            if fault := first_fault(point, stage, answer, rows):
                raise fault
            rows = rows[~decisions.write(point, stage, rows, answer)]
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
        """Call the models in batches, each on the inputs that are still undecided.

        Calls run in this thread, one after another. For concurrent calls, retries and timeouts, an
        engine calls the models and decides by :meth:`step`. docs/running.md has examples.

        Parameters
        ----------
        calls : list of callable, or mapping
            A function per model, in their order or as {name: function}: from a list of inputs to
            (predictions, confidences) or (predictions, confidences, cost). There is one prediction
            and one confidence per input, as in :meth:`decide`. The cost is one number per input, or
            one for the call. The last model may return None instead of confidences. An exception
            among the predictions is the failure of its input.
        inputs : iterable
        ids : list, optional
            Texts or whole numbers that name the inputs; by default their positions.
        batch_size : int, default=64
            Maximum number of inputs per call.
        on_error : str, default="stop"
            What happens after a failure: an exception, a malformed answer, or a prediction that is
            not among ``labels``. "stop": it is raised. "next": the inputs that fail are deferred to
            the next model. These are all inputs of the batch if the call raises an exception. At
            the last model, they keep the answer of a previous one.
        labels : iterable, optional
            The valid predictions. The default: all are valid.
        confidence_range : (float, float), optional
            The least and the largest valid confidence, in the metric's native units. −inf (+inf if
            lower is more confident) is valid as well, and always defers an input.

        Returns
        -------
        Decisions
            In the order of the inputs.

        Raises
        ------
        ValueError
            If an option is not one of the above, or the policy has an ensemble.
        BaseException
            If a call raises it. ``error.decided`` has the decisions so far.

        See Also
        --------
        Policy.decide : Decide from existing confidences.
        """
        point = self.point
        functions = validate_calls(point, calls)
        size = check_count(batch_size, "batch_size")
        stops = validate_choice(on_error, ["stop", "next"], "on_error") == "stop"
        expectation = Expectation(labels, confidence_range)
        inputs = list_inputs(inputs)
        rows = np.arange(len(inputs))
        decisions = empty_decisions(validate_ids(ids, len(rows)), self.models)
        first_faults: dict[int, BaseException] = {}  # by stage
        try:
            for stage, call in enumerate(functions):
                deferred = [rows[:0]]
                for start in range(0, len(rows), size):
                    part = rows[start : start + size]
                    batch = [inputs[row] for row in part.tolist()]
                    answer, fault = call_model(
                        point, stage, call, batch, decisions.ids[part], expectation
                    )
                    if fault is not None and stops:
                        raise fault
                    if fault is not None:
                        first_faults.setdefault(stage, fault)
                    deferred.append(part[~decisions.write(point, stage, part, answer)])
                rows = np.concatenate(deferred)
        except BaseException as error:
            with suppress(Exception):  # a class may refuse attributes
                error.decided = decisions  # type: ignore[attr-defined]
            raise
        warn_of_failures(decisions, first_faults)
        return decisions


def warn_of_failures(decisions: Decisions, first_faults: dict[int, BaseException]) -> None:
    """Warn of each stage whose model failed, with its first fault, on behalf of the caller."""
    for stage, fault in first_faults.items():
        text = (
            f"{decisions.models[stage]!r} failed for {decisions.failure_counts[stage]} inputs: "
            "they were deferred to the next model, or kept their answer "
            f"({type(fault).__name__}: {fault})"
        )
        warnings.warn(text, RuntimeWarning, stacklevel=3)
