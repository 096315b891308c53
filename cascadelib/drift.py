"""A front moved to another split: the identical cascades at the identical thresholds (paper, figures 6 and 12)."""

import numpy as np
import pandas as pd

from .bootstrap import bootstrap, interval
from .evaluation import baseline_of, costs_of, evaluate, mean_cost, quality, right_alone, store_stage
from .f1 import F1
from .fixed_cascades import point_list, run_cascades
from .intervals import LEVEL, cost_interval, difference_interval, paired_difference_interval, share_interval
from .matching import check_same_task
from .methods import Method
from .pareto import common_range, improvement_at, mean_cost_ratio, mean_improvement, pareto_front


def own_baseline(front, store):
    """The Baseline of a store under a front's score and kind of cost."""
    return baseline_of(store, front.score, front.cost_kind)


def replay(front, store):
    """Every point of a front, unchanged, on another split.

    Returns a DataFrame, a row a point of the front in its order: models, thresholds, accuracy and cost where it was
    found, accuracy_moved, cost_moved and improvement_moved (against the other split's own baseline), and ``segment``:
    the number of the stretch of neighbouring points that belong to one cascade. A segment stays in one piece on the
    other split; different segments move apart. A model that the other split lacks is refused by name.
    """
    table = front.table[["models", "thresholds", "accuracy", "cost"]].copy()
    moved = np.empty((len(front), 2))
    for position, exits, correct, costs in run_cascades(store, point_list(front)):
        moved[position] = quality(store, correct, front.score), mean_cost(costs, exits)
    table["accuracy_moved"], table["cost_moved"] = moved.T
    table["improvement_moved"] = own_baseline(front, store).cost_at(table["accuracy_moved"]) / table["cost_moved"]
    table["segment"] = (table["models"] != table["models"].shift()).cumsum() - 1
    return table


def moved_front(moved):
    """Cost and accuracy of the points of a replayed front that are Pareto-optimal on the other split, rising.

    Picking them there is slightly optimistic where many points lie close together.
    """
    cost, accuracy = moved["cost_moved"].to_numpy(), moved["accuracy_moved"].to_numpy()
    keep = pareto_front(cost, accuracy)
    return cost[keep], accuracy[keep]


def moved_curve(front, moved, store, points=401):
    """Figure 6: improvement of a replayed front at evenly spaced accuracies of the other split's own range.

    moved: ``replay(front, store)``. Returns a DataFrame with accuracy and improvement.
    """
    baseline = own_baseline(front, store)
    at = np.linspace(baseline.accuracy[baseline.front[0]], baseline.best, points)
    return pd.DataFrame({"accuracy": at, "improvement": improvement_at(baseline, *moved_front(moved), at)})


def mean_improvement_moved(front, store, low=None):
    """Mean improvement of the replayed points that are Pareto-optimal on the other split, over its own baseline.

    From ``low`` (default: that baseline's lowest accuracy) to the best single model there.
    """
    return mean_improvement(own_baseline(front, store), *moved_front(replay(front, store)), low)


def cost_ratio_moved(first, second, store):
    """Cost of a replayed front ÷ that of another one at equal accuracy, geometric mean over what both reach there."""
    fronts = [moved_front(replay(front, store)) for front in (first, second)]
    return mean_cost_ratio(*fronts, *common_range(own_baseline(first, store), *fronts))


def holds(point, splits, resamples=1000, seed=0, level=LEVEL):
    """Will it hold? One fixed cascade on several splits, a row a split ({label: store}).

    cost_ratio: the last model's cost ÷ the cascade's, with its interval by :func:`cost_interval`; last_model_accuracy:
    of the cascade's last model alone; accuracy; difference (cascade − last model), with its paired interval (by the
    bootstrap for F1); exit_rates; exit_rate of the first stage with its exact interval; cost; improvement at equal
    accuracy over that split's own single models, with bootstrap percentiles that may be too narrow near the best
    model (see :func:`cascadelib.bootstrap.interval`; above it the cost of that model counts).

    level: of each interval by itself, for a cascade that was not chosen on that split. To speak of S splits at once,
    give 1 − 0.05 ÷ S (Bonferroni), and resamples enough for such percentiles.
    """
    rows = []
    for store in splits.values():
        result, last = evaluate(store, point), right_alone(store, point.models[-1], point.score)
        accuracy, baseline = float(quality(store, last, point.score)), own_baseline(point, store)
        resampled, place = bootstrap(store, point, resamples, seed), list(store.models.index).index(point.models[-1])
        low, high = paired_difference_interval(last, result.correct, level)
        if point.score == F1:  # no share of samples
            low, high = interval(resampled.accuracy[:, 0] - resampled.single_accuracy[:, place], level)
        improvement = float(baseline.cost_at(min(result.accuracy, baseline.best))) / result.cost
        row = [len(store), *cost_ratio(store, point, result, level), accuracy, result.accuracy]
        row += [result.accuracy - accuracy, low, high, result.exit_rates, result.exit_rates[0]]
        row += [*share_interval(result.exit_stage == 0, level, "exact"), result.cost, improvement]
        rows.append([*row, *interval(resampled.improvement[:, 0], level)])
    columns = ["samples", "cost_ratio", "cost_ratio_low", "cost_ratio_high", "last_model_accuracy", "accuracy"]
    columns += ["difference", "difference_low", "difference_high", "exit_rates"]
    columns += ["exit_rate", "exit_rate_low", "exit_rate_high", "cost"]
    columns += ["improvement", "improvement_low", "improvement_high"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(splits, name="split"))


def cost_ratio(store, point, result, level=LEVEL):
    """The last model's cost ÷ that of the cascade as evaluated on a store: value, low, high.

    The last model's own cost has an interval only where it differs by sample; then each gets half of what may fail.
    """
    costs = costs_of(store, point.models, point.cost_kind)
    each = 1 - (1 - level) / (1 + np.ndim(costs[-1]))
    low, high = cost_interval(result.exit_stage, costs, each)
    least, most = cost_interval(np.zeros(len(store), int), costs[-1:], each)
    return float(np.mean(costs[-1])) / result.cost, least / high, most / low


def member_drops(store, other, score="top1", level=LEVEL):
    """What each single model loses from one split to another, a row a model, cheapest first.

    accuracy, accuracy_moved, drop (positive: worse there) and the ends of its interval: paired where both splits
    hold the same samples in the same order (see :func:`matched`), of independent samples otherwise.
    """
    check_same_task(store, other)
    if score == F1:
        raise ValueError("F1 is no share of samples and has no such interval: give score='top1', or use the bootstrap")
    names = list(store.models.index)
    here, there = (store_stage(s, names, Method(), score) for s in (store, other))
    same = len(store) == len(other) and np.array_equal(
        getattr(store, "sample_ids", None), getattr(other, "sample_ids", None)
    )
    kind, rows = paired_difference_interval if same else difference_interval, []
    for m in range(len(names)):
        first, second = here((m,))[0], there((m,))[0]
        low, high = kind(first, second, level)
        rows.append((first.mean(), second.mean(), first.mean() - second.mean(), -high, -low))
    columns = ["accuracy", "accuracy_moved", "drop", "drop_low", "drop_high"]
    return pd.DataFrame(rows, columns=columns, index=pd.Index(names, name="model"))
