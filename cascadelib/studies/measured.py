"""What a run shows of the paper's claims, from fronts and tables that a notebook has: {id: value}, for ``ledger``.

Where the paper speaks of an accuracy ("above 86%"), a run is measured at that share of its own range, from the cheapest
to the best single model on the front: on the paper's models that is the paper's accuracy.
"""

from typing import Any

import numpy as np
import pandas as pd

from ..fronts.front import Front
from ..fronts.selection import pick
from .paper import BEST, CHEAPEST, DEAREST, LOW, RESNET

MIDDLE = (LOW + BEST) / 2
MEANS = ("mean_logits", "mean_softmax")


def ends_of(front):
    """Accuracies of the cheapest and of the best single model on the front."""
    return float(front.baseline.accuracy[front.baseline.front[0]]), front.baseline.best


def mean_in(front, low=None, high=None):
    """Mean improvement between two of the paper's accuracies (default: the whole range)."""
    start, best = ends_of(front)
    shares = [None if end is None else (end - LOW) / (BEST - LOW) for end in (low, high)]
    return front.mean_improvement(*(None if share is None else start + share * (best - start) for share in shares))


def means_in(fronts, low=None, high=None):
    """The same of each of {label: front}, the largest first."""
    return pd.Series({label: mean_in(f, low, high) for label, f in fronts.items()}).sort_values(ascending=False)


def factors(front):
    """Improvement at evenly spaced accuracies."""
    return front.improvement_curve()["improvement"]


def share_won(front, other):
    """Share of the accuracies at which two fronts of one baseline differ where the first is the better."""
    won, lost = factors(front) > factors(other), factors(front) < factors(other)
    return won.sum() / ((won | lost).sum() or np.nan)


