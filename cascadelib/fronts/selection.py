"""Choose operating points of a front (paper, section 3, *Threshold selection*)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray as Array
from scipy.signal import find_peaks

from ..checks import POSITIVE, check_number, known
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate
from .front import Front

GOALS = ("max_improvement", "match_best", "near_best")
ROUNDING = 1e-8  # by which sums of equal outcomes may differ
BELOW_ONE = math.nextafter(1, 0)
# Where batches of points end that are evaluated at once: 8 of them, then twice as many, and so on.
BATCHES = 8 * (2 ** np.arange(1, 24) - 1)


def pick(
    front: Front,
    goal: str | None = None,
    *,
    accuracy: float | None = None,
    loss: float | None = None,
    budget: float | None = None,
    caution: float | None = None,
) -> Point:
    """Select one cascade from a Pareto front.

    Give exactly one of `goal`, `accuracy`, `loss` and `budget`. The points of a front were selected
    on the samples that measure them, so their accuracies are optimistic. By default the selected
    point therefore satisfies the goal with a safety margin.

    Parameters
    ----------
    front : Front
        Result of :func:`cascadelib.search`.
    goal : {"match_best", "near_best", "max_improvement"}, optional
        - "match_best": least cost with at least the accuracy of the reference, the best single
          model. It is never more expensive than the reference.
        - "near_best": like "match_best", or the most accurate point if none reaches that accuracy.
          With ``caution=0`` the result is always a point of the front, whatever it costs. The
          explorer uses this goal.
        - "max_improvement": largest improvement factor, the cheaper point at a tie.
    accuracy : float, optional
        Least cost with at least this accuracy.
    loss : float, optional
        Least cost with an accuracy at most this much below the reference. 0.03 means three points.
        It is never more expensive than the reference.
    budget : float, optional
        Highest accuracy with at most this mean cost per sample.
    caution : float, default=front.caution
        Safety margin in standard errors: of the paired difference to the reference, of the
        accuracy, or of the mean cost. 0 uses the raw front, as in the paper. Not available for
        "max_improvement", which has no bound. A pickled front has no outcomes, so its accuracies
        bound the standard errors.

    Returns
    -------
    Point
        The selected cascade. ``point.chosen_by`` states the rule. If no point satisfies a bound on
        accuracy with the margin, or if none is cheaper or more accurate than the reference, the
        reference is returned, provided that it satisfies the bound. With ``caution=0`` and
        `accuracy`, the result is a point of the front, whatever it costs.

    Raises
    ------
    ValueError
        If no point satisfies the goal (the message states the closest attainable value), if `loss`
        is outside [0, 1), or if `accuracy` is outside [0, 1].

    See Also
    --------
    search : Compute the front.
    certify : Obtain a guarantee on samples that were not used for selection.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, section 3, "Threshold selection", without a margin.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> point = cl.pick(cl.search(table), loss=0.02)
    >>> point.models
    ('llama-3.1-8b', 'llama-3.3-70b')
    >>> round(point.saving, 1)
    2.0
    """
    caution = check_goal(front, goal, (accuracy, loss, budget), caution)
    if goal == "max_improvement":
        return front.point(int(np.nanargmax(front.table["improvement"].to_numpy())))
    if budget is not None:
        return within_budget(front, check_number(budget, "budget"), caution)
    if accuracy is not None:
        form = "a fraction in [0, 1], 0.93 for 93%"
        wanted = check_number(accuracy, "accuracy", form, 0, 1)
        return accurate(front, wanted, None, caution, f"accuracy={wanted:g}")
    form = "a fraction in [0, 1), 0.03 for 3 points"
    may_lose = 0.0 if loss is None else check_number(loss, "loss", form, 0, BELOW_ONE)
    wanted = front.baseline.best - may_lose
    if goal == "near_best":
        reaching = np.flatnonzero(front.table["accuracy"] >= wanted - ROUNDING)
        if not len(reaching):
            return front.point(len(front) - 1)
        if not caution:
            return front.point(int(reaching[0]))
    return accurate(front, wanted, front.reference, caution, goal or f"loss={may_lose:g}")


def check_goal(front: Any, goal: str | None, bounds: tuple, caution: float | None) -> float:
    """How many standard errors inside the one goal that is given a point is to be; TypeError or
    ValueError for anything else than one goal of a Front."""
    if not isinstance(front, Front):
        raise TypeError(
            f"a Front is needed here, not {type(front).__name__}: cascadelib.search finds one in a "
            "store; arrays make a store, cascadelib.ScoreTable"
        )
    if [goal, *bounds].count(None) != 3:
        raise ValueError(
            "give exactly one of: a goal ('max_improvement', 'match_best' or 'near_best'), "
            "accuracy=, loss=, budget="
        )
    if goal is not None:
        known(goal, GOALS, "goal")
    if caution is not None:
        caution = check_number(caution, "caution", "standard errors, 0 or more", 0, POSITIVE[1])
    if goal == "max_improvement":
        if caution:
            raise ValueError("'max_improvement' is no bound to stay inside: leave out caution=")
        return 0.0
    caution = front.caution if caution is None else caution
    if caution and not front.samples:
        raise ValueError("this front knows neither outcomes nor their number: give caution=0")
    return caution


class Goal(NamedTuple):
    """A bound that a point of a front is to be inside of.

    rule: in words; margins: by how much each point is inside, float64 [P]; rows: those that are, in
    the order in which they are tried; values: of a Run [k], whose mean is bounded; bound: the
    variance of a value where there are no outcomes; against: a model whose values on the same
    samples, which have the same luck, are taken off.
    """

    rule: str
    margins: Array
    rows: Array
    values: Callable[[Run], Array]
    bound: Callable[[Front, Point], float]
    against: Point | None = None


def accurate(
    front: Front, wanted: float, against: Point | None, caution: float, rule: str
) -> Point:
    """The least cost with at least this accuracy, the reference where that is as good for no more;
    against: the model whose accuracy is what is wanted."""
    margins = front.table["accuracy"].to_numpy() - wanted
    rows = np.flatnonzero(margins >= -ROUNDING)
    bound = accuracy_bound if against is None else difference_bound
    goal = Goal(rule, margins, rows, lambda run: run.pulls, bound, against)
    found = first_inside(front, goal, caution)
    best = front.reference
    if found is not None:
        is_more_accurate = found.accuracy > best.accuracy + ROUNDING
        if against is None:
            is_better = found.cost < best.cost or is_more_accurate or not caution
        else:  # the reference itself loses nothing, so that a higher cost buys nothing
            is_better = (found.cost, -is_more_accurate) < (best.cost, 0)
        if is_better:
            return found
    less = "" if found is None else " for less"
    if less or caution and best.accuracy >= wanted:
        said = f"no cascade is {inside(front, caution)} {rule}{less}: the most accurate model alone"
        return replace(best, chosen_by=said)
    by = f" by {caution:g} standard errors (caution=0 takes the raw front)" if len(rows) else ""
    most = front.table["accuracy"].iloc[-1]
    raise ValueError(f"no cascade reaches accuracy {wanted:.4f}{by}; the best has {most:.4f}")


def within_budget(front: Front, budget: float, caution: float) -> Point:
    """The highest accuracy at no more than this mean cost."""
    margins = budget - front.table["cost"].to_numpy()
    rows = np.flatnonzero(margins >= 0)[::-1]
    goal = Goal(f"budget={budget:g}", margins, rows, lambda run: run.sample_costs, cost_bound)
    found = first_inside(front, goal, caution)
    if found is None:
        by = f" by {caution:g} standard errors" if len(rows) else ""
        raise ValueError(
            f"no cascade costs {budget:g} or less{by}; the cheapest costs "
            f"{front.table['cost'].iloc[0]:g}"
        )
    return found


def inside(front: Front, caution: float) -> str:
    """How far inside a goal, in words."""
    if not caution:
        return "within"
    bound = "" if front.store is not None else ", by a bound without outcomes,"
    return f"{caution:g} standard errors{bound} inside"


def first_inside(front: Front, goal: Goal, caution: float) -> Point | None:
    """The first of a goal's rows whose margin is so many standard errors; None where there is
    none."""
    if not caution:
        return front.point(int(goal.rows[0])) if len(goal.rows) else None
    for row, error in zip(goal.rows.tolist(), standard_errors(front, goal)):
        if goal.margins[row] >= caution * error - ROUNDING:
            return replace(front.point(row), chosen_by=f"{inside(front, caution)} {goal.rule}")
    return None


def standard_errors(front: Front, goal: Goal) -> Iterator[float]:
    """Standard errors of the means of a goal's values, of one of its rows after the other, batches
    of which are evaluated when they are asked for."""
    alone: Any = 0.0
    if goal.against is not None and front.store is not None:
        alone = goal.values(evaluate(front.store, goal.against))
    for batch in np.split(goal.rows, BATCHES):
        points = [front.point(row) for row in batch.tolist()]
        if front.store is None:
            spreads = [goal.bound(front, point) for point in points]
            yield from np.sqrt(np.maximum(spreads, 0) / front.samples)
        else:
            for run in evaluate(front.store, points):
                each = goal.values(run) - alone
                yield float(np.std(each) / np.sqrt(len(each)))


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
    excess = np.cumsum(front.singles["cost"][list(point.models)]) - point.cost
    return np.average(excess**2, weights=point.exit_rates)


def peaks(front: Front, prominence: float = 0.1) -> list[Point]:
    """Return the points of locally largest improvement along the accuracy.

    Parameters
    ----------
    front : Front
        Result of :func:`cascadelib.search`.
    prominence : float, default=0.1
        Least prominence of a peak (scipy's ``find_peaks``), in units of the improvement factor.

    Returns
    -------
    list of Point
        The peaks, in order of rising accuracy.

    See Also
    --------
    pick : Select one cascade by a goal.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, table 1.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> len(cl.peaks(cl.search(table)))
    1
    """
    improvement = np.nan_to_num(front.table["improvement"].to_numpy(), nan=0.0)
    padded = np.concatenate([[0.0], improvement, [0.0]])
    return [front.point(int(i) - 1) for i in find_peaks(padded, prominence=prominence)[0]]
