"""A running cascade without labels: exit rates, confidences, drift and time beside what was expected, and an average
cost held over a stream, whatever the inputs do."""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..analysis.drift_signal import DriftReport, DriftSignal
from ..analysis.uncertainty import anytime_lower, share_interval
from ..checks import check_number, known
from ..evaluation.evaluation import costs_of, evaluate, outcomes_of
from ..fronts.front import Point
from ..methods.thresholds import own_units

if TYPE_CHECKING:
    from .answers import Decisions

WAITING = 1024  # inputs that wait until the drift signal takes them all at once
LOCK = threading.Lock()  # of all, as a cascade with one of its own could not be copied
STEP = 0.15  # by which one batch may move a budget's level: larger steps swing between all leaving and all passing on


class Running:
    """Counts since the start (or :meth:`reset`) of a cascade, drift, loss by an audit; of all threads that run it.

    inputs: how many; exits, broken int64 [n]: how many left at each of the n stages, and for how many a model's logits
    were nan or infinite; seconds float64 [n, 2]: spent at each stage in the model (with its preprocessing) and in the
    exit decision; audited, audit_seconds: of the audit. expected: the ``expected`` part of a cascade file, or None.
    audit: share of all inputs, whatever stage they leave at, on which the model ``reference`` (the last) runs as well.
    """

    def __init__(
        self,
        models: Sequence[str],
        metric: str | Callable,
        expected: Mapping | None,
        audit: float = 0.0,
    ):
        self.models, self.metric, self.expected = models, metric, expected
        self.audit, self.reference, self.rng = audit, models[-1], np.random.default_rng(0)
        self.reset()

    def reset(self) -> None:
        """Forget all inputs so far."""
        n = len(self.models)
        with LOCK:
            self.inputs, self.exits, self.broken = 0, np.zeros(n, np.int64), np.zeros(n, np.int64)
            self.seconds, self.waiting = np.zeros((n, 2)), [np.empty((0, n))]
            self.signal = self.expected and DriftSignal(self.expected["confidences"])
            self.audited, self.audit_seconds, self.verdicts = 0, 0.0, [0, 0, 0]
            self.doubts: dict[int, list] = {}

    def drawn(self, count: int) -> np.ndarray:
        """Which of the next ``count`` inputs are audited, int64 [a]."""
        with LOCK:
            return np.flatnonzero(
                self.rng.random(count) < check_number(self.audit, "audit", "a share", 0, 1)
            )

    def add(self, decisions: "Decisions", seconds: Any = 0.0, audit: tuple | None = None) -> None:
        """Count the :class:`Decisions` of one call (those made before an error), its seconds float64 [n, 2], and its
        audit: rows int64 [a], the reference's predictions [a], seconds."""
        made = decisions.exit_stage >= 0
        left, confidences = decisions.exit_stage[made], decisions.confidences[made]
        if not np.isfinite(confidences[:, -1]).any():
            confidences[:, -1] = np.nan  # a last model that says nothing of its confidence
        confidences = np.nan_to_num(confidences, nan=np.nan)  # infinite ones as in the file
        reached = np.arange(len(self.models)) <= left[:, None]
        whole = ~(np.isnan(confidences) & reached)[:, :-1].any(
            axis=1
        )  # broken: they say nothing of the data
        with LOCK:
            if audit is not None:
                rows, answers, spent = audit
                self.audited, self.audit_seconds = (
                    self.audited + len(rows),
                    self.audit_seconds + spent,
                )
                pairs = zip(rows.tolist(), decisions.predictions[rows], answers)
                self.doubts |= {
                    self.inputs + row: pair for row, *pair in pairs if pair[0] != pair[1]
                }
            self.inputs += len(left)
            self.exits += np.bincount(left, minlength=len(self.models))
            self.broken += decisions.broken
            self.seconds += seconds
            self.waiting.append(confidences[whole])
            if sum(map(len, self.waiting)) >= WAITING:
                self._watch(None)

    def _watch(self, false_alarm_rate):
        """The drift signal takes the inputs that wait for it."""
        columns, self.waiting = np.concatenate(self.waiting).T, self.waiting[:1]  # of no inputs
        if self.signal is not None:
            return self.signal.check(
                [column[~np.isnan(column)] for column in columns], false_alarm_rate
            )

    def to_label(self) -> pd.DataFrame:
        """What cascade and reference say where they differ, by the input's number since the start: labels wanted."""
        with LOCK:
            return pd.DataFrame.from_dict(
                dict(self.doubts), orient="index", columns=["cascade", "reference"]
            )

    def label(self, labels: Mapping[int, Any]) -> None:
        """The labels of inputs of :meth:`to_label`, in any order, late or never: {number: label}, as predictions are
        written. None and nan: not yet known. ValueError for text where predictions are numbers, or the reverse."""
        with LOCK:
            for number, label in labels.items():
                said, answer = self.doubts[known(number, self.doubts, "input to label")]
                if pd.isna(label):
                    continue
                if isinstance(label, str) != isinstance(said, str) or (
                    not isinstance(label, str) and label < 0
                ):
                    raise ValueError(
                        f"the label {label!r} of input {number} is no class: predictions are like {said!r}"
                    )
                del self.doubts[number]
                self.verdicts[1 - int(answer == label) + int(said == label)] += 1

    def loss(self, epsilon: float = 1.0, error: float = 0.05) -> pd.Series:
        """What the cascade loses in top-1 accuracy against the reference, by the audit: audited, disagreed, to_label
        (inputs); low, high; alarm: whether the loss lies above ``epsilon``, as certified.

        Promise, for inputs that are independent draws of one distribution: the loss lies in [low, high] at all times at
        once with a probability of at least 1 − error (above ``high``, below ``low``: half each), whichever labels come,
        and when: :func:`anytime_lower`. Not promised: the loss of *now* where it changes.
        """
        with LOCK:
            (lost, both, gained), doubts, audited = self.verdicts, len(self.doubts), self.audited
            same = audited - lost - gained - doubts
        low = anytime_lower(lost, same, gained + doubts, error / 2)
        high = -anytime_lower(gained, same, lost + doubts, error / 2)
        counts = {
            "audited": audited,
            "disagreed": lost + both + gained + doubts,
            "to_label": doubts,
        }
        return pd.Series(counts | {"low": low, "high": high, "alarm": low > epsilon}, dtype=object)

    @property
    def exit_rates(self) -> np.ndarray:
        """Share of all inputs so far that left at each stage, float64 [n]; nan before the first input."""
        return self.exits / self.inputs if self.inputs else np.full(len(self.models), np.nan)

    @property
    def table(self) -> pd.DataFrame:
        """A row a model: inputs that it saw, exit rate with the 95% interval expected (whether "without choosing", the
        cascade's file says) and measured, seconds a sample in the model and in the decision."""
        with LOCK:
            self = copy.deepcopy(self)
        reached = self.inputs - np.cumsum(self.exits) + self.exits
        table = pd.DataFrame(
            {"inputs": reached, "broken": self.broken}, index=pd.Index(self.models, name="model")
        )
        if self.expected is not None:
            columns = ["exit_rate_expected", "exit_rate_expected_low", "exit_rate_expected_high"]
            table[columns] = [
                (rate["value"], rate["low"], rate["high"]) for rate in self.expected["exit_rates"]
            ]
        table["exit_rate"] = self.exit_rates
        if self.inputs:
            left = (np.arange(self.inputs) < count for count in self.exits)
            table[["exit_rate_low", "exit_rate_high"]] = [
                share_interval(one, kind="exact") for one in left
            ]
        with np.errstate(invalid="ignore"):
            table["model_seconds"], table["decision_seconds"] = (self.seconds / reached[:, None]).T
        return table

    def drift(self, false_alarm_rate: float = 0.01) -> DriftReport:
        """All inputs so far against the samples on which the cascade was measured; may be asked after every input. What
        is promised, and what not: :class:`DriftSignal`. ValueError where nothing was expected."""
        if self.signal is None:
            raise ValueError(
                "nothing is expected of this cascade: give from_point the store that it was measured on"
            )
        with LOCK:
            return self._watch(false_alarm_rate)


