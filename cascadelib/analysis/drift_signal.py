"""A warning without labels: have the confidences of live inputs drifted from those of a reference?

Stage by stage, against the samples on which a cascade was measured. An alarm says that the data are
no longer those, not that the answers are worse: accuracy may fall or hold either way.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..evaluation.point import OrderStatistics
from ..store.protocol import Store

# of the samples that reach a stage: where quantiles of its confidence are kept
SHARES = np.linspace(0, 1, 51)
SIZES = 0.05, 0.15, 0.45  # of the bets: from small shifts, seen late, to large ones, seen at once
WITHOUT_CHOOSING = "95%, without choosing"  # intervals in a cascade's file: measured where it chose
KEPT = "weight logs inputs ranks log largest_log lowest_log since".split()  # of a Capital
HELD_OUT = "95%"  # measured on samples that it has not seen


def summary(values: Array) -> OrderStatistics:
    """A sample of k numbers in short: its order statistics at 51 fixed ranks, or all of them."""
    k = len(values)
    ranks = np.empty(0, int)
    if k:
        ranks = np.unique(np.maximum(1, np.ceil(np.round(SHARES * k, 6)).astype(int)))
    seed = np.array(values, np.float64).view(np.uint32)  # the numbers themselves
    second = np.random.default_rng(seed).random(k).round(9)
    kept = np.sort(values + 1j * second)[ranks - 1]  # by the real part, then the other
    return OrderStatistics(
        values=tuple(kept.real.tolist()),
        counts=tuple(np.diff(ranks, prepend=0).tolist()),
        ties=tuple(kept.imag.tolist()),
    )


class Capital:
    """Capital of bets, input after input, that live numbers are not drawn as k others were.

    Those are the reference, of which it takes a :func:`summary` (without "ties", as in old files,
    the theorem needs numbers that differ).

    Theorem: where the k numbers and the live ones are exchangeable, as independent draws of one
    distribution are, the capital ever comes to 1/α stakes with a probability of at most α. Between
    two order statistics the next live number falls with probability (numbers of both kinds there so
    far) ÷ (k + 1 + live ones so far): Pólya's urn, which has the reference's sampling error in it.
    Stakes × e^s(bin) ÷ the urn's mean of it are a martingale of at least 0 (Ville, 1939; Vovk,
    Gammerman, Shafer, 2022, *Algorithmic learning in a random world*). In full: docs/monitoring.md.
    """

    def __init__(self, reference: OrderStatistics) -> None:
        ties = np.array(reference.ties or 1.0)
        self.edges = np.array(reference.values) + 1j * ties  # compared as pairs
        self.urn = np.append(np.asarray(reference.counts, np.float64), 1.0)
        self.middle = (np.cumsum(self.urn) - self.urn / 2) / self.urn.sum()
        directions = ((1, -1), (-1, 1), (1, 1), (-1, -1))
        bets = [(x * size, y * size) for size in SIZES for x, y in directions]
        self.gains = np.array(bets) @ np.log([self.middle, 1 - self.middle])
        self.weight = np.exp(self.gains) @ self.urn
        self.logs = np.full(len(bets), -np.inf)  # of each bet's capital
        self.inputs = 0
        self.ranks = 0.0
        self.log = 0.0
        self.largest_log = 0.0
        self.lowest_log = 0.0
        self.since = 0  # inputs until it last fell to its lowest
        # parts equal numbers; another for each reference
        self.rng = np.random.default_rng(self.edges.view(np.uint32))

    def add(self, values: Array) -> Array:
        """Bet on further live numbers [N], N > 0, in their order: log of the capital after each,
        float64 [N]."""
        bins = np.searchsorted(self.edges, values + 1j * self.rng.random(len(values)))
        gains = self.gains[:, bins]
        number = self.inputs + np.arange(len(bins) + 1)
        # of the urn, with this input in it
        weights = self.weight[:, None] + np.cumsum(np.exp(gains), axis=1)
        steps = gains - np.log(weights - np.exp(gains)) + np.log(self.urn.sum() + number[:-1])
        won = np.cumsum(steps, axis=1)
        aside = 1 / (1 + np.log1p(number))
        # as seen from the first input
        stakes = np.log((aside[:-1] - aside[1:]) / len(gains)) - (won - steps)
        logs = won + np.logaddexp.accumulate(np.column_stack([self.logs, stakes]), axis=1)[:, 1:]
        top = logs.max(axis=0)
        path = np.logaddexp(top + np.log(np.exp(logs - top).sum(axis=0)), np.log(aside[1:]))
        self.logs = logs[:, -1]
        self.weight = weights[:, -1]
        self.log = float(path[-1])
        if path.min() < self.lowest_log:
            self.lowest_log = float(path.min())
            self.since = self.inputs + int(path.argmin()) + 1
        self.inputs += len(bins)
        self.ranks += float(self.middle[bins].sum())
        self.largest_log = max(self.largest_log, float(path.max()))
        return path

    def state(self) -> dict[str, Any]:
        """What it has come to, as JSON."""
        kept = {name: np.asarray(getattr(self, name)).tolist() for name in KEPT}
        return kept | {"rng": self.rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.rng.bit_generator.state = state["rng"]
        for name in KEPT:
            kind = type(getattr(self, name))
            value = state[name]
            setattr(self, name, np.array(value) if kind is Array else kind(value))


@dataclass(frozen=True, eq=False)
class DriftReport:
    """``alarm``, and the tests behind it, a row each stage: stage (1 = first), inputs (live, that
    got there), mean_rank (in the reference; ½: unchanged), capital (see :class:`Capital`; of W
    workers the largest), p (n · W ÷ the largest capital so far), since (inputs after which that
    began to rise), alarm.

    reference: in words, what is known of whether its samples had a part in making the cascade.
    """

    alarm: bool
    tests: pd.DataFrame
    reference: str = "not known: whether the reference's samples had a part in making the cascade"


class DriftSignal:
    """Compares live inputs, as they come, with the samples at selection time.

    It may be asked after every input.

    Promise: where live inputs and reference are independent draws of one distribution, the checks
    of an endless stream ever alarm with a probability of at most α, over the draw of both: each
    stage has a :class:`Capital`, on the inputs that reach it, and alarms at n/α stakes. Not
    promised: that every shift is found (one that preserves the ranks goes unnoticed); anything for
    dependent inputs, such as the frames of a video; of later stages, anything under other
    thresholds, or where the reference chose them. (Who leaves is a matter of confidence: exit rates
    need no test of their own.)

    Parameters
    ----------
    reference : n float arrays
        The confidences at each stage of the samples that reach it, as
        ``evaluate(store, cascade).stage_confidences`` gives them, or a :func:`summary` of each.
    false_alarm_rate : float
        α, of all checks together, for ever.

    Raises
    ------
    ValueError
        For a rate outside of (0, 1), a reference without samples, nan, and a stage that more
        samples reach than the one before.
    """

    def __init__(self, reference: Sequence, false_alarm_rate: float = 0.01) -> None:
        if not 0 < false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate must lie between 0 and 1, not {false_alarm_rate}")
        if not all(isinstance(part, OrderStatistics) for part in reference):
            reference = [summary(array) for array in _checked(reference, "reference")]
        if not reference[0].values:
            raise ValueError("the reference holds no sample")
        self.false_alarm_rate = false_alarm_rate
        self.stages = [Capital(part) for part in reference]
        self.others: list[list[Capital]] = []  # of other workers

    def check(self, live: Sequence[Array], false_alarm_rate: float | None = None) -> DriftReport:
        """All inputs so far against the reference.

        Parameters
        ----------
        live : n float arrays
            Confidences at each stage of the inputs since the last check, in their order.
        false_alarm_rate : float, optional
            Another than the signal's own.

        Returns
        -------
        DriftReport

        Raises
        ------
        ValueError
            For another number of stages, nan, and rising lengths.
        """
        live = _checked(live, "live")
        if len(live) != len(self.stages):
            raise ValueError(
                f"live has {len(live)} stages, the reference {len(self.stages)}: another cascade?"
            )
        for stage, values in enumerate(live):
            self.add(stage, values)
        return self.report(false_alarm_rate)

    def add(self, stage: int, values: Array) -> None:
        """Take further confidences float64 [N] of a stage (0 = first), without nan, in their
        order."""
        if len(values):
            self.stages[stage].add(values)

    def report(self, false_alarm_rate: float | None = None) -> DriftReport:
        """What is known now."""
        rows = []
        workers = [self.stages, *self.others]
        for number, parts in enumerate(zip(*workers), 1):
            top = max(parts, key=lambda part: part.largest_log)
            inputs = sum(part.inputs for part in parts)
            mean = sum(part.ranks for part in parts) / (inputs or np.nan)
            p = min(1.0, len(self.stages) * len(workers) * np.exp(-top.largest_log))
            rows.append((number, inputs, mean, np.exp(min(top.log, 700.0)), p, top.since))
        tests = pd.DataFrame(
            rows, columns=["stage", "inputs", "mean_rank", "capital", "p", "since"]
        )
        tests["alarm"] = tests["p"] <= (false_alarm_rate or self.false_alarm_rate)
        return DriftReport(bool(tests["alarm"].any()), tests)

    def state(self) -> list[list[dict]]:
        """What it has come to, as JSON: of each worker, this one first, of each stage."""
        return [[part.state() for part in parts] for parts in (self.stages, *self.others)]

    def restore(self, state: list[list[dict]]) -> None:
        """Go on from a :meth:`state` of a signal with the same reference."""
        fresh = copy.deepcopy(self.stages)
        workers = [copy.deepcopy(fresh) for _ in state]
        for parts, states in zip(workers, state):
            for part, one in zip(parts, states, strict=True):
                part.restore(one)
        self.stages = workers[0]
        self.others = workers[1:]

    def merge(self, other: "DriftSignal") -> None:
        """Watch what another worker's signal has seen as well. Each worker's capital is tested at
        α / W, W workers: their capitals share the reference, so that no mean of them is a
        martingale."""
        theirs = [other.stages, *other.others]
        if self.stages[0].inputs or self.others:
            self.others += theirs
        else:
            self.stages = theirs[0]
            self.others = theirs[1:]


def reference_in_words(intervals: Any) -> str:
    """What is known of a reference, given what a cascade's file says that its intervals are."""
    if intervals == HELD_OUT:
        return "held out: the reference's samples had no part in making the cascade"
    if intervals == WITHOUT_CHOOSING:
        return (
            "chosen on: the reference's samples had a part in making the cascade, so that the "
            "false_alarm_rate holds for the first stage, with a confidence that was not fitted"
        )
    return DriftReport.reference


def _checked(stages: Sequence, name: str) -> list[Array]:
    """Arrays of confidences, a stage each, or ValueError."""
    if isinstance(stages, Store):
        raise ValueError(
            f"{name} holds confidences, not a store: use evaluate(store, point).stage_confidences"
        )
    arrays = [np.asarray(a, np.float64) for a in stages]
    lengths = [len(a) if a.ndim == 1 and not np.isnan(a).any() else np.nan for a in arrays]
    if not arrays or np.isnan(lengths).any() or lengths != sorted(lengths, reverse=True):
        what = (
            f"not {lengths}: one without nan a stage, and a later stage cannot be reached by more"
        )
        raise ValueError(f"{name} must be a list of arrays of confidences, {what}")
    return arrays
