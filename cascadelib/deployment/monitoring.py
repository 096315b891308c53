"""A running cascade without labels: exit rates, confidences, drift and time beside what was
expected, and a mean cost that is held over a stream, whatever the inputs do."""

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.drift_signal import DriftReport, DriftSignal, reference_in_words
from ..analysis.uncertainty import anytime_lower, share_interval
from ..checks import brief, check_number, known
from ..evaluation.point import Point, single_point
from ..evaluation.run import evaluate
from ..methods.thresholds import exiting, own_units, threshold_above
from .decisions import Decisions

WAITING = 1024  # inputs that wait until the drift signal takes them all at once
LOCK = threading.Lock()  # of all, as a cascade with one of its own could not be copied
# By how much one batch may move a budget's level: with larger steps it swings between all samples
# leaving at once and none.
STEP = 0.15


class Running:
    """What a cascade of n models has done since the start, or since :meth:`reset`: counts, drift,
    loss by an audit; of all threads that run it.

    Parameters
    ----------
    point : Point
        The cascade, with what is expected of it.
    audit : float
        Share of all inputs, whatever stage they leave at, on which the model ``reference``
        (the last one, unless it is set) runs as well.

    Attributes
    ----------
    inputs : int
        Inputs so far.
    exits, broken : int64 [n]
        Inputs that left at each stage, and those for which a model failed, or gave nan or
        infinite logits.
    seconds : float64 [n, 2]
        Spent at each stage in the model (with its preprocessing) and in the exit decision.
    audited, audit_seconds : int, float
        Inputs and seconds of the audit.
    """

    def __init__(self, point: Point, audit: float = 0.0) -> None:
        self.models = point.models
        self.metric = point.metric
        self.expected = point.expected
        self.audit = audit
        self.reference = point.models[-1]
        self.rng = np.random.default_rng(0)
        self.reset()

    def reset(self) -> None:
        """Forget all inputs so far."""
        n = len(self.models)
        with LOCK:
            self.inputs = 0
            self.exits = np.zeros(n, np.int64)
            self.broken = np.zeros(n, np.int64)
            self.seconds = np.zeros((n, 2))
            self.waiting = [np.empty((0, n))]
            self.signal: DriftSignal | None = None
            if self.expected:
                self.signal = DriftSignal(self.expected.confidences)
            self.audited = 0
            self.audit_seconds = 0.0
            self.verdicts = {"lost": 0, "tied": 0, "gained": 0}
            self.doubts: dict[int, list] = {}

    def drawn(self, count: int) -> np.ndarray:
        """Which of the next ``count`` inputs are audited, int64 [a]."""
        with LOCK:
            share = check_number(self.audit, "audit", "a share", 0, 1)
            return np.flatnonzero(self.rng.random(count) < share)

    def add(self, decisions: Decisions, seconds: Any = 0.0, audit: tuple | None = None) -> None:
        """Count one call.

        Parameters
        ----------
        decisions : Decisions
            Those of the call; where an error came before a decision, it does not count.
        seconds : float64 [n, 2]
            In each model, and in its exit decision.
        audit : tuple or None
            Rows int64 [a], the reference's predictions [a], seconds.
        """
        made = decisions.exit_stage >= 0
        exit_stage = decisions.exit_stage[made]
        confidences = self._watched(decisions.confidences[made], exit_stage)
        with LOCK:
            if audit is not None:
                self._add_audit(decisions, *audit)
            self.inputs += len(exit_stage)
            self.exits += np.bincount(exit_stage, minlength=len(self.models))
            self.broken += decisions.broken
            self.seconds += seconds
            self.waiting.append(confidences)
            if sum(map(len, self.waiting)) >= WAITING:
                self._watch(None)

    def _watched(self, confidences: np.ndarray, exit_stage: np.ndarray) -> np.ndarray:
        """Confidences float64 [N, n] as the drift signal takes them, without the broken inputs,
        which say nothing of the data; exit_stage: int64 [N]."""
        if not np.isfinite(confidences[:, -1]).any():
            confidences[:, -1] = np.nan  # a last model that says nothing of its confidence
        confidences = np.nan_to_num(confidences, nan=np.nan)  # infinite ones as in the file
        reached = np.arange(len(self.models)) <= exit_stage[:, None]
        missing = np.isnan(confidences) & reached
        return confidences[~missing[:, :-1].any(axis=1)]

    def _add_audit(
        self, decisions: Decisions, rows: np.ndarray, answers: Sequence, seconds: float
    ) -> None:
        """Count an audit, and keep the pairs of predictions that differ; the lock is held."""
        self.audited = self.audited + len(rows)
        self.audit_seconds = self.audit_seconds + seconds
        for row, prediction, answer in zip(rows.tolist(), decisions.predictions[rows], answers):
            if prediction != answer:
                self.doubts[self.inputs + row] = [prediction, answer]

    def _watch(self, false_alarm_rate: float | None) -> Any:
        """The drift signal takes the inputs that wait for it, and reports; the lock is held."""
        columns = np.concatenate(self.waiting).T
        self.waiting = self.waiting[:1]  # of no inputs
        if self.signal is None:
            return None
        given = [column[~np.isnan(column)] for column in columns]
        return self.signal.check(given, false_alarm_rate)

    def to_label(self) -> pd.DataFrame:
        """The inputs whose labels are wanted: those on which cascade and reference differ.

        Returns
        -------
        DataFrame
            Predictions of ``cascade`` and ``reference``, by the input's number since the start.
        """
        with LOCK:
            return pd.DataFrame.from_dict(
                dict(self.doubts), orient="index", columns=["cascade", "reference"]
            )

    def label(self, labels: Mapping[int, Any]) -> None:
        """Take labels of inputs of :meth:`to_label`, in any order, late or never.

        Parameters
        ----------
        labels : mapping
            {number of the input: label}, written as the predictions are. None and nan: not yet
            known.

        Raises
        ------
        ValueError
            For an input whose label is not wanted, and for text where predictions are numbers, or
            the reverse.
        """
        with LOCK:
            for number, label in labels.items():
                prediction, answer = self.doubts[known(number, self.doubts, "input to label")]
                if pd.isna(label):
                    continue
                is_text = isinstance(label, str)
                if is_text != isinstance(prediction, str) or (not is_text and label < 0):
                    raise ValueError(
                        f"the label {label!r} of input {number} is not a class: give one like "
                        f"the prediction {prediction!r}"
                    )
                del self.doubts[number]
                self.verdicts[verdict(prediction == label, answer == label)] += 1

    def loss(self, epsilon: float = 1.0, error: float = 0.05) -> pd.Series:
        """What the cascade loses in top-1 accuracy against the reference, by the audit.

        Promise, for inputs that are independent draws of one distribution: the loss lies in
        [low, high] at all times at once with a probability of at least 1 − error (above ``high``,
        below ``low``: half each), whichever labels come, and when. Not promised: the loss of *now*
        where it changes.

        Parameters
        ----------
        epsilon : float
            Loss as certified, a fraction.
        error : float
            Probability with which the promise may fail.

        Returns
        -------
        Series
            ``audited``, ``disagreed``, ``to_label``: inputs; ``low``, ``high``: bounds of the
            loss; ``alarm``: whether the loss lies above ``epsilon``.

        References
        ----------
        :func:`anytime_lower`; docs/monitoring.md.
        """
        with LOCK:
            lost = self.verdicts["lost"]
            tied = self.verdicts["tied"]
            gained = self.verdicts["gained"]
            doubts = len(self.doubts)
            audited = self.audited
        same = audited - lost - gained - doubts
        # A label that is not known counts as gained for the lower bound, as lost for the upper.
        low = anytime_lower(lost, same, gained + doubts, error / 2)
        high = -anytime_lower(gained, same, lost + doubts, error / 2)
        table = {
            "audited": audited,
            "disagreed": lost + tied + gained + doubts,
            "to_label": doubts,
            "low": low,
            "high": high,
            "alarm": low > epsilon,
        }
        return pd.Series(table, dtype=object)

    @property
    def exit_rates(self) -> np.ndarray:
        """Share of all inputs so far that left at each stage, float64 [n]; nan before the first."""
        return self.exits / self.inputs if self.inputs else np.full(len(self.models), np.nan)

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
            per_sample = now.seconds / reached[:, None]
        table["model_seconds"] = per_sample[:, 0]
        table["decision_seconds"] = per_sample[:, 1]
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
            report = self._watch(false_alarm_rate)
        said = self.expected and self.expected.intervals
        return replace(report, reference=reference_in_words(said))


