"""The paper's claims beside what a run shows: one table, what of it published figures tell, and a verdict a claim.

Where the paper speaks of an accuracy ("above 86%"), a run is measured at that share of its own range, from the cheapest
to the best single model on the front: on the paper's models that is the paper's accuracy.
"""

from collections.abc import Callable
from math import comb, log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..checks import known
from ..evaluation.pareto import Baseline
from ..fronts.front import Front
from ..fronts.selection import pick
from . import published

CLAIMS = Path(__file__).with_name("claims.csv")
LOW, BEST = 0.59856, 0.88602  # top-1 of the cheapest and the best model of the paper's front in MACs
CHEAPEST, DEAREST, RESNET = 2.575e7, 3.622e11, 4.111e9  # MACs of both, and of the ResNet-50 of section 4.1
TABLE_1 = (  # accuracy and cost on the validation set, models
    (0.7588, 136.2e6, "tf_mobilenetv3_small_075", "mobilenetv3_large_100_miil"),
    (0.8339, 732.4e6, "mobilenetv3_large_100_miil", "tf_efficientnet_b3_ns"),
    (0.8732, 14.39e9, "tf_efficientnet_b4_ns", "beit_large_patch16_224"),
)
MIDDLE = (LOW + BEST) / 2
MEANS = ("mean_logits", "mean_softmax")
RULES: dict[str, Callable] = {  # of a value's numbers v, given the rule's bounds
    ">": lambda v, bound: np.greater(v, float(bound)),
    "<": lambda v, bound: np.less(v, float(bound)),
    "in": lambda v, low, high: (np.array(v) >= float(low)) & (np.array(v) <= float(high)),
    "is": lambda v, text: v == [text],
    "has": lambda v, part: part in v[0],
    "rises": lambda v: np.diff(v) > 0,
    "falls": lambda v: np.diff(v) < 0,
    "peaks": lambda v: v[0] < v[1] > v[2],
    "straddles": lambda v: min(v) < 0 < max(v),
}


def paper_claims() -> pd.DataFrame:
    """The paper's claims, a row each by id: notebook ("02" … "07"), section, claim in our words, paper (its value);
    show: the format of a number; rule (of ``RULES``) and bounds that a run's value must obey, none where it is only
    shown; scope: how a data set's name begins for which it can be judged; why not otherwise; why it is unpublished."""
    return pd.read_csv(CLAIMS, dtype=str, keep_default_na=False).set_index("id")


def ledger(
    values: dict[str, Any], notebook: str | None = None, dataset: str = "", held_out: dict[str, Any] | None = None
) -> pd.DataFrame:
    """What a run shows of the paper's claims (of one notebook's), a row each: section, claim, paper, published (see
    :func:`published_values`), held out, this run, and the verdict: "agrees", "differs", "open" (what is held out says
    otherwise than the split that chose), or "not comparable" and why.

    values: {id: number, text or sequence; None or nan: this run has none}, where cascades were chosen, as in the paper;
    held_out: the same of the identical cascades on another split; dataset: the name in the run's store. ValueError for
    an unknown notebook, and for an id that these claims don't have.
    """
    table, told = paper_claims(), published_values()
    if notebook is not None:
        table = table[table["notebook"] == known(notebook, sorted(set(table["notebook"])), "notebook")]
    kept = held_out or {}
    for name in [*values, *kept]:
        known(name, table.index, "claim")
    found, there = ({name: parts_of(of.get(name)) for name in table.index} for of in (values, kept))
    rows = table[["section", "claim", "paper"]].copy()
    otherwise = table["unpublished"].replace("", "needs the models' outputs")
    rows["published"] = [in_words(parts_of(told.get(n)), table["show"][n]) or otherwise[n] for n in table.index]
    for column, parts in (("held out", there), ("this run", found)):
        rows[column] = [in_words(parts[name], table["show"][name]) or "–" for name in table.index]
    rows["verdict"] = [verdict(parts, table.loc[name], dataset, there[name]) for name, parts in found.items()]
    return rows


def parts_of(value):
    """A value as a list, empty where it is none or nan, or has such a part."""
    parts = list(value) if np.ndim(value) else [value]
    return [] if pd.isna(parts).any() else parts


