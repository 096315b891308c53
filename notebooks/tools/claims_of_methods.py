"""Evidence for the claims on longer cascades and on methods (notebooks 03, 04)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Front, Point, evaluate, published
from cascadelib.analysis import front_on, mean_cost_ratio, range_dominance, replay
from cascadelib.analysis.shift import front_of
from cascadelib.methods.thresholds import convert_units
from tools.evidence import EvidenceByClaim, Fronts, ValueByClaim, evidence_on_split, resampled
from tools.held_out import on_resamples, search_on
from tools.ranges import (
    BEST,
    CHEAPEST,
    LOW,
    MOST_EXPENSIVE,
    RESNET,
    central_lead,
    factors,
    in_time,
    mean_in,
    means_in,
    ratio,
)

WANG = {"wang-b7": "tf_efficientnet_b7", "wang-vit": "vit_large_patch16_384"}
MEANS = ("mean_logits", "mean_softmax")
LOGITS = "max_softmax_mean_logits"
SOFTMAX = "max_softmax_mean_softmax"
TENTH = 10  # the paper tries every tenth value of a first threshold


def search_again(split: Any, fronts: Fronts, cost: str | None = None) -> Fronts:
    """Repeat the searches of {name: front}, see :func:`search_on`."""
    return {name: search_on(split, front, cost) for name, front in fronts.items()}


def replay_fronts(split: Any, fronts: Fronts, ranges: bool = True) -> Fronts:
    """Evaluate {name: front} on another split, see :func:`cascadelib.analysis.front_on`."""
    return {name: front_on(split, front, ranges) for name, front in fronts.items()}


@resampled
def lengths_claims(two: Front, three: Front, mean_logits: Front) -> ValueByClaim:
    """Return the values of figure 4: fronts of pairs, of triples, and of triples with mean
    logits."""
    hull = three.singles[three.singles["on_hull"]]
    low, high = np.log(hull["cost"].iloc[[0, -1]])
    cost = np.exp(
        low + np.log(RESNET / CHEAPEST) / np.log(MOST_EXPENSIVE / CHEAPEST) * (high - low)
    )
    accuracy = np.interp(cost, hull["cost"], hull["accuracy"])
    gain = ratio(mean_in(three), mean_in(two)) - 1
    edges = np.linspace(LOW, BEST, 4)
    regimes = [ratio(mean_in(three, *ends), mean_in(two, *ends)) for ends in zip(edges, edges[1:])]
    costs = three.singles["cost"].to_dict()
    rows = zip(three.table["models"], three.table["exit_rates"], three.table["cost"])
    of_last = [costs[names[-1]] * rates[-1] / total for names, rates, total in rows if rates[-1]]
    return {
        "triples-87": mean_in(three, 0.87),
        "third-gain": [gain, ratio(mean_in(three, 0.86), mean_in(two, 0.86)) - 1],
        "third-less": (mean_in(two) - 1, gain),
        "third-regimes": regimes,
        "triples-plain": central_lead(three, mean_logits),
        "resnet-cut": 1 - three.cost_at(accuracy) / cost,
        "triple-factor": three.table["improvement"].max(),
        "earlier-stages": 1 - np.median(of_last),
    }


@resampled
def wang_claims(three: Front) -> ValueByClaim:
    """Return the MACs of two of ImageNet's models ÷ those of equally accurate triples."""
    table = published.models().loc[list(WANG.values())]
    ratios = table["macs"].to_numpy() / three.cost_at(table["top1"].to_numpy())
    return dict(zip(WANG, ratios))


def triple_held_claims(pair: Point, triple: Point, store: Any, other: Any) -> EvidenceByClaim:
    """Evaluate the pair and the triple with the largest factors on another split."""
    here, there = (on_resamples(split, [pair, triple]) for split in (store, other))
    lost = (here.accuracy - there.accuracy)[:, 1]
    growth = there.cost / here.cost - 1
    return {
        "triple-loss": evidence_on_split(lost, other, triple.cost_kind),
        "triple-cost": evidence_on_split(growth, other, triple.cost_kind),
    }


def tenth_claims(three: Front) -> EvidenceByClaim:
    """Bound the cost of searching only every tenth value of the first threshold.

    The first threshold of a point on the exact front is replaced by the two nearest of these
    values. The second threshold is unchanged. A search over all second thresholds is at least as
    good.
    """
    points = three.cascades
    tenths = {}
    for name in {point.models[0] for point in points}:
        alone = replace(points[0], models=(name,), thresholds=(), exit_rates=(1.0,))
        tenths[name] = np.sort(evaluate(three.store, alone).confidences[0])[::TENTH]
    thinned = []
    for point in points:
        values = tenths[point.models[0]]
        above = int(np.searchsorted(values, point.inside[0]))
        for row in (max(above - 1, 0), min(above, len(values) - 1)):
            first = float(convert_units(point.metric, values[row]))
            thinned.append(replace(point, thresholds=(first, *point.thresholds[1:])))
    return tenth_cost(three, front_of(three.store, three, replay(three.store, thinned)))


