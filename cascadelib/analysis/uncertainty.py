"""Intervals in closed form, of a share, a cost, a difference; the bootstrap of fixed cascades."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from numpy import ndarray as Array
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.stats import binomtest, norm

from ..checks import check_count
from ..evaluation import pareto
from ..evaluation.evaluation import check_store, paid_by, singles_correct
from ..evaluation.pareto import Baseline, improvement_at, mean_improvement, pareto_front
from ..evaluation.point import Point, kinds_of, points_of
from ..evaluation.run import Run, runs_of
from ..scoring import F1
from ..store.protocol import Store

LEVEL = 0.95
BETS = np.sin(np.pi * np.arange(0.5, 32) / 64) ** 2  # constant bets in (0, 1)
LEAST = -1 + 1e-12  # of means in [−1, 1]
COLUMNS = 500  # cascades at once in a bootstrap: k × 500 outcomes are held
Ends = tuple[float, float]


def with_ends(value: float, ends: Iterable[float], name: str) -> dict[str, float]:
    """A number and the ends of its interval as columns {name, name_low, name_high}."""
    keys = (name, f"{name}_low", f"{name}_high")
    return dict(zip(keys, map(float, (value, *ends))))


def counted(correct: Any, name: str) -> Array:
    """correct as bool [k], or ValueError: these intervals count samples."""
    correct = np.asarray(correct)
    if correct.ndim != 1 or not correct.size or not np.isin(correct, (0, 1)).all():
        what = f"{name} must be bool [samples], at least one, not {correct.dtype} {correct.shape}"
        raise ValueError(
            f"{what}: these intervals count samples; for graded scores use the bootstrap"
        )
    return correct.astype(bool)


def share_interval(correct: Array, level: float = LEVEL, kind: str = "wilson") -> Ends:
    """Interval of the share of correct samples.

    Parameters
    ----------
    correct : bool array of shape (k,)
    level : float
    kind : str
        "wilson" covers as promised on average over shares, "exact" at least so for every share,
        also of one sample in thousands.

    Returns
    -------
    tuple of float
        (low, high).

    Raises
    ------
    ValueError
        For anything but bool, and for no sample.

    References
    ----------
    Wilson, 1927; Clopper and Pearson, 1934 ("exact").
    """
    correct = counted(correct, "correct")
    found = binomtest(int(correct.sum()), len(correct)).proportion_ci(level, kind)
    return float(found.low), float(found.high)


def cost_interval(exits: Array, costs: Sequence, level: float = LEVEL) -> Ends:
    """(low, high) of a cascade's mean cost from exit stages int [k] and the n costs of its stages,
    at least ``level``.

    Costs that are numbers: the cost is a sum over the n − 1 later stages of cost × share of samples
    that reach it, each with its exact interval, all at once by Bonferroni. Costs float [k]:
    :func:`betting_interval` of what each sample paid, taken to lie between the least first cost and
    the dearest run through all stages that the k samples show. (Prices
    rarer than about one in k inputs may not occur here, and then no interval accounts for them.)
    """
    if any(np.ndim(c) for c in costs):
        paid = paid_by(exits, costs)
        return betting_interval(paid, np.min(costs[0]), np.max(sum(costs)), level)
    each = 1 - (1 - level) / max(1, len(costs) - 1)
    ends = [
        np.multiply(c, share_interval(exits >= i, each, "exact")) for i, c in enumerate(costs) if i
    ]
    if not ends:
        return float(costs[0]), float(costs[0])
    low, high = costs[0] + np.sum(ends, axis=0)
    return float(low), float(high)


def betting_interval(values: Array, least: float, most: float, level: float = LEVEL) -> Ends:
    """(low, high) of the mean of independent values [k] in [least, most]: covers at least
    ``level``, for any k.

    Hedged capital with predictable plug-in bets (Waudby-Smith and Ramdas, 2024, *Estimating means
    of bounded random variables by betting*, theorem 3). Bets follow one another, so the values are
    shuffled, the same way every time.
    """
    if not least < most:
        return float(least), float(most)
    x = np.clip((np.random.default_rng(0).permutation(values) - least) / (most - least), 0, 1)
    low, high = (_lower_mean(side, 2 / (1 - level)) for side in (x, 1 - x))
    return float(least + (most - least) * low), float(most - (most - least) * high)


def plug_in_bets(x: Array, wealth: float, guess: float) -> Array:
    """Predictable plug-in bets [k] of Waudby-Smith and Ramdas on values x [k], each from the values
    before it. wealth: to be reached, in stakes; guess: of the mean before the first value."""
    number = np.arange(1, len(x) + 1)
    means = (guess + np.cumsum(x)) / (number + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (number + 1)
    return np.sqrt(2 * np.log(wealth) / (len(x) * np.append(0.25, variances[:-1])))


def _lower_mean(x: Array, wealth: float) -> float:
    """The least mean in [0, 1] against which bets on values x [k] above it never reach ``wealth``
    times their stake; at most the mean of x: an interval holds what was found, also where bets were
    won early and lost again."""
    bets = plug_in_bets(x, wealth, 0.5)

    def won(mean: float) -> float:
        logs = np.log1p(np.minimum(bets, 0.75 / mean) * (x - mean))
        return np.cumsum(logs).max() - np.log(wealth)

    return min(brentq(won, 1e-12, 1.0), float(x.mean())) if won(1e-12) > 0 else 0.0


def anytime_lower(lost: int, same: int, gained: int, error: float) -> float:
    """Lower bound of the mean of independent values, of which so many were 1, 0 and −1: right at
    all times at once with a probability of at least 1 − error. The upper one is
    −anytime_lower(gained, same, lost, error).

    Bets against "the mean is m": a value d multiplies one by 1 + c (d − m) / (1 + m); many of
    constant c together ever come to 1 / error with a probability of at most that (Ville, 1939;
    mixtures: Waudby-Smith and Ramdas, 2024). As they rise with each d, a value that is not known
    yet may count as −1.
    """
    values = np.array([[1], [0], [-1]])
    counts = np.array([[lost], [same], [gained]])

    def won(mean: float) -> float:
        logs = (counts * np.log1p(BETS * (values - mean) / (1 + mean))).sum(axis=0)
        return float(np.logaddexp.reduce(logs)) + np.log(error / len(BETS))

    return brentq(won, LEAST, 1.0) if won(LEAST) > 0 else -1.0


def paired_difference_interval(first: Array, second: Array, level: float = LEVEL) -> Ends:
    """(low, high) of accuracy(second) − accuracy(first) on the same samples: bool [k] each, paired
    by row.

    Wald's interval of the discordant pairs with half a sample added to each of the four cells
    (Agresti and Min, 2005). It covers 94 to 99% where samples differ both ways; where only losses
    occur and rarely, it is too short: of 500 samples with 0.4% lost and none gained, 86%. For a
    promise about rare losses use :func:`certify`, which is exact.
    """
    first = counted(first, "first")
    second = counted(second, "second")
    if len(first) != len(second):
        raise ValueError(
            f"first has {len(first)} samples, second {len(second)}: a paired interval needs "
            "the same"
        )
    k = len(first) + 2
    gained = np.count_nonzero(second & ~first) + 0.5
    lost = np.count_nonzero(first & ~second) + 0.5
    difference = (gained - lost) / k
    half = norm.isf((1 - level) / 2) * np.sqrt((gained + lost) / k - difference**2) / np.sqrt(k)
    return float(max(-1, difference - half)), float(min(1, difference + half))


def difference_interval(first: Array, second: Array, level: float = LEVEL) -> Ends:
    """(low, high) of accuracy(second) − accuracy(first) on different samples.

    Parameters
    ----------
    first, second : bool arrays of shape (k1,) and (k2,)
    level : float

    Raises
    ------
    ValueError
        For anything but bool, and for no sample.

    References
    ----------
    Newcombe, 1998: Interval estimation for the difference between independent proportions, method
    10, from Wilson's interval of each.
    """
    first = counted(first, "first")
    second = counted(second, "second")
    first_low, first_high = share_interval(first, level)
    second_low, second_high = share_interval(second, level)
    difference = second.mean() - first.mean()
    below = np.hypot(second.mean() - second_low, first_high - first.mean())
    above = np.hypot(second_high - second.mean(), first.mean() - first_low)
    return float(difference - below), float(difference + above)


@dataclass(frozen=True, eq=False)
class Resampled:
    """P fixed cascades and M single models on R resamples of one split.

    accuracy, cost float64 [R, P]; exit_rates float64 [R, P, n] (0 past the end of a shorter
    cascade); single_accuracy, single_cost float64 [R, M]. Two of them from the same store and seed
    are paired: subtract them row by row.
    """

    accuracy: Array
    cost: Array
    exit_rates: Array
    single_accuracy: Array
    single_cost: Array

    def __repr__(self) -> str:
        resamples, cascades = self.accuracy.shape
        singles = self.single_cost.shape[1]
        return f"<Resampled: {cascades} cascades, {singles} single models, {resamples} resamples>"

    @cached_property
    def baselines(self) -> list[Baseline]:
        """Each resample's own :class:`Baseline`."""
        return [Baseline(*pair) for pair in zip(self.single_cost, self.single_accuracy)]

    @property
    def improvement(self) -> Array:
        """Improvement factor of each cascade, float64 [R, P]; above a resample's best single model,
        where the factor is nan by definition, the cost of that model counts: a lower bound."""
        rows = zip(self.baselines, self.accuracy, self.cost)
        return np.stack(
            [
                pareto.improvement_factor(b.cost_at(np.minimum(accuracy, b.best)), cost)
                for b, accuracy, cost in rows
            ]
        )

    @cached_property
    def fronts(self) -> list[tuple[Array, Array]]:
        """Cost and accuracy of each resample's non-dominated cascades, rising."""
        keep = [pareto_front(*pair) for pair in zip(self.cost, self.accuracy)]
        return [(cost[k], accuracy[k]) for cost, accuracy, k in zip(self.cost, self.accuracy, keep)]

    def improvement_at(self, accuracies: Array) -> Array:
        """Improvement factor of the whole set at ``accuracies`` [A], float64 [R, A]: 0 where no
        cascade has at least that accuracy; above a resample's best single model that model's
        accuracy counts."""
        at = np.asarray(accuracies, np.float64)
        pairs = zip(self.baselines, self.fronts)
        return np.stack(
            [improvement_at(base, *front, np.minimum(at, base.best)) for base, front in pairs]
        )

    def mean_improvement(self, low: float | None = None) -> Array:
        """Mean improvement of the set over each resample's own accuracy range (from ``low``):
        float64 [R]."""
        return np.array(
            [mean_improvement(b, *front, low) for b, front in zip(self.baselines, self.fronts)]
        )


