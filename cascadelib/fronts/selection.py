"""Choose operating points of a front (paper, section 3, *Threshold selection*)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.signal import find_peaks

from ..checks import POSITIVE, check_number, known
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate, runs_of
from .front import Front

GOALS = ("max_improvement", "match_best", "near_best")
ROUNDING = 1e-8  # by which sums of equal outcomes may differ
BELOW_ONE = math.nextafter(1, 0)
BATCH = 8  # points that are evaluated at once at first; then twice as many, and so on


def pick(
    front: Front,
    goal: str | None = None,
    *,
    accuracy: float | None = None,
    loss: float | None = None,
    budget: float | None = None,
    caution: float | None = None,
) -> Point:
    """Choose one operating point of a front; give exactly one goal.

    The front was searched on few samples, and its points are the luckiest of many: with new ones
    they do worse. So a point is taken that lies some standard errors inside the goal.

    Parameters
    ----------
    front : Front
    goal : str, optional
        "max_improvement": the largest improvement factor, the cheaper at a tie; "match_best": the
        least cost with at least the accuracy of the reference, the best single model; "near_best":
        the same, or the most accurate point where none reaches it.
    accuracy : float, optional
        The least cost with at least this accuracy.
    loss : float, optional
        The least cost with an accuracy at most this much below that of the reference: 0.03 is
        three points.
    budget : float, optional
        The highest accuracy at no more than this mean cost per sample.
    caution : float, optional
        How many standard errors inside the goal: of the paired difference to the reference, of the
        accuracy, or of the mean cost. 0: the raw front, as in the paper. Default:
        ``front.caution``, which the benchmark "choosing" bears out. Not for "max_improvement",
        which is no bound. Of a front without outcomes, one that was pickled, errors are bounded by
        its accuracies.

    Returns
    -------
    Point
        ``chosen_by`` says by what it was chosen. Where no point is inside a bound on accuracy, or
        none for less than the reference or more accurate than it, it is the reference alone, if
        that attains the bound; with ``caution=0`` it is always the front's.

    Raises
    ------
    ValueError
        Where no point qualifies, with the closest value that the front attains, and for a loss
        outside of [0, 1) or an accuracy outside of [0, 1].

    References
    ----------
    Paper, section 3, *Threshold selection*, which has no caution.
    """
    if not isinstance(front, Front):
        raise TypeError(
            f"a Front is needed here, not {type(front).__name__}: cascadelib.search finds one in a "
            "store; arrays make a store, cascadelib.ScoreTable"
        )
    if [goal, accuracy, loss, budget].count(None) != 3:
        raise ValueError(
            "give exactly one of: a goal ('max_improvement', 'match_best' or 'near_best'), accuracy=, "
            "loss=, budget="
        )
    if goal is not None:
        known(goal, GOALS, "goal")
    if caution is not None:
        caution = check_number(caution, "caution", "standard errors, 0 or more", 0, POSITIVE[1])
    if goal == "max_improvement":
        if caution:
            raise ValueError("'max_improvement' is no bound to stay inside: leave out caution=")
        return front.point(int(np.nanargmax(front.table["improvement"].to_numpy())))
    caution = front.caution if caution is None else caution
    if caution and not front.samples:
        raise ValueError("this front knows neither outcomes nor their number: give caution=0")
    if budget is not None:
        return within_budget(front, check_number(budget, "budget"), caution)
    if accuracy is not None:
        form = "a fraction in [0, 1], 0.93 for 93%"
        wanted = check_number(accuracy, "accuracy", form, 0, 1)
        return accurate(front, wanted, None, caution, f"accuracy={wanted:g}")
    form = "a fraction in [0, 1), 0.03 for 3 points"
    may_lose = 0.0 if loss is None else check_number(loss, "loss", form, 0, BELOW_ONE)
    wanted = front.baseline.best - may_lose
    if goal == "near_best" and front.table["accuracy"].iloc[-1] < wanted - ROUNDING:
        return front.point(len(front) - 1)
    return accurate(front, wanted, front.reference, caution, goal or f"loss={may_lose:g}")


def accurate(
    front: Front, wanted: float, against: Point | None, caution: float, rule: str
) -> Point:
    """The least cost with at least this accuracy, the reference where that is as good for no more;
    against: the model whose accuracy on the same samples is what is wanted, which has the same
    luck."""
    margins = front.table["accuracy"].to_numpy() - wanted
    rows = np.flatnonzero(margins >= -ROUNDING)
    alone: Any = 0.0
    if against is not None and front.store is not None and caution:
        alone = evaluate(front.store, against).pulls
    bound = accuracy_bound if against is None else difference_bound
    errors = standard_errors(front, rows, lambda run: run.pulls - alone, bound)
    found = first_inside(front, rows, margins, errors, caution, rule)
    best = front.reference
    less = ""
    if found is not None:
        is_better = found.cost < best.cost or found.accuracy > best.accuracy + ROUNDING
        if is_better or not caution:
            return found
        less = " for less"
    if less or (caution and best.accuracy >= wanted):
        said = f"no cascade is {inside(front, caution)} {rule}{less}: the most accurate model alone"
        return replace(best, chosen_by=said)
    by = f" by {caution:g} standard errors (caution=0 takes the raw front)" if len(rows) else ""
    most = front.table["accuracy"].iloc[-1]
    raise ValueError(f"no cascade reaches accuracy {wanted:.4f}{by}; the best has {most:.4f}")


def within_budget(front: Front, budget: float, caution: float) -> Point:
    """The highest accuracy at no more than this mean cost."""
    margins = budget - front.table["cost"].to_numpy()
    reaching = np.flatnonzero(margins >= 0)[::-1]
    errors = standard_errors(front, reaching, lambda run: run.sample_costs, cost_bound)
    found = first_inside(front, reaching, margins, errors, caution, f"budget={budget:g}")
    if found is None:
        by = f" by {caution:g} standard errors" if len(reaching) else ""
        raise ValueError(
            f"no cascade costs {budget:g} or less{by}; the cheapest costs "
            f"{front.table['cost'].iloc[0]:g}"
        )
    return found


def inside(front: Front, caution: float) -> str:
    """How far inside a goal, in words."""
    bound = "" if front.store is not None else ", by a bound without outcomes,"
    return f"{caution:g} standard errors{bound} inside"


def first_inside(
    front: Front,
    rows: np.ndarray,
    margins: np.ndarray,
    errors: Iterator[float],
    caution: float,
    rule: str,
) -> Point | None:
    """The first of some rows whose margin is so many standard errors; None where there is none."""
    if not caution:
        return front.point(int(rows[0])) if len(rows) else None
    for row, error in zip(rows.tolist(), errors):
        if margins[row] >= caution * error - ROUNDING:
            return replace(front.point(row), chosen_by=f"{inside(front, caution)} {rule}")
    return None


def standard_errors(
    front: Front,
    rows: np.ndarray,
    values: Callable[[Run], np.ndarray],
    bound: Callable[[Front, Point], float],
) -> Iterator[float]:
    """Standard errors of the means of ``values`` [k], of one row of a front after the other, each
    evaluated when it is asked for; ``bound``: the variance of a value where there are no outcomes."""
    start = 0
    size = BATCH
    while start < len(rows):
        points = [front.point(row) for row in rows[start : start + size].tolist()]
        if front.store is None:
            spreads = [bound(front, point) for point in points]
            yield from np.sqrt(np.maximum(spreads, 0) / front.samples)
        else:
            runs = dict(runs_of(front.store, points))
            for position in range(len(points)):
                each = values(runs[position])
                yield float(np.std(each) / np.sqrt(len(each)))
        start += size
        size *= 2


def accuracy_bound(front: Front, point: Point) -> float:
    """Variance of an outcome of this accuracy: binomial, the largest that it can be."""
    return point.accuracy * (1 - point.accuracy)


def difference_bound(front: Front, point: Point) -> float:
    """The largest variance of a difference of two outcomes of these accuracies: as if never both
    were wrong."""
    both = point.accuracy + front.baseline.best
    return min(both, 2 - both) - (point.accuracy - front.baseline.best) ** 2


def cost_bound(front: Front, point: Point) -> float:
    """Variance of the cost of a sample, of models that cost the same for every sample."""
    paid = np.cumsum(front.singles.loc[list(point.models), "cost"])
    rates = np.array(point.exit_rates)
    return rates @ paid**2 - (rates @ paid) ** 2


def peaks(front: Front, prominence: float = 0.1) -> list[Point]:
    """Points of locally largest improvement along accuracy, by scipy's ``find_peaks``.

    Parameters
    ----------
    front : Front
    prominence : float
        By how much a peak must stand out, in units of the improvement factor.

    Returns
    -------
    list of Point

    References
    ----------
    Paper, table 1.
    """
    improvement = np.nan_to_num(front.table["improvement"].to_numpy(), nan=0.0)
    padded = np.concatenate([[0.0], improvement, [0.0]])
    return [front.point(int(i) - 1) for i in find_peaks(padded, prominence=prominence)[0]]
