"""Count the inputs, calls and audits of a monitored cascade in one process or over processes."""

import hashlib
from bisect import bisect_left
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from itertools import takewhile
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..policy.decisions import FAILURES
from .drift_signal import DriftSignal
from .records import NUMBER_OF, AuditRecord, Record

MAX_RECENT = 2**16  # ids whose repetition is recognized
MAX_PENDING = 2**16
MAX_ROWS = 2**13  # audited inputs that are stored for a new certificate
AUDIT_WINDOW = 1000  # audited inputs per window
CALL_WINDOW = 1024  # for each model, the number of latest calls of which the failures are stored
VERDICTS = ("lost", "tied", "gained")
SUMS = (
    "arrivals",
    "inputs",
    "priced",
    "unknown_calls",
    "audited",
    "audit_failures",
    "audit_seconds",
    "audit_cost",
)
SUMS_BY_MODEL = ("exits", "lost_at", "seconds", "spent")
NAMES = {*SUMS, *SUMS_BY_MODEL, "failed", "money"}


class AuditedInput(NamedTuple):
    """An audited input: the cascade's prediction, its window, and the stage at which it exited.

    `first_prediction` and `confidence` are those of the first model. `answer` and `failure` are
    those of the reference. `failure` is "" before the reference has answered, and "none" if it has
    answered without a failure.
    """

    prediction: Any
    window: int
    stage: int
    first_prediction: Any = None
    confidence: float | None = None
    answer: Any = None
    failure: str = ""

    @property
    def has_answer(self) -> bool:
        """Whether the reference has answered. If the input is pending, the answers differ."""
        return self.failure == "none"


