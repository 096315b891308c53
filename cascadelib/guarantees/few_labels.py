"""Select the points that a certificate tests, and the samples whose labels it needs."""

from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..checks import brief, check_number, checked_share, validate_choice
from ..evaluation.evaluation import check_store, costs_by_model
from ..evaluation.point import Point, kinds_of, points_of
from ..fronts.front import Front
from ..fronts.selection import cost_bound
from ..store.protocol import Store
from .case import compare_with_reference, models_of
from .refusals import refuse_overlap, refuse_repeats

STEPS = 100  # largest number of tested points of a front


def to_label(
    store: Store,
    cascades: Any,
    reference: str | None = None,
    epsilon: float | str | None = None,
    budget: float | None = None,
) -> Array:
    """Return the samples whose labels :func:`certify` needs.

    On these samples at least one of the cascades and the reference predict different classes.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Samples with predictions. Labels are not read.
    cascades : Front, Point, Policy, Cascade, Certificate or list of these
        As for :func:`certify`.
    reference : str, optional
        As for :func:`certify`.
    epsilon : float or str, optional
        As for :func:`certify`. It determines which points of a Front are tested. Without `epsilon`
        and `budget`, all points are tested.
    budget : float, optional
        As for :func:`certify`.

    Returns
    -------
    str array
        Ids in the order of the store.

    Raises
    ------
    ValueError
        If the score is not top-1, because equal predictions may then have different losses. If
        :func:`certify` would refuse the samples.

    See Also
    --------
    certify : Pass the labels as ``labels={id: label}``.
    ladder : Cascades that need no labels for selection.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> points = cl.ladder(table, ["llama-3.1-8b", "llama-3.3-70b"])
    >>> len(cl.to_label(table, points, "llama-3.3-70b")), len(table)
    (247, 3000)
    """
    check_store(store)
    epsilon, budget = check_bounds(epsilon, budget)
    points, reference = select_points(store, cascades, reference, epsilon, budget)
    refuse_repeats(store)
    refuse_overlap(points, store, models_of(points, reference))
    _, differs = compare_with_reference(store, points, reference)
    return store.origin.sample_ids[differs.any(axis=0)]


def select_points(
    store: Store,
    cascades: Any,
    reference: str | None,
    epsilon: float | None,
    budget: float | None,
) -> tuple[list[Point], str]:
    """Return the points in the order in which they are tested, and the reference.

    The reference defaults to that of a Front, or else to the most expensive model of the points.
    """
    if isinstance(cascades, Front):
        reference = cascades.reference.models[0] if reference is None else reference
        validate_choice(reference, cascades.singles.index, "model")
        return candidates(cascades, reference, epsilon, budget), reference
    points = points_of(cascades)
    kinds_of(points)
    if reference is None:
        costs = costs_by_model(store, points[0].cost_kind)
        models = {name for point in points for name in point.models} & costs.keys()
        reference = max(sorted(models), key=lambda name: float(np.mean(costs[name])), default="")
    if not isinstance(reference, str):
        raise ValueError(f"reference must be the name of a model, not {brief(reference)}")
    return points, reference


def candidates(
    front: Front, reference: str, epsilon: float | None, budget: float | None = None
) -> list[Point]:
    """Return at most STEPS points of a front that satisfy the bounds on the selection split.

    Points with the largest margin come first. A margin is the distance from a bound, in standard
    deviations of the loss or the cost of one sample. If there are two bounds, the smaller margin is
    used. Without bounds, all points are returned.
    """
    table = front.table
    if epsilon is None and budget is None:
        return points_of(front)
    loss = front.baseline.table.loc[reference, "accuracy"] - front.steps[1]
    margin = np.full(len(table), np.inf)
    if epsilon is not None:
        spread = np.sqrt(epsilon + np.maximum(loss, 0) + 1e-9)
        margin = np.where(loss <= epsilon, (epsilon - loss) / spread, -1)
    if budget is not None:
        variances = [cost_bound(front, point) for point in front.cascades]
        spread = np.sqrt(variances) + 1e-9 * budget
        margin = np.minimum(margin, (budget - table["cost"]) / spread)
    order = np.argsort(-margin, kind="stable")[: np.count_nonzero(margin >= 0)]
    if not len(order):
        raise ValueError(
            f"no cascade of the front satisfies epsilon={epsilon} of {reference}, "
            f"budget={budget}, even on the selection split: allow a larger loss or cost"
        )
    steps = np.unique(np.linspace(0, len(order) - 1, STEPS).astype(int))
    return [front.point(int(order[step])) for step in steps]


def check_bounds(
    epsilon: float | str | None, budget: float | None
) -> tuple[float | None, float | None]:
    """Return epsilon as a fraction and the budget, or raise a ValueError if one is not a number."""
    if budget is not None:
        budget = check_number(budget, "budget")
    return None if epsilon is None else checked_share(epsilon, "epsilon"), budget
