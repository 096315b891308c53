"""The paper's claims on pairs (figures 1, 2, 5, 10 and Table 1)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy import ndarray as Array

import cascadelib as cl
from cascadelib import Front, Point
from cascadelib.store.protocol import Store
from tools.claims.evidence import (
    Evidence,
    EvidenceByClaim,
    draw_models,
    models_of_pairs,
)
from tools.claims.views import (
    Claims,
    View,
    compared,
    make_views,
    mean_of,
    points_at_accuracies,
)
from tools.designs import DESIGNS
from tools.figures.ranges import MIDDLE, UPPER, lead_across, range_of, ratio
from tools.paper import Paper

SAMPLES = Claims()  # of a view of pairs
MODELS = Claims()  # of a table of pairs
TIMES = Claims()  # of a view of pairs in time and in MACs
MEAN_NAMES = ("mean logits", "mean softmax")


def evidence(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of all claims of this module."""
    return of_pairs(paper) | of_times(paper)


def of_pairs(paper: Paper) -> EvidenceByClaim:
    """Return the evidence on pairs in MACs."""
    front = paper.search(DESIGNS["Figure 1"])
    points = paper.points(DESIGNS["Table 1"])
    splits = (paper.selection, paper.unseen)
    top_k = paper.top_k_fronts(DESIGNS["Figure 10"]) if paper.has("logits") else {}
    views = make_views({"macs": front} | top_k, groups_of(front, points), *splits)
    found = SAMPLES.measure(views, len(paper.unseen), SAMPLES.in_scope(paper))
    found["table1-thresholds"] = Evidence([point.thresholds[0] for point in points])
    pairs = pairs_with_front(views[0].fronts["macs"], paper.unseen)
    return found | of_models(pairs)


def groups_of(front: Front, points: Sequence[Point]) -> dict[str, Sequence[Point]]:
    """Return the groups of cascades on which claims on pairs are tested. points: of Table 1."""
    match = cl.pick(front, "near_best", caution=0)
    dip = least_improved(front)
    return {
        "front": front.cascades,
        "spaced": points_at_accuracies(front),
        "named": [front.reference, match, front.point(len(front) - 1)],
        "table 1": points,
    } | ({"dip": dip} if dip else {})


def least_improved(front: Front) -> list[Point]:
    """Return the cheapest cascade at the accuracy of the single model inside the hull at which a
    front improves least, [] without such a model."""
    inner = front.singles.loc[front.singles["on_hull"], "accuracy"][1:-1].to_numpy()
    if not len(inner):
        return []
    least = inner[front.improvement_at(inner).argmin()]
    row = int(front.table["accuracy"].searchsorted(least - 1e-12))
    return [front.point(min(row, len(front) - 1))]


