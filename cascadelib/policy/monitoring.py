"""A running cascade without labels: exit rates, failures, confidences, drift, time and money beside
what was expected, over all processes that run it."""

import copy
import hashlib
import json
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.drift_signal import DriftReport, DriftSignal, reference_in_words
from ..checks import brief, check_number
from ..evaluation.intervals import anytime_lower, share_interval
from ..evaluation.point import Point
from ..files import digest_of, read_json, replacing
from .audit import LOCK, Audit
from .decisions import DRAWN, FAILURES, REPEATED, Decisions, objects
from .form import parse_cascade, text_of

WAITING = 1024  # confidences of a stage that wait until the drift signal takes them all at once
RECENT = 2**16  # keys that are remembered
FORMAT = "cascadelib running 2"
LARGEST = 2**28  # bytes of a file of save
# What adds up, over inputs and over workers.
SUMS = (
    "came inputs exits failed seconds spent priced money audited audit_seconds audit_cost "
    "audit_failures forgotten lost_at"
).split()


class Running(Audit):
    """What a cascade of n models has done since the start, or since :meth:`reset`: counts, failures,
    money, drift, loss by an audit; of all threads that run it, and, by :meth:`save`, :meth:`load`
    and :meth:`merge`, of all processes.

    Parameters
    ----------
    point : Point
        The cascade, with what is expected of it.
    audit : float
        Share of all inputs, whatever stage they leave at, on which the model ``reference``
        (the last one, unless it is set) runs as well.

    Attributes
    ----------
    equal : callable
        Whether two answers, or an answer and a label, agree; ==, unless it is set.
    key : callable or None
        From an input to what it has in common with its retries, or with the rest of its session;
        of each key, among the last 65,536, one input is audited and enters the drift signal. By
        default the ids are keys, where the caller gives them.
    on_decision : callable or None
        Called for each decision with its dictionary, see :meth:`Decisions.records`.
    inputs : int
        Inputs decided so far.
    exits : int64 [n]
        Inputs that left at each stage.
    failed : int64 [n, 5]
        How often each model was asked about an input, by what went wrong: none, timeout, error,
        malformed, unknown label.
    seconds : float64 [n, 2]
        Spent at each stage in the model (with its preprocessing) and in the exit decision.
    spent : float64 [n]
        What the calls of each model cost, as far as they say so.
    audited, audit_failures, audit_seconds, audit_cost : int, int, float, float
        Inputs of the audit, those of which the reference failed, seconds, and what that cost.
    """

    def __init__(self, point: Point, audit: float = 0.0) -> None:
        self.point = point
        self.models = point.models
        self.expected = point.expected
        self.audit = audit
        self.reference = point.models[-1]
        self.key: Callable[[Any], Any] | None = None
        self.on_decision: Callable[[dict], Any] | None = None
        self.rng = np.random.default_rng(0)
        self.reset()

    def reset(self) -> None:
        """Forget all inputs so far."""
        n = len(self.models)
        with LOCK:
            self.came = 0
            self.inputs = 0
            self.priced = 0
            self.money = np.zeros(2)  # sum of what inputs cost, and of the squares
            self.exits = np.zeros(n, np.int64)
            self.failed = np.zeros((n, len(FAILURES)), np.int64)
            self.seconds = np.zeros((n, 2))
            self.spent = np.zeros(n)
            self.waiting: list[list[np.ndarray]] = [[] for _ in self.models]
            self.signal = DriftSignal(self.expected.confidences) if self.expected else None
            self.start_audit()
            self.recent: OrderedDict[str, None] = OrderedDict()

    def enter(
        self, count: int, ids: Sequence | None = None, inputs: Sequence | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Of further inputs ids [count], and int8 [count]: whether each is to be audited (DRAWN),
        repeats a key (REPEATED), or neither (0)."""
        with LOCK:
            share = check_number(self.audit, "audit", "a share", 0, 1)
            names = np.arange(self.came, self.came + count) if ids is None else objects(ids)
            if len(names) != count or not all(isinstance(name, str | int) for name in ids or ()):
                raise ValueError(
                    f"{count} ids are needed, texts or whole numbers, not {brief(ids)}"
                )
            keys = ids
            if self.key is not None and inputs is not None:
                keys = [self.key(each) for each in inputs]
            self.came += count
            kinds = (self.rng.random(count) < share) * DRAWN
            if keys:
                kinds[[self._repeats(key) for key in keys]] = REPEATED
            return names, kinds

    def _repeats(self, key: Any) -> bool:
        """Whether a key came lately, which is noted; the lock is held."""
        digest = hashlib.blake2b(repr(key).encode(), digest_size=8).hexdigest()
        is_there = digest in self.recent
        self.recent[digest] = None
        self.recent.move_to_end(digest)
        if len(self.recent) > RECENT:
            self.recent.popitem(last=False)
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
            self.failed[stage] += np.bincount(failures[:, stage], minlength=len(FAILURES))
            self.seconds[stage] += seconds
            self.inputs += len(leaving)
            self.exits[stage] += len(leaving)
            if not np.isnan(costs).all():
                self.spent[stage] += np.nansum(costs[:, stage])
                was_asked = ~np.isnan(decisions.seconds[leaving])
                paid = np.where(was_asked, costs[left], 0).sum(axis=1)
                paid = paid[~np.isnan(paid)]  # nan: a model did not say
                self.priced += len(paid)
                self.money += paid.sum(), (paid**2).sum()
            for row in rows[left & (kinds == DRAWN)].tolist():
                self._doubt(decisions.ids[row], decisions.predictions[row], stage)
            if not is_silent:
                self.waiting[stage].append(values[clean])
            if sum(map(len, self.waiting[stage])) >= WAITING:
                self._watch()
        if self.on_decision is not None and len(leaving):
            for record in decisions.take(leaving).records():
                self._tell(record)

    def _tell(self, record: dict) -> None:
        """Hand a decision to the callback, whose errors are no errors of the cascade."""
        try:
            self.on_decision(record)  # type: ignore[misc]
        except Exception as error:
            text = f"on_decision failed for {record['id']!r}: {type(error).__name__}: {error}"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def _watch(self) -> None:
        """The drift signal takes the confidences that wait for it; the lock is held."""
        for stage, parts in enumerate(self.waiting):
            if self.signal is not None and parts:
                # infinite ones as in the file
                self.signal.add(stage, np.nan_to_num(np.concatenate(parts)))
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
        """What an input costs, in the unit of the calls: ``mean``, ``low`` and ``high`` (95%, by the
        normal approximation), over ``priced`` inputs all of whose calls said what they cost; without
        the audit."""
        with LOCK:
            count = self.priced
            mean, square = self.money / (count or np.nan)
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
            now = copy.deepcopy(self)
        reached = now.inputs - np.cumsum(now.exits) + now.exits
        index = pd.Index(now.models, name="model")
        table = pd.DataFrame({"inputs": reached, "broken": now.broken}, index=index)
        if now.expected is not None:
            columns = ["exit_rate_expected", "exit_rate_expected_low", "exit_rate_expected_high"]
            rates = now.expected.exit_rates
            table[columns] = [(rate.value, rate.low, rate.high) for rate in rates]
        table["exit_rate"] = now.exit_rates
        if now.inputs:
            numbers = np.arange(now.inputs)
            intervals = [share_interval(numbers < count, kind="exact") for count in now.exits]
            table[["exit_rate_low", "exit_rate_high"]] = intervals
        with np.errstate(invalid="ignore"):
            table[["model_seconds", "decision_seconds"]] = now.seconds / reached[:, None]
        table["spent"] = now.spent
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
        if self.signal is None:
            raise ValueError(
                "nothing is expected of this cascade: give from_point the store that it was "
                "measured on"
            )
        with LOCK:
            self._watch()
            report = self.signal.report(false_alarm_rate)
        said = self.expected and self.expected.intervals
        return replace(report, reference=reference_in_words(said))

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
            self._watch()
            state = {name: np.asarray(getattr(self, name)).tolist() for name in SUMS}
            state |= {"audit": self.audit, "reference": self.reference, "windows": self.windows}
            state["recent"] = list(self.recent)
            state["doubts"] = [[name, *doubt] for name, doubt in self.doubts.items()]
            state["rng"] = self.rng.bit_generator.state
            state["signal"] = None if self.signal is None else self.signal.state()
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
    def load(cls, path: str | Path) -> "Running":
        """What :meth:`save` wrote; ``equal``, ``key`` and ``on_decision`` are to be set again.

        A service goes on with ``policy.running.merge(Running.load(path))``.

        Raises
        ------
        ValueError
            Naming the file, for one that is damaged or something else.
        """
        try:
            whole = read_json(Path(path), LARGEST)
            if whole["format"] != FORMAT or whole["checksum"] != digest_of(whole["state"]):
                raise ValueError("another format, or a part that was changed")
            state = json.loads(whole["state"])
            running = cls(parse_cascade(whole["policy"]), state["audit"])
            running._restore(state)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"{path}: no monitoring that save wrote ({brief(error)})") from None
        return running

    def _restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`save` noted."""
        for name in SUMS:
            value = state[name]
            setattr(self, name, np.array(value) if isinstance(value, list) else value)
        self.reference = state["reference"]
        self.windows = [Counter(window) for window in state["windows"]]
        self.recent = OrderedDict.fromkeys(state["recent"])
        self.doubts = {name: doubt for name, *doubt in state["doubts"]}
        self.rng.bit_generator.state = state["rng"]
        if self.signal is not None:
            self.signal.restore(state["signal"])

    def _watched(self) -> tuple:
        """What the monitoring of two workers has in common."""
        expected = self.expected and self.expected.confidences
        return self.models, self.point.thresholds, expected

    def merge(self, other: "Running") -> "Running":
        """Count what another worker, or this one before a restart, has counted as well.

        Counts add up. Drift alarms where the capital of one of W workers comes to n · W / α: the
        false-alarm rate is that of all of them together. What has seen no input yet counts as no
        worker, so that merging into it is going on.

        Returns
        -------
        Running
            Itself.

        Raises
        ------
        ValueError
            For another cascade, and for ids that are in doubt in both: workers need ids of their
            own, ``ids=`` of :meth:`Policy.arun`.
        """
        if self._watched() != other._watched():
            raise ValueError("the monitoring of another cascade, or with other expectations")
        if not other.came:
            return self
        with LOCK:
            self._watch()
            other._watch()
            both = self.doubts.keys() & other.doubts.keys()
            if both:
                raise ValueError(
                    f"{len(both)} ids are in doubt in both, as {brief(min(both, key=str))}: give "
                    "every input of all workers an id of its own (ids=)"
                )
            if not self.came:
                self.rng = copy.deepcopy(other.rng)
            for name in SUMS:
                setattr(self, name, getattr(self, name) + getattr(other, name))
            none: Counter[str] = Counter()
            pairs = zip_longest(self.windows, other.windows, fillvalue=none)
            self.windows = [own + others for own, others in pairs]
            self.doubts |= copy.deepcopy(other.doubts)
            self.recent |= other.recent
            if self.signal is not None and other.signal is not None:
                self.signal.merge(copy.deepcopy(other.signal))
        return self