class StreamBudget:
    """Thresholds of one cascade that move so that its mean cost a sample stays at ``budget`` while confidences drift.

    point: the cascade; store: the split that its thresholds start from (LogitStore or ScoreTable with one cost a
    model); budget: mean cost a sample, of the point's kind; rate η: how far a sample moves the level, at most. Use
    :attr:`thresholds` for a batch, then :meth:`update` with the exit stages that came of it.

    All thresholds hang on one level u, which a batch moves by η_t × what it saved: integral control, as in Gibbs,
    Candès (2021, *Adaptive conformal inference under distribution shift*) and Angelopoulos, Candès, Tibshirani (2023,
    *Conformal PID control for time series prediction*). η_t = min(η, 0.15 ÷ the largest batch): docs/monitoring.md.
    Guarantee, for any inputs (with finite logits) in any order: :meth:`bound`. Accuracy is not held.
    """

    def __init__(self, point: Point, store: Any, budget: float, rate: float = 0.005):
        self.costs = np.array(costs_of(store, point.models, point.cost_kind), np.float64)
        if self.costs.ndim != 1 or len(self.costs) < 2:
            raise ValueError(
                "a budget needs two models or more with one cost each (not a cost for every sample)"
            )
        self.cheapest, self.dearest = float(self.costs[0]), float(self.costs.sum())
        if not self.cheapest < check_number(budget, "budget") < self.dearest:
            raise ValueError(
                f"the budget must lie between {self.cheapest:g} and {self.dearest:g}, not {budget:g}"
            )
        if not 0 < check_number(rate, "rate") < 1:
            raise ValueError(f"rate must lie between 0 and 1, not {rate}")
        self.budget, self.rate, self.metric = float(budget), rate, point.metric
        outcomes = outcomes_of(store, point.models, point.method, point.score)
        self.sure = [np.sort(sure) for _, sure in outcomes[:-1]]
        self.shares = [
            1.0 if t == np.inf else np.searchsorted(s, t) / len(s)
            for s, t in zip(self.sure, point.inside)
        ]
        self.bend = np.clip(self._share_of(evaluate(store, point).cost), 1e-9, 1 - 1e-9)
        self.level, self.samples, self.spent, self.largest = self._share_of(self.budget), 0, 0.0, 1

    def _share_of(self, cost):
        return (cost - self.cheapest) / (self.dearest - self.cheapest)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Thresholds for the next batch, in the metric's own units."""
        inside = np.full(len(self.sure), -np.inf if self.level <= 0 else np.inf)
        if 0 < self.level < 1:
            for i, (sure, share) in enumerate(zip(self.sure, self.shares)):
                at = round(np.interp(self.level, [0, self.bend, 1], [0, share, 1]) * len(sure))
                # below the threshold lies that share; it is inf at 1 only, so that before it inf exits
                inside[i] = np.inf if at == len(sure) else min(sure[at], np.finfo(np.float64).max)
        return tuple(own_units(self.metric, inside).tolist())

    def update(self, exit_stage: np.ndarray) -> None:
        """Take note of a batch that ran at :attr:`thresholds`: exit_stage int [b], 0 = first model."""
        spent = np.cumsum(self.costs)[np.asarray(exit_stage, np.int64)]
        self.largest = max(self.largest, len(spent))
        saved = float(np.sum(self._share_of(self.budget) - self._share_of(spent)))
        self.level += min(self.rate, STEP / self.largest) * saved
        self.samples, self.spent = self.samples + len(spent), self.spent + float(spent.sum())

    @property
    def mean_cost(self) -> float:
        """Mean cost a sample so far; nan before the first."""
        return self.spent / self.samples if self.samples else np.nan

    def bound(self) -> float:
        """No stream makes the mean cost of as many samples as there were so far differ from the budget by more.

        (dearest − cheapest) (1 + η_T b) / (η_T samples), b: the largest batch, η_T = min(η, 0.15 / b) the last rate.
        Why: docs/monitoring.md.
        """
        rate = min(self.rate, STEP / self.largest)
        return (self.dearest - self.cheapest) * (1 + rate * self.largest) / (rate * self.samples)
