"""A mean cost that is held over a stream, whatever the inputs do."""

from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import brief, check_number, reals
from ..evaluation.point import single_point
from ..evaluation.run import evaluate
from ..methods.thresholds import LARGEST, leaves, own_units

STEP = 0.15  # of a level, by one batch


class StreamBudget:
    """Thresholds of one cascade that move so that its mean cost per sample stays at ``budget``
    while confidences drift.

    :meth:`run` decides batches of any size. Or use :attr:`thresholds` for a batch, then
    :meth:`update` with the exit stages that came of it; large batches then make the bound wide.
    All thresholds depend on one level u, which a batch moves by η_t × what it saved: integral
    control. η_t = min(η, 0.15 ÷ the largest batch). Guarantee, for any inputs (with finite logits)
    in any order: :meth:`bound`. Accuracy is not held. With prices per query :meth:`update` takes
    what each input cost.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The split that its thresholds start from, with one cost per model, or one per model and
        sample.
    cascade : Point, Policy or Cascade
    budget : float
        Mean cost per sample, of the point's kind.
    rate : float
        η: how far one sample moves the level, at most.

    Raises
    ------
    ValueError
        For a cascade of one model, a budget that lies outside of what the cascade can cost (in
        the mean over the store), or a rate outside of (0, 1).

    References
    ----------
    Gibbs, Candès (2021), *Adaptive conformal inference under distribution shift*; Angelopoulos,
    Candès, Tibshirani (2023), *Conformal PID control for time series prediction*;
    docs/monitoring.md.
    """

    def __init__(self, store: Any, cascade: Any, budget: float, rate: float = 0.005) -> None:
        point = single_point(cascade)
        run = evaluate(store, point)
        costs = np.array(run.costs, np.float64)
        if len(costs) < 2:
            raise ValueError("a budget needs a cascade of two models or more")
        self.is_per_query = costs.ndim > 1
        self.costs = costs.reshape(len(costs), -1).mean(axis=1)
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
            np.mean(~leaves(rising, threshold))
            for rising, threshold in zip(self.rising, point.inside)
        ]  # of the samples, those that pass on
        self.bend = np.clip(self._share_of(run.cost), 1e-9, 1 - 1e-9)
        self.level = self._share_of(self.budget)
        self.lowest = self.level
        self.highest = self.level
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
                # Below the threshold lies this share of the samples, and none that tie with it; it
                # is finite where any is above, so that infinite confidences exit.
                below = np.interp(self.level, [0, self.bend, 1], [0, share, 1])
                count = round(below * len(rising))
                inside[stage] = min(rising[count], LARGEST) if count < len(rising) else np.inf
        return tuple(own_units(self.metric, inside).tolist())

    def run(self, cascade: Any, batch: Any) -> Any:
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
        usual = cascade.thresholds
        decided = []
        try:
            for part in cascade.parts(batch, max(1, int(STEP / self.rate))):
                cascade.thresholds = self.thresholds
                decided.append(cascade(part))
                self.update(decided[-1].exit_stage)
        finally:
            cascade.thresholds = usual
        first, *others = decided
        return first.joined(*others)

    def update(self, exit_stage: Array, costs: Any = None) -> None:
        """Take note of a batch that ran at :attr:`thresholds`.

        Parameters
        ----------
        exit_stage : int [b]
            0 = first model.
        costs : float [b], optional
            What each input cost, needed with prices per query: of a policy
            ``numpy.nansum(decisions.costs, axis=1)``.

        Raises
        ------
        ValueError
            For what is no stage of this cascade, and costs that are missing or none; the budget is
            then as before.
        """
        stages = np.asarray(exit_stage)
        if stages.ndim != 1 or not np.isin(stages, np.arange(len(self.costs))).all():
            raise ValueError(
                f"exit_stage must be a list of stages from 0 to {len(self.costs) - 1}, not "
                f"{brief(exit_stage)}: leave out samples that no model answered"
            )
        if costs is None and not self.is_per_query:
            costs = np.cumsum(self.costs)[stages.astype(np.int64)]
        spent = reals(costs, "costs")
        if spent.shape != stages.shape or not (np.isfinite(spent) & (spent >= 0)).all():
            raise ValueError(
                f"costs of {len(stages)} inputs are needed, 0 or more, not {brief(costs)}"
            )
        self.largest = max(self.largest, len(spent))
        saved = float(np.sum(self._share_of(self.budget) - self._share_of(spent)))
        self.level += min(self.rate, STEP / self.largest) * saved
        self.lowest = min(self.lowest, self.level)
        self.highest = max(self.highest, self.level)
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
            (dearest − cheapest) · r ÷ (η_T · samples), η_T = min(η, 0.15 ÷ b): the last rate, b:
            the largest batch, r = 1 + η_T b; or the range of the level so far, where that is more,
            as it is where inputs cost more than the budget at the first model alone, or less
            with all.

        References
        ----------
        docs/monitoring.md.
        """
        rate = min(self.rate, STEP / self.largest)
        room = max(1 + rate * self.largest, self.highest - self.lowest)
        return (self.dearest - self.cheapest) * room / (rate * self.samples)