def sample_counts(k: int, resamples: int, seed: int = 0) -> Array:
    """How often each of k samples is drawn in each resample: int32 [k, R], columns that sum to
    k."""
    rng = np.random.default_rng(check_count(seed, "seed", 0))
    counts = np.empty((check_count(resamples, "resamples"), k), np.int32)
    for row in counts:
        row[:] = np.bincount(rng.integers(k, size=k), minlength=k)
    return np.ascontiguousarray(counts.T)


def resampled_means(counts: Array, values: Array) -> Array:
    """Mean of each column of values [k, P] in each resample of counts [k, R]: float64 [R, P].
    Neighbouring thresholds of one cascade treat few samples differently: sparse differences of
    columns are summed up."""
    values = values.astype(np.int8) if values.dtype == bool else values
    changes = csr_array(np.diff(values.T, axis=0, prepend=0))
    return (np.cumsum(changes @ counts, axis=0) / len(counts)).T


def bootstrap(
    store: Store, cascades: Any, resamples: int | Array = 1000, seed: int = 0
) -> Resampled:
    """Fixed cascades on resamples of a store.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Of k samples.
    cascades : Point, Policy, Cascade, Front, Certificate, or a list of them
        All of one score and kind of cost.
    resamples : int or int32 [k, R]
        How many, or the :func:`sample_counts` that several calls share.
    seed : int
        Of the draw.

    Returns
    -------
    Resampled

    Raises
    ------
    TypeError
        For other things than a store and cascades.
    ValueError
        For cascades of several scores or kinds of cost.
    """
    check_store(store)
    points = points_of(cascades)
    counts = resamples
    if not isinstance(counts, Array):
        counts = sample_counts(len(store), counts, seed)
    return resampled_runs(store, runs_of(store, points), points, counts)


