"""A front moved to another split: the identical cascades at the identical thresholds (paper, figures 6 and 12)."""

import pandas as pd

from .confidence import own_units
from .evaluation import quality, run_outcomes, single_models, store_costs, store_stage
from .pareto import Baseline, mean_improvement, pareto_front


def replay(front, store):
    """Every point of a front, unchanged, on another split.

    Returns a DataFrame, a row a point of the front in its order: models, thresholds, accuracy and cost where it was
    found, accuracy_moved, cost_moved and improvement_moved (against the other split's own baseline), and ``segment``:
    the number of the stretch of neighbouring points that belong to one cascade. A segment stays in one piece on the
    other split; different segments move apart.
    """
    table = front.table[["models", "thresholds", "accuracy", "cost"]].copy()
    baseline = Baseline(*single_models(store, front.score, front.cost_kind)[::-1])
    costs = dict(zip(store.models.index, store_costs(store, front.cost_kind)))
    moved = {}
    for models, rows in table.groupby("models", sort=False):
        stage = store_stage(store, list(models), front.method, front.score)
        outcomes = [stage(tuple(range(i + 1))) for i in range(len(models))]
        for row in rows.itertuples():
            inside = own_units(front.method.metric if front.method else None, row.thresholds)
            _, correct, cost = run_outcomes(outcomes, inside, [costs[m] for m in models])
            moved[row.Index] = quality(store, correct, front.score), cost
    table[["accuracy_moved", "cost_moved"]] = pd.DataFrame.from_dict(moved, orient="index").loc[table.index].to_numpy()
    table["improvement_moved"] = baseline.cost_at(table["accuracy_moved"]) / table["cost_moved"]
    table["segment"] = (table["models"] != table["models"].shift()).cumsum() - 1
    return table


def mean_improvement_moved(front, store, low=None):
    """Mean improvement of the replayed points that are Pareto-optimal on the other split, over its own baseline.

    From ``low`` (default: that baseline's lowest accuracy) to the best single model there. The picking of points on
    the other split is slightly optimistic where many points lie close together.
    """
    moved = replay(front, store)
    cost, accuracy = moved["cost_moved"].to_numpy(), moved["accuracy_moved"].to_numpy()
    keep = pareto_front(cost, accuracy)
    baseline = Baseline(*single_models(store, front.score, front.cost_kind)[::-1])
    return mean_improvement(baseline, cost[keep], accuracy[keep], low)