def in_words(parts, show):
    """Up to five parts one by one, of more the least and the largest."""
    numbers = parts if len(parts) <= 5 else [min(parts), max(parts)]
    return (", " if numbers == parts else " to ").join(p if isinstance(p, str) else format(p, show) for p in numbers)


def verdict(parts, claim, dataset, held_out=()):
    """Of a value's parts, and of those held out, by a claim's row."""
    rule, *bounds = claim["rule"].split() or [""]
    if rule and parts and (claim["scope"] == "any" or dataset.startswith(claim["scope"])):
        obeyed = {bool(np.all(RULES[rule](each, *bounds))) for each in (parts, list(held_out)) if each}
        return "open" if len(obeyed) > 1 else "agrees" if obeyed.pop() else "differs"
    return f"not comparable: {claim['why'] or 'this run has no value'}"


def published_values() -> dict[str, Any]:
    """{id of a claim: its value} where that follows from what timm published of ImageNet's models (see
    :func:`published.models`): fronts, families, the baseline at the paper's accuracies and costs, ImageNetV2."""
    table = published.models()
    in_macs, in_seconds = published.singles(table), published.singles(table, "seconds")
    macs, seconds = (rows[rows["on_front"]] for rows in (in_macs, in_seconds))
    cost, accuracy = macs["cost"], macs["accuracy"]
    baseline, values = Baseline(cost, accuracy), singles_claims(in_macs, in_seconds)
    values |= {"pairs": comb(len(macs), 2), "triples": comb(len(macs), 3), "pairs-families": families_in(macs)}
    values["time-families"] = f"{families_in(macs)}; in time {families_in(seconds)}"
    factors = [baseline.cost_at(at) / macs_there for at, macs_there, *_ in TABLE_1]
    values |= {"table1": factors, "pairs-most": factors[-1]}
    values["pairs-larger"] = "at the points of Table 1: " + in_words(factors, ".2f")
    values["earlier-cost"] = np.median([cost[first] / macs_there for _, macs_there, first, _ in TABLE_1])
    values["table1-exits"] = [1 - (c - cost[first]) / cost[second] for _, c, first, second in TABLE_1]
    values["pairs-dip"] = f"{TABLE_1[0][3]}: {accuracy[TABLE_1[0][3]]:.2%}, on the hull"
    values["triple-factor"] = baseline.cost_at(0.8786 + 0.0008) / (26.32e9 / 1.011)
    at_resnet = np.interp(RESNET, baseline.cost[baseline.hull], baseline.accuracy[baseline.hull])
    values["resnet-cut"] = f"59% less than 4.111G is {0.41 * RESNET / 1e9:.3f}G, at {at_resnet:.2%}"
    below = log(baseline.cost_at(0.78) / CHEAPEST) / log(DEAREST / CHEAPEST)
    values["margin-shares"] = (0.78 - LOW) / (BEST - LOW), below
    moved, top5 = (table.loc[macs.index, column] for column in ("imagenetv2_top1", "top5"))
    values |= {"topk-difference": [np.ptp(accuracy), np.ptp(top5)], "shift-range": np.ptp(moved) - np.ptp(accuracy)}
    values |= {"shift-drops": (accuracy - moved).agg(["min", "max"]), "shift-lose": (accuracy - moved).min()}
    return values | {"shift-order": (moved.diff() < 0).sum()}


def families_in(models):
    """How many models of a table are of the families that the paper names (efficientnet: noisy students)."""
    names = r"(mobilenetv3|beit|tinynet|levit|convnext|efficientnet(?=\w*_ns))"
    found = models.index.str.extract(names, expand=False).value_counts()
    return ", ".join(f"{family} {count}" for family, count in found.items())


def range_of(front):
    """Accuracies of the cheapest and of the best single model on the front."""
    return float(front.baseline.accuracy[front.baseline.front[0]]), front.baseline.best


def mean_in(front, low=None, high=None):
    """Mean improvement between two of the paper's accuracies (default: the whole range); nan where one model is all."""
    start, best = range_of(front)
    if not start < best:
        return np.nan
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


