"""A warning without labels: do live inputs leave, and are they as sure, as the samples on which thresholds were chosen?
It says that the data are no longer those, not that the answers are worse: accuracy may fall or hold either way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact, ks_2samp

from ..evaluation.evaluation import all_confidences, reaching, stage_confidences
from ..front_end import watched
from ..fronts.front import Point
from ..store.protocol import Store

FEWEST = 20  # inputs at a stage: below, its tests say nothing and are left out


@dataclass(frozen=True, eq=False)
class DriftReport:
    """``alarm``, and the tests behind it, a row each: stage (1 = first), what ("exit rate", "confidence"), reference
    and live (exit rates, or median confidences), inputs (live ones at that stage), p, alarm."""

    alarm: bool
    tests: pd.DataFrame


@dataclass(frozen=True, eq=False)
class DriftSignal:
    """Compares windows of live inputs with the samples at selection time.

    reference: n arrays, the confidences at each stage of the samples that reach it, as :func:`stage_confidences` gives
    them; false_alarm_rate: of one window.

    Each stage but the last gives a Fisher exact test of the share that leaves, each stage a two-sample
    Kolmogorov–Smirnov test of the confidences (by scipy; exact up to 10,000 inputs, by its limit beyond). Given how
    many inputs reach a stage the p-values are valid where live inputs and reference are independent draws of one
    distribution, so by Bonferroni's inequality a window of unchanged data raises an alarm with a probability of at most
    ``false_alarm_rate``. Thresholds *chosen* on the reference show only in windows about as large as it.
    """

    reference: tuple[np.ndarray, ...]
    false_alarm_rate: float = 0.01

    def __post_init__(self):
        if not 0 < self.false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate must lie between 0 and 1, not {self.false_alarm_rate}")
        arrays = _checked(self.reference, "reference")
        if not len(arrays[0]):
            raise ValueError("the reference holds no sample")
        object.__setattr__(self, "reference", tuple(np.sort(a) for a in arrays))

    @classmethod
    def at_selection(cls, store: Any, point: Point, false_alarm_rate: float = 0.01) -> "DriftSignal":
        """The signal of a Point, with the samples of ``store`` (its labels do not count) as the reference."""
        return cls(tuple(stage_confidences(store, point)), false_alarm_rate)

    def check(self, live: Sequence[np.ndarray]) -> DriftReport:
        """A window of live inputs, confidences as in ``reference``, against it: a :class:`DriftReport`. ValueError for
        another number of stages, nan, rising lengths."""
        live = _checked(live, "live")
        if len(live) != len(self.reference):
            raise ValueError(f"live has {len(live)} stages, the reference {len(self.reference)}: another cascade?")
        rows = [row for i in range(len(live)) for row in self._stage(i, live)]
        tests = pd.DataFrame(rows, columns=["stage", "what", "reference", "live", "inputs", "p"])
        tests["alarm"] = tests["p"] <= self.false_alarm_rate / (2 * len(live) - 1)
        return DriftReport(bool(tests["alarm"].any()), tests)

    def _stage(self, i, live):
        """Rows of the tests of stage i, fewer where too few inputs got there."""
        here, there = self.reference[i], live[i]
        if min(len(here), len(there)) < FEWEST:
            return []
        p = ks_2samp(here, there).pvalue
        rows = [(i + 1, "confidence", np.median(here), np.median(there), len(there), p)]
        if i + 1 < len(live):
            table = [[len(a[i]) - len(a[i + 1]), len(a[i + 1])] for a in (self.reference, live)]
            p = fisher_exact(table).pvalue
            rows.insert(0, (i + 1, "exit rate", *(left / (left + b) for left, b in table), len(there), p))
        return rows


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
    """Share of ``repeats`` random windows of a store's samples that raise an alarm: the power on shifted data.
    ValueError for a window longer than the data."""
    (sure, thresholds), rng = all_confidences(store, point), np.random.default_rng(seed)
    windows = (_rows(rng, len(store), window) for _ in watched(range(repeats), "windows"))
    return float(np.mean([signal.check(reaching([s[rows] for s in sure], thresholds)).alarm for rows in windows]))


def false_alarm_share(
    store: Any, point: Point, window: int, false_alarm_rate: float = 0.01, repeats: int = 200, seed: int = 0
) -> float:
    """Share of false alarms on unchanged data: each time a random half is the reference, the window is of the other."""
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
    """Shares of windows that raise an alarm, a column a length (those that fit). First row: false alarms on the
    unchanged data of ``other``, 4 × ``repeats`` windows; then the splits {label: store}, against ``store``, where the
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
