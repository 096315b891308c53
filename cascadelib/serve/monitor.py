"""Monitor exit rates, failures, drift, time and cost of a policy over all its processes."""

import copy
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ..checks import brief
from ..evaluation.point import Point
from ..files import digest_of, open_regular_file, write_text
from ..methods.thresholds import LARGEST
from ..policy.decisions import FAILURES, Decisions
from ..policy.form import parse_cascade, text_of
from .audit import LOCK, Audit
from .counts import NAMES, Counts, add_up
from .drift_signal import DriftReport, DriftSignal, describe_reference
from .records import AuditRecord, Record, finite, number_records

BUFFER_SIZE = 1024  # confidences of a stage that are buffered for the drift signal
MAX_HELD = 2**16  # inputs that wait for the decision of an earlier input
BETS = np.array([[0.02], [0.1], [0.5]])  # shares of the capital that are bet on a failure
FORMAT = "cascadelib monitor 3"
MAX_FILE_BYTES = 2**28


class Monitor(Audit):
    """Count the exits, failures and costs of a policy, and estimate its drift and its loss.

    It counts the inputs of all threads of a process. With :meth:`save`, :meth:`load` and
    :meth:`merge` it counts those of several processes.

    Parameters
    ----------
    policy : Policy, Cascade or Point
        The policy to monitor. :meth:`drift` needs its expected figures, which
        ``Policy.from_point(point, store)`` stores in it.

    Attributes
    ----------
    equal : callable
        Whether two answers, or an answer and a label, agree. The default is ``==``.
    on_decision, on_audit : callable or None
        Called with the :class:`Record` of each decision, and the :class:`AuditRecord` of each
        audited input.
    inputs : int
        Number of inputs decided so far.
    exits : int64 [n]
        Number of inputs that exited at each stage.
    failed : int64 [n, 5]
        Number of inputs per model (row) and kind of failure (column): none, timeout, error,
        malformed, unknown label.
    seconds : float64 [n]
        Seconds in each model, with its preprocessing.
    spent : float64 [n]
        Cost of the calls of each model. A call that returned no cost counts as 0.
    audited, audit_failures, audit_seconds, audit_cost : int, int, float, float
        Number of audited inputs, number of those for which the reference failed, seconds and cost
        of the audit.

    See Also
    --------
    Service : Decide the inputs of many callers, and count them.
    DriftSignal : The test behind :meth:`drift`.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.serve import Monitor
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> monitor = Monitor(policy)
    >>> monitor.observe(policy.decide([[0.9, 0.1, 0.7]]))
    >>> monitor.exits.tolist()
    [2, 1]
    """

    def __init__(self, policy: Any) -> None:
        self.point: Point = getattr(policy, "point", policy)
        self.models = self.point.models
        self.expected = self.point.expected
        self.on_decision: Callable[[Record], Any] | None = None
        self.on_audit: Callable[[AuditRecord], Any] | None = None
        self.rng = np.random.default_rng(0)
        # Equal confidences of the last model carry no information about drift.
        self.ignores_last = not self.expected or len({*self.expected.confidences[-1].values}) < 2
        self.local = self._empty_counts()
        self.others: dict[str, Counts] = {}
        self.process: int | None = None  # id of the process that counts in ``local``
        self.signal_buffer: list[list[float]] = [[] for _ in self.models]
        # Confidences of inputs by number, until all earlier inputs are decided.
        self.confidences_by_number: dict[int, Sequence[float | None]] = {}
        self.first_undecided = 0

    def _empty_counts(self) -> Counts:
        """Return counts of zero inputs."""
        signal = DriftSignal(self.expected.confidences) if self.expected else None
        return Counts(len(self.models), signal)

    def __getattr__(self, name: str) -> Any:
        """Return a sum over all processes."""
        if name not in NAMES:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return self._sums()[name]

    def _sums(self) -> dict[str, Any]:
        """Return all sums over all processes."""
        with LOCK:
            sums, *_ = add_up(self.parts)
        return sums

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"process": None}  # a copy counts under another identity

    def _identify(self) -> None:
        """Give the counts an identity before the first input. Start new counts in a copy or a fork.

        The caller must hold the lock.
        """
        if self.process != os.getpid():
            if self.local.identity:
                self._update_signal()
                self.others[self.local.identity] = self.local
                self.local = self._empty_counts()
                self.confidences_by_number = {}
                self.first_undecided = 0
            self.local.identity = uuid4().hex
            self.process = os.getpid()

    def enter(self, count: int, audit: float = 0.0) -> tuple[int, list[bool]]:
        """Register inputs.

        Parameters
        ----------
        count : int
            Number of inputs.
        audit : float, default=0.0
            Probability with which each is audited.

        Returns
        -------
        first : int
            The number of the first input. The others follow.
        drawn : list of bool
            Whether each input is audited.
        """
        with LOCK:
            if count:
                self._identify()
            first = self.local.sums["arrivals"]
            self.local.sums["arrivals"] += count
            self.local.version += 1
            drawn = (self.rng.random(count) < audit).tolist() if audit else [False] * count
            return first, drawn

    def observe(self, records: Iterable[Record | AuditRecord] | Decisions) -> None:
        """Count existing decisions, each once.

        Parameters
        ----------
        records : iterable of Record and AuditRecord, or Decisions
            In the order of a log. A record is skipped if its ``id`` and ``repeat`` were counted
            before. The monitor remembers the last 65,536 ids. Decisions that were made without
            ``ids=`` are never skipped. Undecided inputs are not counted.

        Notes
        -----
        To continue after a kill, load the last saved state and observe the log. The counts then
        equal those of a process that was not killed. The log may begin before the state was saved,
        by at most 65,536 ids. Confidences enter the drift signal in the order of the records'
        numbers.
        """
        with LOCK:
            self._identify()
            if isinstance(records, Decisions):
                records = number_records(records, self.local.sums["arrivals"])
            for record in records:
                if isinstance(record, AuditRecord):
                    self.local.resolve(record, self.equal)
                else:
                    self._count(record, is_new=False)
            for number in sorted(self.confidences_by_number):
                self._release(number)
            self.first_undecided = self.local.sums["arrivals"]

    def decide(self, record: Record) -> None:
        """Count a new decision, set its ``repeat``, and call ``on_decision``.

        A repeated input is not audited, and does not enter the drift signal.
        """
        with LOCK:
            self._count(record, is_new=True)
            if len(self.confidences_by_number) > MAX_HELD:
                self.first_undecided = min(self.confidences_by_number)
            while self.first_undecided in self.confidences_by_number:
                self._release(self.first_undecided)
                self.first_undecided += 1
        self._call_back("on_decision", record)

    def resolve(self, record: AuditRecord) -> None:
        """Record the reference's answer for an audited input, and call ``on_audit``."""
        with LOCK:
            self.local.version += 1
            self.local.resolve(record, self.equal)
        self._call_back("on_audit", record)

    def _call_back(self, name: str, record: Any) -> None:
        """Call ``on_decision`` or ``on_audit``. Its errors become warnings."""
        callback = getattr(self, name)
        try:
            if callback is not None:
                callback(record)
        except Exception as error:
            text = f"{name} failed for {record.id!r}: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _count(self, record: Record, is_new: bool) -> None:
        """Count a decision once. Needs the lock."""
        counts = self.local
        if record.stage < 0 or not counts.count_repeats(record, is_new):
            return
        if record.repeat:
            record.audited = False
        counts.version += 1
        number = counts.sums["arrivals"] if record.number is None else record.number
        counts.sums["arrivals"] = max(counts.sums["arrivals"], number + 1)
        counts.add(record)
        if record.audited:
            counts.add_pending(record)
        if counts.signal is not None and (number >= self.first_undecided or not is_new):
            failed = [failure != "none" for failure in record.failures]
            # After a failure, the next stage is reached whatever the confidence.
            reached = failed.index(True) if True in failed else len(failed)
            self.confidences_by_number[number] = (
                [] if record.repeat else record.confidences[:reached]
            )

    def _release(self, number: int) -> None:
        """Pass the held confidences of an input to the drift signal. Needs the lock."""
        last = len(self.models) - 1
        for stage, value in enumerate(self.confidences_by_number.pop(number)):
            confidence = finite(value)
            if confidence is None:
                continue
            # If the last model has no confidences, they are infinite. A log has the largest float.
            is_missing = abs(confidence) == LARGEST
            if stage < last or not (self.ignores_last or is_missing):
                self.signal_buffer[stage].append(confidence)
        if max(map(len, self.signal_buffer)) >= BUFFER_SIZE:
            self._update_signal()

    def _update_signal(self) -> None:
        """Pass the buffered confidences to the drift signal. Needs the lock."""
        for stage, values in enumerate(self.signal_buffer):
            if self.local.signal is not None:
                self.local.signal.add(stage, np.array(values))
            values.clear()

    def failing(self, most: float = 0.01, inputs_per_false_alarm: float = 1e7) -> pd.DataFrame:
        """Return the failures of the last 1,024 inputs of each model, with an alarm.

        Parameters
        ----------
        most : float, default=0.01
            Acceptable share of failures, in (0, 1).
        inputs_per_false_alarm : float, default=1e7
            Mean number of inputs until a false alarm.

        Returns
        -------
        DataFrame
            One row per model: number of inputs by failure, ``rate``, ``evidence``, and ``alarm``
            (whether the evidence is at least `inputs_per_false_alarm`).

        Notes
        -----
        Theorem: if each input fails at a model with a probability of at most `most`, whatever
        happened before, the mean number of inputs until the first alarm of any model is at least
        `inputs_per_false_alarm`. The evidence is a mixture of Shiryaev–Roberts statistics, divided
        by the number of models (Shin, Ramdas, Rinaldo, 2023, *E-detectors*). After an outage the
        alarm ends when calls succeed again. The inputs of one failed batch are not independent: a
        smaller batch raises fewer false alarms. See docs/monitoring.md.
        """
        if not 0 < most < 1:
            raise ValueError(f"most must be between 0 and 1, not {most}")
        rows = []
        with LOCK:
            for latest in zip(*(part.latest_failures for part in self.parts)):
                counts = Counter(chain(*latest))
                rate = 1 - counts[0] / counts.total() if counts else np.nan
                evidence = sum(evidence_of(part, most) for part in latest) / len(self.models)
                kinds = map(counts.__getitem__, range(len(FAILURES)))
                rows.append([*kinds, rate, evidence, evidence >= inputs_per_false_alarm])
        index = pd.Index(self.models, name="model")
        return pd.DataFrame(rows, index, [*FAILURES, "rate", "evidence", "alarm"])

    def cost(self) -> pd.Series:
        """Return the mean cost of an input, without the audit.

        Returns
        -------
        Series
            ``mean``, ``low`` and ``high`` (95%, by the normal approximation), in the unit of the
            calls, over the ``priced`` inputs, whose successful calls all returned a cost.
            ``unknown_calls`` is the number of failed calls without a cost, which count as 0. The
            provider may charge them.
        """
        sums = self._sums()
        count = sums["priced"]
        mean, square = sums["money"] / (count or np.nan)
        half = 1.96 * np.sqrt(max(0.0, square - mean**2) / count) if count > 1 else np.nan
        interval = {"mean": mean, "low": mean - half, "high": mean + half}
        return pd.Series(interval | {name: sums[name] for name in ("priced", "unknown_calls")})

    @property
    def exit_rates(self) -> np.ndarray:
        """Return the share of inputs that exited at each stage, float64 [n], nan without inputs."""
        return self.exits / (self.inputs or np.nan)

    @property
    def table(self) -> pd.DataFrame:
        """Return the measured figures next to the expected ones.

        Returns
        -------
        DataFrame
            One row per model: ``inputs`` (number of inputs that reached it), ``broken`` (number for
            which it failed), expected and measured exit rates with 95% intervals,
            ``model_seconds`` per input, and the cost ``spent``.
        """
        sums = self._sums()
        inputs = sums["inputs"]
        called = sums["failed"].sum(axis=1)
        broken = called - sums["failed"][:, 0]
        index = pd.Index(self.models, name="model")
        table = pd.DataFrame({"inputs": called, "broken": broken}, index)
        if self.expected is not None:
            columns = ["exit_rate_expected", "exit_rate_expected_low", "exit_rate_expected_high"]
            rates = self.expected.exit_rates
            table[columns] = [(rate.value, rate.low, rate.high) for rate in rates]
        table["exit_rate"] = sums["exits"] / (inputs or np.nan)
        if inputs:
            intervals = [binomtest(count, inputs).proportion_ci() for count in sums["exits"]]
            table[["exit_rate_low", "exit_rate_high"]] = intervals
        table["model_seconds"] = sums["seconds"] / np.where(called > 0, called, np.nan)
        table["spent"] = sums["spent"]
        return table

    def drift(self, false_alarm_rate: float = 0.01) -> DriftReport:
        """Compare all inputs so far with the samples on which the cascade was measured.

        The test may be evaluated after every input.

        Parameters
        ----------
        false_alarm_rate : float, default=0.01
            Probability of a false alarm over all checks of an endless stream.

        Returns
        -------
        DriftReport

        Raises
        ------
        ValueError
            If the policy has no expectations.

        See Also
        --------
        DriftSignal : The guarantee of the test, and its limits.
        """
        if self.local.signal is None:
            raise ValueError(
                "this policy has no expected figures, with which drift compares its inputs. Pass "
                "the store on which it was measured to from_point"
            )
        with LOCK:
            self._update_signal()
            others = [part.signal for part in self.others.values() if part.signal]
            report = self.local.signal.report(false_alarm_rate, others)
        intervals = self.expected and self.expected.intervals
        return replace(report, reference=describe_reference(intervals))

    def save(self, path: str | Path) -> None:
        """Write the state to a JSON file atomically.

        Call :meth:`drift` and :meth:`loss` after saving, not before. Then no alarm depends on
        inputs that a crash loses, and the guarantees hold over restarts. On an event loop call
        ``await asyncio.to_thread(monitor.save, path)``.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        ValueError
            If JSON cannot hold a prediction, or the metric or the ensemble is a function.

        See Also
        --------
        load : Read the file.
        merge : Add the counts of other processes.
        """
        with LOCK:
            self._update_signal()
            state = {
                "parts": [part.to_json() for part in self.parts],
                "rng": self.rng.bit_generator.state,
                "confidences_by_number": list(self.confidences_by_number.items()),
            }
        encoder = json.JSONEncoder(default=lambda value: value.tolist())
        try:
            text = "".join(encoder.iterencode(state))  # in parts, so that other threads run
        except AttributeError as error:
            raise ValueError(
                "a pending prediction cannot be saved as JSON, which has texts, numbers and "
                f"lists: {error}"
            ) from None
        policy = text_of(replace(self.point, selected_on=None))
        head = {"format": FORMAT, "checksum": digest_of(text), "policy": policy}
        write_text(path, f"{json.dumps(head)}\n{text}")

    @classmethod
    def load(cls, path: str | Path) -> "Monitor":
        """Read a state that :meth:`save` wrote. Set ``equal`` and the callbacks again.

        A service continues with ``Service(policy, calls, monitor=Monitor.load(path))``. Only one
        process may continue from a file. Two would count under one identity, and :meth:`merge`
        would use the counts of only one of them.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Monitor

        Raises
        ------
        ValueError
            If the file is damaged, or :meth:`save` did not write it. The message names the file.

        See Also
        --------
        observe : Count the records that were logged after the file was saved.
        """
        try:
            with open_regular_file(Path(path), MAX_FILE_BYTES) as file:
                head = json.loads(file.readline())
                text = file.read().decode()
            if head["format"] != FORMAT or head["checksum"] != digest_of(text):
                raise ValueError("another format, or a part that was changed")
            monitor = cls(parse_cascade(head["policy"]))
            state = json.loads(text)
            parts = [monitor._empty_counts() for _ in state["parts"]]
            for part, written in zip(parts, state["parts"]):
                part.restore(written)
            monitor.local, *others = parts
            monitor.others = {part.identity: part for part in others}
            monitor.rng.bit_generator.state = state["rng"]
            monitor.confidences_by_number = dict(state["confidences_by_number"])
            monitor.first_undecided = monitor.local.sums["arrivals"]
            if monitor.local.identity:
                monitor.process = os.getpid()
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(
                f"{path}: not a state that Monitor.save wrote ({brief(error)})"
            ) from None
        return monitor

    def refuse_other(self, point: Point) -> None:
        """Raise ValueError if a cascade or its expectations differ from those monitored here."""
        mine, theirs = (
            (one.models, one.thresholds, one.expected and one.expected.confidences)
            for one in (self.point, point)
        )
        if mine != theirs:
            raise ValueError(
                "the monitor has another cascade or expected figures. Make one with Monitor(policy)"
            )

    def merge(self, other: "Monitor") -> "Monitor":
        """Add the counts of other processes.

        Of two states of one process, the newer one is used. Merging the same state again, or an
        older one, has no effect. Labels of both monitors are kept. A drift alarm needs
        a capital of n · W / α in one of W processes, so the false-alarm rate is that of all
        processes together.

        Parameters
        ----------
        other : Monitor

        Returns
        -------
        Monitor
            The same object.

        Raises
        ------
        ValueError
            If the other monitor is of another cascade, or ids are pending in several processes. Use
            ``ids=`` of :meth:`Service.decide_many` for ids that differ between processes.
        """
        self.refuse_other(other.point)
        with LOCK:
            self._update_signal()
            other._update_signal()
            parts = {part.identity: part for part in copy.deepcopy(self.parts)}
            for part in filter(attrgetter("identity"), copy.deepcopy(other.parts)):
                if part.identity in parts:  # use the newer state, with the labels of both
                    states = (part, parts[part.identity])
                    older, part = sorted(states, key=attrgetter("version"))
                    settled = part.settle(older.report_labels, self.equal)
                    part.report_labels |= {name: older.report_labels[name] for name in settled}
                parts[part.identity] = part
            pending = Counter(chain.from_iterable(part.pending for part in parts.values()))
            repeated = [name for name, count in pending.items() if count > 1]
            if repeated:
                raise ValueError(
                    f"{len(repeated)} ids are pending in several processes, such as "
                    f"{brief(min(repeated, key=str))}. Give all inputs of all workers different "
                    "ids (ids=)"
                )
            self.local = parts.pop(self.local.identity)
            self.others = parts
            if self.local.report_labels:  # settle has counted the verdicts of these labels
                self.local.version += 1
                self.local.report_labels = {}
        return self


def evidence_of(failures: Iterable[int], most: float) -> float:
    """Return the mean over BETS of Shiryaev–Roberts statistics against a failure rate ≤ `most`.

    At each input, a statistic is (its previous value + 1) × the factor of the bet.
    """
    has_failed = np.array(list(failures), bool)[::-1]
    if not len(has_failed):
        return 0.0
    logs = np.where(has_failed, np.log1p(BETS * (1 / most - 1)), np.log1p(-BETS))
    largest = np.cumsum(logs, axis=1)
    total = np.logaddexp.reduce(np.logaddexp.reduce(largest, axis=1)) - np.log(len(BETS))
    return float(np.exp(min(total, 700.0)))
