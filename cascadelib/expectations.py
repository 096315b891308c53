"""What a cascade is expected to do: accuracy, cost, exit rates and confidences on one split, with intervals."""

import numpy as np
from scipy.stats import binomtest, norm

from .confidence import own_units
from .evaluation import run_outcomes, store_costs, store_stage

LEVEL = 0.95
SHARES = np.linspace(0, 1, 21)  # of the samples that reach a stage: where the quantiles of its confidence are kept


def expected(point, store):
    """{"accuracy", "cost", "exit_rates", "confidences"} of a cascade's point on a store, as plain numbers.

    accuracy, cost and each exit rate: {"value", "low", "high"}, see :func:`interval`. confidences: for each
    deciding stage the 0, 5, … 100% quantiles of the confidence, in the metric's own units, over the samples that reach
    the stage ([] where none does).
    """
    metric = point.method.metric if point.method else None
    stage = store_stage(store, list(point.models), point.method, point.score)
    outcomes = [stage(tuple(range(i + 1))) for i in range(len(point.models))]
    by_name = dict(zip(store.models.index, store_costs(store, point.cost_kind)))
    costs = [by_name[name] for name in point.models]
    exits, correct, _ = run_outcomes(outcomes, own_units(metric, point.thresholds), costs)
    reached = [sure[exits >= i] for i, (_, sure) in enumerate(outcomes[:-1])]
    return {
        "accuracy": interval(correct),
        "cost": interval(sum(cost * (exits >= i) for i, cost in enumerate(costs))),
        "exit_rates": [interval(exits == i) for i in range(len(outcomes))],
        "confidences": [own_units(metric, np.quantile(s, SHARES)).tolist() if len(s) else [] for s in reached],
    }


def interval(values):
    """Mean of one value a sample [k] as {"value", "low", "high"}: a 95% interval over the draw of the samples.

    Wilson's for bool, the normal approximation mean ± 1.96 s / √k for numbers (scipy.stats).
    """
    values = np.asarray(values)
    mean = float(np.mean(values))
    if values.dtype == bool:
        low, high = binomtest(int(values.sum()), len(values)).proportion_ci(LEVEL, "wilson")
    else:
        margin = norm.ppf(0.5 + LEVEL / 2) * np.std(values) / np.sqrt(len(values))
        low, high = mean - margin, mean + margin
    return {"value": mean, "low": float(low), "high": float(high)}
