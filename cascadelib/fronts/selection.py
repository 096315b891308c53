"""Choose operating points of a front (paper, section 3, *Threshold selection*)."""

import numpy as np
from scipy.signal import find_peaks

from ..checks import check_number, known
from ..evaluation.point import Point
from .front import Front


def pick(
    front: Front,
    goal: str | None = None,
    *,
    accuracy: float | None = None,
    budget: float | None = None,
) -> Point:
    """Choose one operating point of a front; give exactly one goal.

    Parameters
    ----------
    front : Front
    goal : str, optional
        "max_improvement": the largest improvement factor, the cheaper at a tie; "match_best": the
        least cost with at least the accuracy of the best single model; "near_best": the same, or
        the most accurate point where none reaches it.
    accuracy : float, optional
        The least cost with at least this accuracy.
    budget : float, optional
        The highest accuracy at no more than this mean cost per sample.

    Returns
    -------
    Point

    Raises
    ------
    ValueError
        Where no point qualifies, with the closest value that the front attains.

    References
    ----------
    Paper, section 3, *Threshold selection*.
    """
    if [goal is not None, accuracy is not None, budget is not None].count(True) != 1:
        raise ValueError(
            "give exactly one of: a goal ('max_improvement', 'match_best' or 'near_best'), accuracy=, "
            "budget="
        )
    table = front.table
    if goal is not None:
        known(goal, ["max_improvement", "match_best", "near_best"], "goal")
    if goal == "max_improvement":
        return front.point(int(np.nanargmax(table["improvement"].to_numpy())))
    if budget is not None:
        budget = check_number(budget, "budget")
        row = int(np.searchsorted(table["cost"].to_numpy(), budget, side="right")) - 1
        if row < 0:
            raise ValueError(
                f"no cascade costs {budget:g} or less; the cheapest costs {table['cost'].iloc[0]:g}"
            )
        return front.point(row)
    wanted = front.baseline.best if accuracy is None else check_number(accuracy, "accuracy")
    row = int(np.searchsorted(table["accuracy"].to_numpy(), wanted, side="left"))
    if row == len(table) and goal == "near_best":
        return front.point(row - 1)
    if row == len(table):
        raise ValueError(
            f"no cascade reaches accuracy {wanted:.4f}; the best has {table['accuracy'].iloc[-1]:.4f}"
        )
    return front.point(row)


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
