"""Monitoring without labels: exit rates, failures, confidences, drift, time and cost next to what
was expected, over all processes that run a policy."""

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

BUFFER_SIZE = 1024  # confidences of a stage that wait until the drift signal takes them all at once
FORMAT = "cascadelib monitor 1"
LARGEST = 2**28  # bytes of a file of save


class Monitor(Audit):
    """Counts what a policy of n models decides: exits, failures, cost, drift, and the loss by an
    audit.

    It counts all inputs since the start, or since :meth:`reset`, of all threads of a process. With
    :meth:`save`, :meth:`load` and :meth:`merge` it counts those of several processes.

    Parameters
    ----------
    policy : Policy, Cascade or Point
        With what is expected of it, for :meth:`drift`.

    Attributes
    ----------
    equal : callable
        Whether two answers, or an answer and a label, agree; ``==`` by default.
    key : callable or None
        From an input to what it has in common with its retries, or with the rest of its session;
        of each key, among the last 65,536, one input is audited and enters the drift signal. By
        default the ids are keys, if the caller gives them.
    on_decision : callable or None
        Called for each decision with its dictionary, see :meth:`Decisions.records`.
    inputs : int
        Inputs decided so far.
    exits : int64 [n]
        Inputs that exited at each stage.
    failed : int64 [n, 5]
        How often each model was asked about an input, by what went wrong: none, timeout, error,
        malformed, unknown label.
    seconds : float64 [n, 2]
        Spent at each stage in the model (with its preprocessing) and in the exit decision.
    spent : float64 [n]
        What the calls of each model cost, as far as they report it.
    audited, audit_failures, audit_seconds, audit_cost : int, int, float, float
        Inputs of the audit, those of which the reference failed, seconds, and what that cost.

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
        """Forget all inputs so far, and begin with an identity of its own."""
        with LOCK:
            self.local = self._empty_counts()
            self.others: dict[str, Counts] = {}
            self.process: int | None = None  # that which counts under the identity
            self.waiting: list[list[np.ndarray]] = [[] for _ in self.models]

    def _empty_counts(self) -> Counts:
        """Counts of no input."""
        signal = DriftSignal(self.expected.confidences) if self.expected else None
        return Counts.empty(len(self.models), signal)

    def __getattr__(self, name: str) -> Any:
        """A sum, over all processes."""
        if name not in SUMS:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        with LOCK:
            return add_up(self.parts).sums[name]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"process": None}  # a copy counts under another identity

    def _identify(self) -> None:
        """Take an identity before the first input, and another one in a copy or a forked process;
        the lock is held."""
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
        """Of further inputs ids [count], and int8 [count]: whether each is to be audited (DRAWN,
        with the probability ``audit``), repeats a key (REPEATED), or neither (0)."""
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
        """Count decisions that were made elsewhere, such as those of :meth:`Policy.run`.

        Parameters
        ----------
        decisions : Decisions
            In the order in which their inputs came, each once.
        """
        ids = None if decisions.ids.dtype.kind == "i" else decisions.ids.tolist()
        names, kinds = self.enter(len(decisions), ids, decisions.ids)
        decisions = replace(decisions, ids=names)
        for stage in range(len(self.models)):
            rows = np.flatnonzero(decisions.exit_stage >= stage)
            left = decisions.exit_stage[rows] == stage
            self.add(stage, decisions, rows, left, (0.0, 0.0), kinds[rows])

    def _repeats(self, key: Any) -> bool:
        """Whether a key came lately, which is noted; the lock is held."""
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()
        is_there = any(digest in part.recent for part in self.parts)
        recent = self.local.recent
        recent.pop(digest, None)
        recent[digest] = None  # as the last one
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
        """Count what a model's answers came to.

        Parameters
        ----------
        stage : int
            Of the model that was asked.
        decisions : Decisions
            Of all inputs.
        rows : int64 [s]
            Those that it was asked about.
        left : bool [s]
            Whether they left then.
        seconds : (float, float)
            In the model, and in its exit decision.
        kinds : int8 [s]
            What :meth:`enter` said of them.
        """
        failures = decisions.failures[rows, : stage + 1]
        values = decisions.confidences[rows, stage]
        is_silent = stage == len(self.models) - 1 and not np.isfinite(values).any()
        # what failed before gets here whatever its confidence
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
                paid = paid[~np.isnan(paid)]  # nan: a model did not say
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
        """Hand a decision to the callback, whose errors are no errors of the cascade."""
        try:
            self.on_decision(record)  # type: ignore[misc]
        except Exception as error:
            text = f"on_decision failed for {record['id']!r}: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _update_signal(self) -> None:
        """The drift signal takes the confidences that wait for it; the lock is held."""
        for stage, parts in enumerate(self.waiting):
            if self.local.signal is not None and parts:
                # infinite ones as in the file
                self.local.signal.add(stage, np.nan_to_num(np.concatenate(parts)))
            parts.clear()

    @property
    def broken(self) -> np.ndarray:
        """Inputs for which each model failed, or gave nan or infinite logits, int64 [n]."""
        return self.failed[:, 1:].sum(axis=1)

    def failing(self, most: float = 0.01, error: float = 0.01) -> pd.DataFrame:
        """How often each model fails.

        Parameters
        ----------
        most : float
            Share of failures that may be.
        error : float
            Probability of an alarm of any model, ever, where each fails independently and no more
            often than that.

        Returns
        -------
        DataFrame
            One row per model: inputs it was asked about, by what went wrong; ``rate``; ``low``, a
            lower bound at all times; ``alarm``: whether that lies above ``most``.
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
        """What an input costs, in the unit of the calls: ``mean``, ``low`` and ``high`` (95%, by
        the normal approximation), over ``priced`` inputs all of whose calls said what they cost;
        without the audit."""
        with LOCK:
            sums = add_up(self.parts).sums
            count = sums["priced"]
            mean, square = sums["money"] / (count or np.nan)
        half = 1.96 * np.sqrt(max(0.0, square - mean**2) / count) if count > 1 else np.nan
        return pd.Series({"mean": mean, "low": mean - half, "high": mean + half, "priced": count})

    @property
    def exit_rates(self) -> np.ndarray:
        """Share of all inputs so far that left at each stage, float64 [n]; nan before the first."""
        return self.exits / (self.inputs or np.nan)

    @property
    def table(self) -> pd.DataFrame:
        """What was measured beside what was expected.

        Returns
        -------
        DataFrame
            One row per model: ``inputs`` that it saw, ``broken`` ones, exit rates with 95%
            intervals, expected (whether "without choosing", the cascade's file says) and measured,
            seconds per sample in the model and in the exit decision.
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
        """All inputs so far against the samples on which the cascade was measured; may be asked
        after every input. What is promised, and what is not: :class:`DriftSignal`.

        Parameters
        ----------
        false_alarm_rate : float
            Of all checks together, for ever.

        Returns
        -------
        DriftReport

        Raises
        ------
        ValueError
            Where nothing is expected of the cascade.
        """
        if self.local.signal is None:
            raise ValueError(
                "nothing is expected of this cascade: give from_point the store that it was "
                "measured on"
            )
        with LOCK:
            self._update_signal()
            others = [part.signal for part in self.others.values() if part.signal]
            report = self.local.signal.report(false_alarm_rate, others)
        said = self.expected and self.expected.intervals
        return replace(report, reference=describe_reference(said))

    def save(self, path: str | Path) -> None:
        """Write all that is known, whole or not at all, as a JSON file for :meth:`load`.

        Ask for :meth:`drift` and :meth:`loss` after saving rather than before: what a crash forgets
        has then had no part in any alarm, and the promises hold over restarts.

        Raises
        ------
        ValueError
            For predictions that JSON cannot hold, and a metric or an ensemble that is a function.
        """
        with LOCK:
            self._update_signal()
            parts = [part.to_json() for part in self.parts]
            state = {"parts": parts, "rng": self.rng.bit_generator.state}
            try:
                text = json.dumps(state, default=np.generic.item)
            except TypeError as error:
                raise ValueError(
                    "what is in doubt cannot be saved as JSON, which has texts, numbers and lists: "
                    f"{error}"
                ) from None
        policy = text_of(replace(self.point, found_on=None))
        whole = {"format": FORMAT, "checksum": digest_of(text), "policy": policy, "state": text}
        with replacing(Path(path)) as temporary:
            temporary.write_text(json.dumps(whole), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Monitor":
        """Read what :meth:`save` wrote; ``equal``, ``key`` and ``on_decision`` are to be set again.

        A service continues with ``Service(policy, calls, monitor=Monitor.load(path))``. Only one
        process at a time can continue from a file: its inputs are counted under the same identity,
        by which :meth:`merge` tells newer states from older ones.

        Raises
        ------
        ValueError
            Naming the file, for one that is damaged, something else, or such as no monitoring can
            have counted.
        """
        try:
            whole = read_json(Path(path), LARGEST)
            if whole["format"] != FORMAT or whole["checksum"] != digest_of(whole["state"]):
                raise ValueError("another format, or a part that was changed")
            monitor = cls(parse_cascade(whole["policy"]))
            monitor._restore(json.loads(whole["state"]))
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise ValueError(f"{path}: no monitoring that save wrote ({brief(error)})") from None
        return monitor

    def _restore(self, state: Any) -> None:
        """Go on from what :meth:`save` noted."""
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
        """ValueError unless this is the monitoring of a cascade, with the same expectations."""
        mine, theirs = (
            (one.models, one.thresholds, one.expected and one.expected.confidences)
            for one in (self.point, point)
        )
        if mine != theirs:
            raise ValueError("the monitoring of another cascade, or with other expectations")

    def merge(self, other: "Monitor") -> "Monitor":
        """Count what other processes have counted as well.

        Counts add up over processes. Of each process the newest state counts, by its identity and
        version: merging the same state again, or an older one, changes nothing. Labels that were
        given to either stay. Drift alarms where the capital of one of W processes comes to n · W /
        α: the false-alarm rate is that of all of them together.

        Returns
        -------
        Monitor
            Itself.

        Raises
        ------
        ValueError
            For another cascade, and for ids that are in doubt in several processes: these need ids
            of their own, ``ids=`` of :meth:`Service.decide_many`.
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
