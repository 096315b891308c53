"""Evaluate single pairs of models at all thresholds (paper, section 3, *Evaluation*).

Figures 1 and 2 of the paper.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..evaluation.pareto import improvement_at, mean_improvement, pareto_front
from ..methods.method import Method
from ..methods.thresholds import convert_units
from ..store.protocol import Store
from .curves import Curve
from .exact import SearchTask

DROP = 0.05  # share of the difference of accuracy at which a plateau ends
COLUMNS = [
    "first",
    "second",
    "accuracy_difference",
    "cost_ratio",
    "plateau",
    "mean_improvement",
    "whole_range_improvement",
]


def pair_curve(
    store: Store,
    first: str,
    second: str,
    method: str | Method | None = None,
    score: str | None = None,
    cost: str | None = None,
) -> pd.DataFrame:
    """Return the cost and accuracy of one pair at all thresholds.

    Parameters
    ----------
    store, method, score, cost
        As for :func:`cascadelib.search`.
    first, second : str
        Names of the models, in the order in which they run.

    Returns
    -------
    DataFrame
        One row per threshold, from never to always exiting: threshold (native units), exit_rate,
        accuracy (or F1) and cost.

    See Also
    --------
    pair_table : One row per pair.

    Examples
    --------
    >>> import cascadelib as cl
    >>> table = cl.ScoreTable([[1, 0, 1], [1, 1, 1]], [[0.9, 0.2, 0.7], [1, 1, 1]], [1.0, 10.0])
    >>> cl.fronts.pair_curve(table, "model 0", "model 1")["cost"].round(2).tolist()
    [11.0, 7.67, 4.33, 1.0]
    """
    task = SearchTask(store, method, score, cost, [first, second])
    curve = task.curve(first, second)
    return pd.DataFrame({**vars(curve), "threshold": convert_units(task.metric, curve.threshold)})


def plateau(curve: Curve, accuracy_1: float, accuracy_2: float) -> float:
    """Return the largest exit rate before accuracy falls (paper, figure 2, middle).

    The curve is followed from "never" until the accuracy is below that of the better model by 5% of
    the difference between the two models. The result is the exit rate of the previous point.
    """
    difference = abs(accuracy_2 - accuracy_1)
    below = curve.accuracy < max(accuracy_1, accuracy_2) - DROP * difference - 1e-12
    if not below.any():
        return float(curve.exit_rate[-1])
    return float(curve.exit_rate[max(int(np.argmax(below)) - 1, 0)])


def pair_table(
    store: Store,
    method: str | Method | None = None,
    score: str | None = None,
    cost: str | None = None,
    models: Any = "pareto",
) -> pd.DataFrame:
    """Describe each pair of models, as in figure 2 of the paper.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Labelled samples.
    method : str or Method, optional
        As for :func:`cascadelib.search`.
    score : str, optional
        As for :func:`cascadelib.search`.
    cost : str, optional
        As for :func:`cascadelib.search`.
    models : {"pareto", "all"} or list of str, default="pareto"
        As for :func:`cascadelib.search`.

    Returns
    -------
    DataFrame
        One row per pair, with the columns

        - first, second: the models.
        - accuracy_difference: accuracy of the second model minus accuracy of the first.
        - cost_ratio: cost of the second model ÷ cost of the first.
        - plateau: the largest exit rate before accuracy falls, see :func:`plateau`.
        - mean_improvement: mean improvement factor of the pair between the accuracies of its two
          models. If the two are equal, the factor at that accuracy.
        - whole_range_improvement: mean over the accuracy range of the baseline. The factor is 0 at
          accuracies that the pair does not reach, so pairs with a wide range score higher.

    See Also
    --------
    search : The front of all pairs.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, figure 2.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> cl.pair_table(table)[["first", "second", "cost_ratio"]].round(1).values.tolist()
    [['llama-3.1-8b', 'llama-3.3-70b', 4.5]]
    """
    task = SearchTask(store, method, score, cost, models)
    singles = task.baseline.table
    chosen = singles[singles.index.isin(task.names)]
    rows = []
    for first, second in combinations(chosen.index, 2):
        accuracy_1, cost_1 = chosen.loc[first, ["accuracy", "cost"]].to_numpy(np.float64)
        accuracy_2, cost_2 = chosen.loc[second, ["accuracy", "cost"]].to_numpy(np.float64)
        curve = task.curve(first, second)
        keep = pareto_front(curve.cost, curve.accuracy)
        front = task.baseline, curve.cost[keep], curve.accuracy[keep]
        if accuracy_1 == accuracy_2:
            improvement = float(improvement_at(*front, accuracy_1))
        else:
            improvement = mean_improvement(*front, *sorted((accuracy_1, accuracy_2)))
        difference = accuracy_2 - accuracy_1
        flat = plateau(curve, accuracy_1, accuracy_2)
        full = mean_improvement(*front)
        rows.append((first, second, difference, cost_2 / cost_1, flat, improvement, full))
    return pd.DataFrame(rows, columns=COLUMNS)
