"""One pair of models at every threshold (paper, section 3, *Evaluation*): the curve behind figures 1 and 2."""

from itertools import combinations

import numpy as np
import pandas as pd

from ..evaluation.pareto import improvement_at, mean_improvement, pareto_front
from ..methods.thresholds import own_units
from .exact import SearchTask


def pair_curve(store, first, second, method=None, score=None, cost=None):
    """One pair at every threshold as a DataFrame: threshold (own units), exit_rate, accuracy (or F1), cost."""
    task = SearchTask(store, method, score, cost, [first, second])
    curve = task.curve(first, second)
    return pd.DataFrame({**vars(curve), "threshold": own_units(task.metric, curve.threshold)})


def plateau(curve, accuracy_1, accuracy_2, drop=0.05):
    """Largest exit rate before accuracy falls by ``drop`` × the pair's difference below the better model: walking from
    never exiting, the last point before the first one that is lower (paper, figure 2, middle)."""
    better, difference = max(accuracy_1, accuracy_2), abs(accuracy_2 - accuracy_1)
    below = curve.accuracy < better - drop * difference - 1e-12
    return float(
        curve.exit_rate[max(int(np.argmax(below)) - 1, 0)] if below.any() else curve.exit_rate[-1]
    )


def pair_table(store, method=None, score=None, cost=None, models="pareto"):
    """Figure 2 as numbers, a row a pair: first, second, accuracy_difference (second − first), cost_ratio, plateau
    (largest exit rate, see :func:`plateau`), mean_improvement of this single pair from its less to its more accurate
    model (paper, figure 2, right; where they are equal, the improvement there), whole_range_improvement: over the
    baseline's range, zero where the pair does not reach, which makes wide pairs look good.
    """
    task = SearchTask(store, method, score, cost, models)
    chosen, rows = task.singles[task.singles.index.isin(task.names)], []
    for (first, a, c), (second, b, d) in combinations(
        zip(chosen.index, chosen["accuracy"], chosen["cost"]), 2
    ):
        curve = task.curve(first, second)
        keep = pareto_front(curve.cost, curve.accuracy)
        front = task.baseline, curve.cost[keep], curve.accuracy[keep]
        own = (
            mean_improvement(*front, *sorted((a, b)))
            if a != b
            else float(improvement_at(*front, a))
        )
        rows.append(
            (first, second, b - a, d / c, plateau(curve, a, b), own, mean_improvement(*front))
        )
    columns = [
        "first",
        "second",
        "accuracy_difference",
        "cost_ratio",
        "plateau",
        "mean_improvement",
    ]
    return pd.DataFrame(rows, columns=[*columns, "whole_range_improvement"])
