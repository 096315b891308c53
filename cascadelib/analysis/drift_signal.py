"""A warning without labels: are live inputs as sure, stage by stage, as the samples on which a cascade was measured?
It says that the data are no longer those, not that the answers are worse: accuracy may fall or hold either way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.evaluation import all_confidences, reaching, stage_confidences
from ..front_end import watched
from ..fronts.front import Point
from ..store.protocol import Store

SHARES = np.linspace(0, 1, 51)  # of the samples that reach a stage: where quantiles of its confidence are kept
SIZES = 0.05, 0.15, 0.45  # of the bets: from small shifts, seen late, to large ones, seen at once


def summary(values: np.ndarray) -> dict[str, list]:
    """A sample of k numbers in short: {"values", "counts", "ties"}, its order statistics at 51 fixed ranks (fewer where
    k is), how far each rank lies above the one before, and the second number of each: uniform in [0, 1], drawn for each
    of the k, always alike, it parts equal ones at random.
    """
    k = len(values)
    ranks = np.unique(np.maximum(1, np.ceil(np.round(SHARES * k, 6)).astype(int))) if k else np.empty(0, int)
    kept = np.sort(values + 1j * np.random.default_rng(0).random(k))[ranks - 1]  # by the real part, then the other
    return {"values": kept.real.tolist(), "counts": np.diff(ranks, prepend=0).tolist(), "ties": kept.imag.tolist()}


class Capital:
    """Capital of bets, input after input, that live numbers are not drawn as k others were, a reference.

    reference: a :func:`summary` (without "ties", as in old files, exact where no numbers are equal).

    Theorem: where the k numbers and the live ones are exchangeable, as independent draws of one distribution are, the
    capital ever comes to 1/α stakes with a probability of at most α. Given the order statistics, the next live number
    falls between two of them with probability (reference numbers and live ones there so far) ÷ (k + 1 + live ones so
    far), whatever the distribution: Pólya's urn, with the reference's sampling error in it. A bet multiplies its stake
    by e^s(bin) ÷ the urn's mean of that: a nonnegative martingale (Ville, 1939), a conformal test martingale (Vovk,
    Gammerman, Shafer, 2022, *Algorithmic learning in a random world*, chapter 8). Its bets: docs/monitoring.md.
    """

    def __init__(self, reference: Mapping):
        self.edges = np.array(reference["values"]) + 1j * np.array(reference.get("ties") or 1.0)  # compared as pairs
        self.urn = np.append(np.asarray(reference["counts"], np.float64), 1.0)
        self.middle = (np.cumsum(self.urn) - self.urn / 2) / self.urn.sum()
        bets = [(x * size, y * size) for size in SIZES for x, y in ((1, -1), (-1, 1), (1, 1), (-1, -1))]
        self.gains = np.array(bets) @ np.log([self.middle, 1 - self.middle])
        self.weight = np.exp(self.gains) @ self.urn
        self.logs = np.full(len(bets), -np.inf)  # of each bet's capital
        self.inputs, self.ranks, self.log, self.largest_log = 0, 0.0, 0.0, 0.0
        self.rng = np.random.default_rng(1)  # parts equal numbers

    def add(self, values: np.ndarray) -> np.ndarray:
        """Bet on further live numbers [N], in their order: log of the capital after each, float64 [N]."""
        if not len(values):
            return np.empty(0)
        bins = np.searchsorted(self.edges, values + 1j * self.rng.random(len(values)))
        gains, number = self.gains[:, bins], self.inputs + np.arange(len(bins) + 1)
        weights = self.weight[:, None] + np.cumsum(np.exp(gains), axis=1)  # of the urn, with this input in it
        steps = gains - np.log(weights - np.exp(gains)) + np.log(self.urn.sum() + number[:-1])
        won, aside = np.cumsum(steps, axis=1), 1 / (1 + np.log1p(number))
        stakes = np.log((aside[:-1] - aside[1:]) / len(gains)) - (won - steps)  # as seen from the first input
        logs = won + np.logaddexp.accumulate(np.column_stack([self.logs, stakes]), axis=1)[:, 1:]
        top = logs.max(axis=0)
        path = np.logaddexp(top + np.log(np.exp(logs - top).sum(axis=0)), np.log(aside[1:]))
        self.logs, self.weight, self.log = logs[:, -1], weights[:, -1], float(path[-1])
        self.inputs, self.ranks = self.inputs + len(bins), self.ranks + float(self.middle[bins].sum())
        self.largest_log = max(self.largest_log, float(path.max()))
        return path


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

    Promise: where live inputs and reference are independent draws of one distribution, the checks of an endless stream
    ever alarm with a probability of at most α, over the draw of both: each stage has a :class:`Capital`, on the inputs
    that reach it, and alarms at n/α stakes. (Who leaves is a matter of confidence, so exit rates are tested with it.)
    Not promised: that a shift is found, as one that keeps the ranks; anything where inputs hang together, as frames of
    a film; of later stages, anything under other thresholds, or where the reference chose them.
    """

    def __init__(self, reference: Sequence, false_alarm_rate: float = 0.01):
        if not 0 < false_alarm_rate < 1:
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

    def check(self, live: Sequence[np.ndarray], false_alarm_rate: float | None = None) -> DriftReport:
        """All inputs so far against the reference: a :class:`DriftReport`. live: those that came since the last check,
        in their order, confidences as in ``reference``; false_alarm_rate: another than the signal's own. ValueError for
        another number of stages, nan, rising lengths."""
        live, rows = _checked(live, "live"), []
        if len(live) != len(self.stages):
            raise ValueError(f"live has {len(live)} stages, the reference {len(self.stages)}: another cascade?")
        for i, (stage, values) in enumerate(zip(self.stages, live), 1):
            stage.add(values)
            mean = stage.ranks / stage.inputs if stage.inputs else np.nan
            p = min(1.0, len(live) * np.exp(-stage.largest_log))
            rows.append((i, stage.inputs, mean, np.exp(min(stage.log, 700.0)), p))
        tests = pd.DataFrame(rows, columns=["stage", "inputs", "mean_rank", "capital", "p"])
        tests["alarm"] = tests["p"] <= (false_alarm_rate or self.false_alarm_rate)
        return DriftReport(bool(tests["alarm"].any()), tests)