@resampled
def tenth_cost(three: Front, thinned: Front) -> ValueByClaim:
    """Return the cost of a thinned front ÷ that of the exact front, at equal accuracy."""
    return {"tenth": mean_cost_ratio(three, thinned)}


def methods_claims(
    two: Fronts,
    three: Fronts,
    timed: Fronts,
    ensembles: Fronts,
) -> EvidenceByClaim:
    """Return the evidence of figures 3, 8, 9 and 11: {method: front} of the twelve methods.

    two, three: pairs and triples in MACs. timed: pairs in time. ensembles: {"metric, mean": front}.
    """
    found = pairs_by_method(two) | triples_by_method(three, two) | means_by_metric(ensembles)
    return found | time_by_method(timed, two)


@resampled
def pairs_by_method(two: Fronts) -> ValueByClaim:
    """Return the values of the claims on methods with pairs, from {method: front}."""
    pairs = means_in(two)
    top = pd.Series({name: front.table["accuracy"].iloc[-1] for name, front in two.items()})
    least = pd.Series({name: factors(front)[1:].min() for name, front in two.items()})
    plain = [name for name in two if "_most_" not in name and "_mean_" not in name]
    return {
        "first": pairs,
        "second": pairs,
        "first-factor": pairs["softmax_margin"],
        "second-factor": pairs["max_softmax"],
        "worst-plain": pairs[plain],
        "margin-everywhere": least,
        "margin-below-78": means_in(two, None, 0.78),
        "mac-dominance": range_dominance(two)["cost_dominance"],
        "compared-least": pairs,
        "ensembles-none": pairs,
        "ensembles-front": pairs,
        "scaling-means": [ratio(pairs[f"{m}_ts"], pairs[m]) - 1 for m in (LOGITS, SOFTMAX)],
        "means-softmax": ratio(pairs[SOFTMAX], pairs[LOGITS]),
        "logits-86": means_in(two, 0.86),
        "logits-top-accuracy": top[LOGITS],
        "logits-top": top,
        "ensembles-top": top,
    }


@resampled
def triples_by_method(three: Fronts, two: Fronts) -> ValueByClaim:
    """Return the values of the claims on methods with triples, from {method: front} of triples and
    pairs."""
    triples = means_in(three)
    return {
        "triples-softmax": ratio(triples[SOFTMAX], triples[LOGITS]),
        "triples-first": triples,
        "triples-first-80": means_in(three, 0.8),
        "triples-low": means_in(three, None, 0.78),
        "triples-high": ensembles_as_one(means_in(three, 0.87)),
        "triples-means": [worth_of_means(means_in(two)), worth_of_means(triples)],
    }


@resampled
def time_by_method(timed: Fronts, two: Fronts) -> ValueByClaim:
    """Return the values of the claims on methods with pairs in time. two: pairs in MACs."""
    time = means_in(timed)
    upper = means_in(timed, 0.86)
    values = {
        "time-means": [worth_of_means(means_in(two)), worth_of_means(time)],
        "time-first": time,
        "time-softmax": ratio(time[SOFTMAX], time[LOGITS]),
        "time-86": upper,
    }
    kind = next(iter(timed.values())).cost_kind
    if kind != "seconds":
        values |= {"time-86-logits": upper[LOGITS], "time-86-factor": upper["max_softmax"]}
    return in_time(values, kind)


@resampled
def means_by_metric(ensembles: Fronts) -> ValueByClaim:
    """Compare softmax margin with max softmax for mean ensembles: {"metric, mean": front}."""
    values = {}
    for name, low in (("means-margin", 0.8), ("means-max", 0.86)):
        means = means_in(ensembles, low)
        values[name] = [
            ratio(means[f"softmax_margin, {mean}"], means[f"max_softmax, {mean}"]) for mean in MEANS
        ]
    return values


def ensembles_as_one(means: pd.Series) -> pd.Series:
    """Return mean improvements by method, with the average of all mean ensembles in their place.

    The best ensemble would be chosen by noise.
    """
    ensembles = means.filter(like="_mean_")
    together = pd.Series({"mean_ensembles": ensembles.mean(skipna=False)})
    return pd.concat([together, means.drop(ensembles.index)])


def worth_of_means(means: pd.Series) -> float:
    """Return the mean improvement of the mean ensembles, on average, ÷ that of max softmax."""
    return ratio(ensembles_as_one(means)["mean_ensembles"], means["max_softmax"])


@resampled
def threshold_claims(several: Front, shared: Front) -> ValueByClaim:
    """Compare a front with one threshold per stage and a front with one threshold for all
    stages."""
    return {"one-threshold": mean_cost_ratio(several, shared)}
