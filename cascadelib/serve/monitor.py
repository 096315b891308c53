"""Monitor exit rates, failures, drift, time and cost of a policy over all its processes."""

import copy
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from ..checks import brief, misfit
from ..evaluation.intervals import anytime_lower, share_interval
from ..evaluation.point import Point
from ..files import digest_of, read_json, replacing
from ..policy.decisions import DRAWN, FAILURES, REPEATED, Decisions, validate_ids
from ..policy.form import parse_cascade, text_of
from .audit import LOCK, Audit
from .counts import MAX_RECENT, SUMS, Counts, add_up, check_parts, merge_states
from .drift_signal import DriftReport, DriftSignal, describe_reference, restore_generator

BUFFER_SIZE = 1024  # confidences of a stage that are buffered for the drift signal
FORMAT = "cascadelib monitor 1"
MAX_FILE_BYTES = 2**28


class Monitor(Audit):
    """Count the decisions of a policy of n models: exits, failures, cost, drift and audited loss.

    It counts all inputs since the start, or since :meth:`reset`, of all threads of a process. With
    :meth:`save`, :meth:`load` and :meth:`merge` it counts those of several processes.

    Parameters
    ----------
    policy : Policy, Cascade or Point
        :meth:`drift` needs the expectations in it.

    Attributes
    ----------
    equal : callable
        Whether two answers, or an answer and a label, agree. The default is ``==``.
    key : callable or None
        From an input to a key that its retries, or the rest of its session, share. One input per
        key, among the last 65,536 keys, is audited and enters the drift signal. By default the
        caller's ids are the keys.
    on_decision : callable or None
        Called with the record of each decision, see :meth:`Decisions.records`.
    inputs : int
        Number of inputs decided so far.
    exits : int64 [n]
        Number of inputs that exited at each stage.
    failed : int64 [n, 5]
        Number of inputs for which each model was called, by failure: none, timeout, error,
        malformed, unknown label.
    seconds : float64 [n, 2]
        Seconds at each stage in the model (with its preprocessing) and in the exit decision.
    spent : float64 [n]
        Cost of the calls of each model, as far as they return it.
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
        self.key: Callable[[Any], Any] | None = None
        self.on_decision: Callable[[dict], Any] | None = None
        self.rng = np.random.default_rng(0)
        self.reset()

    def reset(self) -> None:
        """Reset all counts, and start a new identity."""
        with LOCK:
            self.local = self._empty_counts()
            self.others: dict[str, Counts] = {}
            self.process: int | None = None  # the process that counts under the identity
            self.waiting: list[list[np.ndarray]] = [[] for _ in self.models]

    def _empty_counts(self) -> Counts:
        """Return counts of zero inputs."""
        signal = DriftSignal(self.expected.confidences) if self.expected else None
        return Counts.empty(len(self.models), signal)

    def __getattr__(self, name: str) -> Any:
        """Return a sum over all processes."""
        if name not in SUMS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        with LOCK:
            return add_up(self.parts).sums[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"process": None}  # a copy counts under another identity

    def _identify(self) -> None:
        """Set an identity before the first input, and a new one in a copy or a forked process.

        Needs the lock.
        """
        if self.process != os.getpid():
            if self.local.identity:
                self._update_signal()
                self.others[self.local.identity] = self.local
                self.local = self._empty_counts()
            self.local.identity = uuid4().hex
            self.process = os.getpid()

    def enter(
        self, count: int, ids: Sequence | None = None, inputs: Any = None, audit: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Register inputs.

        Parameters
        ----------
        count : int
            Number of inputs.
        ids : sequence, optional
            Texts or whole numbers. The default are numbers since monitoring began.
        inputs : sequence, optional
            The inputs, for ``key``.
        audit : float, default=0.0
            Probability with which each is audited.

        Returns
        -------
        ids : array of shape (count,)
        kinds : int8 array of shape (count,)
            DRAWN if the input is audited, REPEATED if its key is not new, else 0.
        """
        with LOCK:
            came = self.came
            names = came + np.arange(count) if ids is None else validate_ids(ids, count)
            keys = ids if self.key is None else [self.key(each) for each in inputs]
            if count:
                self._identify()
                self.local.sums["came"] += count
                self.local.version += 1
            kinds = (self.rng.random(count) < audit) * DRAWN
            if keys:
                kinds[[self._repeats(key) for key in keys]] = REPEATED
            return names, kinds

    def observe(self, decisions: Decisions) -> None:
        """Count existing decisions, such as those of :meth:`Policy.run`.

        Parameters
        ----------
        decisions : Decisions
            In the order in which the inputs arrived, each once.
        """
        ids = None if decisions.ids.dtype.kind == "i" else decisions.ids.tolist()
        names, kinds = self.enter(len(decisions), ids, decisions.ids)
        decisions = replace(decisions, ids=names)
        for stage in range(len(self.models)):
            rows = np.flatnonzero(decisions.exit_stage >= stage)
            left = decisions.exit_stage[rows] == stage
            self.add(stage, decisions, rows, left, (0.0, 0.0), kinds[rows])

    def _repeats(self, key: Any) -> bool:
        """Add a key, and return whether it is among the recent ones. Needs the lock."""
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()
        is_there = any(digest in part.recent for part in self.parts)
        recent = self.local.recent
        recent.pop(digest, None)
        recent[digest] = None  # as the most recent one
        if len(recent) > MAX_RECENT:
            del recent[next(iter(recent))]
        return is_there

    def add(
        self,
        stage: int,
        decisions: Decisions,
        rows: np.ndarray,
        left: np.ndarray,
        seconds: Sequence[float],
        kinds: Any = 0,
    ) -> None:
        """Count the answers of a model.

        Parameters
        ----------
        stage : int
            Stage of the model.
        decisions : Decisions
            Decisions of all inputs.
        rows : int64 array of shape (s,)
            The inputs for which the model was called.
        left : bool array of shape (s,)
            Whether they exited at this stage.
        seconds : (float, float)
            Seconds in the model and in the exit decision.
        kinds : int8 array of shape (s,)
            As returned by :meth:`enter`.
        """
        failures = decisions.failures[rows, : stage + 1]
        values = decisions.confidences[rows, stage]
        is_silent = stage == len(self.models) - 1 and not np.isfinite(values).any()
        # inputs that failed earlier reach this stage whatever their confidence
        clean = ~failures.any(axis=1) & (kinds != REPEATED)
        leaving = rows[left]
        costs = decisions.costs[rows]
        with LOCK:
            self.local.version += 1
            sums = self.local.sums
            sums["failed"][stage] += np.bincount(failures[:, stage], minlength=len(FAILURES))
            sums["seconds"][stage] += seconds
            sums["inputs"] += len(leaving)
            sums["exits"][stage] += len(leaving)
            if not np.isnan(costs).all():
                sums["spent"][stage] += np.nansum(costs[:, stage])
                was_asked = ~np.isnan(decisions.seconds[leaving])
                paid = np.where(was_asked, costs[left], 0).sum(axis=1)
                paid = paid[~np.isnan(paid)]  # nan: a call returned no cost
                sums["priced"] += len(paid)
                sums["money"] += paid.sum(), (paid**2).sum()
            for row in rows[left & (kinds == DRAWN)].tolist():
                self._add_pending(decisions.ids[row], decisions.predictions[row], stage)
            if not is_silent:
                self.waiting[stage].append(values[clean])
            if sum(map(len, self.waiting[stage])) >= BUFFER_SIZE:
                self._update_signal()
        if self.on_decision is not None and len(leaving):
            for record in decisions.take(leaving).records():
                self._call_back(record)

    def _call_back(self, record: dict) -> None:
        """Call ``on_decision``. Its errors become warnings."""
        try:
            self.on_decision(record)  # type: ignore[misc]
        except Exception as error:
            text = f"on_decision failed for {record['id']!r}: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _update_signal(self) -> None:
        """Pass the buffered confidences to the drift signal. Needs the lock."""
        for stage, parts in enumerate(self.waiting):
            if self.local.signal is not None and parts:
                # infinite values as in the file
                self.local.signal.add(stage, np.nan_to_num(np.concatenate(parts)))
            parts.clear()

    @property
    def broken(self) -> np.ndarray:
        """Return the number of inputs for which each model failed, int64 [n]."""
        return self.failed[:, 1:].sum(axis=1)

    def failing(self, most: float = 0.01, error: float = 0.01) -> pd.DataFrame:
        """Return the failure rate of each model, with an alarm.

        Parameters
        ----------
        most : float, default=0.01
            Acceptable share of failures.
        error : float, default=0.01
            Probability that any model ever raises an alarm, if each fails independently with a
            probability of at most `most`.

        Returns
        -------
        DataFrame
            One row per model: number of inputs by failure, ``rate``, ``low`` (a lower bound at all
            times), and ``alarm`` (whether ``low`` is above `most`).
        """
        with LOCK:
            failed = self.failed.copy()
        table = pd.DataFrame(failed, pd.Index(self.models, name="model"), FAILURES)
        asked = failed.sum(axis=1)
        broken = asked - failed[:, 0]
        with np.errstate(invalid="ignore"):
            table["rate"] = broken / asked
        table["low"] = [
            max(0.0, anytime_lower(bad, good, 0, error / len(failed)))
            for bad, good in zip(broken, failed[:, 0])
        ]
        table["alarm"] = table["low"] > most
        return table

    def cost(self) -> pd.Series:
        """Return the mean cost of an input, without the audit.

        Returns
        -------
        Series
            ``mean``, ``low`` and ``high`` (95%, by the normal approximation), in the unit of the
            calls, over the ``priced`` inputs, all of whose calls returned a cost.
        """
        with LOCK:
            sums = add_up(self.parts).sums
            count = sums["priced"]
            mean, square = sums["money"] / (count or np.nan)
        half = 1.96 * np.sqrt(max(0.0, square - mean**2) / count) if count > 1 else np.nan
        return pd.Series({"mean": mean, "low": mean - half, "high": mean + half, "priced": count})

    @property
    def exit_rates(self) -> np.ndarray:
        """Return the share of all inputs that exited at each stage, float64 [n], at first nan."""
        return self.exits / (self.inputs or np.nan)

    @property
    def table(self) -> pd.DataFrame:
        """Return the measured figures next to the expected ones.

        Returns
        -------
        DataFrame
            One row per model: number of ``inputs``, number of ``broken`` ones, expected and
            measured exit rates with 95% intervals, seconds per sample in the model and in the exit
            decision, and the cost ``spent``.
        """
        with LOCK:
            now = copy.deepcopy(add_up(self.parts).sums)
        inputs = now["inputs"]
        exits = now["exits"]
        reached = inputs - np.cumsum(exits) + exits
        index = pd.Index(self.models, name="model")
        broken = now["failed"][:, 1:].sum(axis=1)
        table = pd.DataFrame({"inputs": reached, "broken": broken}, index=index)
        if self.expected is not None:
            columns = ["exit_rate_expected", "exit_rate_expected_low", "exit_rate_expected_high"]
            rates = self.expected.exit_rates
            table[columns] = [(rate.value, rate.low, rate.high) for rate in rates]
        table["exit_rate"] = exits / (inputs or np.nan)
        if inputs:
            numbers = np.arange(inputs)
            intervals = [share_interval(numbers < count, kind="exact") for count in exits]
            table[["exit_rate_low", "exit_rate_high"]] = intervals
        with np.errstate(invalid="ignore"):
            table[["model_seconds", "decision_seconds"]] = now["seconds"] / reached[:, None]
        table["spent"] = now["spent"]
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
                "nothing is expected of this cascade. Pass the store on which it was measured to "
                "from_point"
            )
        with LOCK:
            self._update_signal()
            others = [part.signal for part in self.others.values() if part.signal]
            report = self.local.signal.report(false_alarm_rate, others)
        intervals = self.expected and self.expected.intervals
        return replace(report, reference=describe_reference(intervals))

    def save(self, path: str | Path) -> None:
        """Write the state to a JSON file atomically.

        Call :meth:`drift` and :meth:`loss` after saving, not before. Inputs that a crash loses then
        had no part in an alarm, and the guarantees hold over restarts.

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
            parts = [part.to_json() for part in self.parts]
            state = {"parts": parts, "rng": self.rng.bit_generator.state}
            try:
                text = json.dumps(state, default=np.generic.item)
            except TypeError as error:
                raise ValueError(
                    "a pending prediction cannot be saved as JSON, which has texts, numbers and "
                    f"lists: {error}"
                ) from None
        policy = text_of(replace(self.point, selected_on=None))
        whole = {"format": FORMAT, "checksum": digest_of(text), "policy": policy, "state": text}
        with replacing(Path(path)) as temporary:
            temporary.write_text(json.dumps(whole), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Monitor":
        """Read a state that :meth:`save` wrote. Set ``equal``, ``key`` and ``on_decision`` again.

        A service continues with ``Service(policy, calls, monitor=Monitor.load(path))``. Only one
        process at a time may continue from a file, since its inputs are counted under the same
        identity, by which :meth:`merge` distinguishes newer states from older ones.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        Monitor

        Raises
        ------
        ValueError
            If the file is damaged, is another file, or has impossible counts. The message names the
            file.
        """
        try:
            whole = read_json(Path(path), MAX_FILE_BYTES)
            if whole["format"] != FORMAT or whole["checksum"] != digest_of(whole["state"]):
                raise ValueError("another format, or a part that was changed")
            monitor = cls(parse_cascade(whole["policy"]))
            monitor._restore(json.loads(whole["state"]))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise ValueError(
                f"{path}: not a state that Monitor.save wrote ({brief(error)})"
            ) from None
        return monitor

    def _restore(self, state: Any) -> None:
        """Restore a state from :meth:`save`."""
        if wrong := misfit(state, {"parts": [dict], "rng": dict}):
            raise ValueError(f"{wrong}: missing or of another kind")
        parts = [self._empty_counts() for _ in state["parts"]]
        for part, written in zip(parts, state["parts"]):
            part.restore(written)
        self.local, *others = parts
        self.others = {part.identity: part for part in others}
        check_parts(parts)
        restore_generator(self.rng, state["rng"])
        if self.local.identity:
            self.process = os.getpid()

    def refuse_other(self, point: Point) -> None:
        """Raise ValueError if a cascade or its expectations differ from those monitored here."""
        mine, theirs = (
            (one.models, one.thresholds, one.expected and one.expected.confidences)
            for one in (self.point, point)
        )
        if mine != theirs:
            raise ValueError("the monitor is of another cascade, or has other expectations")

    def merge(self, other: "Monitor") -> "Monitor":
        """Add the counts of other processes.

        The newest state of each process counts, by its identity and version. Merging the same state
        again, or an older one, has no effect. Labels of both monitors are kept. A drift alarm needs
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
            for part in copy.deepcopy(other.parts):
                if part.identity:
                    parts[part.identity] = merge_states(parts.get(part.identity), part)
            check_parts(list(parts.values()))
            self.local = parts.pop(self.local.identity)
            self.others = parts
            if self.local.labelled:  # it has counted these verdicts now
                self.local.version += 1
                self.local.labelled = {}
        return self
