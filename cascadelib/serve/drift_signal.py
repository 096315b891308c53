"""A warning without labels: have the confidences of live inputs drifted from those of a reference?

Stage by stage, against the samples on which a cascade was measured. An alarm says that the data are
no longer those, not that the answers are worse: accuracy may fall or hold either way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import brief, misfit
from ..evaluation.point import OrderStatistics
from ..policy.confidence_summary import HELD_OUT, WITHOUT_CHOOSING, summary
from ..store.protocol import Store

BET_SIZES = (
    0.05,
    0.15,
    0.45,
)  # of the bets: from small shifts, seen late, to large ones, seen at once
LOG = slice(-1e300, 1e300)
CAPITAL_FORMS = {  # of a Capital, in the forms of misfit()
    "weight": [slice(1e-300, 1e300)],
    "logs": [LOG],
    "inputs": range(1, 2**53),
    "ranks": slice(0, 2**53),
    "log": LOG,
    "largest_log": slice(0, 1e300),
    "lowest_log": slice(-1e300, 0),
    "since": range(2**53),
}
STATE_FORMS = CAPITAL_FORMS | {"rng": dict}


class Capital:
    """Capital of bets, input after input, that live numbers are not drawn as k others were.

    Those are the reference, of which it takes a :func:`summary`.

    Theorem: where the k numbers and the live ones are exchangeable, as independent draws of one
    distribution are, the capital ever comes to 1/α stakes with a probability of at most α. Between
    two order statistics the next live number falls with probability (numbers of both kinds there so
    far) ÷ (k + 1 + live ones so far): Pólya's urn, which has the reference's sampling error in it.
    Stakes × e^s(bin) ÷ the urn's mean of it are a martingale of at least 0 (Ville, 1939; Vovk,
    Gammerman, Shafer, 2022, *Algorithmic learning in a random world*). In full: docs/monitoring.md.
    """

    def __init__(self, reference: OrderStatistics) -> None:
        # compared as pairs
        self.edges = np.array(reference.values) + 1j * np.array(reference.ties)
        self.urn = np.append(np.asarray(reference.counts, np.float64), 1.0)
        self.middle = (np.cumsum(self.urn) - self.urn / 2) / self.urn.sum()
        directions = ((1, -1), (-1, 1), (1, 1), (-1, -1))
        bets = [(x * size, y * size) for size in BET_SIZES for x, y in directions]
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
        """What it has come to, as JSON; empty before the first number."""
        if not self.inputs:
            return {}
        kept = {name: np.asarray(getattr(self, name)).tolist() for name in CAPITAL_FORMS}
        return kept | {"rng": self.rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state`, of fresh capital; ValueError for what is none."""
        if state == {}:
            return
        bets = len(self.logs)
        wrong = misfit(state, STATE_FORMS)
        if wrong is not None or state.keys() != STATE_FORMS.keys() or len(state["logs"]) != bets:
            raise ValueError(f"capital of a drift signal: {wrong or 'another number of parts'}")
        if len(state["weight"]) != bets or not state["since"] <= state["inputs"] >= state["ranks"]:
            raise ValueError("capital of a drift signal: its parts do not fit each other")
        if not state["lowest_log"] <= state["log"] <= state["largest_log"]:
            raise ValueError("capital of a drift signal: its logs do not fit each other")
        restore_generator(self.rng, state["rng"])
        for name in CAPITAL_FORMS:
            kind = type(getattr(self, name))
            setattr(self, name, np.array(state[name]) if kind is Array else kind(state[name]))


def restore_generator(rng: np.random.Generator, state: dict) -> None:
    """Go on from the state of a generator of the same kind; ValueError for what is none."""
    try:
        rng.bit_generator.state = state
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise ValueError(f"no state of a random generator: {error}") from None


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

    def report(
        self, false_alarm_rate: float | None = None, others: Sequence["DriftSignal"] = ()
    ) -> DriftReport:
        """What is known now, with what the signals of other workers have seen. Each worker's
        capital is tested at α / W, W workers: their capitals share the reference, so that no mean
        of them is a martingale."""
        seen = [signal.stages for signal in (self, *others) if signal.stages[0].inputs]
        workers = seen or [self.stages]
        rows = []
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

    def state(self) -> list[dict]:
        """What it has come to, as JSON: of each stage."""
        return [part.state() for part in self.stages]

    def restore(self, state: list[dict]) -> None:
        """Go on from a :meth:`state` of a signal with the same reference, of which this one has
        seen no input; ValueError for what is none."""
        if not isinstance(state, list) or len(state) != len(self.stages):
            raise ValueError(f"a drift signal of {len(self.stages)} stages, not {brief(state)}")
        for part, one in zip(self.stages, state):
            part.restore(one)


def describe_reference(intervals: Any) -> str:
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
