"""The paper's claims on longer cascades and on methods (figures 3, 4, 8, 9 and 11)."""

from dataclasses import replace

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib import Front, Point
from cascadelib.analysis import mean_cost_ratio, range_dominance, replay
from cascadelib.analysis.shift import front_of
from cascadelib.methods.thresholds import convert_units
from cascadelib.store.protocol import Store
from tools.claims.evidence import EvidenceByClaim
from tools.claims.shared_threshold import shared_threshold_front
from tools.claims.views import Claims, Fronts, View, compared, make_views, mean_of
from tools.designs import DESIGNS, MEANS
from tools.figures.ranges import (
    BEST,
    CHEAPEST,
    LOW,
    MOST_EXPENSIVE,
    RESNET,
    factors,
    lead_across,
    mean_in,
    ratio,
)
from tools.paper import Paper

LENGTHS = Claims()  # of a view of pairs and triples, at their points
PAIRS = Claims()  # of a view of pairs by method
TRIPLES = Claims()  # of a view of pairs and triples by method
MEAN_METRICS = Claims()  # of a view of mean ensembles by metric
TIMES = Claims()  # of a view of pairs by method in time and in MACs
LOGITS = "max_softmax_mean_logits"
SOFTMAX = "max_softmax_mean_softmax"
PLAIN = ("entropy", "max_softmax", "softmax_margin", "logits_margin")
TENTH = 10  # the paper tries every tenth value of a first threshold


