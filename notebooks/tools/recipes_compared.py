"""Earlier recipes for cascades beside the exact front, as notebook 04 shows them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.evaluation import least_cost, mean_improvement
from cascadelib.evaluation.evaluation import baseline_of
from cascadelib.recipes.big_little import dynamic_exits
from cascadelib.recipes.learned_policies import LEARNED
from cascadelib.recipes.patience import patience_outcomes


def all_recipes(
    store: Any, *, held_out: Any = None, cost: str | None = None, models: Any = "all"
) -> dict[str, pd.DataFrame]:
    """Every recipe of cl.recipes on one store, with its defaults: {label with author and year: points}.

    held_out: another split; points then have accuracy_moved and cost_moved there (``replay_points``), but not the
    oracle's, which knows the answers. The grids of 10 and 30 are the rule of ThresholdCascadeClassifierCV of
    scikit-fallback (one grid for all stages, from 1 ÷ classes to 0.95), with every stage that ran in the cost.

    Two are exact searches. Park et al., 2015: Big/little deep neural network for ultra low power inference, CODES+ISSS:
    every pair, with the *static* threshold of the original. Wang, Kondratyuk et al., 2022: Wisdom of committees: an
    overlooked approach to faster and more accurate models, ICLR: every threshold instead of a grid, models of any
    family, and up to 3 of them (the original: 4 of one family).
    """
    options = {"cost": cost, "models": models}
    chance = 1 / store.output(store.models.index[0]).shape[1]

    def grid(metric: str, **more: Any) -> pd.DataFrame:
        return moved(cl.recipes.wang_2018(store, metric, **more, **options), metric)

    def searched(n_models: Any, method: Any) -> pd.DataFrame:
        return moved(cl.search(store, n_models, method, **options).table, method)

    def moved(points: pd.DataFrame, rule: Any = "max_softmax") -> pd.DataFrame:
        if held_out is None:
            return points
        return cl.recipes.replay_points(points, held_out, rule, cost=cost)

    return {
        "Park 2015, softmax margin, 2 models": searched(2, "softmax_margin"),
        "Park 2015, dynamic threshold": moved(
            cl.recipes.park_2015_dynamic(store, **options), dynamic_exits
        ),
        "Bolukbasi 2017, logistic": searched((1, 2, 3), LEARNED.fit(store)),
        "Wang 2018, entropy grid": grid("entropy"),
        "Wang 2018, entropy grid, cost-oblivious": grid("entropy", cost_aware=False),
        "Wang 2018, max-softmax grid": grid("max_softmax"),
        "Wang 2018, max-softmax grid, cost-oblivious": grid("max_softmax", cost_aware=False),
        "scikit-fallback, grid of 10": grid("max_softmax", grid=np.linspace(chance, 0.95, 10)),
        "scikit-fallback, grid of 30": grid("max_softmax", grid=np.linspace(chance, 0.95, 30)),
        "Huang 2018, budgeted batch": moved(cl.recipes.huang_2018(store, **options)),
        "Zhou 2020, patience": moved(cl.recipes.zhou_2020(store, **options), patience_outcomes),
        "Wang 2022, mean logits": searched((2, 3), "max_softmax_mean_logits"),
        "plurality vote": searched((1, 2, 3), cl.Method(ensemble="vote")),
        "one shared threshold, 2 models": moved(
            cl.fronts.shared_threshold_front(store, 2, **options).table
        ),
        "one shared threshold, 3 models": moved(
            cl.fronts.shared_threshold_front(store, 3, **options).table
        ),
        "oracle": cl.recipes.oracle(store, **options),
    }


def compare_recipes(
    exact_front: cl.Front,
    recipes: Mapping[str, pd.DataFrame],
    above: Sequence[float] = (),
    *,
    held_out: Any = None,
    loss: float = 0.01,
) -> pd.DataFrame:
    """Recipes beside the exact front, a row each, the front first ("exact").

    exact_front: a :class:`cascadelib.Front`, whose baseline counts; recipes: {label: points with accuracy and cost,
    rising}; above: accuracies. Columns: mean_improvement over the baseline's range, "improvement above <a>" for each,
    best_accuracy, excess_cost (see :func:`excess_cost`).

    held_out: the split on which they were replayed. First then come accuracy_moved, cost_moved (there), accuracy and
    cost (here) of the point that is chosen at ``loss``, the cheapest at most so far below the best single model, or the
    most accurate; and excess_cost_moved, that mean over accuracies here of cost ÷ the baseline's at equal accuracy both
    there: nothing is picked by what it shows there. nan where points were not replayed.
    """
    baseline = exact_front.baseline
    tables = {"exact": exact_front.table, **recipes}
    if held_out is not None:
        there = baseline_of(held_out, exact_front)
        tables["exact"] = cl.recipes.replay_points(
            exact_front.table,
            held_out,
            exact_front.method,
            score=exact_front.score,
            cost=exact_front.cost_kind,
        )

    def mean_above(low: float, points: pd.DataFrame) -> float:
        if low >= baseline.best:
            return np.nan
        cost = points["cost"].to_numpy()
        return mean_improvement(baseline, cost, points["accuracy"].to_numpy(), low)

    rows = {}
    for label, points in tables.items():
        row: dict[str, Any] = {}
        if held_out is not None:
            points = with_relative_cost(points, there)
            tables[label] = points  # "exact" is the first, which the others are compared with
            accurate_enough = np.searchsorted(points["accuracy"], baseline.best - loss)
            chosen = points.iloc[min(accurate_enough, len(points) - 1)].copy()
            excess = excess_cost(baseline, tables["exact"], points, "relative_cost")
            chosen["relative_cost"] = excess
            row |= chosen.rename({"relative_cost": "excess_cost_moved"})
        row["mean_improvement"] = mean_above(baseline.accuracy[baseline.front[0]], points)
        for low in above:
            row[f"improvement above {low:.1%}"] = mean_above(low, points)
        row["best_accuracy"] = points["accuracy"].to_numpy()[-1]
        row["excess_cost"] = excess_cost(baseline, exact_front.table, points)
        rows[label] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")


def with_relative_cost(points: pd.DataFrame, there: cl.Baseline) -> pd.DataFrame:
    """Replayed points with their cost ÷ the baseline's at equal accuracy, both on the other split."""
    columns = ["accuracy_moved", "cost_moved", "relative_cost", "accuracy", "cost"]
    points = points.reindex(columns=columns)
    at_equal_accuracy = there.cost_at(points["accuracy_moved"].clip(upper=there.best))
    return points.assign(relative_cost=points["cost_moved"] / at_equal_accuracy)