def resampled_runs(
    store: Store,
    runs: Iterable[tuple[int, Run]],
    points: Sequence[Point],
    counts: Array,
    singles: Sequence[Array] | None = None,
) -> Resampled:
    """What :func:`bootstrap` finds for some runs (position, :class:`Run`) of the Points on a store,
    in the resamples of counts int32 [k, R]; singles: correctness of each single model [k], where it
    is known already."""
    score, cost_kind = kinds_of(points)
    n = max(len(point.models) for point in points)
    resamples = counts.shape[1]
    accuracy = np.empty((resamples, len(points)))
    cost = np.empty((resamples, len(points)))
    rates = np.empty((resamples, len(points), n))
    remaining = iter(runs)
    while block := list(islice(remaining, COLUMNS)):
        at = [position for position, _ in block]
        stages = np.stack([run.exit_stage for _, run in block]).T
        correct = np.stack([run.correct for _, run in block]).T
        reached = np.ones((resamples, len(at), n))
        for stage in range(1, n):
            reached[..., stage] = resampled_means(counts, stages >= stage)
        accuracy[:, at] = _quality(counts, correct, store, score)
        rates[:, at] = -np.diff(reached, axis=2, append=0)
        cost[:, at] = _costs(counts, stages, reached, [run.costs for _, run in block])
    correct = np.stack(singles_correct(store, score) if singles is None else singles, 1)
    single_accuracy = _quality(counts, correct, store, score)
    costs = store.sample_costs(cost_kind)
    if costs.ndim == 2:
        single_cost = resampled_means(counts, costs.T)
    else:
        single_cost = np.broadcast_to(costs, single_accuracy.shape)
    return Resampled(accuracy, cost, rates, single_accuracy, single_cost)


