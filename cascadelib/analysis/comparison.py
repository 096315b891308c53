"""Fronts compared: by improvement, by range dominance, by cost at equal accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..evaluation.pareto import Baseline, least_cost
from ..evaluation.point import kinds_of
from ..fronts.front import Front, Steps
from .shift import mean_improvement_moved
from .uncertainty import Resampled


def compare_fronts(
    fronts: Mapping[str, Front],
    above: Sequence[float] = (),
    *,
    held_out: Any = None,
    ranges: bool = True,
) -> pd.DataFrame:
    """Rank fronts of one store: of several methods, numbers of models, or sets of candidates.

    A ranking on the split that chose the cascades is optimistic, the more so the more methods are
    compared: give ``held_out`` and judge by its column.

    Parameters
    ----------
    fronts : mapping of str to Front
        Of one split, score and kind of cost: ``{name: cl.search(store, 2, name) for name in …}``.
    above : sequence of float
        Accuracies; for each, the mean improvement is also given from it up to the accuracy of the
        best single model.
    held_out : LogitStore or ScoreTable, optional
        Another labelled split, on which the identical cascades run.
    ranges : bool
        How fronts are replayed there: see :func:`cascadelib.analysis.replay`.

    Returns
    -------
    DataFrame
        A row per front, the largest mean improvement first: held_out_improvement (where
        ``held_out`` is given; over that split's own baseline), mean_improvement, "improvement above
        …" for each of ``above``, accuracy_dominance and cost_dominance
        (:func:`range_dominance`), and top_accuracy, the highest that the front reaches.

    Raises
    ------
    TypeError, ValueError
        As :func:`range_dominance`.

    References
    ----------
    Lebovitz et al., 2023, section 4.1 and figures 3, 8 and 9.
    """
    dominance = range_dominance(fronts)
    rows = []
    for front in fronts.values():
        row = {}
        if held_out is not None:
            moved = mean_improvement_moved(held_out, front, ranges=ranges)
            row["held_out_improvement"] = moved
        row["mean_improvement"] = front.mean_improvement()
        for low in above:
            row[f"improvement above {low:.1%}"] = front.mean_improvement(low)
        rows.append(row)
    table = pd.DataFrame(rows, dominance.index).join(dominance)
    table["top_accuracy"] = [front.table["accuracy"].iloc[-1] for front in fronts.values()]
    return table.sort_values("mean_improvement", ascending=False)


def range_dominance(fronts: Mapping[str, Front]) -> pd.DataFrame:
    """Share of the accuracy range, and of the log-cost range, in which each front is the best.

    Both ranges are those of the front of single models. Fronts are steps, so they are compared
    exactly, between all of their breakpoints; where several are the best, each gets an equal part.

    Parameters
    ----------
    fronts : mapping of str to Front
        Of one split, score and kind of cost.

    Returns
    -------
    DataFrame
        A row per front, in the order given: accuracy_dominance (of the accuracies, those at which
        it has the least cost) and cost_dominance (of the logarithms of cost, those at which it has
        the highest accuracy); fractions. Where only one single model is Pareto-optimal there is no
        range, and both are nan; where the cheapest is free, cost_dominance is.

    Raises
    ------
    TypeError
        For anything but a mapping of fronts.
    ValueError
        For no front, and for fronts that differ in score, kind of cost or single models.

    References
    ----------
    Lebovitz et al., 2023, section 4.1.
    """
    _check_comparable(fronts)
    baseline = next(iter(fronts.values())).baseline
    steps = [front.steps for front in fronts.values()]
    low, high = baseline.accuracy[baseline.front[[0, -1]]]
    least, most = baseline.cost[baseline.front[[0, -1]]]
    ends = _breakpoints(low, high, [accuracy for _, accuracy in steps])
    # The least cost at accuracy ≥ a is constant on (ends[i], ends[i + 1]].
    saved = [-least_cost(*front, ends[1:]) for front in steps]
    columns = {"accuracy_dominance": _share_led(saved, np.diff(ends)), "cost_dominance": np.nan}
    if least > 0:
        ends = _breakpoints(least, most, [cost for cost, _ in steps])
        # The highest accuracy at cost ≤ c is constant on [ends[i], ends[i + 1]).
        reached = [
            np.append(-np.inf, accuracy)[np.searchsorted(cost, ends[:-1], "right")]
            for cost, accuracy in steps
        ]
        columns["cost_dominance"] = _share_led(reached, np.diff(np.log(ends)))
    return pd.DataFrame(columns, pd.Index(fronts, name="method"))


def mean_cost_ratio(first: Front, second: Front) -> float:
    """Cost of the second front ÷ cost of the first at equal accuracy: 0.9 means a tenth cheaper.

    The geometric mean over accuracies, from that of the cheapest single model up to what both
    fronts and the best single model reach. Least costs are steps, so the integral of the logarithm
    is exact. To see whether a difference is more than chance, give the same fronts to
    :func:`cascadelib.bootstrap` and those to :func:`resampled_cost_ratio`.

    Parameters
    ----------
    first, second : Front
        Of one split, score and kind of cost; for another split, both from
        :func:`cascadelib.analysis.front_on`.

    Returns
    -------
    float
        nan where the fronts share no range of accuracies, and where one begins with a free model.

    Raises
    ------
    TypeError, ValueError
        As :func:`range_dominance`.
    """
    _check_comparable({"first": first, "second": second})
    return _cost_ratio(first.baseline, first.steps, second.steps)


def resampled_cost_ratio(first: Resampled, second: Resampled) -> Array:
    """:func:`mean_cost_ratio` of two sets of cascades on each resample of one split.

    Parameters
    ----------
    first, second : Resampled
        From :func:`cascadelib.bootstrap` of one store with one seed, so that resamples are paired.

    Returns
    -------
    ndarray of shape (R,)
        A ratio per resample; :func:`cascadelib.analysis.basic_interval` of these and the ratio on
        the whole split is its interval.
    """
    ratios = [
        _cost_ratio(baseline, one, other)
        for baseline, one, other in zip(first.baselines, first.fronts, second.fronts)
    ]
    return np.array(ratios)


def _check_comparable(fronts: Mapping[str, Front]) -> None:
    """Refuse what has no ranking: no fronts, or fronts that are not of one split, score and kind of
    cost."""
    singles = set()
    for label, front in fronts.items():
        if not isinstance(front, Front):
            raise TypeError(f"{label!r} is a {type(front).__name__}: give {{name: Front}}")
        optimal = front.singles[front.singles["on_front"]]
        singles.add((*optimal["cost"], *optimal["accuracy"]))
    if not fronts:
        raise ValueError("there is no front to compare: give {name: Front}, at least one")
    kinds_of(fronts.values())
    if len(singles) > 1:
        raise ValueError(
            "the fronts lie over other single models: compare fronts of one split, each searched "
            "or moved there (cl.analysis.front_on)"
        )


def _breakpoints(low: float, high: float, values: Sequence[Array]) -> Array:
    """low, high and the distinct values between them, rising."""
    steps = np.concatenate(values)
    inside = steps[(steps > low) & (steps < high)]
    return np.unique(np.concatenate([[low, high], inside]))


def _share_led(each: list[Array], widths: Array) -> Array:
    """Share of the total width in which each front is the best, ties shared equally.

    each: of F fronts float64 [S], on S stretches, higher = better, −inf where a front has no point;
    widths float64 [S]. Returns float64 [F].
    """
    scores = np.stack(each)
    if not len(widths):
        return np.full(len(scores), np.nan)
    best = (scores == scores.max(axis=0)) & np.isfinite(scores)
    tied = np.maximum(best.sum(axis=0), 1)
    return (best / tied * widths).sum(axis=1) / widths.sum()


def _cost_ratio(baseline: Baseline, first: Steps, second: Steps) -> float:
    """Geometric mean of the second's cost ÷ the first's over the accuracies that both reach."""
    costs, accuracies = zip(first, second)
    low = baseline.accuracy[baseline.front[0]]
    high = min(accuracies[0][-1], accuracies[1][-1], baseline.best)
    if not low < high or min(costs[0][0], costs[1][0]) == 0:
        return float("nan")
    ends = _breakpoints(low, high, accuracies)
    logs = np.log([least_cost(*front, ends[1:]) for front in (first, second)])
    return float(np.exp(np.sum(np.diff(ends) * (logs[1] - logs[0])) / (high - low)))