def _checked(stages, name):
    """Arrays of confidences, a stage each, or ValueError."""
    if isinstance(stages, Store):
        raise ValueError(f"{name} holds confidences, not a store: use DriftSignal.at_selection(store, point)")
    arrays = [np.asarray(a, np.float64) for a in stages]
    lengths = [len(a) if a.ndim == 1 and not np.isnan(a).any() else np.nan for a in arrays]
    if not arrays or np.isnan(lengths).any() or lengths != sorted(lengths, reverse=True):
        what = f"arrays of confidences without nan, one a stage, not {lengths}: a later one cannot be reached by more"
        raise ValueError(f"{name} must be a list of {what}")
    return arrays


def alarm_share(reference: Any, store: Any, point: Point, window: int, repeats: int = 200, **options) -> float:
    """Share of ``repeats`` streams of ``window`` inputs, drawn from a store, that raise an alarm before they end: the
    power; where the reference is the same store, of false alarms: each time a random half of it is the reference, the
    stream is of the other. options: false_alarm_rate. ValueError for too few samples."""
    (sure, thresholds), rng, alarms = all_confidences(store, point), np.random.default_rng(0), []
    fixed, half = (None, len(store) // 2) if reference is store else (stage_confidences(reference, point), 0)
    if window > len(store) - half:
        raise ValueError(f"a stream of {window} inputs is longer than the {len(store) - half} samples there are")
    for _ in watched(range(repeats), "streams"):
        order = rng.permutation(len(store))
        drawn, live = (reaching([s[r] for s in sure], thresholds) for r in (order[:half], order[half:][:window]))
        alarms.append(DriftSignal(fixed or drawn, **options).check(live).alarm)
    return float(np.mean(alarms))


def alarm_table(
    point: Point, store: Any, other: Any, splits: dict[str, Any], windows: Sequence[int], repeats: int = 50, **options
) -> pd.DataFrame:
    """Shares of streams that raise an alarm before they end, a column a length (those that fit). First row: false
    alarms on the unchanged data of ``other``, 4 × ``repeats`` streams; then the splits {label: store}, against
    ``store``, where the point was chosen. options: false_alarm_rate."""
    table, fits = {}, min(len(other) // 2, *(len(data) for data in splits.values()))
    for window in [w for w in windows if w <= fits]:
        alarms = {name: alarm_share(store, data, point, window, repeats, **options) for name, data in splits.items()}
        unchanged = alarm_share(other, other, point, window, 4 * repeats, **options)
        table[f"share of alarms, {window} inputs"] = {"unchanged": unchanged, **alarms}
    return pd.DataFrame(table)
