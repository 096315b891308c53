"""An average cost held over a stream, whatever the inputs do: thresholds that follow what has been spent."""

import numpy as np

from .confidence import own_units
from .evaluation import costs_of, evaluate, outcomes_of


class StreamBudget:
    """Thresholds of one cascade that move so that its mean cost a sample stays at ``budget`` while confidences drift.

    point: the cascade; store: the split that its thresholds start from (LogitStore or ScoreTable with one cost a
    model); budget: mean cost a sample, of the point's kind; rate η: how far a sample moves the level. Use
    :attr:`thresholds` for a batch, then :meth:`update` with the exit stages that came of it.

    All thresholds hang on one level u: at u ≤ 0 every sample leaves at once, at u ≥ 1 all samples run all models,
    between them each stage's threshold is a quantile of its confidences on ``store``, such that the path leads through
    ``point``. After b samples whose costs, as shares of the way from the least to the most that a sample can cost,
    have mean c, u moves by η b (w − c), w being the budget as such a share: integral control, as in Gibbs and Candès
    (2021, *Adaptive conformal inference under distribution shift*) and Angelopoulos, Candès and Tibshirani (2023,
    *Conformal PID control for time series prediction*).

    Guarantee, for any inputs in any order, nothing random: :meth:`bound`. It follows from u staying within
    [−η b, 1 + η b]. Accuracy is not held.
    """

    def __init__(self, point, store, budget, rate=0.005):
        self.costs = np.array(costs_of(store, point.models, point.cost_kind), np.float64)
        if self.costs.ndim != 1 or len(self.costs) < 2:
            raise ValueError("a budget needs two models or more with one cost each (not a cost for every sample)")
        self.cheapest, self.dearest = float(self.costs[0]), float(self.costs.sum())
        if not self.cheapest < budget < self.dearest:
            raise ValueError(f"the budget must lie between {self.cheapest:g} and {self.dearest:g}, not {budget:g}")
        if not 0 < rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, not {rate}")
        self.budget, self.rate, self.metric = float(budget), rate, point.metric
        outcomes = outcomes_of(store, point.models, point.method, point.score)
        self.sure = [np.sort(sure) for _, sure in outcomes[:-1]]
        self.shares = [np.searchsorted(s, t) / len(s) for s, t in zip(self.sure, point.inside)]
        self.bend = np.clip(self._share_of(evaluate(store, point).cost), 1e-9, 1 - 1e-9)
        self.level, self.samples, self.spent, self.largest = self._share_of(self.budget), 0, 0.0, 1

    def _share_of(self, cost):
        return (cost - self.cheapest) / (self.dearest - self.cheapest)

    @property
    def thresholds(self):
        """Thresholds for the next batch, in the metric's own units."""
        if not 0 < self.level < 1:
            inside = np.full(len(self.sure), -np.inf if self.level <= 0 else np.inf)
        else:
            shares = [np.interp(self.level, [0, self.bend, 1], [0, share, 1]) for share in self.shares]
            inside = [s[min(int(share * len(s)), len(s) - 1)] for s, share in zip(self.sure, shares)]
        return tuple(own_units(self.metric, np.array(inside)).tolist())

    def update(self, exit_stage):
        """Take note of a batch that ran at :attr:`thresholds`: exit_stage int [b], 0 = first model."""
        spent = np.cumsum(self.costs)[np.asarray(exit_stage, np.int64)]
        self.level += self.rate * float(np.sum(self._share_of(self.budget) - self._share_of(spent)))
        self.samples, self.spent = self.samples + len(spent), self.spent + float(spent.sum())
        self.largest = max(self.largest, len(spent))

    @property
    def mean_cost(self):
        """Mean cost a sample so far; nan before the first."""
        return self.spent / self.samples if self.samples else np.nan

    def bound(self, samples=None, batch=None):
        """No stream makes the mean cost of its first ``samples`` differ from the budget by more than this.

        (dearest − cheapest) (1 + η b) / (η samples), b: the largest batch. Default: samples and batches so far.
        """
        samples, batch = samples or self.samples, batch or self.largest
        return (self.dearest - self.cheapest) * (1 + self.rate * batch) / (self.rate * samples)
