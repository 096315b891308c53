"""Bootstrap of fixed cascades, paired over samples: how far could accuracy, cost and improvement have come out else?

Every resample draws k samples with replacement (Efron, 1979) and measures the same cascades *and* the single models on
them, so a factor is always against the baseline of its own resample. Nothing is chosen anew: what choosing on the
same data adds is :func:`cascadelib.selection_bias`. A resample is a column of counts, and all means are products of
outcomes and counts.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from .evaluation import check_store, store_costs, store_stage
from .f1 import F1, positives
from .fixed_cascades import point_list, run_cascades
from .methods import Method
from .pareto import Baseline, common_range, improvement_at, mean_cost_ratio, mean_improvement, pareto_front

COLUMNS = 500  # cascades at once: k × 500 outcomes are held


@dataclass(frozen=True, eq=False)
class Resampled:
    """P fixed cascades and M single models on R resamples of one split.

    accuracy, cost float64 [R, P]; exit_rates float64 [R, P, n] (0 past the end of a shorter cascade); single_accuracy,
    single_cost float64 [R, M]. Two of them from the same store and seed are paired: subtract them row by row.
    """

    accuracy: np.ndarray
    cost: np.ndarray
    exit_rates: np.ndarray
    single_accuracy: np.ndarray
    single_cost: np.ndarray

    def __repr__(self):
        resamples, cascades = self.accuracy.shape
        return f"<Resampled: {cascades} cascades, {self.single_cost.shape[1]} single models, {resamples} resamples>"

    @cached_property
    def baselines(self):
        """Each resample's own :class:`Baseline`."""
        return [Baseline(*pair) for pair in zip(self.single_cost, self.single_accuracy)]

    @property
    def improvement(self):
        """Improvement factor of each cascade, float64 [R, P].

        Where a resample puts a cascade above its best single model, where the factor is nan by definition, the cost
        of that best model counts: a lower bound.
        """
        rows = zip(self.baselines, self.accuracy, self.cost)
        return np.stack([b.cost_at(np.minimum(accuracy, b.best)) / cost for b, accuracy, cost in rows])

    @cached_property
    def fronts(self):
        """Cost and accuracy of each resample's non-dominated cascades, rising."""
        keep = [pareto_front(*pair) for pair in zip(self.cost, self.accuracy)]
        return [(cost[k], accuracy[k]) for cost, accuracy, k in zip(self.cost, self.accuracy, keep)]

    def improvement_at(self, accuracies):
        """Improvement factor of the whole set at ``accuracies`` [A]: float64 [R, A].

        Baseline cost ÷ least cost among the set's cascades with at least that accuracy; 0 where none has. Above a
        resample's best single model the factor at that model's accuracy counts.
        """
        at, rows = np.asarray(accuracies, np.float64), []
        for baseline, front in zip(self.baselines, self.fronts):
            clipped = np.minimum(at, baseline.best)
            rows.append(improvement_at(baseline, *front, clipped))
        return np.stack(rows)

    def mean_improvement(self, low=None):
        """Mean improvement of the set over each resample's own accuracy range (from ``low``): float64 [R]."""
        return np.array([mean_improvement(b, *front, low) for b, front in zip(self.baselines, self.fronts)])

    def mean_cost_ratio(self, other):
        """Cost of another set (same store and seed) ÷ this one's at equal accuracy, geometric mean: float64 [R].

        Over the accuracies from the resample's cheapest model to what both sets and its best model reach.
        """
        trio = zip(self.baselines, self.fronts, other.fronts)
        return np.array([mean_cost_ratio(a, b, *common_range(base, a, b)) for base, a, b in trio])


def sample_counts(k, resamples, seed=0):
    """How often each of k samples is drawn in each resample: int32 [k, R], columns that sum to k."""
    rng = np.random.default_rng(seed)
    return np.stack([np.bincount(rng.integers(k, size=k), minlength=k) for _ in range(resamples)], 1).astype(np.int32)


def resampled_means(counts, values):
    """Mean of each column of values [k, P] in each resample of counts [k, R]: float64 [R, P].

    Neighbouring thresholds of one cascade treat few samples differently: the product is taken with the differences
    between columns, which are sparse, and summed up again.
    """
    values = values.astype(np.int8) if values.dtype == bool else values
    changes = csr_array(np.diff(values, axis=1, prepend=0).T)
    return (np.cumsum(changes @ counts, axis=0) / len(counts)).T


