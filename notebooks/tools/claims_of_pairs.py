"""What a run has of the claims on single models and on pairs (notebooks 01, 02)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Front, Point, bootstrap, evaluate, search
from tools.evidence import Evidence, counts_of, over_models, resampled, sampled
from tools.ranges import MIDDLE, factors, in_time, mean_in, range_of, ratio, share_won
from tools.side_by_side import shares

CLASSES = 3  # of size ratios, within which accuracy differences are compared
TIMES = ("seconds", "published_seconds")  # kinds of cost: one's own, and the paper's


def quiet(function: Callable) -> Callable:
    """Without warnings of means and correlations of nothing: of few models they are nan."""

    @wraps(function)
    def called(*args: Any) -> Any:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(*args)

    return called


def is_same_distribution(store: Any, other: Any) -> bool:
    """Whether two splits are of one data set: another one's is another distribution."""
    return store.origin.dataset == other.origin.dataset


def times_of(store: Any) -> list[str]:
    """The kinds of time that all models of a store have."""
    return [kind for kind in TIMES if kind in store.models and store.models[kind].notna().all()]


def fronts_in_time(store: Any, paper: Front, kind: str) -> tuple[Front, Front]:
    """Fronts of pairs of front models in a kind of time and in MACs (where one model is the whole
    front in time: of all models)."""
    timed = search(store, 2, paper.method, cost=kind)
    if timed.singles["on_front"].sum() > 1:
        timed = search(store, 2, paper.method, cost=kind, models="pareto")
    return timed, search(store, 2, paper.method, cost="macs", models="pareto")


def singles_claims(macs: Front, seconds: Front) -> dict[str, Evidence]:
    """Single models in MACs and in time: fronts of one model, of the same models."""
    values = size_claims(macs)
    values |= {
        name: Evidence(v) for name, v in counted_claims(macs.singles, seconds.singles).items()
    }
    times = time_of_singles(macs.singles, seconds.singles)
    return values | in_time(times, seconds.cost_kind)


def counted_claims(macs: pd.DataFrame, seconds: pd.DataFrame) -> dict[str, int]:
    """Models on the fronts: tables with the columns accuracy, cost and on_front."""
    in_macs = macs.index[macs["on_front"]]
    in_seconds = seconds.index[seconds["on_front"]]
    return {
        "candidates": len(macs),
        "front-models": len(in_macs),
        "time-front-models": len(in_seconds),
        "models": len(in_macs.union(in_seconds)),
    }


def time_of_singles(macs: pd.DataFrame, seconds: pd.DataFrame) -> dict[str, Evidence]:
    """What is claimed of time: tables as of :func:`counted_claims`. The correlation is one over
    models."""
    costs = pd.DataFrame({"macs": macs["cost"], "seconds": seconds["cost"]}).dropna()
    in_macs = macs[macs["on_front"]]
    in_seconds = seconds[seconds["on_front"]]
    shared = in_macs.index.intersection(in_seconds.index)
    either = in_macs.index.union(in_seconds.index)
    spans = [float(np.ptp(np.log10(rows["cost"]))) for rows in (in_macs, in_seconds)]

    def correlation(rows: pd.DataFrame) -> dict[str, float]:
        return {"macs-time": rows.corr("spearman").iloc[0, 1]}

    values = over_models(correlation, costs)
    values["time-orders"] = Evidence(spans)
    values["time-overlap"] = Evidence((len(shared), len(either)))
    return values


def size_gains(singles: pd.DataFrame) -> dict[str, Any]:
    """What the front of single models gains in the lower and in the upper half of log cost."""
    front = singles[singles["on_front"]]
    logs = np.log10(front["cost"].to_numpy())
    accuracy = front["accuracy"].to_numpy()
    half = np.interp((logs[0] + logs[-1]) / 2, logs, accuracy)
    return {"size-diminishes": (half - accuracy[0], accuracy[-1] - half)}


@resampled
def size_claims(macs: Front) -> dict[str, Any]:
    """Single models in MACs: a front of one model."""
    return size_gains(macs.singles)