def _quality(counts: Array, correct: Array, store: Store, score: str) -> Array:
    """Accuracy, or F1, of each column of correct [k, P] in each resample: float64 [R, P].

    F1 is 2 TP ÷ (2 TP + errors), all of which are counted; 0 where a resample has neither.
    """
    accuracy = resampled_means(counts, correct)
    if score != F1:
        return accuracy
    twice = 2 * resampled_means(counts, correct & store.positives()[:, None])
    return np.divide(twice, twice + 1 - accuracy, out=np.zeros_like(twice), where=twice > 0)


def _costs(counts: Array, stages: Array, reached: Array, costs: Sequence[Sequence]) -> Array:
    """Mean cost of B cascades in each resample [R, B]; stages int [k, B], reached [R, B, n], costs:
    those of each cascade's models."""
    n = reached.shape[2]
    if all(np.ndim(cost) == 0 for own in costs for cost in own):
        padded = np.zeros((len(costs), n))
        for row, own in zip(padded, costs):
            row[: len(own)] = own
        return np.einsum("rbn,bn->rb", reached, padded)
    paid = [paid_by(stages[:, column], own) for column, own in enumerate(costs)]
    return resampled_means(counts, np.stack(paid, 1))


def interval(values: Array, level: float = LEVEL) -> tuple:
    """Percentiles of resampled values.

    They fail for rare events: of 0.2% of 500 samples that pass on, a third of all splits shows
    none, and so do all resamples of those (:func:`cost_interval`, ``share_interval`` hold there);
    for the improvement factor near the accuracy of the best single model, where 95% percentiles
    held the truth in 86% to 88% of draws (:func:`holds` leaves them out there, and has
    ``cost_ratio``); and for maxima
    over many cascades (``basic_interval``).

    Parameters
    ----------
    values : float array of shape (R, …)
    level : float

    Returns
    -------
    tuple of float or array
        (low, high), of the shape of the other axes.
    """
    return tuple(np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0))


def basic_interval(values: Array, estimate: float, level: float = LEVEL) -> tuple:
    """Interval by how far resampled values stray from the estimate, mirrored.

    For the mean improvement of a *set* of cascades: in every resample the luckiest of many serve
    each accuracy, so resamples lie above the estimate as it lies above the truth. For single
    cascades see :func:`interval`.

    Parameters
    ----------
    values : float array of shape (R, …)
    estimate : float
        On the whole split.
    level : float

    Returns
    -------
    tuple of float or array
        (low, high), of the shape of the other axes.
    """
    low, high = interval(values, level)
    return 2 * estimate - high, 2 * estimate - low