def pairs_claims(front: Front, table: pd.DataFrame, curves: dict[str, pd.DataFrame], families: pd.Series) -> dict:
    """Figures 1, 2: a front of pairs of front models, their ``pair_table``, some ``pair_curve``, {model: family}."""
    models, inner = front.singles.query("on_front"), front.baseline.accuracy[front.baseline.hull[1:-1]]
    regimes = [mean_in(front, None, 0.8), mean_in(front, 0.8, 0.86), mean_in(front, 0.86)]
    ranks = table.assign(size=table["second"].map(models["cost"])).corr("spearman", numeric_only=True)
    by_size = np.array_split(table.sort_values("cost_ratio")["mean_improvement"], 3)
    exceeds = [curve["accuracy"].max() > curve["accuracy"].iloc[0] for curve in curves.values()]
    values: dict[str, Any] = {"front-models": len(models), "pairs": len(models) * (len(models) - 1) // 2}
    values |= {"pairs-improve": (factors(front) > 1).mean(), "pairs-most": front.table["improvement"].max()}
    values["pairs-dip"] = min(zip(front.improvement_at(inner), inner), default=None)
    values |= {"pairs-80-86": regimes[1], "pairs-86": regimes[2], "pairs-larger": regimes}
    values["pairs-top"] = front.table["accuracy"].iloc[-1] - front.baseline.best
    values["pairs-families"] = ", ".join(front.shares(families).index)
    values |= {"plateau-kept": table["plateau"].median(), "plateau-exceeds": np.mean(exceeds)}
    values |= {"plateau-size": ranks.loc["plateau", "size"], "pair-size": [part.mean() for part in by_size]}
    less = ranks["accuracy_difference"]
    return values | {"plateau-difference": less["plateau"], "pair-difference": less["mean_improvement"]}


def topk_claims(front: Front, listed: dict[str, Front]) -> dict:
    """Figure 10: a front in top-1; those in top-k of max softmax, entropy, top-k sum, mean logits, mean softmax."""
    plain, entropy, k_sum, *means = listed.values()
    values = {"topk-difference": [np.ptp(ends_of(f)) for f in (front, plain)], "topk-sum": share_won(k_sum, entropy)}
    values["topk-low"] = mean_in(plain, None, MIDDLE) / mean_in(front, None, MIDDLE)
    values["topk-high"] = mean_in(plain, MIDDLE) / mean_in(front, MIDDLE)
    values["topk-entropy"] = mean_in(entropy) - mean_in(plain)
    return values | {"topk-means": [(factors(mean) > factors(plain)).mean() for mean in means]}


def lengths_claims(two: Front, three: Front, mean_logits: Front, checked: pd.DataFrame) -> dict:
    """Figure 4: fronts of pairs and triples, of triples with mean logits; ``hold_out`` of the best of either length."""
    n, best = len(three.candidates), pick(three, "max_improvement")
    hull = three.singles.query("on_hull")
    low, high = np.log(hull["cost"].iloc[[0, -1]])
    cost = np.exp(low + np.log(RESNET / CHEAPEST) / np.log(DEAREST / CHEAPEST) * (high - low))
    accuracy = np.interp(cost, hull["cost"], hull["accuracy"])
    values: dict[str, Any] = {"triples": n * (n - 1) * (n - 2) // 6, "triples-87": mean_in(three, 0.87)}
    values["third-gain"] = [mean_in(three, above) / mean_in(two, above) - 1 for above in (None, 0.86)]
    values |= {"triples-plain": share_won(three, mean_logits), "triple-factor": best.improvement}
    values |= {"triple-models": " → ".join(best.models), "triple-thresholds": best.thresholds}
    values["triple-loss"] = (checked["accuracy"] - checked["accuracy_held_out"]).iloc[1]
    values |= {"triple-cost": checked["cost_held_out"] / checked["cost"] - 1}
    return values | {"resnet-cut": 1 - three.cost_at(accuracy) / cost}


def methods_claims(two: dict, three: dict, timed: dict, ensembles: dict) -> dict:
    """Figures 3, 8, 9, 11: {method: front} of the twelve: pairs, triples, pairs in time; {"metric, mean": front}."""
    pairs, triples, time = map(means_in, (two, three, timed))
    names, upper, upper_time = list(pairs.index), means_in(two, 0.86), means_in(timed, 0.86)
    plain = [name for name in names if "_most_" not in name and "_mean_" not in name]
    everywhere = [name for name in names if (factors(two[name])[1:] > 1).all()]
    top = pd.Series({name: front.table["accuracy"].iloc[-1] for name, front in two.items()})
    best_mean = [means.filter(like="_mean_").max() / means["max_softmax"] for means in (pairs, triples, time)]
    logits, softmax = (f"max_softmax_{mean}" for mean in MEANS)
    values: dict[str, Any] = {"methods": len(two), "first": names[0], "second": 1 + names.index("max_softmax")}
    values |= {"first-factor": pairs["softmax_margin"], "second-factor": pairs["max_softmax"]}
    values |= {"worst-plain": pairs[plain].idxmin(), "margin-everywhere": ", ".join(everywhere) or "none"}
    values["margin-below-78"] = means_in(two, None, 0.78).index[0]
    values["compared-least"] = sum("_most_confident" in name for name in names[-4:])
    values["scaling-means"] = [pairs[f"{name}_ts"] / pairs[name] - 1 for name in (logits, softmax)]
    values |= {"means-softmax": pairs[softmax] / pairs[logits], "triples-softmax": triples[softmax] / triples[logits]}
    values |= {"logits-86": upper.index[0], "logits-top-accuracy": top[logits]}
    values["logits-top"] = ", ".join(top.index[top == top.max()])
    values["max-86"] = upper["max_softmax"] / upper["softmax_margin"]
    values |= {"triples-first": triples.index[0], "triples-first-80": means_in(three, 0.8).index[0]}
    values |= {"triples-low": means_in(three, None, 0.78).index[0], "triples-high": means_in(three, 0.87).index[0]}
    values |= {"triples-means": best_mean[:2], "time-means": best_mean[::2]}
    values |= {"time-first": time.index[0], "time-softmax": time[softmax] / time[logits]}
    values |= {"time-86": upper_time[[logits, "max_softmax"]], "time-86-factor": upper_time["max_softmax"]}
    for name, above in (("means-margin", 0.8), ("means-max", 0.86)):
        means = means_in(ensembles, above)
        values[name] = [means[f"softmax_margin, {mean}"] / means[f"max_softmax, {mean}"] for mean in MEANS]
    return values
