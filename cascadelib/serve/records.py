"""Records of decisions and of audits, which a log stores as one JSON line each."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..methods.thresholds import LARGEST
from ..policy.decisions import FAILURES, Decisions, empty_decisions

NUMBER_OF = {name: number for number, name in enumerate(FAILURES)}


@dataclass(slots=True)
class Record:
    """The decision for one input.

    The lists have one item per stage that the input reached.

    Parameters
    ----------
    id : str or int
        Name of the input.
    prediction : Any
        The answer, or None if no model answered.
    model : str or None
        The model that gave the answer.
    status : str
        The last failure: none, timeout, error, malformed or unknown label. Or "undecided".
    stage : int
        Stage at which the input exited, 0 = first model. −1 if undecided.
    predictions, confidences : list
        Answers and confidences, None for a failure.
    failures : list of str
    costs : list of float or None
        Cost of each call for this input. None if the call did not return it.
    seconds : list of float or None
        Duration of each call.
    latency : float or None
        Seconds from the arrival of the input to its decision.
    retries : int
        Number of calls that failed and were repeated.
    number : int or None
        The position of the input in the order of arrival at its process.
    repeat : int
        Number of earlier decisions for the same id.
    audited : bool
        Whether the input was drawn for the audit.
    policy : str
        The start of the checksum of the policy that decided.

    See Also
    --------
    Monitor.observe : Count records.

    Examples
    --------
    >>> from cascadelib.serve import Record
    >>> record = Record("a")
    >>> record.add("yes", confidence=0.9, failure="none", cost=1.0, seconds=0.01)
    >>> record.finish(["small", "large"], latency=0.02)
    >>> record.prediction, record.model, record.stage
    ('yes', 'small', 0)
    """

    id: str | int
    prediction: Any = None
    model: str | None = None
    status: str = "undecided"
    stage: int = -1
    predictions: Sequence = ()
    confidences: Sequence[float | None] = ()
    failures: Sequence[str] = ()
    costs: Sequence[float | None] = ()
    seconds: Sequence[float | None] = ()
    latency: float | None = None
    retries: int = 0
    number: int | None = None
    repeat: int = 0
    audited: bool = False
    policy: str = ""

    def add(
        self,
        prediction: Any,
        confidence: float | None,
        failure: str,
        cost: float | None,
        seconds: float | None,
    ) -> None:
        """Append a model's answer, or its failure."""
        if failure == "none":
            self.prediction = prediction
        # Inputs that wait share empty tuples: lists of each would double their garbage collection.
        self.predictions = [*self.predictions, prediction]
        self.confidences = [*self.confidences, confidence]
        self.failures = [*self.failures, failure]
        self.costs = [*self.costs, cost]
        self.seconds = [*self.seconds, seconds]

    def finish(self, models: Sequence[str], latency: float | None) -> None:
        """Let the input exit with the last answer that it received."""
        self.stage = len(self.failures) - 1
        self.status = "none"
        self.latency = latency
        for model, failure in zip(models, self.failures):
            if failure == "none":
                self.model = model
            else:
                self.status = failure

    def to_json(self) -> str:
        """Return the record as a line of JSON. Infinite confidences become the largest float."""
        return dump(self, confidences=[finite(value) for value in self.confidences])


@dataclass(slots=True)
class AuditRecord:
    """The reference's answer for an audited input.

    Parameters
    ----------
    id : str or int
    answer : Any
        None if the reference failed.
    failure : str
        As the status of a :class:`Record`.
    cost, seconds : float or None
        Both are 0 if the reference had answered already, as a model of the cascade.

    See Also
    --------
    Record : The decision for an input.

    Examples
    --------
    >>> from cascadelib.serve import AuditRecord
    >>> AuditRecord("a", "yes", cost=10.0).to_json()
    '{"id": "a", "answer": "yes", "failure": "none", "cost": 10.0, "seconds": null}'
    """

    id: str | int
    answer: Any = None
    failure: str = "none"
    cost: float | None = None
    seconds: float | None = None

    def to_json(self) -> str:
        """Return the record as a line of JSON."""
        return dump(self)


def read_log(lines: Iterable[str]) -> Iterable[Record | AuditRecord]:
    """Yield the records in the lines of a log.

    Parameters
    ----------
    lines : iterable of str
        Lines of :meth:`Record.to_json` and :meth:`AuditRecord.to_json`, such as an open file. A
        last line without its end, which a killed process leaves, is skipped.

    Raises
    ------
    ValueError
        If a line is not a record. The message has its number.

    See Also
    --------
    Monitor.observe : Count the records.

    Examples
    --------
    >>> from cascadelib.serve import AuditRecord, Record, read_log
    >>> log = [Record("a").to_json() + "\\n", AuditRecord("a", "yes").to_json() + "\\n"]
    >>> [type(record).__name__ for record in read_log(log)]
    ['Record', 'AuditRecord']
    """
    for number, line in enumerate(lines, 1):
        if line.endswith("\n"):
            try:
                fields = json.loads(line)
                yield AuditRecord(**fields) if "answer" in fields else Record(**fields)
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"line {number} of the log is not a record ({error}). Remove the line that a "
                    "killed process has cut off"
                ) from error


def dump(record: Record | AuditRecord, **replaced: Any) -> str:
    """Return the fields of a record as a line of JSON."""
    fields = {name: getattr(record, name) for name in record.__slots__} | replaced
    return json.dumps(fields, default=np.generic.item, allow_nan=False)


def finite(value: float | None) -> float | None:
    """Return a number, or ± the largest float for ±inf, as a policy file stores it."""
    return value if value is None else max(-LARGEST, min(value, LARGEST))


def number_records(decisions: Decisions, first: int) -> list[Record]:
    """Return the records of decisions. Inputs without ids are numbered from ``first``."""
    records = [Record(**fields) for fields in decisions.records()]
    if decisions.ids.dtype.kind == "i":
        for number, record in enumerate(records, first):
            record.id = number
    return records


def decisions_of(records: Sequence[Record], models: Sequence[str], unknown: Any) -> Decisions:
    """Return records as :class:`Decisions`. ``unknown`` is the prediction if no model answered."""
    decisions = empty_decisions(len(records), models, unknown).take(np.arange(len(records)))
    for row, record in enumerate(records):
        reached = len(record.failures)
        decisions.ids[row] = record.id
        decisions.exit_stage[row] = record.stage
        decisions.failures[row, :reached] = [NUMBER_OF[name] for name in record.failures]
        for name in ("confidences", "costs", "seconds"):  # None becomes nan
            getattr(decisions, name)[row, :reached] = getattr(record, name)
        if record.model is not None:
            stage = models.index(record.model)
            decisions.answered[row] = stage
            decisions.guesses[row, 0] = record.prediction
            decisions.confidence[row] = decisions.confidences[row, stage]
    return decisions
