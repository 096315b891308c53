"""Detect drift: whether live confidences differ from those of reference samples, without labels.

The reference samples are those on which the cascade was measured. Each stage is tested separately.
An alarm means that the inputs have changed. It does not mean that the accuracy is lower.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..evaluation.point import OrderStatistics
from ..policy.confidence_summary import HELD_OUT, WITHOUT_CHOOSING, summary

# Small bets detect small shifts, but slowly. Large bets detect large shifts fast.
BET_SIZES = (0.05, 0.15, 0.45)
STATE = ("weight", "logs", "inputs", "ranks", "log", "largest_log", "lowest_log", "since")


class Capital:
    """Bet that live numbers do not have the distribution of a reference, and compute the capital.

    Parameters
    ----------
    reference : OrderStatistics
        The :func:`summary` of the k numbers of the reference.

    Notes
    -----
    Theorem: if the k numbers and the live ones are exchangeable, such as independent draws of one
    distribution, the capital ever reaches 1/α stakes with probability at most α. After m live
    numbers, the next one falls into a bin between two order statistics with probability (reference
    and live numbers in the bin) ÷ (k + 1 + m). This is Pólya's urn, which includes the sampling
    error of the reference. A bet gains s(bin): its stake is multiplied by e^s(bin) ÷ the urn's mean
    of e^s. The result is a nonnegative martingale (Ville, 1939; Vovk, Gammerman, Shafer, 2022,
    *Algorithmic learning in a random world*). See docs/monitoring.md.
    """

    def __init__(self, reference: OrderStatistics) -> None:
        # Pairs (value, tie) as complex numbers, which compare in this order.
        self.edges = np.array(reference.values) + 1j * np.array(reference.ties)
        self.urn = np.append(np.asarray(reference.counts, np.float64), 1.0)
        self.middle = (np.cumsum(self.urn) - self.urn / 2) / self.urn.sum()
        directions = ((1, -1), (-1, 1), (1, 1), (-1, -1))
        bets = [(x * size, y * size) for size in BET_SIZES for x, y in directions]
        self.gains = np.array(bets) @ np.log([self.middle, 1 - self.middle])
        self.weight = np.exp(self.gains) @ self.urn
        self.logs = np.full(len(bets), -np.inf)  # log capital of each bet
        self.inputs = 0
        self.ranks = 0.0
        self.log = 0.0
        self.largest_log = 0.0
        self.lowest_log = 0.0
        self.since = 0  # number of inputs at the minimum of the log capital
        # breaks ties, with a different seed for each reference
        self.rng = np.random.default_rng(self.edges.view(np.uint32))

    def add(self, values: Array) -> Array:
        """Bet on live numbers [N], N > 0, and return the log capital after each, float64 [N]."""
        bins = np.searchsorted(self.edges, values + 1j * self.rng.random(len(values)))
        gains = self.gains[:, bins]
        number = self.inputs + np.arange(len(bins) + 1)
        # The urn's weight for each bet, with the current input.
        weights = self.weight[:, None] + np.cumsum(np.exp(gains), axis=1)
        steps = gains - np.log(weights - np.exp(gains)) + np.log(self.urn.sum() + number[:-1])
        total = np.cumsum(steps, axis=1)
        reserve = 1 / (1 + np.log1p(number))
        # Bets that start at each input: log stakes, less the gains since the first of `values`.
        stakes = np.log((reserve[:-1] - reserve[1:]) / len(gains)) - (total - steps)
        logs = total + np.logaddexp.accumulate(np.column_stack([self.logs, stakes]), axis=1)[:, 1:]
        top = logs.max(axis=0)
        path = np.logaddexp(top + np.log(np.exp(logs - top).sum(axis=0)), np.log(reserve[1:]))
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
        """Return the state as JSON values, empty before the first number."""
        if not self.inputs:
            return {}
        values = {name: np.asarray(getattr(self, name)).tolist() for name in STATE}
        return values | {"rng": self.rng.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a :meth:`state`."""
        if state:
            self.rng.bit_generator.state = state["rng"]
            for name in STATE:
                value = state[name]
                setattr(self, name, np.array(value) if isinstance(value, list) else value)


@dataclass(frozen=True, eq=False)
class DriftReport:
    """The result of a drift test.

    Parameters
    ----------
    alarm : bool
        Whether any stage raises an alarm.
    tests : DataFrame
        One row per stage:

        - ``stage``: 1 = first.
        - ``inputs``: live inputs that reached the stage.
        - ``mean_rank``: mean rank among the reference confidences, ½ if nothing has changed.
        - ``capital``: current capital in stakes. For W workers, that of the worker whose capital
          has been the largest.
        - ``p``: n · W ÷ the largest capital so far, for n stages.
        - ``since``: number of inputs after which that capital began to rise.
        - ``alarm``: whether the stage raises an alarm.
    reference : str
        Whether the samples of the reference were used to make the cascade, if known.

    See Also
    --------
    DriftSignal : Run the test.

    Examples
    --------
    >>> from cascadelib.serve import DriftSignal
    >>> report = DriftSignal([[0.1, 0.5, 0.9]]).report()
    >>> report.alarm, report.tests.loc[0, "inputs"].item()
    (False, 0)
    """

    alarm: bool
    tests: pd.DataFrame
    reference: str = "not known: whether the reference's samples had a part in making the cascade"