def evidence(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of all claims of this module."""
    return of_lengths(paper) | of_methods(paper)


def of_lengths(paper: Paper) -> EvidenceByClaim:
    """Return the evidence on pairs and triples by max softmax, at the points that were selected."""
    design = DESIGNS["Figure 4"]
    three = paper.search(design, 3)
    fronts = {"two": paper.search(design), "three": three}
    tested = LENGTHS.in_scope(paper)
    if "tenth" in tested:
        fronts["tenth"] = thinned(three)
    if "one-threshold" in tested:
        fronts["shared"] = shared_threshold_front(three)
    if "triples-plain" in tested:
        fronts["mean logits"] = paper.search(design, 3, LOGITS)
    views = length_views(fronts, paper.selection, paper.unseen)
    return LENGTHS.measure(views, len(paper.unseen), LENGTHS.in_scope(paper))


def length_views(fronts: Fronts, store: Store, other: Store) -> list[View]:
    """Return the views of pairs ("two"), triples ("three") and others at their points."""
    best = [cl.pick(fronts[name], "max_improvement") for name in ("two", "three")]
    return make_views(fronts, {"best": best}, store, other, points=list(fronts))


def thinned(three: Front) -> Front:
    """Return a front with the two nearest of every tenth value as each first threshold.

    The second threshold is unchanged. A search over all second thresholds is at least as good.
    """
    points = three.cascades
    tenths = {}
    for name in {point.models[0] for point in points}:
        single = replace(points[0], models=(name,), thresholds=(), exit_rates=(1.0,))
        run = cl.evaluate(three.store, single)
        tenths[name] = np.sort(run.confidences[0])[::TENTH]
    found: list[Point] = []
    for point in points:
        values = tenths[point.models[0]]
        above = int(np.searchsorted(values, point.inside[0]))
        below = max(above - 1, 0)
        for row in (below, min(above, len(values) - 1)):
            first = float(convert_units(point.metric, values[row]))
            thresholds = (first, *point.thresholds[1:])
            found.append(replace(point, thresholds=thresholds))
    return front_of(three.store, three, replay(three.store, found))


def of_methods(paper: Paper) -> EvidenceByClaim:
    """Return the evidence on the paper's methods, in MACs and in the study's kind of time."""
    families = [family for family in (PAIRS, TRIPLES, MEAN_METRICS) if family.in_scope(paper)]
    is_timed = paper.has("time") and bool(TIMES.in_scope(paper))
    families += [TIMES] * is_timed
    if not paper.has("metrics") or not families:
        return {}
    fronts = by_method(paper, "pairs", "Figure 3") | by_method(paper, "triples", "Figure 8", 3)
    if is_timed:
        fronts |= by_method(paper, "time", "Figure 9")
    if paper.has("logits"):
        for mean in MEANS:
            for metric in ("max_softmax", "softmax_margin"):
                method = cl.Method(metric, mean)
                fronts[f"means: {metric}, {mean}"] = paper.search(DESIGNS["Figure 11"], 2, method)
    views = make_views(fronts, {}, paper.selection, paper.unseen)
    found: EvidenceByClaim = {}
    for claims in families:
        found |= claims.measure(views, len(paper.unseen), claims.in_scope(paper))
    return found


def by_method(paper: Paper, kind: str, name: str, n_models: int = 2) -> Fronts:
    """Return the fronts of a figure by method, under "kind: method"."""
    design = DESIGNS[name]
    return {f"{kind}: {each}": paper.search(design, n_models, each) for each in paper.methods()}


LENGTHS.vary(mean_of, {"triples-87": ["three", 0.87]})


@LENGTHS.add("sizes")
def third_less(view: View) -> tuple[float, float]:
    return mean_of(view, "two") - 1, compared(view, "three", "two") - 1


@LENGTHS.add("sizes")
def third_regimes(view: View) -> list[float]:
    edges = np.linspace(LOW, BEST, 4)
    return [compared(view, "three", "two", *ends) for ends in zip(edges, edges[1:])]


@LENGTHS.add("logits")
def triples_plain(view: View) -> tuple[float, float]:
    return lead_across(view.fronts["three"], view.fronts["mean logits"])


@LENGTHS.add()
def resnet_cut(view: View) -> float:
    three = view.fronts["three"]
    hull = three.singles[three.singles["on_hull"]]
    low, high = np.log(hull["cost"].iloc[[0, -1]])
    share = np.log(RESNET / CHEAPEST) / np.log(MOST_EXPENSIVE / CHEAPEST)
    cost = np.exp(low + share * (high - low))
    accuracy = np.interp(cost, hull["cost"], hull["accuracy"])
    return 1 - three.cost_at(accuracy) / cost


@LENGTHS.add()
def triple_loss(view: View) -> float:
    lost = view.chosen["best"].accuracy - view.held["best"].accuracy
    return lost[1]


@LENGTHS.add()
def triple_cost(view: View) -> np.ndarray:
    return view.held["best"].cost / view.chosen["best"].cost - 1


def costlier(view: View, name: str) -> float:
    """Return the cost of a front ÷ that of triples, at equal accuracy."""
    return mean_cost_ratio(view.fronts["three"], view.fronts[name])


def means_of(view: View, kind: str, *ends: float | None) -> pd.Series:
    """Return the mean factor of each method between two of the paper's accuracies."""
    fronts = view.group(kind)
    means = {name: mean_in(front, *ends) for name, front in fronts.items()}
    return pd.Series(means)


def top_accuracies(view: View) -> pd.Series:
    """Return the accuracy of the most accurate pair of each method."""
    pairs = view.group("pairs")
    tops = {name: front.table["accuracy"].iloc[-1] for name, front in pairs.items()}
    return pd.Series(tops)


def worths_of_means(view: View, *kinds: str) -> list[float]:
    """Return the mean factor of mean ensembles, on average, ÷ that of max softmax, by kind."""
    return [worth_of_means(means_of(view, kind)) for kind in kinds]


def margin_of_means(view: View, low: float) -> list[float]:
    """Return the mean factor of softmax margin ÷ that of max softmax, for each mean ensemble."""
    return [
        compared(view, f"means: softmax_margin, {mean}", f"means: max_softmax, {mean}", low)
        for mean in MEANS
    ]


LENGTHS.vary(costlier, {"tenth": ["tenth"]})
LENGTHS.vary(costlier, {"one-threshold": ["shared"]}, "metrics")
ON_ALL_MEANS = ("first", "second", "compared-least")
PAIRS.vary(means_of, dict.fromkeys(ON_ALL_MEANS, ["pairs"]))
PAIRS.vary(means_of, {"margin-below-78": ["pairs", None, 0.78]})
PAIRS.vary(means_of, {"logits-86": ["pairs", 0.86]}, "logits")
PAIRS.vary(
    mean_of,
    {"first-factor": ["pairs: softmax_margin"], "second-factor": ["pairs: max_softmax"]},
)
PAIRS.vary(compared, {"means-softmax": [f"pairs: {SOFTMAX}", f"pairs: {LOGITS}"]}, "logits")
PAIRS.vary(top_accuracies, {"logits-top": []}, "logits")
TRIPLES.vary(
    means_of,
    {
        "triples-first": ["triples"],
        "triples-first-80": ["triples", 0.8],
        "triples-low": ["triples", None, 0.78],
    },
)
TRIPLES.vary(compared, {"triples-softmax": [f"triples: {SOFTMAX}", f"triples: {LOGITS}"]}, "logits")
TRIPLES.vary(worths_of_means, {"triples-means": ["pairs", "triples"]}, "logits")
MEAN_METRICS.vary(margin_of_means, {"means-margin": [0.8], "means-max": [0.86]}, "logits")
TIMES.vary(worths_of_means, {"time-means": ["pairs", "time"]}, "logits")
TIMES.vary(means_of, {"time-first": ["time"]})
TIMES.vary(means_of, {"time-86": ["time", 0.86]}, "logits")
TIMES.vary(compared, {"time-softmax": [f"time: {SOFTMAX}", f"time: {LOGITS}"]}, "logits")
TIMES.vary(mean_of, {"time-86-logits": [f"time: {LOGITS}", 0.86]}, "logits")
TIMES.vary(mean_of, {"time-86-factor": ["time: max_softmax", 0.86]})


@PAIRS.add()
def worst_plain(view: View) -> pd.Series:
    return means_of(view, "pairs")[list(PLAIN)]


@PAIRS.add()
def margin_everywhere(view: View) -> pd.Series:
    pairs = view.group("pairs")
    least = {name: factors(front)[1:].min() for name, front in pairs.items()}
    return pd.Series(least)


@PAIRS.add()
def mac_dominance(view: View) -> pd.Series:
    return range_dominance(view.group("pairs"))["cost_dominance"]


@PAIRS.add("logits")
def logits_top_accuracy(view: View) -> float:
    return top_accuracies(view)[LOGITS]


@TRIPLES.add("logits")
def triples_high(view: View) -> pd.Series:
    return ensembles_as_one(means_of(view, "triples", 0.87))


def ensembles_as_one(means: pd.Series) -> pd.Series:
    """Return mean factors by method, with the average of all mean ensembles in their place.

    The best ensemble would be chosen by noise.
    """
    ensembles = means.filter(like="_mean_")
    together = pd.Series({"mean_ensembles": ensembles.mean(skipna=False)})
    return pd.concat([together, means.drop(ensembles.index)])


def worth_of_means(means: pd.Series) -> float:
    """Return the mean factor of the mean ensembles, on average, ÷ that of max softmax."""
    return ratio(ensembles_as_one(means)["mean_ensembles"], means["max_softmax"])