def singles_claims(macs: pd.DataFrame, seconds: pd.DataFrame) -> dict[str, Any]:
    """The fronts of single models in MACs and in time, given as tables with the columns cost and on_front."""
    macs, seconds = (rows[rows["on_front"]] for rows in (macs, seconds))
    shared, orders = len(macs.index.intersection(seconds.index)), [np.ptp(np.log10(t["cost"])) for t in (macs, seconds)]
    either = len(macs) + len(seconds) - shared
    values = {"front-models": len(macs), "time-front-models": len(seconds), "models": either}
    return values | {"time-overlap": (shared, either), "time-orders": orders}


def pairs_claims(front: Front, table: pd.DataFrame, curves: dict[str, pd.DataFrame], families: pd.Series) -> dict:
    """Figures 1, 2: a front of pairs of front models, their ``pair_table``, some ``pair_curve``, {model: family}."""
    models, inner = front.singles.query("on_front"), front.baseline.accuracy[front.baseline.hull[1:-1]]
    regimes = [mean_in(front, None, 0.8), mean_in(front, 0.8, 0.86), mean_in(front, 0.86)]
    ranks = table.assign(size=table["second"].map(models["cost"])).corr("spearman", numeric_only=True)
    by_size = np.array_split(table.sort_values("cost_ratio")["mean_improvement"], 3)
    exceeds = [curve["accuracy"].max() > curve["accuracy"].iloc[0] for curve in curves.values()]
    longer = front.table[front.table["exit_rates"].str[-1] > 0]
    values: dict[str, Any] = {"earlier-cost": (longer["models"].str[0].map(models["cost"]) / longer["cost"]).median()}
    values["pairs"] = len(models) * (len(models) - 1) // 2
    values |= {"pairs-improve": (factors(front) > 1).mean(), "pairs-most": front.table["improvement"].max()}
    values["pairs-dip"] = min(zip(front.improvement_at(inner), inner), default=None)
    values |= {"pairs-80-86": regimes[1], "pairs-86": regimes[2], "pairs-larger": regimes}
    values["pairs-top"] = front.table["accuracy"].iloc[-1] - front.baseline.best
    values["pairs-families"] = ", ".join(front.shares(families).index)
    values |= {"plateau-kept": table["plateau"].median(), "plateau-exceeds": np.mean(exceeds)}
    values |= {"plateau-size": ranks.loc["plateau", "size"], "pair-size": [part.mean() for part in by_size]}
    less = ranks["accuracy_difference"]
    return values | {"plateau-difference": less["plateau"], "pair-difference": less["mean_improvement"]}


def time_claims(timed: Front, counted: Front) -> dict[str, Any]:
    """Figure 5: fronts of pairs in time and in MACs."""
    singles, (in_time, in_macs) = timed.singles.query("on_front"), map(factors, (timed, counted))
    gain = pd.Series(timed.improvement_at(singles["accuracy"]), singles.index).groupby(singles["on_hull"]).mean()
    values = {"time-improve": (in_time > 1).mean(), "time-less": in_time.mean() / in_macs.mean()}
    return values | {"time-concave": gain.get(False, np.nan) / gain[True]}


def topk_claims(front: Front, listed: dict[str, Front]) -> dict:
    """Figure 10: a front in top-1; those in top-k of max softmax, entropy, top-k sum, mean logits, mean softmax."""
    plain, entropy, k_sum, *means = listed.values()
    values = {"topk-difference": [np.ptp(range_of(f)) for f in (front, plain)], "topk-sum": share_won(k_sum, entropy)}
    values["topk-low"] = mean_in(plain, None, MIDDLE) / mean_in(front, None, MIDDLE)
    values["topk-high"] = mean_in(plain, MIDDLE) / mean_in(front, MIDDLE)
    values["topk-entropy"] = mean_in(entropy) - mean_in(plain)
    won = [factors(mean) > factors(plain) for mean in means]
    places = [np.linspace(0, 1, len(where))[where] for where in won]
    values["topk-means-place"] = [place.mean() if len(place) else np.nan for place in places]
    return values | {"topk-means": [where.mean() for where in won]}


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
