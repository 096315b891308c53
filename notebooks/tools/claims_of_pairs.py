"""Evidence for the claims on single models and on pairs (notebooks 01, 02)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Front, Point, search
from tools.evidence import (
    Evidence,
    EvidenceByClaim,
    Fronts,
    ValueByClaim,
    correlations,
    evidence_on_split,
    over_models,
    resampled,
)
from tools.held_out import on_resamples, with_held_out_split
from tools.ranges import MIDDLE, UPPER, central_lead, in_time, mean_in, range_of, ratio

CLASSES = 3  # classes of size ratios in which accuracy differences are compared
TIMES = ("seconds", "published_seconds")  # kinds of cost: measured by the user, published


def ignore_empty(function: Callable) -> Callable:
    """Silence warnings of means and correlations that are nan because a store has few models."""

    @wraps(function)
    def called(*args: Any) -> Any:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            return function(*args)

    return called


def times_of(store: Any) -> list[str]:
    """Return the kinds of time that all models of a store have."""
    return [kind for kind in TIMES if kind in store.models and store.models[kind].notna().all()]


def fronts_in_time(store: Any, paper: Front, kind: str) -> tuple[Front, Front]:
    """Return the fronts of pairs of front models in a kind of time and in MACs.

    If the front in time has a single model, pairs in time are of all models.
    """
    timed = search(store, 2, paper.method, cost=kind)
    if timed.singles["on_front"].sum() > 1:
        timed = search(store, 2, paper.method, cost=kind, models="pareto")
    return timed, search(store, 2, paper.method, cost="macs", models="pareto")


def singles_claims(macs: Front, seconds: Front, other: Any) -> EvidenceByClaim:
    """Return the evidence on single models in MACs and in time, from fronts of one model each.

    other: another split.
    """
    values = size_claims(macs, other) | counted_claims(macs.singles, seconds.singles)
    times = time_of_singles(macs.singles, seconds.singles)
    return values | in_time(times, seconds.cost_kind)


def counted_claims(macs: pd.DataFrame, seconds: pd.DataFrame) -> EvidenceByClaim:
    """Count the models on the fronts. The tables have the columns accuracy, cost and on_front."""
    in_macs = macs.index[macs["on_front"]]
    in_seconds = seconds.index[seconds["on_front"]]
    return {
        "candidates": Evidence(len(macs)),
        "front-models": Evidence(len(in_macs)),
        "time-front-models": Evidence(len(in_seconds)),
        "models": Evidence(len(in_macs.union(in_seconds))),
    }


def time_of_singles(macs: pd.DataFrame, seconds: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence on time, from tables as in :func:`counted_claims`.

    The correlation is over models.
    """
    costs = pd.DataFrame({"macs": macs["cost"], "seconds": seconds["cost"]}).dropna()
    in_macs = macs[macs["on_front"]]
    in_seconds = seconds[seconds["on_front"]]
    shared = in_macs.index.intersection(in_seconds.index)
    either = in_macs.index.union(in_seconds.index)
    spans = [float(np.ptp(np.log10(rows["cost"]))) for rows in (in_macs, in_seconds)]

    rank_correlation = costs.corr("spearman").iloc[0, 1]
    return {
        "macs-time": correlations(rank_correlation, len(costs), len(costs)),
        "time-orders": Evidence(spans),
        "time-overlap": Evidence((len(shared), len(either))),
    }


def size_gains(singles: pd.DataFrame) -> tuple[float, float]:
    """Return the gain in accuracy along the front of single models, by half of log cost."""
    front = singles[singles["on_front"]]
    logs = np.log10(front["cost"].to_numpy())
    accuracy = front["accuracy"].to_numpy()
    half = np.interp((logs[0] + logs[-1]) / 2, logs, accuracy)
    return half - accuracy[0], accuracy[-1] - half


def size_claims(macs: Front, other: Any) -> EvidenceByClaim:
    """Return the evidence on gains by size, on a split that did not select the front.

    On the selection split, the front of equally accurate models is the maximum of their noise.
    """
    front, split = with_held_out_split(macs, other)
    columns = split.models.index.get_indexer(front.singles.index)
    accuracies = on_resamples(split, [front.reference]).single_accuracy[:, columns]
    gains = np.array([size_gains(front.singles.assign(accuracy=row)) for row in accuracies])
    return {"size-diminishes": evidence_on_split(gains, split, front.cost_kind)}