def pairs_claims(front: Front, table: pd.DataFrame, families: pd.Series) -> dict[str, Evidence]:
    """Figures 1, 2: a front of pairs of front models, its split's ``pair_table``, {model: family}."""
    costs = front.singles["cost"]
    order = front.singles.index[front.singles["on_front"]]
    found = front_claims(front, families) | over_models(plateau_claims, table, costs, order)
    of_front = len(order)
    found["pairs"] = Evidence(of_front * (of_front - 1) // 2)
    found["pairs-families"] = Evidence(", ".join(shares(front, families).index))
    return found


def match_claims(point: Point, best: Point, split: Any) -> dict[str, Evidence]:
    """Cost of the best single model ÷ that of the pair that matches it, both chosen elsewhere or
    here."""
    alone, run = evaluate(split, [best, point])
    found = bootstrap(split, [best, point], counts_of(len(split))).cost
    ratios = found[:, 0] / found[:, 1]
    return {"best-for-less": sampled(alone.cost / run.cost, ratios, split, point.cost_kind)}


@resampled
@quiet
def front_claims(front: Front, families: pd.Series) -> dict[str, Any]:
    """Figure 1: a front of pairs of front models; {model: family}."""
    models = front.singles.index[front.singles["on_front"]]
    costs = front.singles["cost"].to_dict()
    family = families.to_dict()
    inner = front.baseline.accuracy[front.baseline.hull[1:-1]]
    at_inner = front.improvement_at(inner)
    rows = zip(front.table["models"], front.table["exit_rates"], front.table["cost"])
    longer = [(names, rates[0], cost) for names, rates, cost in rows if rates[-1] > 0]
    kinds = families[models].value_counts()
    same = (kinds * (kinds - 1)).sum() / (len(models) * (len(models) - 1))
    two_kinds = np.mean([family[names[0]] != family[names[-1]] for names, _, _ in longer])
    top = front.table["accuracy"].iloc[-1]
    return {
        "early-exits": np.median([rate for _, rate, _ in longer]),
        "diversity": two_kinds - (1 - same),
        "earlier-cost": np.median([costs[names[0]] / cost for names, _, cost in longer]),
        "pairs-improve": np.mean(factors(front) > 1),
        "pairs-most": front.table["improvement"].max(),
        "pairs-dip": at_inner.min() if len(inner) else None,
        "pairs-dip-where": inner[at_inner.argmin()] if len(inner) else None,
        "pairs-80-86": mean_in(front, 0.8, 0.86),
        "pairs-86": mean_in(front, 0.86),
        "pairs-larger": [
            mean_in(front, None, 0.8),
            mean_in(front, 0.8, 0.86),
            mean_in(front, 0.86),
        ],
        "pairs-top": top - front.baseline.best,
    }


@quiet
def plateau_claims(table: pd.DataFrame, costs: pd.Series, order: pd.Index) -> dict[str, Any]:
    """Figure 2: rows of a ``pair_table``, costs of models, those on the front by rising cost."""
    next_larger = dict(zip(order, order[1:]))
    neighbours = table[table["first"].map(next_larger) == table["second"]]
    ranks = table.rank(numeric_only=True)
    # Of the ranks of gain and size, what those of the accuracy differences do not explain.
    less = ranks["accuracy_difference"]
    rest = {name: unexplained(ranks[name], less) for name in ("mean_improvement", "cost_ratio")}
    by_size = np.array_split(table["cost_ratio"].to_numpy().argsort(kind="stable"), CLASSES)
    within = [table.iloc[rows] for rows in by_size]
    gain = table["mean_improvement"]
    alike = gain.mean() + unexplained(gain, table["accuracy_difference"])
    sizes = neighbours["second"].map(costs)
    return {
        "plateau-kept": table["plateau"].median(),
        "plateau-difference": ranks["plateau"].corr(less),
        "plateau-size": neighbours["plateau"].corr(sizes, "spearman"),
        "pair-difference": [
            rows["mean_improvement"].corr(rows["accuracy_difference"], "spearman")
            for rows in within
        ],
        "pair-size": [alike[rows].mean() for rows in by_size],
        "pair-both": np.corrcoef(rest["mean_improvement"], rest["cost_ratio"])[0, 1],
    }


def unexplained(values: pd.Series, by: pd.Series) -> np.ndarray:
    """Return what a straight line in ``by`` leaves of values; without a line if there are no two
    values of ``by``, as where three models have one pair."""
    y = values.to_numpy(float)
    x = by.to_numpy(float)
    if len(np.unique(x)) < 2:
        return y - y.sum() / max(len(y), 1)
    slope, intercept = np.polyfit(x, y, 1)
    return y - slope * x - intercept


def exceeding_claims(
    curves: Mapping[str, pd.DataFrame], front: Front, other: Any
) -> dict[str, Evidence]:
    """By how much pairs exceed their second models on another split.

    curves: {"first → second": ``pair_curve``} where they were chosen, each taken at its most
    accurate threshold; front: of the same method, score and cost.
    """
    like = front.point(0)
    points = []
    for label, curve in curves.items():
        best = curve.loc[curve["accuracy"].idxmax()]
        models = tuple(label.split(" → "))
        points.append(replace(like, models=models, thresholds=(float(best["threshold"]),)))
    names = list(other.models.index)
    seconds = [names.index(point.models[-1]) for point in points]
    found = bootstrap(other, points, counts_of(len(other)))
    gains = [run.accuracy for run in evaluate(other, points)]
    gains -= other.models["top1"].to_numpy()[seconds]
    draws = found.accuracy - found.single_accuracy[:, seconds]
    return {"plateau-exceeds": sampled(gains, draws, other, like.cost_kind)}


def table1_claims(
    points: list[Point], checked: pd.DataFrame, store: Any, other: Any
) -> dict[str, Evidence]:
    """Table 1: the points of locally largest improvement, and what they come to (``on_both_splits``)
    from a store to another."""
    lost = losses(points, store, other)
    strongest = int(checked["improvement"].argmax())
    beyond = lost["cascade"] - lost["last"]
    member = np.stack([lost["first"][strongest], lost["cascade"][strongest]])
    cost = points[0].cost_kind
    found = {
        "table1": Evidence(list(checked["improvement"]), cost=cost),
        "table1-exits": Evidence([point.exit_rates[0] for point in points], cost=cost),
        "table1-thresholds": Evidence([point.thresholds[0] for point in points], cost=cost),
    }
    losing = {"table1-close": lost["cascade"], "table1-lower": beyond.mean(axis=0)}
    for name, values in (losing | {"table1-member": member}).items():
        found[name] = sampled(values[..., 0], values[..., 1:].T, other, cost)
    return found


def losses(points: Sequence[Point], store: Any, other: Any) -> dict[str, np.ndarray]:
    """What cascades, their first and their last models lose of accuracy from a store to another.

    {"cascade", "first", "last": float64 [P, 1 + R]}: as it is, then on each resample of both.
    """
    names = list(store.models.index)
    at = {"first": [names.index(point.models[0]) for point in points]}
    at["last"] = [names.index(point.models[-1]) for point in points]
    here, there = (run_and_resampled(split, points, names) for split in (store, other))
    lost = {"cascade": here["cascade"] - there["cascade"]}
    for kind, rows in at.items():
        lost[kind] = here["singles"][rows] - there["singles"][rows]
    return lost


def run_and_resampled(
    split: Any, points: Sequence[Point], names: list[str]
) -> dict[str, np.ndarray]:
    """Cascades on a split as it is, and on each resample: accuracy and cost of the cascades,
    accuracy of the models in the order of names, float64 [P or M, 1 + R]."""
    runs = evaluate(split, list(points))
    found = bootstrap(split, list(points), counts_of(len(split)))
    order = [list(split.models.index).index(name) for name in names]
    alone = split.models["top1"].to_numpy()[order]
    return {
        "cascade": np.column_stack([[run.accuracy for run in runs], found.accuracy.T]),
        "cost": np.column_stack([[run.cost for run in runs], found.cost.T]),
        "singles": np.column_stack([alone, found.single_accuracy.T[order]]),
    }


def noise_claims(front: Front, other: Any) -> dict[str, Evidence]:
    """What the cascades of a front lose on another split beyond their last models, on average."""
    lost = losses(front.cascades, front.store, other)
    beyond = (lost["cascade"] - lost["last"]).mean(axis=0)
    return {"front-noise": sampled(beyond[0], beyond[1:], other, front.cost_kind)}


@resampled
def time_claims(timed: Front, counted: Front) -> dict[str, Any]:
    """Figure 5: fronts of pairs in time and in MACs."""
    singles = timed.singles[timed.singles["on_front"]]
    low_in_time, high_in_time = range_of(timed)
    low_in_macs, high_in_macs = range_of(counted)
    low = max(low_in_time, low_in_macs)
    high = min(high_in_time, high_in_macs)
    ratio = np.nan
    if low < high:
        ratio = timed.mean_improvement(low, high) / counted.mean_improvement(low, high)
    gain = timed.improvement_at(singles["accuracy"].to_numpy())
    on_hull = singles["on_hull"].to_numpy()
    off_hull = gain[~on_hull].mean() if (~on_hull).any() else np.nan
    values = {
        "time-improve": np.mean(factors(timed) > 1),
        "time-less": ratio,
        "time-concave": off_hull / gain[on_hull].mean(),
    }
    return in_time(values, timed.cost_kind)


@resampled
def topk_claims(front: Front, listed: dict[str, Front]) -> dict[str, Any]:
    """Figure 10: a front in top-1; those in top-k of max softmax, entropy, top-k sum, mean logits,
    mean softmax."""
    plain, entropy, k_sum, *means = listed.values()
    won = [factors(mean) > factors(plain) for mean in means]
    places = [np.linspace(0, 1, len(where))[where] for where in won]
    return {
        "topk-difference": [np.ptp(range_of(f)) for f in (front, plain)],
        "topk-sum": share_won(k_sum, entropy),
        "topk-low": ratio(mean_in(plain, None, MIDDLE), mean_in(front, None, MIDDLE)),
        "topk-high": ratio(mean_in(plain, MIDDLE), mean_in(front, MIDDLE)),
        "topk-entropy": mean_in(entropy) - mean_in(plain),
        "topk-means-place": [place.mean() if len(place) else np.nan for place in places],
        "topk-means": [where.mean() for where in won],
    }