def verdict(cascade_correct: bool, reference_correct: bool) -> str:
    """What an input adds to the loss, where both answers differ: "lost", "tied" or "gained"."""
    if cascade_correct == reference_correct:
        return "tied"
    return "gained" if cascade_correct else "lost"


class StreamBudget:
    """Thresholds of one cascade that move so that its mean cost per sample stays at ``budget``
    while confidences drift.

    :meth:`run` decides batches of any size. Or use :attr:`thresholds` for a batch, then
    :meth:`update` with the exit stages that came of it; large batches then make the bound wide.
    All thresholds depend on one level u, which a batch moves by η_t × what it saved: integral
    control. η_t = min(η, 0.15 ÷ the largest batch). Guarantee, for any inputs (with finite logits)
    in any order: :meth:`bound`. Accuracy is not held.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The split that its thresholds start from, with one cost per model.
    cascade : Point, Policy or Cascade
    budget : float
        Mean cost per sample, of the point's kind.
    rate : float
        η: how far one sample moves the level, at most.

    Raises
    ------
    ValueError
        For a cascade of one model, costs by sample, a budget that lies outside of what the
        cascade can cost, or a rate outside of (0, 1).

    References
    ----------
    Gibbs, Candès (2021), *Adaptive conformal inference under distribution shift*; Angelopoulos,
    Candès, Tibshirani (2023), *Conformal PID control for time series prediction*;
    docs/monitoring.md.
    """

    def __init__(self, store: Any, cascade: Any, budget: float, rate: float = 0.005) -> None:
        point = single_point(cascade)
        run = evaluate(store, point)
        self.costs = np.array(run.costs, np.float64)
        if self.costs.ndim != 1 or len(self.costs) < 2:
            raise ValueError(
                "a budget needs two models or more with one cost each (not one for every sample)"
            )
        self.cheapest = float(self.costs[0])
        self.dearest = float(self.costs.sum())
        if not self.cheapest < check_number(budget, "budget") < self.dearest:
            raise ValueError(
                f"the budget must lie between {self.cheapest:g} and {self.dearest:g}, "
                f"not {budget:g}"
            )
        if not 0 < check_number(rate, "rate") < 1:
            raise ValueError(f"rate must lie between 0 and 1, not {rate}")
        self.budget = float(budget)
        self.rate = rate
        self.metric = point.metric
        self.rising = [np.sort(confidence) for confidence in run.confidences[:-1]]
        self.shares = [
            (len(rising) - exiting(rising[::-1], threshold)) / len(rising)
            for rising, threshold in zip(self.rising, point.inside)
        ]
        self.bend = np.clip(self._share_of(run.cost), 1e-9, 1 - 1e-9)
        self.level = self._share_of(self.budget)
        self.samples = 0
        self.spent = 0.0
        self.largest = 1

    def _share_of(self, cost: Any) -> Any:
        """Where costs lie between the cheapest (0) and the dearest (1) that a sample can have."""
        return (cost - self.cheapest) / (self.dearest - self.cheapest)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Thresholds for the next batch, in the metric's own units."""
        inside = np.full(len(self.rising), -np.inf if self.level <= 0 else np.inf)
        if 0 < self.level < 1:
            for stage, (rising, share) in enumerate(zip(self.rising, self.shares)):
                # Below the threshold lies this share of the samples.
                below = np.interp(self.level, [0, self.bend, 1], [0, share, 1])
                inside[stage] = threshold_above(rising, round(below * len(rising)))
        return tuple(own_units(self.metric, inside).tolist())

    def run(self, cascade: Any, batch: Any) -> Decisions:
        """Decide a batch of N samples, so few at a time that the bound stays narrow.

        Parameters
        ----------
        cascade : Cascade
            Its own thresholds are as before afterwards.
        batch : batch
            Raw inputs, of any size; 0.15 ÷ η of them run at a time.

        Returns
        -------
        Decisions
        """
        from .timing import pieces_of  # needs torch, as a Cascade does

        usual = cascade.thresholds
        decided = []
        try:
            for part in pieces_of(batch, max(1, int(STEP / self.rate))):
                cascade.thresholds = self.thresholds
                decided.append(cascade(part))
                self.update(decided[-1].exit_stage)
        finally:
            cascade.thresholds = usual
        return Decisions.joined(decided)

    def update(self, exit_stage: np.ndarray) -> None:
        """Take note of a batch that ran at :attr:`thresholds`.

        Parameters
        ----------
        exit_stage : int [b]
            0 = first model.

        Raises
        ------
        ValueError
            For what is no stage of this cascade; the budget is then as before.
        """
        stages = np.asarray(exit_stage)
        if stages.ndim != 1 or not np.isin(stages, np.arange(len(self.costs))).all():
            raise ValueError(
                f"exit_stage must be a list of stages from 0 to {len(self.costs) - 1}, not "
                f"{brief(exit_stage)}: leave out samples that no model answered"
            )
        spent = np.cumsum(self.costs)[stages.astype(np.int64)]
        self.largest = max(self.largest, len(spent))
        saved = float(np.sum(self._share_of(self.budget) - self._share_of(spent)))
        self.level += min(self.rate, STEP / self.largest) * saved
        self.samples = self.samples + len(spent)
        self.spent = self.spent + float(spent.sum())

    @property
    def mean_cost(self) -> float:
        """Mean cost per sample so far; nan before the first."""
        return self.spent / self.samples if self.samples else np.nan

    def bound(self) -> float:
        """By how much the mean cost so far can differ from the budget, whatever the stream.

        Returns
        -------
        float
            (dearest − cheapest) (1 + η_T b) ÷ (η_T · samples), b: the largest batch,
            η_T = min(η, 0.15 ÷ b): the last rate.

        References
        ----------
        docs/monitoring.md.
        """
        rate = min(self.rate, STEP / self.largest)
        return (self.dearest - self.cheapest) * (1 + rate * self.largest) / (rate * self.samples)
