"""Select operating points of a front (paper, section 3, *Threshold selection*)."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import POSITIVE, check_number, validate_choice
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate
from .front import Front

GOALS = ("max_improvement", "match_best", "near_best")
ROUNDING = 1e-8  # differences of accuracy up to this size are rounding errors
BELOW_ONE = math.nextafter(1, 0)


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

    Pass exactly one of `goal`, `accuracy`, `loss` and `budget`. The accuracy of a point on a front
    is optimistic, because it is measured on the same samples that selected the point. By default,
    the selected point therefore satisfies the goal with a safety margin.

    Parameters
    ----------
    front : Front
        Result of :func:`cascadelib.search`.
    goal : {"match_best", "near_best", "max_improvement"}, optional
        - "match_best": select the cheapest point with at least the accuracy of the reference, which
          is the most accurate single model. The point is never more expensive than the reference.
        - "near_best": like "match_best", or the most accurate point if none reaches that accuracy.
          With ``caution=0`` the result is always a point of the front, whatever it costs. The
          explorer uses this goal.
        - "max_improvement": select the point with the largest improvement factor. At a tie, select
          the cheaper point.
    accuracy : float, optional
        Select the cheapest point with at least this accuracy, in [0, 1].
    loss : float, optional
        Select the cheapest point whose accuracy is at most this much below the reference. 0.03
        means three percentage points. The point is never more expensive than the reference.
    budget : float, optional
        Select the most accurate point with at most this mean cost per sample.
    caution : float, default=front.caution
        Safety margin in standard errors of the value that the goal bounds: the paired difference
        from the reference, the accuracy, or the mean cost. 0 means no margin, as in the paper.
        "max_improvement" has no bound, so `caution` must be None or 0 for it. A pickled front does
        not store the outcomes of samples, so it needs ``caution=0``.

    Returns
    -------
    Point
        The selected cascade. ``point.chosen_by`` states the rule. For a bound on accuracy, the
        result is the reference in two cases: if no point satisfies the bound with the margin, or if
        none is cheaper or more accurate than the reference. The reference must satisfy the bound.
        With ``caution=0`` and `accuracy`, the result is a point of the front, whatever it costs.

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
        budget = check_number(budget, "budget")
        margins = budget - front.table["cost"].to_numpy()
        rows = np.flatnonzero(margins >= 0)[::-1]
        rule = f"budget={budget:g}"
        point = first_inside(front, rows, margins, caution, rule, lambda run: run.sample_costs)
        if point is None:
            distance = f" by {caution:g} standard errors" if len(rows) else ""
            raise ValueError(
                f"no cascade costs {budget:g} or less{distance}; the cheapest costs "
                f"{front.table['cost'].iloc[0]:g}"
            )
        return point
    if accuracy is not None:
        form = "a fraction in [0, 1], 0.93 for 93%"
        wanted = check_number(accuracy, "accuracy", form, 0, 1)
        return most_economical(front, wanted, None, caution, f"accuracy={wanted:g}")
    form = "a fraction in [0, 1), 0.03 for 3 points"
    may_lose = 0.0 if loss is None else check_number(loss, "loss", form, 0, BELOW_ONE)
    wanted = front.reference.accuracy - may_lose
    if goal == "near_best":
        reaching = np.flatnonzero(front.steps[1] >= wanted - ROUNDING)
        if not len(reaching):
            return front.point(len(front) - 1)
        if not caution:
            return front.point(int(reaching[0]))
    return most_economical(front, wanted, front.reference, caution, goal or f"loss={may_lose:g}")


def check_goal(front: Any, goal: str | None, bounds: tuple, caution: float | None) -> float:
    """Return the margin in standard errors, or raise an error unless there is exactly one goal."""
    if not isinstance(front, Front):
        raise TypeError(
            f"a Front is needed here, not {type(front).__name__}: cascadelib.search finds one in a "
            "store, and cascadelib.ScoreTable makes a store of arrays"
        )
    if [goal, *bounds].count(None) != 3:
        raise ValueError(
            "give exactly one of: a goal ('max_improvement', 'match_best' or 'near_best'), "
            "accuracy=, loss=, budget="
        )
    if goal is not None:
        validate_choice(goal, GOALS, "goal")
    if caution is not None:
        caution = check_number(caution, "caution", "standard errors, 0 or more", 0, POSITIVE[1])
    if goal == "max_improvement":
        if caution:
            raise ValueError(
                "'max_improvement' has no bound, so no margin applies: leave out caution="
            )
        return 0.0
    caution = front.caution if caution is None else caution
    if caution and front.store is None:
        raise ValueError(
            "this front has no outcomes (they are not pickled): give caution=0 or search again"
        )
    return caution


def most_economical(
    front: Front, wanted: float, reference: Point | None, caution: float, rule: str
) -> Point:
    """Return the cheapest point with the accuracy `wanted`, or the most accurate single model.

    If `wanted` is relative to the accuracy of a model, `reference` is this model. The margin is
    then in standard errors of the paired difference. Otherwise `reference` is None.
    """
    margins = front.steps[1] - wanted
    rows = np.flatnonzero(margins >= -ROUNDING)
    store: Any = front.store
    paired = evaluate(store, reference).influence if reference and caution else 0.0
    point = first_inside(front, rows, margins, caution, rule, lambda run: run.influence - paired)
    best = front.reference
    if point is not None and improves_on(point, best, reference, caution):
        return point
    if point is not None or caution and best.accuracy >= wanted:
        less = "" if point is None else " for less"
        reason = f"no cascade is {margin_text(caution)} {rule}{less}"
        return replace(best, chosen_by=f"{reason}: the most accurate single model")
    distance = (
        f" by {caution:g} standard errors (caution=0 selects without a margin)" if len(rows) else ""
    )
    most = front.steps[1][-1]
    raise ValueError(f"no cascade reaches accuracy {wanted:.4f}{distance}; the best has {most:.4f}")


def improves_on(point: Point, best: Point, reference: Point | None, caution: float) -> bool:
    """Return whether a point is preferred to the most accurate single model, `best`."""
    is_more_accurate = point.difference > best.difference + ROUNDING
    if reference is not None:  # it reaches the goal, so a point must not be more expensive
        return (point.cost, -is_more_accurate) < (best.cost, 0)
    return point.cost < best.cost or is_more_accurate or not caution


def margin_text(caution: float) -> str:
    """Return the margin to a bound in words."""
    return f"{caution:g} standard errors inside" if caution else "within"


def first_inside(
    front: Front,
    rows: Array,
    margins: Array,
    caution: float,
    rule: str,
    values_of: Callable[[Run], Array],
) -> Point | None:
    """Return the first point whose margin is at least `caution` standard errors, or None.

    Parameters
    ----------
    front : Front
        The front.
    rows : int array
        Rows of the front that satisfy the bound, in the order of preference.
    margins : float array of shape (n_points,)
        Distance of each point to the bound.
    caution : float
        Margin in standard errors.
    rule : str
        The bound in words.
    values_of : callable
        Run → the values (n_samples,) whose mean is bounded.
    """
    if not caution:
        return front.point(int(rows[0])) if len(rows) else None
    store: Any = front.store
    for row in rows.tolist():
        point = front.point(row)
        values = values_of(evaluate(store, point))
        if margins[row] >= caution * float(np.std(values) / np.sqrt(len(values))) - ROUNDING:
            return replace(point, chosen_by=f"{margin_text(caution)} {rule}")
    return None


def cost_bound(front: Front, point: Point) -> float:
    """Return the variance of the cost of a sample, for models with equal costs for all samples."""
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
    from scipy.signal import find_peaks  # imported here, since the import is slow

    improvement = np.nan_to_num(front.table["improvement"].to_numpy(), nan=0.0)
    padded = np.concatenate([[0.0], improvement, [0.0]])
    return [front.point(int(i) - 1) for i in find_peaks(padded, prominence=prominence)[0]]