class Counts:
    """The counts of one process since its start, for a cascade of n models.

    Attributes
    ----------
    sums : dict
        A number for each name in ``SUMS``. A list of n numbers, one per model, for each name in
        ``SUMS_BY_MODEL``. ``failed``: n lists with a number per kind of failure. ``money``: the sum
        of the costs of the priced inputs, and the sum of their squares.
    signal : DriftSignal or None
    latest_failures : list of deque
        The failures of the last calls of each model, as positions in ``FAILURES``.
    identity : str
        A uuid, or "" before the first input.
    version : int
        Increases with each change.
    total : Counter
        Numbers of audited inputs. The keys are ``audited``, ``agreed``, ``open`` (disagreements
        without a label), and each of ``VERDICTS``.
    windows : dict of int to Counter
        The counts of ``total`` in each of the last two windows. ``since`` is the number of inputs
        before the window.
    pending : dict
        By id, each :class:`AuditedInput` without a verdict.
    open_ids : list of (bytes, id)
        The ids of open disagreements in the order of their SHA-256. Ids that have received a label
        remain until they are the majority.
    rows : dict
        By id, the newest of all :class:`AuditedInput`, oldest first.
    report_labels : dict
        Labels for inputs of this process that another monitor received, after a merge. This process
        counts them when that monitor is merged into its own.
    decisions_by_id : OrderedDict
        The number of decisions for each of the last ids, the most recent one last.
    """

    def __init__(self, models: int, signal: DriftSignal | None) -> None:
        self.sums: dict[str, Any] = {
            **dict.fromkeys(SUMS, 0),
            **{name: [0] * models for name in SUMS_BY_MODEL},
            "failed": [[0] * len(FAILURES) for _ in range(models)],
            "money": [0, 0],
        }
        self.signal = signal
        self.latest_failures: list[deque[int]] = [deque(maxlen=CALL_WINDOW) for _ in range(models)]
        self.identity = ""
        self.version = 0
        self.total: Counter = Counter()
        self.windows: dict[int, Counter] = {}
        self.pending: dict[Any, AuditedInput] = {}
        self.open_ids: list[tuple[bytes, Any]] = []
        self.rows: dict[Any, AuditedInput] = {}
        self.report_labels: dict[Any, Any] = {}
        self.decisions_by_id: OrderedDict[Any, int] = OrderedDict()

    def count_repeats(self, record: Record, is_new: bool) -> bool:
        """Count a decision for the record's id. Return False if the record was already counted.

        If `is_new`, ``record.repeat`` is set to the number of earlier decisions for this id.
        """
        before = self.decisions_by_id.pop(record.id, 0)
        if is_new:
            record.repeat = before
        # The last key is the most recent id.
        self.decisions_by_id[record.id] = max(before, record.repeat + 1)
        if len(self.decisions_by_id) > MAX_RECENT:
            self.decisions_by_id.popitem(last=False)
        return record.repeat >= before

    def add(self, record: Record) -> None:
        """Add a decision to the sums."""
        sums = self.sums
        sums["inputs"] += 1
        sums["exits"][record.stage] += 1
        paid = 0.0
        is_priced = True
        sums["unknown_calls"] += record.retries
        columns = zip(record.failures, record.costs, record.seconds)
        for stage, (name, cost, seconds) in enumerate(columns):
            failure = NUMBER_OF[name]
            self.latest_failures[stage].append(failure)
            sums["failed"][stage][failure] += 1
            sums["seconds"][stage] += seconds or 0
            if cost is not None:
                sums["spent"][stage] += cost
                paid += cost
            elif failure:
                sums["unknown_calls"] += 1
            else:
                is_priced = False
        if is_priced:
            sums["priced"] += 1
            sums["money"][0] += paid
            sums["money"][1] += paid * paid

    def tally(self, window: int, name: str, step: int = 1) -> None:
        """Add to a count of the audit."""
        self.total[name] += step
        if window in self.windows:
            self.windows[window][name] += step

    def add_pending(self, record: Record) -> None:
        """Store an audited input until it has a verdict."""
        window, place = divmod(self.sums["audited"], AUDIT_WINDOW)
        if place == 0:
            self.windows[window] = Counter(since=self.sums["inputs"] - 1)
            self.windows.pop(window - 2, None)
        self.sums["audited"] += 1
        self.tally(window, "audited")
        if record.id not in self.pending and len(self.pending) < MAX_PENDING:
            first = (record.predictions[0], record.confidences[0])
            audited = AuditedInput(record.prediction, window, record.stage, *first)
            self.pending[record.id] = self.rows[record.id] = audited
            if len(self.rows) > MAX_ROWS:
                del self.rows[next(iter(self.rows))]

    def resolve(self, record: AuditRecord, equal: Callable[[Any, Any], Any]) -> None:
        """Record the reference's first answer for a pending input."""
        pending = self.pending.get(record.id)
        if pending is None or pending.failure:
            return
        has_failed = record.failure != "none"
        agrees = not has_failed and equal(pending.prediction, record.answer)
        self.sums["audit_seconds"] += record.seconds or 0
        self.sums["audit_cost"] += record.cost or 0
        self.sums["audit_failures"] += has_failed
        answered = pending._replace(answer=record.answer, failure=record.failure)
        self.pending[record.id] = answered
        if record.id in self.rows:
            self.rows[record.id] = answered
        if agrees:
            del self.pending[record.id]
            self.tally(pending.window, "agreed")
        elif not has_failed:
            self.tally(pending.window, "open")
            self.open(record.id)

    def open(self, name: Any) -> None:
        """Add an id to the open disagreements. Remove closed ones if they are the majority."""
        if len(self.open_ids) > 2 * self.total["open"] + 100:
            self.open_ids = [pair for pair in self.open_ids if pair[1] in self.pending]
        digest = digest_of_id(name)
        place = bisect_left(self.open_ids, digest, key=itemgetter(0))
        if self.open_ids[place : place + 1] != [(digest, name)]:  # the id may be audited again
            self.open_ids.insert(place, (digest, name))

    def disagreements(self, window: int = 0) -> Iterator[tuple[bytes, Any, AuditedInput]]:
        """Yield (digest, id, input) of open disagreements, in the order of the digests.

        If `window` is not 0, it is one of the last two, and disagreements before it are skipped.
        """
        pairs = self.open_ids
        if window:
            newest = reversed(self.pending.items())  # in the order of the windows
            current = takewhile(lambda item: item[1].window >= window, newest)
            pairs = sorted([(digest_of_id(name), name) for name, _ in current], key=itemgetter(0))
        for digest, name in pairs:
            pending = self.pending.get(name)
            if pending is not None and pending.has_answer:
                yield digest, name, pending

    def settle(self, labels: Mapping[Any, Any], equal: Callable[[Any, Any], Any]) -> list:
        """Count the verdicts of labelled open disagreements, and return the ids of these."""
        found = [name for name in labels if name in self.pending and self.pending[name].has_answer]
        for name in found:
            pending = self.pending.pop(name)
            cascade_correct = bool(equal(pending.prediction, labels[name]))
            reference_correct = bool(equal(pending.answer, labels[name]))
            verdict = "tied"
            if cascade_correct != reference_correct:
                verdict = "gained" if cascade_correct else "lost"
            self.tally(pending.window, verdict)
            self.tally(pending.window, "open", -1)
            self.sums["lost_at"][pending.stage] += verdict == "lost"
        return found

    def to_json(self) -> dict[str, Any]:
        """Return a copy of the counts, with values that JSON can store.

        Dictionaries become lists of pairs, since a key in JSON is always text and ids may be
        numbers.
        """
        state = vars(self) | deepcopy({"sums": self.sums, "windows": self.windows})
        for name, value in state.items():
            if isinstance(value, dict):
                state[name] = list(value.items())
        signal = self.signal and self.signal.state()
        latest = list(map(list, self.latest_failures))
        return state | {"signal": signal, "latest_failures": latest, "open_ids": []}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`to_json` wrote, for the same number of models and the same signal."""
        self.identity = state["identity"]
        self.version = state["version"]
        self.sums = dict(state["sums"])
        self.latest_failures = [
            deque(failures, CALL_WINDOW) for failures in state["latest_failures"]
        ]
        self.total = Counter(dict(state["total"]))
        self.windows = {number: Counter(window) for number, window in state["windows"]}
        for kind in ("rows", "pending"):
            inputs = {name: AuditedInput(*values) for name, values in state[kind]}
            setattr(self, kind, inputs)
        self.report_labels = dict(state["report_labels"])
        self.decisions_by_id = OrderedDict(state["decisions_by_id"])
        for name, pending in self.pending.items():
            if pending.has_answer:
                self.open(name)
        if self.signal is not None:
            self.signal.restore(state["signal"])


def digest_of_id(name: Any) -> bytes:
    """Return the SHA-256 of an id, whose order is that of :func:`cascadelib.to_label`."""
    return hashlib.sha256(str(name).encode()).digest()


def add_up(parts: Sequence[Counts]) -> tuple[dict[str, Any], Counter, dict[int, Counter]]:
    """Return the sums, the audit's total and its last two windows over several processes."""
    sums = {}
    for name in parts[0].sums:
        values = np.sum([part.sums[name] for part in parts], axis=0)
        sums[name] = values if values.ndim else values.item()
    windows: dict[int, Counter] = {}
    for part in parts:
        for number, window in part.windows.items():
            windows[number] = windows.get(number, Counter()) + window
    newest = sorted(windows)[-2:]
    total = sum((part.total for part in parts), Counter())
    return sums, total, {number: windows[number] for number in newest}
