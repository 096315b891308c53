"""Control the mean cost of a cascade over a stream."""

from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import brief, check_number
from ..evaluation.point import single_point
from ..evaluation.run import evaluate
from ..labels import as_real_array
from ..methods.thresholds import LARGEST, convert_units, does_exit

MAX_STEP = 0.15  # largest change by one batch of the level that sets all thresholds


class StreamBudget:
    """Adjust the thresholds of a cascade to keep its mean cost per sample at a budget.

    :meth:`run` decides batches of any size. To decide a batch elsewhere, use :attr:`thresholds`,
    and call :meth:`update` with the exit stages. Large batches then make the bound wide.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The split that gives the initial thresholds, with one cost per model, or one per model and
        sample.
    cascade : Point, Policy or Cascade
    budget : float
        Mean cost per sample, in the unit of the point's cost.
    rate : float, default=0.005
        η, the largest change of the level by one sample.

    Raises
    ------
    ValueError
        If the cascade has one model, or the rate is outside (0, 1). If the budget is not between
        the mean cost of the first model and that of all models.

    See Also
    --------
    pick : Choose a point by a budget for data without drift.
    Monitor : Count the decisions.

    Notes
    -----
    All thresholds depend on one level u. A batch changes u by η_t × the sum of (budget − cost) over
    its samples, in shares of the cost range, with η_t = min(η, 0.15 ÷ the largest batch). This is
    integral control. The guarantee is :meth:`bound`, for any inputs with finite logits in any
    order. Accuracy is not controlled. With prices per query, :meth:`update` needs the cost of each
    input.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.serve import StreamBudget
    >>> confidence = [[0.9, 0.8, 0.4, 0.3], [0.9] * 4]
    >>> table = cl.ScoreTable([[True, True, False, False], [True] * 4], confidence, [1, 10])
    >>> point = cl.Point(table.names, (0.5,), cost_kind="cost")
    >>> budget = StreamBudget(table, point, budget=6)
    >>> budget.update([0, 1, 1, 1])
    >>> budget.mean_cost
    8.5

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
            raise ValueError("a budget needs a cascade of two or more models")
        self.is_per_query = costs.ndim > 1
        self.costs = costs.reshape(len(costs), -1).mean(axis=1)
        self.least_cost = float(self.costs[0])
        self.most_cost = float(self.costs.sum())
        if not self.least_cost < check_number(budget, "budget") < self.most_cost:
            raise ValueError(
                f"the budget must be between {self.least_cost:g} and {self.most_cost:g}, not "
                f"{budget:g}"
            )
        if not 0 < check_number(rate, "rate") < 1:
            raise ValueError(f"rate must be between 0 and 1, not {rate}")
        self.budget = float(budget)
        self.rate = rate
        self.metric = point.metric
        self.sorted_confidences = [np.sort(confidence) for confidence in run.confidences[:-1]]
        # Shares of all samples that each threshold of the point would defer.
        self.shares = [
            np.mean(~does_exit(rising, threshold))
            for rising, threshold in zip(self.sorted_confidences, point.inside)
        ]
        self.point_level = np.clip(self._share_of(run.cost), 1e-9, 1 - 1e-9)
        self.level = self._share_of(self.budget)
        self.lowest = self.level
        self.highest = self.level
        self.samples = 0
        self.spent = 0.0
        self.largest = 1

    def _share_of(self, cost: Any) -> Any:
        """Return costs as shares of the range from the first model (0) to all models (1)."""
        return (cost - self.least_cost) / (self.most_cost - self.least_cost)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds for the next batch, in the metric's native units."""
        inside = np.full(len(self.sorted_confidences), -np.inf if self.level <= 0 else np.inf)
        if 0 < self.level < 1:
            for stage, (rising, share) in enumerate(zip(self.sorted_confidences, self.shares)):
                # Without ties, the share ``below`` of all samples has a confidence below the
                # threshold. If other samples remain, it is finite, so infinite confidences exit.
                below = np.interp(self.level, [0, self.point_level, 1], [0, share, 1])
                count = round(below * len(rising))
                inside[stage] = min(rising[count], LARGEST) if count < len(rising) else np.inf
        return tuple(convert_units(self.metric, inside).tolist())

    def run(self, cascade: Any, batch: Any) -> Any:
        """Decide a batch of N samples in small parts, which keep the bound narrow.

        Parameters
        ----------
        cascade : Cascade
            Its thresholds are restored afterwards.
        batch : batch
            Raw inputs, of any size. At most 0.15 ÷ η samples run at a time.

        Returns
        -------
        Decisions
        """
        initial = cascade.thresholds
        decided = []
        try:
            for part in cascade.parts(batch, max(1, int(MAX_STEP / self.rate))):
                cascade.thresholds = self.thresholds
                decided.append(cascade(part))
                self.update(decided[-1].exit_stage)
        finally:
            cascade.thresholds = initial
        first, *others = decided
        return first.joined(*others)

    def update(self, exit_stage: Array, costs: Any = None) -> None:
        """Record a batch that was decided at :attr:`thresholds`.

        Parameters
        ----------
        exit_stage : int array of shape (batch_size,)
            0 = first model.
        costs : float array of shape (batch_size,), optional
            The cost of each input, required with prices per query. For a policy it is
            ``numpy.nansum(decisions.costs, axis=1)``.

        Raises
        ------
        ValueError
            If the cascade has no such stage, or costs are missing or invalid. The batch is then not
            recorded.
        """
        stages = np.asarray(exit_stage)
        if stages.ndim != 1 or not np.isin(stages, np.arange(len(self.costs))).all():
            raise ValueError(
                f"exit_stage must be a list of stages from 0 to {len(self.costs) - 1}, not "
                f"{brief(exit_stage)}. Leave out samples that no model answered"
            )
        if costs is None and not self.is_per_query:
            costs = np.cumsum(self.costs)[stages.astype(np.int64)]
        spent = as_real_array(costs, "costs")
        if spent.shape != stages.shape or not (np.isfinite(spent) & (spent >= 0)).all():
            raise ValueError(
                f"costs of {len(stages)} inputs are needed, 0 or more, not {brief(costs)}"
            )
        self.largest = max(self.largest, len(spent))
        saved = float(np.sum(self._share_of(self.budget) - self._share_of(spent)))
        self.level += min(self.rate, MAX_STEP / self.largest) * saved
        self.lowest = min(self.lowest, self.level)
        self.highest = max(self.highest, self.level)
        self.samples = self.samples + len(spent)
        self.spent = self.spent + float(spent.sum())

    @property
    def mean_cost(self) -> float:
        """Return the mean cost per sample so far, nan before the first."""
        return self.spent / self.samples if self.samples else np.nan

    def bound(self) -> float:
        """Return an upper bound of the distance of the mean cost so far from the budget.

        Returns
        -------
        float
            In the unit of the cost.

        Notes
        -----
        The bound holds for any stream. It is (cost of all models − cost of the first) · r ÷ (η_T ·
        samples). Here b is the size of the largest batch, and η_T = min(η, 0.15 ÷ b). The range r
        is the larger of 1 + η_T b and the range of the level so far. The latter is larger if inputs
        cost more than the budget at the first model only, or less at all models.

        References
        ----------
        docs/monitoring.md.
        """
        rate = min(self.rate, MAX_STEP / self.largest)
        level_range = max(1 + rate * self.largest, self.highest - self.lowest)
        return (self.most_cost - self.least_cost) * level_range / (rate * self.samples)
