"""A warning without labels: are live inputs as sure, stage by stage, as the samples on which a cascade was measured?
It says that the data are no longer those, not that the answers are worse: accuracy may fall or hold either way."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..checks import check_number
from ..evaluation.evaluation import all_confidences, reaching, stage_confidences
from ..front_end import watched
from ..fronts.front import Point
from ..store.protocol import Store

SHARES = np.linspace(0, 1, 51)  # of the samples that reach a stage: where quantiles of its confidence are kept
SIZES = 0.05, 0.15, 0.45  # of the bets: from small shifts, seen late, to large ones, seen at once
FIRST, SPREAD = 0.5, 1000  # stake on a shift at the first input, and over how many inputs half of the rest is laid
AT_ONCE = 4096  # inputs: bounds the memory


def summary(values: np.ndarray) -> dict[str, list]:
    """A sample of k numbers in short: {"values", "counts", "ties"}, its order statistics at 51 fixed ranks (fewer where
    k is), how far each rank lies above the one before, and with how large a share of equal numbers it ends.

    Equal numbers are parted at random, the same way every time: each has a second number, uniform in [0, 1], and
    ``ties`` has that of the order statistic.
    """
    k, second = len(values), np.random.default_rng(0).random(len(values))
    ranks = np.unique(np.maximum(1, np.ceil(np.round(SHARES * k, 6)).astype(int))) if k else np.empty(0, int)
    at = np.lexsort((second, values))[ranks - 1]
    counts = np.diff(ranks, prepend=0).tolist()
    return {"values": np.asarray(values, np.float64)[at].tolist(), "counts": counts, "ties": second[at].tolist()}


class Capital:
    """Capital of a gambler who bets, input after input, that live numbers are not drawn as a reference was.

    reference: a :func:`summary` of k numbers (without "ties", as old files: exact where no numbers are equal).
    inputs: how many came; capital: now, in stakes; largest: so far; mean_rank: of the inputs in the reference, in
    [0, 1], about ½ where nothing changed.

    Theorem. Let the k numbers and the live ones be independent draws of one distribution (exchangeable ones do), equal
    ones parted at random. The reference's order statistics at fixed ranks cut the line into bins; given them, a live
    number falls into each with probability (reference numbers there + live ones so far there) ÷ (k + 1 + live ones so
    far): Pólya's urn, with one more for the last bin. That is exact, whatever the distribution, and has the reference's
    own sampling error in it: no share is taken for known. Each bet multiplies its stake by e^s(bin) ÷ the urn's mean of
    that, so that the capital is a nonnegative martingale, and it ever comes to 1/α with a probability of at most α
    (Ville, 1939). It is a conformal test martingale (Vovk, Gammerman and Shafer, 2022, *Algorithmic learning in a random
    world*, chapter 8) on ranks in a reference that grows by the live inputs.

    Bets: s = x log u + y log(1 − u), u the bin's middle rank, for (x, y) of four directions (higher, lower, towards the
    ends, towards the middle) and the sizes SIZES; each may start at any input, with a stake that is laid aside for it:
    half of all at the first, the rest spread over all times. A shift that starts late is seen as well, a little later.
    """

    def __init__(self, reference: Mapping):
        self.edges = np.asarray(reference["values"], np.float64)
        self.ties = np.asarray(reference.get("ties") or np.ones(len(self.edges)), np.float64)
        self.urn = np.append(np.asarray(reference["counts"], np.float64), 1.0)
        self.middle = (np.cumsum(self.urn) - self.urn / 2) / self.urn.sum()
        bets = [(x * size, y * size) for size in SIZES for x, y in ((1, -1), (-1, 1), (1, 1), (-1, -1))]
        self.gains = np.array(bets) @ np.log([self.middle, 1 - self.middle])
        self.weight = np.exp(self.gains) @ self.urn
        self.logs = np.full(len(bets), -np.inf)  # of each bet's capital
        self.inputs, self.ranks, self.log, self.largest_log = 0, 0.0, 0.0, 0.0
        self.rng = np.random.default_rng(1)  # parts live numbers that equal an edge

    def add(self, values: np.ndarray) -> np.ndarray:
        """Bet on further live numbers [N], in their order: log of the capital after each, float64 [N]."""
        parts = [values[at : at + AT_ONCE] for at in range(0, len(values), AT_ONCE)]
        return np.concatenate([self._bet(self._bins(part)) for part in parts]) if parts else np.empty(0)

    def _bins(self, values):
        """In which bin each number falls, int64 [N]."""
        bins, last = (np.searchsorted(self.edges, values, side) for side in ("left", "right"))
        for row in np.flatnonzero(bins < last):
            bins[row] += np.searchsorted(self.ties[bins[row] : last[row]], self.rng.random())
        return bins

    def _bet(self, bins):
        gains, number = self.gains[:, bins], self.inputs + np.arange(len(bins))
        weights = self.weight[:, None] + np.cumsum(np.exp(gains), axis=1)  # of the urn, with this input in it
        steps = gains - np.log(weights - np.exp(gains)) + np.log(self.urn.sum() + number)
        won, aside = np.cumsum(steps, axis=1), laid_aside(np.append(number, number[-1] + 1))
        stakes = np.log(aside[:-1] - aside[1:]) - np.log(len(gains)) - (won - steps)  # as seen from the first input
        logs = won + np.logaddexp.accumulate(np.column_stack([self.logs, stakes]), axis=1)[:, 1:]
        path = np.logaddexp(np.logaddexp.reduce(logs, axis=0), np.log(aside[1:]))
        self.logs, self.weight, self.log = logs[:, -1], weights[:, -1], float(path[-1])
        self.inputs, self.ranks = self.inputs + len(bins), self.ranks + float(self.middle[bins].sum())
        self.largest_log = max(self.largest_log, float(path.max()))
        return path


def laid_aside(number: np.ndarray) -> np.ndarray:
    """Which part of the capital waits, after so many inputs, for bets that start later: 1 before the first."""
    return np.where(number == 0, 1.0, (1 - FIRST) / (1 + np.log1p(np.maximum(number - 1, 0) / SPREAD)))


@dataclass(frozen=True, eq=False)
class DriftReport:
    """``alarm``, and the tests behind it, a row each stage: stage (1 = first), inputs (live ones that got there),
    mean_rank (of their confidences among the reference's; ½: unchanged), capital (see :class:`Capital`; 1: at the
    start), p (valid at all times at once: n stages ÷ the largest capital so far), alarm."""

    alarm: bool
    tests: pd.DataFrame


class DriftSignal:
    """Compares live inputs, as they come, with the samples at selection time; may be asked after every input.

    reference: n arrays, the confidences at each stage of the samples that reach it, as :func:`stage_confidences` gives
    them, or a :func:`summary` of each; false_alarm_rate α: of all checks together, for ever.

    Promise: where live inputs and reference are independent draws of one distribution (exchangeable is enough), the
    probability that any check of an endless stream raises an alarm is at most α, over the draw of both. Each stage has
    a :class:`Capital` of its own, on the inputs that reach it, and alarms at n/α stakes (union bound). Whether an input
    leaves a stage is a matter of its confidence there, so a change of the exit rates is among what is tested. Not
    promised: that a shift is found (one that leaves ranks of confidences as they are is not, nor one too small for the
    reference's size); anything where inputs depend on each other, as frames of one film do; where thresholds other than
    the point's are in use, anything of the later stages; where the point was *chosen* on the reference, the last bit of
    the level.
    """

    def __init__(self, reference: Sequence, false_alarm_rate: float = 0.01):
        if not 0 < check_number(false_alarm_rate, "false_alarm_rate") < 1:
            raise ValueError(f"false_alarm_rate must lie between 0 and 1, not {false_alarm_rate}")
        if not all(isinstance(part, Mapping) for part in reference):
            reference = [summary(array) for array in _checked(reference, "reference")]
        if not reference[0]["values"]:
            raise ValueError("the reference holds no sample")
        self.false_alarm_rate, self.stages = false_alarm_rate, [Capital(part) for part in reference]

    @classmethod
    def at_selection(cls, store: Any, point: Point, false_alarm_rate: float = 0.01) -> "DriftSignal":
        """The signal of a Point, with the samples of ``store`` (its labels do not count) as the reference."""
        return cls(stage_confidences(store, point), false_alarm_rate)

    def check(self, live: Sequence[np.ndarray]) -> DriftReport:
        """All inputs so far against the reference: a :class:`DriftReport`. live: those that came since the last check,
        in their order, confidences as in ``reference``. ValueError for another number of stages, nan, rising lengths."""
        self.add(live)
        return self.report()

    def add(self, live: Sequence[np.ndarray]) -> None:
        """Take note of further inputs, as :meth:`check` does."""
        live = _checked(live, "live")
        if len(live) != len(self.stages):
            raise ValueError(f"live has {len(live)} stages, the reference {len(self.stages)}: another cascade?")
        for stage, values in zip(self.stages, live):
            stage.add(values)

    def report(self, false_alarm_rate: float | None = None) -> DriftReport:
        """What is known so far, at the signal's own false-alarm rate or another."""
        names = ["stage", "inputs", "mean_rank", "capital", "p"]
        tests = pd.DataFrame([(i + 1, *self._row(s)) for i, s in enumerate(self.stages)], columns=names)
        tests["alarm"] = tests["p"] <= (self.false_alarm_rate if false_alarm_rate is None else false_alarm_rate)
        return DriftReport(bool(tests["alarm"].any()), tests)

    def _row(self, stage):
        p = min(1.0, len(self.stages) * np.exp(-stage.largest_log))
        mean = stage.ranks / stage.inputs if stage.inputs else np.nan
        return stage.inputs, mean, np.exp(min(stage.log, 700.0)), p


def _checked(stages, name):
    """Arrays of confidences, a stage each, or ValueError."""
    if isinstance(stages, Store):
        raise ValueError(f"{name} holds confidences, not a store: use DriftSignal.at_selection(store, point)")
    arrays = [np.asarray(a, np.float64) for a in stages]
    if not arrays or any(a.ndim != 1 or np.isnan(a).any() for a in arrays):
        raise ValueError(f"{name} must be a list of arrays of confidences without nan, one a stage of the cascade")
    lengths = [len(a) for a in arrays]
    if lengths != sorted(lengths, reverse=True):
        raise ValueError(f"{name}: {lengths} inputs a stage; a later stage cannot be reached by more")
    return arrays


def alarm_share(signal: DriftSignal, store: Any, point: Point, window: int, repeats: int = 200, seed: int = 0) -> float:
    """Share of ``repeats`` streams of ``window`` inputs, drawn from a store, that raise an alarm before they end: the
    power on shifted data, of a signal without inputs so far. ValueError for a window longer than the data."""
    (sure, thresholds), rng = all_confidences(store, point), np.random.default_rng(seed)
    windows = (_rows(rng, len(store), window) for _ in watched(range(repeats), "windows"))
    streams = (reaching([s[rows] for s in sure], thresholds) for rows in windows)
    return float(np.mean([deepcopy(signal).check(live).alarm for live in streams]))


def false_alarm_share(
    store: Any, point: Point, window: int, false_alarm_rate: float = 0.01, repeats: int = 200, seed: int = 0
) -> float:
    """Share of false alarms on unchanged data: each time a random half is the reference, the stream is of the other."""
    (sure, thresholds), rng = all_confidences(store, point), np.random.default_rng(seed)
    k, alarms = len(store), []
    for _ in watched(range(repeats), "windows"):
        order = rng.permutation(k)
        live = order[k // 2 :][_rows(rng, k - k // 2, window)]
        reference, live = (reaching([s[rows] for s in sure], thresholds) for rows in (order[: k // 2], live))
        alarms.append(DriftSignal(tuple(reference), false_alarm_rate).check(live).alarm)
    return float(np.mean(alarms))


def alarm_table(
    point: Point, store: Any, other: Any, splits: dict[str, Any], windows: Sequence[int], repeats: int = 50, **options
) -> pd.DataFrame:
    """Shares of streams that raise an alarm before they end, a column a length (those that fit). First row: false
    alarms on the unchanged data of ``other``, 4 × ``repeats`` streams; then the splits {label: store}, against ``store``, where the
    point was chosen. options: false_alarm_rate."""
    signal, table = DriftSignal.at_selection(store, point, **options), {}
    fits = min(len(other) // 2, *(len(data) for data in splits.values()))
    for window in [w for w in windows if w <= fits]:
        alarms = {name: alarm_share(signal, data, point, window, repeats) for name, data in splits.items()}
        unchanged = false_alarm_share(other, point, window, repeats=4 * repeats, **options)
        table[f"share of alarms, {window} inputs"] = {"unchanged": unchanged, **alarms}
    return pd.DataFrame(table)


def _rows(rng, k, window):
    if window > k:
        raise ValueError(f"a window of {window} inputs is longer than the {k} samples there are")
    return rng.choice(k, window, replace=False)
