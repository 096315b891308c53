"""Compare fronts by improvement, by range dominance and by cost at equal accuracy."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..evaluation.pareto import Baseline, breakpoints, least_cost
from ..evaluation.point import kinds_of
from ..fronts.front import Front, Steps
from .uncertainty import Resampled


def range_dominance(fronts: Mapping[str, Front]) -> pd.DataFrame:
    """Return the shares of the accuracy range and of the log-cost range that each front leads.

    Both ranges are those of the front of single models. Fronts are step functions, so they are
    compared exactly, between all of their breakpoints. Fronts that tie get equal parts.

    Parameters
    ----------
    fronts : mapping of str to Front
        Fronts of one split, score and kind of cost.

    Returns
    -------
    DataFrame
        One row per front, in the order of `fronts`. accuracy_dominance is the share of accuracies
        at which the front has the least cost. cost_dominance is the share of log costs at which it
        has the highest accuracy. Both are nan if only one single model is Pareto-optimal.
        cost_dominance is also nan if the cheapest model is free.

    Raises
    ------
    TypeError
        If `fronts` is not a mapping of fronts.
    ValueError
        If there is no front, or if fronts differ in score, kind of cost or single models.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, section 4.1.
    """
    _check_comparable(fronts)
    baseline = next(iter(fronts.values())).baseline
    steps = [front.steps for front in fronts.values()]
    low, high = baseline.accuracy[baseline.front[[0, -1]]]
    least, most = baseline.cost[baseline.front[[0, -1]]]
    ends = breakpoints(low, high, *(accuracy for _, accuracy in steps))
    # The least cost at accuracy ≥ a is constant on (ends[i], ends[i + 1]].
    saved = [-least_cost(*front, ends[1:]) for front in steps]
    columns = {"accuracy_dominance": _share_led(saved, np.diff(ends)), "cost_dominance": np.nan}
    if least > 0:
        ends = breakpoints(least, most, *(cost for cost, _ in steps))
        # The highest accuracy at cost ≤ c is constant on [ends[i], ends[i + 1]).
        reached = [
            np.append(-np.inf, accuracy)[np.searchsorted(cost, ends[:-1], "right")]
            for cost, accuracy in steps
        ]
        columns["cost_dominance"] = _share_led(reached, np.diff(np.log(ends)))
    return pd.DataFrame(columns, pd.Index(fronts, name="method"))


def mean_cost_ratio(first: Front, second: Front) -> float:
    """Return the cost of the second front ÷ cost of the first at equal accuracy.

    0.9 means that the second front is a tenth cheaper. The result is the geometric mean over a
    range of accuracies. The range starts at the accuracy of the cheapest single model. It ends at
    the highest accuracy that both fronts and the single models reach. Least costs are step
    functions, so the integral of the logarithm is exact. For an interval, pass the same fronts to
    :func:`cascadelib.bootstrap` and the results to :func:`resampled_cost_ratio`.

    Parameters
    ----------
    first, second : Front
        Fronts of one split, score and kind of cost. To compare on another split, convert both by
        :func:`cascadelib.analysis.front_on`.

    Returns
    -------
    float
        The ratio. nan if the fronts share no range of accuracies, or if one begins with a free
        model.

    Raises
    ------
    TypeError, ValueError
        As for :func:`range_dominance`.
    """
    _check_comparable({"first": first, "second": second})
    return _cost_ratio(first.baseline, first.steps, second.steps)


def resampled_cost_ratio(first: Resampled, second: Resampled) -> Array:
    """Return :func:`mean_cost_ratio` of two sets of cascades on each resample of one split.

    Parameters
    ----------
    first, second : Resampled
        Results of :func:`cascadelib.bootstrap` of one store with one seed, so that resamples are
        paired.

    Returns
    -------
    float64 array of shape (n_resamples,)
        The ratios.
    """
    return np.array([*map(_cost_ratio, first.baselines, first.fronts, second.fronts)])


def _check_comparable(fronts: Mapping[str, Front]) -> None:
    """Raise an error unless fronts have one split, score and kind of cost."""
    singles = set()
    for label, front in fronts.items():
        if not isinstance(front, Front):
            raise TypeError(f"{label!r} is a {type(front).__name__}: pass {{name: Front}}")
        optimal = front.singles.query("on_front")
        singles.add((*optimal["cost"], *optimal["accuracy"]))
    if not fronts:
        raise ValueError("there is no front to compare: pass {name: Front}, one or more")
    kinds_of(fronts.values())
    if len(singles) > 1:
        raise ValueError(
            "the fronts have different single models: compare fronts that were searched or "
            "evaluated (cl.analysis.front_on) on one split"
        )


def _share_led(pieces: list[Array], widths: Array) -> Array:
    """Return the share of the total width that each of F fronts leads, float64 (F,).

    Parameters
    ----------
    pieces : list of float64 arrays of shape (n_pieces,)
        Score of each front on each piece, higher = better, −inf without a point.
    widths : float64 array of shape (n_pieces,)
    """
    scores = np.stack(pieces)
    if not len(widths):
        return np.full(len(scores), np.nan)
    best = (scores == scores.max(axis=0)) & np.isfinite(scores)
    tied = np.maximum(best.sum(axis=0), 1)
    return (best / tied * widths).sum(axis=1) / widths.sum()


def _cost_ratio(baseline: Baseline, first: Steps, second: Steps) -> float:
    """Return the geometric mean of the cost ratio over the accuracies that both fronts reach."""
    return ratio_between(*common_range(baseline, first, second), first, second)


def common_range(baseline: Baseline, first: Steps, second: Steps) -> tuple[float, float]:
    """Return the lowest and the highest accuracy at which two fronts are compared."""
    low = baseline.accuracy[baseline.front[0]]
    return low, min(first[1][-1], second[1][-1], baseline.best)


def ratio_between(low: float, high: float, first: Steps, second: Steps) -> float:
    """Return the geometric mean of the cost ratio over a range of accuracies.

    It is nan if a front does not reach all of them, or if it begins with a free model.
    """
    costs, accuracies = zip(first, second)
    reached = min(accuracies[0][-1], accuracies[1][-1])
    if not low < high <= reached or min(costs[0][0], costs[1][0]) == 0:
        return float("nan")
    ends = breakpoints(low, high, *accuracies)
    logs = np.log([least_cost(*front, ends[1:]) for front in (first, second)])
    return float(np.exp(np.sum(np.diff(ends) * (logs[1] - logs[0])) / (high - low)))