def pairs_claims(front: Front, table: pd.DataFrame, families: pd.Series) -> EvidenceByClaim:
    """Return the evidence of figures 1 and 2.

    front: pairs of front models. table: ``pair_table`` of its split. families: {model: family}.
    """
    costs = front.singles["cost"]
    order = front.singles.index[front.singles["on_front"]]
    found = front_claims(front, inner_hull(front))
    found |= over_models(plateau_claims, table, costs, order)
    found |= over_models(diversity_of, pairs_of_front(front, table, families))
    of_front = len(order)
    found["pairs"] = Evidence(of_front * (of_front - 1) // 2)
    return found


def inner_hull(front: Front) -> pd.Index:
    """Return the models on the hull between its ends, by rising cost."""
    return front.singles[front.singles["on_hull"]].sort_values("cost").index[1:-1]


@resampled
@ignore_empty
def front_claims(front: Front, inner: pd.Index) -> ValueByClaim:
    """Return the values of figure 1.

    front: pairs of front models. inner: :func:`inner_hull` of the front on its own split, so that
    the models are the same on all resamples.
    """
    costs = front.singles["cost"].to_dict()
    accuracy = front.singles["accuracy"][inner].to_numpy()
    at_inner = front.improvement_at(accuracy)
    rows = zip(front.table["models"], front.table["exit_rates"], front.table["cost"])
    longer = [(names, rates[0], cost) for names, rates, cost in rows if rates[-1] > 0]
    return {
        "early-exits": np.median([rate for _, rate, _ in longer]),
        "earlier-cost": np.median([costs[names[0]] / cost for names, _, cost in longer]),
        "pairs-most": front.table["improvement"].max(),
        "pairs-dip": at_inner,
        "pairs-dip-where": accuracy[at_inner.argmin()] if len(inner) else None,
        "pairs-80-86": mean_in(front, 0.8, 0.86),
        "pairs-86": mean_in(front, 0.86),
        "pairs-larger": [
            mean_in(front, None, 0.8),
            mean_in(front, 0.8, 0.86),
            mean_in(front, 0.86),
        ],
    }


def pairs_of_front(front: Front, table: pd.DataFrame, families: pd.Series) -> pd.DataFrame:
    """Return the columns first, second, on_front and two_families of each pair of front models.

    Models of an unknown family are omitted. The arguments are those of :func:`pairs_claims`.
    """
    pairs = table[["first", "second"]]
    known = pairs.isin(families.index[families.notna()]).all(axis=1)
    pairs = pairs[known].reset_index(drop=True)
    cascades = zip(front.table["models"], front.table["exit_rates"])
    on_front = {names for names, rates in cascades if rates[-1]}  # both models run
    return pairs.assign(
        on_front=[names in on_front for names in pairs.itertuples(index=False, name=None)],
        two_families=pairs["first"].map(families) != pairs["second"].map(families),
    )


@ignore_empty
def diversity_of(pairs: pd.DataFrame) -> dict[str, float]:
    """Return the share of a front's pairs that are of two families, minus that of all pairs.

    pairs: rows of :func:`pairs_of_front`.
    """
    two = pairs["two_families"]
    return {"diversity": two[pairs["on_front"]].mean() - two.mean()}


@ignore_empty
def plateau_claims(table: pd.DataFrame, costs: pd.Series, order: pd.Index) -> ValueByClaim:
    """Return the values of figure 2.

    table: rows of a ``pair_table``. costs: cost by model. order: the models on the front by rising
    cost.
    """
    next_larger = dict(zip(order, order[1:]))
    neighbours = table[table["first"].map(next_larger) == table["second"]]
    ranks = table.rank(numeric_only=True)
    less = ranks["accuracy_difference"]
    by_size = np.array_split(table["cost_ratio"].to_numpy().argsort(kind="stable"), CLASSES)
    within = [table.iloc[rows] for rows in by_size]
    gain = table["mean_improvement"]
    adjusted = gain.mean() + unexplained(gain, table["accuracy_difference"], degree=2)
    sizes = neighbours["second"].map(costs)
    return {
        "plateau-kept": table["plateau"].median(),
        "plateau-difference": ranks["plateau"].corr(less),
        "plateau-size": neighbours["plateau"].corr(sizes, "spearman"),
        "pair-difference": [
            rows["mean_improvement"].corr(rows["accuracy_difference"], "spearman")
            for rows in within
        ],
        "pair-size": [adjusted[rows].mean() for rows in by_size],
        "pair-both": [
            partial_correlation(ranks["mean_improvement"], ranks["cost_ratio"], less),
            -partial_correlation(ranks["mean_improvement"], less, ranks["cost_ratio"]),
        ],
    }


def partial_correlation(one: pd.Series, other: pd.Series, by: pd.Series) -> float:
    """Return the correlation of what a straight line in ``by`` leaves of two columns."""
    return np.corrcoef(unexplained(one, by), unexplained(other, by))[0, 1]


def unexplained(values: pd.Series, by: pd.Series, degree: int = 1) -> np.ndarray:
    """Return the residuals of a polynomial in ``by``.

    The degree is lower if ``by`` has few values. Three models, for example, have a single pair.
    """
    y = values.to_numpy(float)
    x = by.to_numpy(float)
    degree = min(degree, len(np.unique(x)) - 1)
    return y - np.polyval(np.polyfit(x, y, degree), x) if len(x) else y


def exceeding_claims(
    curves: Mapping[str, pd.DataFrame], front: Front, other: Any
) -> EvidenceByClaim:
    """Measure by how much pairs exceed their second models on another split.

    curves: {"first → second": ``pair_curve``} on the selection split. Each pair is taken at its
    most accurate threshold. front: the method, score and cost.
    """
    template = front.point(0)
    points = []
    for label, curve in curves.items():
        best = curve.loc[curve["accuracy"].idxmax()]
        models = tuple(label.split(" → "))
        points.append(replace(template, models=models, thresholds=(float(best["threshold"]),)))
    found = on_resamples(other, points)
    seconds = other.models.index.get_indexer([point.models[-1] for point in points])
    gains = found.accuracy - found.single_accuracy[:, seconds]
    return {"plateau-exceeds": evidence_on_split(gains, other, template.cost_kind)}


def table1_claims(
    points: list[Point], checked: pd.DataFrame, store: Any, other: Any
) -> EvidenceByClaim:
    """Return the evidence of Table 1: the points of locally largest improvement.

    checked: ``on_both_splits`` of these points, from ``store`` to ``other``.
    """
    lost, lost_by_last = losses(points, store, other)
    cost = points[0].cost_kind
    found = {
        "table1": Evidence(list(checked["improvement"]), cost=cost),
        "table1-thresholds": Evidence([point.thresholds[0] for point in points], cost=cost),
    }
    beyond = (lost - lost_by_last).mean(axis=0)
    for name, values in {"table1-close": lost.T, "table1-lower": beyond}.items():
        found[name] = evidence_on_split(values, other, cost)
    return found


def losses(points: Sequence[Point], store: Any, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the accuracy that cascades, and that their last models, lose from one store to
    another.

    Each is float64 [P, 1 + R]: the samples unchanged, then each resample of both stores.
    """
    lasts = [point.active_models[-1] for point in points]
    accuracies = []
    of_lasts = []
    for split in (store, other):
        drawn = on_resamples(split, list(points))
        accuracies.append(drawn.accuracy.T)
        of_lasts.append(drawn.single_accuracy[:, split.models.index.get_indexer(lasts)].T)
    return accuracies[0] - accuracies[1], of_lasts[0] - of_lasts[1]


def noise_claims(front: Front, other: Any) -> EvidenceByClaim:
    """Measure how much more a front's cascades lose on another split than their last models, on
    average."""
    lost, lost_by_last = losses(front.cascades, front.store, other)
    beyond = (lost - lost_by_last).mean(axis=0)
    return {"front-noise": evidence_on_split(beyond, other, front.cost_kind)}


@resampled
def time_claims(timed: Front, counted: Front) -> ValueByClaim:
    """Return the values of figure 5: fronts of pairs in time and in MACs."""
    singles = timed.singles[timed.singles["on_front"]]
    low_in_time, high_in_time = range_of(timed)
    low_in_macs, high_in_macs = range_of(counted)
    low = max(low_in_time, low_in_macs)
    high = min(high_in_time, high_in_macs)
    less = np.nan
    if low < high:
        less = ratio(timed.mean_improvement(low, high), counted.mean_improvement(low, high))
    accuracy = singles["accuracy"].to_numpy()
    gain = timed.improvement_at(accuracy)
    on_hull = singles["on_hull"].to_numpy()
    concave = np.nan
    if (~on_hull).any():
        hull = accuracy[on_hull]
        above = np.searchsorted(hull, accuracy[~on_hull])
        between = [timed.mean_improvement(*hull[[row - 1, row]]) for row in above]
        concave = gain[~on_hull].mean() / np.mean(between)
    values = {"time-less": less, "time-concave": concave}
    return in_time(values, timed.cost_kind)


@resampled
def topk_claims(front: Front, listed: Fronts) -> ValueByClaim:
    """Return the values of figure 10.

    front: in top-1. listed: in top-k, of max softmax, entropy, top-k sum, mean logits and mean
    softmax.
    """
    plain, entropy, k_sum, *means = listed.values()
    below = [ratio(mean_in(mean, None, UPPER), mean_in(plain, None, UPPER)) for mean in means]
    upper = [ratio(mean_in(mean, UPPER), mean_in(plain, UPPER)) for mean in means]
    return {
        "topk-difference": [np.ptp(range_of(f)) for f in (front, plain)],
        "topk-sum": central_lead(k_sum, entropy),
        "topk-low": ratio(mean_in(plain, None, MIDDLE), mean_in(front, None, MIDDLE)),
        "topk-high": ratio(mean_in(plain, MIDDLE), mean_in(front, MIDDLE)),
        "topk-entropy": mean_in(entropy) - mean_in(plain),
        "topk-means": below,
        "topk-means-place": [*np.subtract(upper, below), *upper],
    }