def of_models(pairs: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence over models, from a row per pair (:func:`pairs_with_front`)."""
    return MODELS.measure(draw_models(pairs), len(models_of_pairs(pairs)))


def of_times(paper: Paper) -> EvidenceByClaim:
    """Return the evidence on pairs in the study's kind of time."""
    if not TIMES.in_scope(paper) or not paper.has("time"):
        return {}
    timed = paper.search(DESIGNS["Figure 5"])
    counted = paper.search(DESIGNS["Figure 1"])
    views = time_views(timed, counted, paper.selection, paper.unseen)
    return TIMES.measure(views, len(paper.unseen), TIMES.in_scope(paper))


def time_views(timed: Front, counted: Front, store: Store, other: Store) -> list[View]:
    """Return the views of fronts of pairs in time and in MACs."""
    groups = {"spaced": points_at_accuracies(timed)}
    return make_views({"seconds": timed, "macs": counted}, groups, store, other)


def pairs_with_front(front: Front, split: Store) -> pd.DataFrame:
    """Return a row per pair, with its families and its place on the front."""
    pairs = cl.pair_table(split, front.method, cost=front.cost_kind)
    names = pd.MultiIndex.from_frame(pairs[["first", "second"]])
    family = split.models.reindex(columns=["family"])["family"]
    order = list(front.singles.index[front.singles["on_front"]])
    return pairs.assign(
        on_front=names.isin(reaching_the_last(front)["models"]),
        two_families=pairs["first"].map(family) != pairs["second"].map(family),
        is_neighbour=names.isin([*zip(order, order[1:])]),
        cost=pairs["second"].map(front.singles["cost"]),
    )


def reaching_the_last(front: Front) -> pd.DataFrame:
    """Return the cascades of a front whose last model answers some samples."""
    return front.table[front.table["exit_rates"].str[-1] > 0]


@SAMPLES.add()
def pairs_improve(view: View) -> float:
    return np.median(view.held["spaced"].improvement)


@SAMPLES.add()
def front_noise(view: View) -> float:
    return lost_beyond_last(view, "front").mean()


SAMPLES.vary(mean_of, {"pairs-80-86": ["macs", 0.8, 0.86], "pairs-86": ["macs", 0.86]})
SAMPLES.vary(
    compared,
    {
        "topk-low": ["max softmax", "macs", None, MIDDLE],
        "topk-high": ["max softmax", "macs", MIDDLE],
    },
    "logits",
)


@SAMPLES.add("sizes")
def pairs_larger(view: View) -> list[float]:
    ranges = ([None, 0.8], [0.8, 0.86], [0.86])
    return [mean_of(view, "macs", *ends) for ends in ranges]


@SAMPLES.add()
def pairs_top(view: View) -> float:
    best, _, top = view.held["named"].accuracy
    return top - best


@SAMPLES.add()
def best_for_less(view: View) -> list[float]:
    runs = view.held["named"]
    best, match, _ = runs.accuracy
    cost_of_best, cost, _ = runs.cost
    single = runs.baseline
    hull = single.hull
    routing = np.interp(cost, single.cost[hull], single.accuracy[hull])
    return [match - best, match - routing, 1 - cost / cost_of_best]


@SAMPLES.add()
def pairs_dip(view: View) -> Array | float:
    return view.held["dip"].improvement if "dip" in view.held else np.nan


@SAMPLES.add()
def pairs_dip_where(view: View) -> Array | float:
    return view.chosen["dip"].accuracy if "dip" in view.chosen else np.nan


@SAMPLES.add()
def largest_dominates(view: View) -> float:
    front = view.fronts["macs"]
    cascades = reaching_the_last(front)
    costs = front.singles["cost"]
    first, last = (cascades["models"].str[stage].map(costs) for stage in (0, -1))
    of_last = cascades["exit_rates"].str[-1] * last
    return (of_last / cascades["cost"])[first < last].median()


@SAMPLES.add()
def early_exits(view: View) -> float:
    cascades = reaching_the_last(view.fronts["macs"])
    return np.median(cascades["exit_rates"].str[0])


@SAMPLES.add()
def table1_close(view: View) -> Array:
    return view.chosen["table 1"].accuracy - view.held["table 1"].accuracy


@SAMPLES.add()
def table1_lower(view: View) -> float:
    return lost_beyond_last(view, "table 1").mean()


@TIMES.add()
def time_improve(view: View) -> float:
    return np.quantile(view.held["spaced"].improvement, 0.1)


@TIMES.add()
def time_less(view: View) -> float:
    fronts = [view.fronts["seconds"], view.fronts["macs"]]
    lows, highs = zip(*map(range_of, fronts))
    low = max(lows)
    high = min(highs)
    if low >= high:
        return np.nan
    return ratio(*(front.mean_improvement(low, high) for front in fronts))


@TIMES.add()
def time_concave(view: View) -> float:
    front = view.fronts["seconds"]
    singles = front.singles[front.singles["on_front"]]
    gain = front.improvement_at(singles["accuracy"].to_numpy())
    on_hull = singles["on_hull"].to_numpy()
    if on_hull.all():
        return np.nan
    hull = singles.loc[on_hull, "accuracy"].to_numpy()
    above = np.searchsorted(hull, singles.loc[~on_hull, "accuracy"])
    between = [front.mean_improvement(*hull[[row - 1, row]]) for row in above]
    return gain[~on_hull].mean() / np.mean(between)


@SAMPLES.add("logits")
def topk_entropy(view: View) -> float:
    return mean_of(view, "entropy") - mean_of(view, "max softmax")


@SAMPLES.add("logits")
def topk_sum(view: View) -> tuple[float, float]:
    return lead_across(view.fronts["sum"], view.fronts["entropy"])


@SAMPLES.add("logits")
def topk_means(view: View) -> list[float]:
    return [compared(view, mean, "max softmax", None, UPPER) for mean in MEAN_NAMES]


@SAMPLES.add("logits")
def topk_means_place(view: View) -> list[float]:
    upper = [compared(view, mean, "max softmax", UPPER) for mean in MEAN_NAMES]
    return [*np.subtract(upper, topk_means(view)), *upper]


@MODELS.add()
def diversity(pairs: pd.DataFrame) -> float:
    of_front = pairs.loc[pairs["on_front"], "two_families"]
    return of_front.mean() - pairs["two_families"].mean()


@MODELS.add()
def plateau_kept(pairs: pd.DataFrame) -> float:
    return pairs["plateau"].median()


@MODELS.add()
def plateau_difference(pairs: pd.DataFrame) -> float:
    return pairs["plateau"].corr(pairs["accuracy_difference"], "spearman")


@MODELS.add()
def plateau_size(pairs: pd.DataFrame) -> float:
    neighbours = pairs[pairs["is_neighbour"]]
    return neighbours["plateau"].corr(neighbours["cost"], "spearman")


@MODELS.add()
def pair_difference(pairs: pd.DataFrame) -> list[float]:
    thirds = by_size_ratio(pairs)
    return [
        part["mean_improvement"].corr(part["accuracy_difference"], "spearman") for part in thirds
    ]


@MODELS.add()
def pair_size(pairs: pd.DataFrame) -> list[float]:
    gain = pairs["mean_improvement"]
    adjusted = gain.mean() + residuals(gain, pairs["accuracy_difference"], degree=2)
    thirds = by_size_ratio(pairs.assign(adjusted=adjusted))
    return [part["adjusted"].mean() for part in thirds]


@MODELS.add()
def pair_both(pairs: pd.DataFrame) -> list[float]:
    gain, size, less = (
        pairs[column].rank() for column in ("mean_improvement", "cost_ratio", "accuracy_difference")
    )
    by_size = np.corrcoef(residuals(gain, less), residuals(size, less))[0, 1]
    by_difference = np.corrcoef(residuals(gain, size), residuals(less, size))[0, 1]
    return [by_size, -by_difference]


def lost_beyond_last(view: View, group: str) -> Array:
    """Return the accuracy that cascades lose on held-out samples beyond their last models."""
    chosen = view.chosen[group]
    held = view.held[group]
    return (chosen.accuracy - held.accuracy) - (chosen.last_accuracy - held.last_accuracy)


def by_size_ratio(pairs: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the thirds of the pairs with the smallest, middle and largest size ratio."""
    order = pairs["cost_ratio"].to_numpy().argsort(kind="stable")
    return [pairs.iloc[rows] for rows in np.array_split(order, 3)]


def residuals(values: pd.Series, by: pd.Series, degree: int = 1) -> Array:
    """Return what a polynomial in ``by`` leaves of values. It has a lower degree for few values."""
    if by.empty:
        return values
    degree = min(degree, by.nunique() - 1)
    fitted = np.polyfit(by, values, degree)
    return values - np.polyval(fitted, by)