def bootstrap(store, points, resamples=1000, seed=0):
    """Fixed cascades on ``resamples`` resamples of a store (LogitStore or ScoreTable): a :class:`Resampled`.

    points: a Front, a Point or a list of Points, all of one score and kind of cost. Raises TypeError for other things.
    """
    check_store(store)
    points = point_list(points)
    kinds = {(p.score, p.cost_kind) for p in points}
    if len(kinds) > 1:
        raise ValueError(f"the cascades differ in score or kind of cost: {sorted(kinds)}; bootstrap them apart")
    counts, n = sample_counts(len(store), resamples, seed), max(len(p.models) for p in points)
    accuracy, cost = np.empty((2, resamples, len(points)))
    rates, runs = np.empty((resamples, len(points), n)), run_cascades(store, points)
    while block := list(islice(runs, COLUMNS)):
        at, stages, correct, costs = (list(column) for column in zip(*block))
        stages = np.stack(stages, 1)
        accuracy[:, at] = _quality(counts, np.stack(correct, 1), store, points[0].score)
        reached = np.stack([resampled_means(counts, stages >= i) for i in range(n)], -1)
        rates[:, at] = -np.diff(reached, axis=2, append=0)
        cost[:, at] = _costs(counts, stages, reached, costs)
    return Resampled(accuracy, cost, rates, *_singles(store, counts, *kinds.pop()))


def _quality(counts, correct, store, score):
    """Accuracy, or F1, of each column of correct [k, P] in each resample: float64 [R, P].

    F1 is 2 TP ÷ (2 TP + errors), all of which are counted; 0 where a resample has neither.
    """
    accuracy = resampled_means(counts, correct)
    if score != F1:
        return accuracy
    twice = 2 * resampled_means(counts, correct & positives(store)[:, None])
    return np.divide(twice, twice + 1 - accuracy, out=np.zeros_like(twice), where=twice > 0)


def _costs(counts, stages, reached, costs):
    """Mean cost of B cascades in each resample [R, B]; stages int [k, B], reached [R, B, n], costs: a list for each."""
    if all(np.ndim(c) == 0 for own in costs for c in own):
        padded = np.array([[*own, *[0.0] * (reached.shape[2] - len(own))] for own in costs])
        return np.einsum("rbn,bn->rb", reached, padded)
    paid = [sum(c * (stages[:, b] >= i) for i, c in enumerate(own)) for b, own in enumerate(costs)]
    return resampled_means(counts, np.stack(paid, 1))


def _singles(store, counts, score, cost_kind):
    """Accuracy and cost of every single model in each resample: two arrays [R, M]."""
    names, costs = list(store.models.index), store_costs(store, cost_kind)
    stage = store_stage(store, names, Method(), score)
    accuracy = _quality(counts, np.stack([stage((m,))[0] for m in range(len(names))], 1), store, score)
    if costs.ndim == 2:
        return accuracy, resampled_means(counts, costs.T)
    return accuracy, np.broadcast_to(costs, accuracy.shape)


def interval(values, level=0.95):
    """(low, high) percentiles of resampled ``values`` [R, …], for each of the other axes.

    They fail where a resample is no small copy of the truth. Rare events: of 0.2% of 500 samples that pass on, a third
    of all splits shows none, and so do all resamples of those (:func:`cascadelib.intervals.cost_interval`,
    ``share_interval`` hold there). The improvement factor near the accuracy of the best single model, where the
    baseline is steep and ends: 95% percentiles held the truth in 86% to 88% of draws; ask for the last model's cost ÷
    the cascade's instead (``cost_ratio`` of :func:`cascadelib.holds`). Maxima over many cascades: ``basic_interval``.
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low[()], high[()]


def basic_interval(values, estimate, level=0.95):
    """(low, high) from resampled ``values`` [R, …] by how far they stray from the ``estimate``, mirrored.

    For the mean improvement of a *set* of cascades: in every resample the luckiest of many serve each accuracy, so
    resamples lie above the estimate as the estimate lies above the truth, and percentiles miss it on one side
    (benchmarks/uncertainty.py measures both). For single cascades see :func:`interval`.
    """
    low, high = interval(values, level)
    return 2 * estimate - high, 2 * estimate - low


def point_intervals(resampled, level=0.95):
    """A row a cascade: low and high end of accuracy, cost, improvement and of the first stage's exit rate."""
    columns = {"accuracy": resampled.accuracy, "cost": resampled.cost, "improvement": resampled.improvement}
    columns["exit_rate"] = resampled.exit_rates[:, :, 0]
    ends = {name: interval(values, level) for name, values in columns.items()}
    return pd.DataFrame({f"{name}_{end}": ends[name][i] for name in columns for i, end in enumerate(("low", "high"))})


def improvement_band(resampled, accuracies, level=0.95):
    """Band of the improvement factor of a fixed set of cascades at ``accuracies``: accuracy, low, high."""
    low, high = interval(resampled.improvement_at(accuracies), level)
    return pd.DataFrame({"accuracy": accuracies, "low": low, "high": high})