def excess_cost(
    baseline: cl.Baseline, exact: pd.DataFrame, points: pd.DataFrame, column: str = "cost"
) -> float:
    """Mean over accuracies of points' cost ÷ exact cost − 1, where both reach within the baseline's range.

    exact, points: tables with accuracy and cost (or another ``column``), accuracy rising. An exact integral: between
    breakpoints both are constant. nan where there is no such range, and for a single point, which is for one accuracy.
    Negative where ``points`` (an ensemble, the oracle) is the cheaper.
    """
    exact_accuracy = exact["accuracy"].to_numpy()
    accuracy = points["accuracy"].to_numpy()
    low = float(baseline.accuracy[baseline.front[0]])
    high = min(baseline.best, exact_accuracy[-1], accuracy[-1])
    if not low < high or len(points) < 2:
        return np.nan
    everywhere = np.concatenate([[low, high], exact_accuracy, accuracy])
    breakpoints = np.unique(np.clip(everywhere, low, high))
    ends = breakpoints[1:]
    cost = least_cost(points[column].to_numpy(), accuracy, ends)
    exact_cost = least_cost(exact[column].to_numpy(), exact_accuracy, ends)
    excess = cost / exact_cost - 1
    return float(np.sum(np.diff(breakpoints) * excess) / (high - low))