class DriftSignal:
    """Test sequentially whether live inputs differ from a reference, without labels.

    The test may be evaluated after every input.

    Parameters
    ----------
    reference : list of n float arrays
        One array per stage: the confidences of the samples that reach it, as in ``evaluate(store,
        cascade).stage_confidences``. The summaries in a policy file are accepted too.
    false_alarm_rate : float, default=0.01
        α, the probability of a false alarm over all checks of an endless stream.

    Raises
    ------
    ValueError
        If the rate is outside (0, 1), if the reference has no samples or a nan, or if more samples
        reach a stage than reach the previous stage.

    See Also
    --------
    Monitor.drift : The same test for a running policy.

    Notes
    -----
    If live inputs and reference are independent draws of one distribution, the probability that an
    endless stream ever raises an alarm is at most α, over the draw of both. Each stage bets on the
    inputs that reach it, and raises an alarm at n/α stakes. An input exits by its confidence, so
    exit rates need no separate test.

    There is no guarantee that every shift is detected. A shift that does not change the ranks is
    never detected. The bound on false alarms does not hold for dependent inputs, such as the frames
    of a video. For later stages, it does not hold if the thresholds differ from those of the
    reference, or were selected on the reference. See docs/monitoring.md.

    Examples
    --------
    >>> import numpy as np
    >>> from cascadelib.serve import DriftSignal
    >>> rng = np.random.default_rng(0)
    >>> signal = DriftSignal([rng.random(1000)])
    >>> signal.check([rng.random(500)]).alarm
    False
    >>> signal.check([rng.random(500) / 2]).alarm
    True
    """

    def __init__(self, reference: Sequence, false_alarm_rate: float = 0.01) -> None:
        if not 0 < false_alarm_rate < 1:
            raise ValueError(f"false_alarm_rate must be between 0 and 1, not {false_alarm_rate}")
        if not all(isinstance(part, OrderStatistics) for part in reference):
            reference = [summary(array) for array in validate_stages(reference, "reference")]
        if not reference[0].values:
            raise ValueError("the reference has no sample")
        self.false_alarm_rate = false_alarm_rate
        self.stages = [Capital(part) for part in reference]

    def check(self, live: Sequence[Array]) -> DriftReport:
        """Add live inputs, and compare all inputs so far with the reference.

        Parameters
        ----------
        live : list of n float arrays
            One array per stage: the confidences of the inputs since the last check, in the order of
            the inputs.

        Returns
        -------
        DriftReport

        Raises
        ------
        ValueError
            If the number of stages is wrong, a value is nan, or a stage has more inputs than the
            previous stage.
        """
        live = validate_stages(live, "live")
        if len(live) != len(self.stages):
            raise ValueError(
                f"live has {len(live)} stages, but the reference has {len(self.stages)}. Pass the "
                "confidences of the reference's cascade"
            )
        for stage, values in enumerate(live):
            self.add(stage, values)
        return self.report()

    def add(self, stage: int, values: Array) -> None:
        """Add confidences of a stage, in the order of its inputs.

        Parameters
        ----------
        stage : int
            0 = first.
        values : float64 array of shape (n_inputs,)
            Without nan.
        """
        if len(values):
            self.stages[stage].add(values)

    def report(
        self, false_alarm_rate: float | None = None, others: Sequence["DriftSignal"] = ()
    ) -> DriftReport:
        """Return the result so far, together with the signals of other workers.

        Parameters
        ----------
        false_alarm_rate : float, optional
            The default is that of the signal.
        others : sequence of DriftSignal
            Signals of other workers, with the same reference.

        Returns
        -------
        DriftReport

        Notes
        -----
        The capital of each of W workers is tested at α / W. The mean capital of the workers would
        not be a valid test, because they share the reference, so it is not a martingale.
        """
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
        """Return the state of each stage as JSON values."""
        return [part.state() for part in self.stages]

    def restore(self, state: list[dict]) -> None:
        """Restore a :meth:`state` of a signal with the same reference."""
        for part, one in zip(self.stages, state, strict=True):
            part.restore(one)


def describe_reference(intervals: Any) -> str:
    """Return whether the reference's samples made the cascade, by ``expected.intervals``."""
    if intervals == HELD_OUT:
        return "held out: the reference's samples had no part in making the cascade"
    if intervals == WITHOUT_CHOOSING:
        return (
            "chosen on: the reference's samples had a part in making the cascade, so the "
            "false_alarm_rate holds for the first stage only, if its confidence is not fitted"
        )
    return DriftReport.reference


def validate_stages(stages: Sequence, name: str) -> list[Array]:
    """Return one array of confidences per stage, or raise ValueError."""
    arrays = [np.asarray(a, np.float64) for a in stages]
    lengths = [len(a) if a.ndim == 1 and not np.isnan(a).any() else np.nan for a in arrays]
    if not arrays or np.isnan(lengths).any() or lengths != sorted(lengths, reverse=True):
        raise ValueError(
            f"{name} must have one array of confidences per stage, without nan and with no more "
            f"samples than the previous stage. The lengths are {lengths}, nan for an invalid array"
        )
    return arrays
