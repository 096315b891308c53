"""The paper's claims beside what a run of these notebooks shows, with a verdict per claim.

Where the paper speaks of an accuracy ("above 86%"), a run is measured at that share of its own
range, from the cheapest to the best single model on the front: on the paper's models that is the
paper's accuracy.
"""

from collections.abc import Callable, Sequence
from math import comb, log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Baseline, Front, Point, published
from cascadelib.checks import known
from tools import study
from tools.side_by_side import shares

CLAIMS = Path(__file__).with_name("claims.csv")
STATEMENTS = Path(__file__).with_name("paper-ranking.csv")
"""What the paper says of its twelve methods: per statement those it calls better, and worse."""
LOW = 0.59856  # top-1 of the cheapest model of the paper's front in MACs
BEST = 0.88602  # and of the best
CHEAPEST = 2.575e7  # MACs of the cheapest
DEAREST = 3.622e11  # and of the best
RESNET = 4.111e9  # MACs of the ResNet-50 of section 4.1
TABLE_1 = (  # accuracy and cost on the validation set, models
    (0.7588, 136.2e6, "tf_mobilenetv3_small_075", "mobilenetv3_large_100_miil"),
    (0.8339, 732.4e6, "mobilenetv3_large_100_miil", "tf_efficientnet_b3_ns"),
    (0.8732, 14.39e9, "tf_efficientnet_b4_ns", "beit_large_patch16_224"),
)
MIDDLE = (LOW + BEST) / 2
MEANS = ("mean_logits", "mean_softmax")
LOGITS = "max_softmax_mean_logits"  # methods
SOFTMAX = "max_softmax_mean_softmax"
SLIGHT = 0.0005  # of accuracy: a smaller change is none
MARGIN = 0.001  # what leads by less is level, as in the ranking of methods
# Of a value's numbers v, given the rule's bounds: whether they obey, or 1, −1, 0 (level).
RULES: dict[str, Callable] = {
    ">": lambda v, bound: np.greater(v, float(bound)),
    "<": lambda v, bound: np.less(v, float(bound)),
    "in": lambda v, low, high: (np.array(v) >= float(low)) & (np.array(v) <= float(high)),
    "over": lambda v, bound: ahead(v, float(bound)),
    "under": lambda v, bound: -ahead(v, float(bound)),
    "is": lambda v, text: named(v[0], lambda name: name == text),
    "has": lambda v, part: named(v[0], lambda name: part in name),
    "rises": lambda v: np.diff(v) > 0,
    "falls": lambda v: np.diff(v) < 0,
    "peaks": lambda v: v[0] < v[1] > v[2],
}


def paper_claims() -> pd.DataFrame:
    """The paper's claims, a row each by id.

    Columns: notebook ("02" … "07"), section, claim in our words, paper (its value); show: the
    format of a number; rule (of ``RULES``) and bounds that a run's value must obey, none where it
    is only shown; scope: how a data set's name begins for which it can be judged; why not
    otherwise; why it is unpublished.
    """
    return pd.read_csv(CLAIMS, dtype=str, keep_default_na=False).set_index("id")


def table(
    values: dict[str, Any],
    notebook: str | None = None,
    dataset: str = "",
    held_out: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """What a run shows of the paper's claims (of one notebook's), a row each.

    Columns: section, claim, paper, published (see :func:`published_values`), held out, this run,
    and the verdict: "agrees", "differs", "open" (what is held out says otherwise than the split
    that chose), or "not comparable" and why.

    values: {id: number, text or sequence; None or nan: this run has none}, where cascades were
    chosen, as in the paper; held_out: the same of the identical cascades on another split ("open",
    too, is what leads by less than ``MARGIN``); dataset: the name in the run's store. ValueError
    for an unknown notebook, and for an id that these claims don't have.
    """
    table = paper_claims()
    published_there = published_values()
    if notebook is not None:
        known(notebook, sorted(set(table["notebook"])), "notebook")
        table = table[table["notebook"] == notebook]
    kept = held_out or {}
    for name in [*values, *kept]:
        known(name, table.index, "claim")
    found = {name: parts_of(values.get(name)) for name in table.index}
    there = {name: parts_of(kept.get(name)) for name in table.index}
    rows = table[["section", "claim", "paper"]].copy()
    otherwise = table["unpublished"].replace("", "needs the models' outputs")
    for name, claim in table.iterrows():
        said = in_words(parts_of(published_there.get(name)), claim["show"])
        rows.loc[name, "published"] = said or otherwise[name]
        for column, parts in (("held out", there[name]), ("this run", found[name])):
            rows.loc[name, column] = in_words(parts, claim["show"], claim["rule"]) or "–"
        rows.loc[name, "verdict"] = verdict(found[name], claim, dataset, there[name])
    return rows


def parts_of(value: Any) -> list[Any]:
    """A value as a list, empty where it is none or nan, or has such a part."""
    parts = list(value) if np.ndim(value) else [value]
    return [] if pd.isna(parts).any() else parts


def in_words(parts: list[Any], show: str, rule: str = "") -> str:
    """Up to five parts one by one, of more the least and the largest; and how many obey a rule that
    most have to."""
    numbers = parts if len(parts) <= 5 else [min(parts), max(parts)]
    texts = [part if isinstance(part, str) else format(part, show) for part in numbers]
    words = (", " if numbers == parts else " to ").join(texts)
    if parts and rule.startswith("most "):
        words += f" ({np.sum(obeys(parts, rule) > 0)} of {len(parts)})"
    return words


def ahead(values: Any, bound: float) -> np.ndarray:
    """1 where a value is above a bound by more than the margin, −1 where it is below by more,
    else 0."""
    lead = np.asarray(values) / bound - 1
    return np.sign(lead) * (np.abs(lead) > MARGIN)


def named(names: str, rule: Callable[[str], bool]) -> int:
    """1 where all the names of "a, b" (those that are level) obey, −1 where none does, else 0."""
    obeying = [rule(name) for name in names.split(", ")]
    if all(obeying):
        return 1
    return 0 if any(obeying) else -1


def obeys(parts: list[Any], rule: str) -> np.ndarray:
    """Of the parts of a value, or of all: 1 where they obey a rule with its bounds, −1 where not,
    0 where level."""
    kind, *bounds = rule.removeprefix("most ").split()
    found = np.asarray(RULES[kind](parts, *bounds))
    return np.where(found, 1, -1) if found.dtype == bool else found


def judged(parts: list[Any], rule: str) -> str:
    """ "agrees", "differs", or "open" where something is level."""
    found = obeys(parts, rule)
    if rule.startswith("most "):
        return "agrees" if np.mean(found > 0) > 0.5 else "differs"
    if np.all(found > 0):
        return "agrees"
    return "differs" if np.any(found < 0) else "open"


def verdict(parts: list[Any], claim: pd.Series, dataset: str, held_out: Sequence[Any] = ()) -> str:
    """Of a value's parts, and of those held out, by a claim's row."""
    in_scope = claim["scope"] == "any" or dataset.startswith(claim["scope"])
    if not (claim["rule"] and parts and in_scope):
        return f"not comparable: {claim['why'] or 'this run has no value'}"
    found = {judged(each, claim["rule"]) for each in (parts, list(held_out)) if each}
    return found.pop() if len(found) == 1 else "open"


def published_values() -> dict[str, Any]:
    """{id of a claim: its value} where that follows from timm's published figures of ImageNet.

    That is of :func:`published.models`: fronts, families, the baseline at the paper's accuracies
    and costs, ImageNetV2.
    """
    table = published.models()
    in_macs = study.singles(table)
    in_seconds = study.singles(table, "seconds")
    macs = in_macs[in_macs["on_front"]]
    seconds = in_seconds[in_seconds["on_front"]]
    cost = macs["cost"]
    accuracy = macs["accuracy"]
    baseline = Baseline(cost, accuracy)
    values = singles_claims(in_macs, in_seconds)
    values |= {"pairs": comb(len(macs), 2), "triples": comb(len(macs), 3), "candidates": len(table)}
    values["pairs-families"] = f"single models on the front: {families_in(macs)}"
    values["time-families"] = f"{families_in(macs)}; in time {families_in(seconds)}"
    factors = [baseline.cost_at(at) / macs_there for at, macs_there, *_ in TABLE_1]
    values |= {"table1": factors, "pairs-most": factors[-1]}
    values["pairs-larger"] = "at the points of Table 1: " + in_words(factors, ".2f")
    shares_of_first = []
    exits = []
    for _, macs_there, first, second in TABLE_1:
        shares_of_first.append(cost[first] / macs_there)
        exits.append(1 - (macs_there - cost[first]) / cost[second])
    values["earlier-cost"] = np.median(shares_of_first)
    values["table1-exits"] = exits
    values["early-exits"] = np.median(values["table1-exits"])
    dip = TABLE_1[0][3]
    values["pairs-dip-where"] = f"{dip}: {accuracy[dip]:.2%}, on the hull"
    values["triple-factor"] = baseline.cost_at(0.8786 + 0.0008) / (26.32e9 / 1.011)
    at_resnet = np.interp(RESNET, baseline.cost[baseline.hull], baseline.accuracy[baseline.hull])
    values["resnet-cut"] = f"59% less than 4.111G is {0.41 * RESNET / 1e9:.3f}G, at {at_resnet:.2%}"
    below = log(baseline.cost_at(0.78) / CHEAPEST) / log(DEAREST / CHEAPEST)
    values["margin-shares"] = ((0.78 - LOW) / (BEST - LOW), below)
    moved = table.loc[macs.index, "imagenetv2_top1"]
    top5 = table.loc[macs.index, "top5"]
    values["topk-difference"] = [np.ptp(accuracy), np.ptp(top5)]
    values["shift-range"] = np.ptp(moved) - np.ptp(accuracy)
    values["shift-drops"] = (accuracy - moved).agg(["min", "max"])
    values["shift-lose"] = (accuracy - moved).min()
    values["shift-order"] = (moved.diff() < 0).sum()
    return values


def families_in(models: pd.DataFrame) -> str:
    """How many models of a table are of the paper's families (efficientnet: noisy students)."""
    names = r"(mobilenetv3|beit|tinynet|levit|convnext|efficientnet(?=\w*_ns))"
    found = models.index.str.extract(names, expand=False).value_counts()
    return ", ".join(f"{family} {count}" for family, count in found.items())


def range_of(front: Any) -> tuple[float, float]:
    """Accuracies of the cheapest and of the best single model on the front."""
    return float(front.baseline.accuracy[front.baseline.front[0]]), front.baseline.best


def mean_in(front: Any, low: float | None = None, high: float | None = None) -> float:
    """Mean improvement between two of the paper's accuracies (default: the whole range); nan where
    one model is all."""
    start, best = range_of(front)
    if not start < best:
        return np.nan
    ends = []
    for end in (low, high):
        if end is not None:
            end = start + (end - LOW) / (BEST - LOW) * (best - start)
        ends.append(end)
    return front.mean_improvement(*ends)


def means_in(
    fronts: dict[str, Any], low: float | None = None, high: float | None = None
) -> pd.Series:
    """The same of each of {label: front}, the largest first."""
    means = {label: mean_in(front, low, high) for label, front in fronts.items()}
    return pd.Series(means).sort_values(ascending=False)


def factors(front: Any) -> pd.Series:
    """Improvement at evenly spaced accuracies."""
    return front.improvement_curve()["improvement"]


def share_won(front: Any, other: Any) -> float:
    """Share of the accuracies at which two fronts of one baseline differ where the first leads."""
    won = factors(front) > factors(other)
    lost = factors(front) < factors(other)
    return won.sum() / ((won | lost).sum() or np.nan)


def singles_claims(macs: pd.DataFrame, seconds: pd.DataFrame) -> dict[str, Any]:
    """Single models in MACs and in time: tables with the columns accuracy, cost and on_front."""
    candidates = len(macs)
    correlation = macs["cost"].corr(seconds["cost"], "spearman")
    macs = macs[macs["on_front"]]
    seconds = seconds[seconds["on_front"]]
    shared = len(macs.index.intersection(seconds.index))
    either = len(macs) + len(seconds) - shared
    log_macs = np.log10(macs["cost"])
    log_seconds = np.log10(seconds["cost"])
    least = macs["accuracy"].iloc[0]
    most = macs["accuracy"].iloc[-1]
    half = np.interp((log_macs.iloc[0] + log_macs.iloc[-1]) / 2, log_macs, macs["accuracy"])
    return {
        "candidates": candidates,
        "macs-time": correlation,
        "size-diminishes": (half - least, most - half),
        "front-models": len(macs),
        "time-front-models": len(seconds),
        "models": either,
        "time-overlap": (shared, either),
        "time-orders": [np.ptp(log_macs), np.ptp(log_seconds)],
    }


def pairs_claims(front: Front, table: pd.DataFrame, families: pd.Series) -> dict[str, Any]:
    """Figures 1, 2: a front of pairs of front models, its split's ``pair_table``, {model: family}."""
    models = front.singles.query("on_front")
    inner = front.baseline.accuracy[front.baseline.hull[1:-1]]
    at_inner = pd.Series(front.improvement_at(inner), inner)
    regimes = [mean_in(front, None, 0.8), mean_in(front, 0.8, 0.86), mean_in(front, 0.86)]
    longer = front.table[front.table["exit_rates"].str[-1] > 0]
    first = longer["models"].str[0]
    second = longer["models"].str[1]
    values: dict[str, Any] = {
        "early-exits": longer["exit_rates"].str[0].median(),
        "diversity": (first.map(families) != second.map(families)).mean(),
        "earlier-cost": (first.map(front.singles["cost"]) / longer["cost"]).median(),
        "pairs": len(models) * (len(models) - 1) // 2,
        "pairs-improve": (factors(front) > 1).mean(),
        "pairs-most": front.table["improvement"].max(),
        "pairs-dip": at_inner.min(),
        "pairs-dip-where": at_inner.idxmin() if len(inner) else None,
        "pairs-80-86": regimes[1],
        "pairs-86": regimes[2],
        "pairs-larger": regimes,
        "pairs-top": front.table["accuracy"].iloc[-1] - front.baseline.best,
        "pairs-families": ", ".join(shares(front, families).index),
    }
    table = table.assign(size=table["second"].map(front.singles["cost"]))
    next_larger = dict(zip(models.index, models.index[1:]))
    neighbours = table[table["first"].map(next_larger) == table["second"]]
    ranks = table.corr("spearman", numeric_only=True)
    along = neighbours.corr("spearman", numeric_only=True)
    by_size = np.array_split(table.sort_values("cost_ratio")["mean_improvement"], 3)
    values["plateau-kept"] = table["plateau"].median()
    values["pair-size"] = [part.mean() for part in by_size]
    gain = ranks["mean_improvement"]
    less = ranks["accuracy_difference"]
    values["plateau-size"] = along.loc["plateau", "size"]
    values["plateau-difference"] = less["plateau"]
    # The partial rank correlation of improvement and size ratio, given the accuracy difference.
    together = gain["cost_ratio"] - less["mean_improvement"] * less["cost_ratio"]
    apart = np.sqrt((1 - less["mean_improvement"] ** 2) * (1 - less["cost_ratio"] ** 2))
    values["pair-both"] = together / apart
    values["pair-difference"] = less["mean_improvement"]
    return values


def share_exceeding(curves: dict[str, pd.DataFrame], there: dict[str, pd.DataFrame]) -> float:
    """Share of pairs that exceed their second model on another split.

    At the threshold that is best where they were chosen; curves, there: {label: ``pair_curve``} on
    that split and on the other.
    """
    exceed = []
    for label, curve in curves.items():
        threshold = curve["threshold"][curve["accuracy"].idxmax()]
        moved = there[label]
        at = moved["exit_rate"][moved["threshold"] >= threshold].idxmax()
        exceed.append(moved["accuracy"][at] > moved["accuracy"][moved["exit_rate"].idxmin()])
    return float(np.mean(exceed))


def table1_claims(
    points: list[Point], checked: pd.DataFrame, store: Any, other: Any
) -> dict[str, Any]:
    """Table 1: the points of locally largest improvement and what they come to on both splits, from a store to
    another."""
    lost = checked["accuracy"] - checked["accuracy_held_out"]
    strongest = checked["improvement"].argmax()
    first = points[strongest].models[0]
    first_lost = store.models["top1"][first] - other.models["top1"][first]
    return {
        "table1": checked["improvement"],
        "table1-close": lost,
        "table1-exits": [point.exit_rates[0] for point in points],
        "table1-lower": (lost - checked["best_member_drop"]).mean(),
        "table1-member": (first_lost, lost.iloc[strongest]),
    }


def time_claims(timed: Front, counted: Front) -> dict[str, Any]:
    """Figure 5: fronts of pairs in time and in MACs."""
    singles = timed.singles.query("on_front")
    low_in_time, high_in_time = range_of(timed)
    low_in_macs, high_in_macs = range_of(counted)
    low = max(low_in_time, low_in_macs)
    high = min(high_in_time, high_in_macs)
    ratio = np.nan
    if low < high:
        ratio = timed.mean_improvement(low, high) / counted.mean_improvement(low, high)
    gain = pd.Series(timed.improvement_at(singles["accuracy"]), singles.index)
    on_hull = gain.groupby(singles["on_hull"]).mean()
    return {
        "time-improve": (factors(timed) > 1).mean(),
        "time-less": ratio,
        "time-concave": on_hull.get(False, np.nan) / on_hull[True],
    }


def topk_claims(front: Front, listed: dict[str, Front]) -> dict[str, Any]:
    """Figure 10: a front in top-1; those in top-k of max softmax, entropy, top-k sum, mean logits,
    mean softmax."""
    plain, entropy, k_sum, *means = listed.values()
    values: dict[str, Any] = {"topk-difference": [np.ptp(range_of(f)) for f in (front, plain)]}
    values["topk-sum"] = share_won(k_sum, entropy)
    values["topk-low"] = mean_in(plain, None, MIDDLE) / mean_in(front, None, MIDDLE)
    values["topk-high"] = mean_in(plain, MIDDLE) / mean_in(front, MIDDLE)
    values["topk-entropy"] = mean_in(entropy) - mean_in(plain)
    won = [factors(mean) > factors(plain) for mean in means]
    places = [np.linspace(0, 1, len(where))[where] for where in won]
    values["topk-means-place"] = [place.mean() if len(place) else np.nan for place in places]
    return values | {"topk-means": [where.mean() for where in won]}


def lengths_claims(two: Front, three: Front, mean_logits: Front) -> dict[str, Any]:
    """Figure 4: fronts of pairs and triples, of triples with mean logits."""
    n = len(three.candidates)
    hull = three.singles.query("on_hull")
    low, high = np.log(hull["cost"].iloc[[0, -1]])
    cost = np.exp(low + np.log(RESNET / CHEAPEST) / np.log(DEAREST / CHEAPEST) * (high - low))
    accuracy = np.interp(cost, hull["cost"], hull["accuracy"])
    gain = mean_in(three) / mean_in(two) - 1
    gain_high = mean_in(three, 0.86) / mean_in(two, 0.86) - 1
    edges = np.linspace(LOW, BEST, 4)
    regimes = []
    for low, high in zip(edges, edges[1:]):
        regimes.append(mean_in(three, low, high) / mean_in(two, low, high))
    return {
        "triples": n * (n - 1) * (n - 2) // 6,
        "triples-87": mean_in(three, 0.87),
        "third-gain": [gain, gain_high],
        "third-less": (mean_in(two) - 1, gain),
        "third-regimes": regimes,
        "triples-plain": share_won(three, mean_logits),
        "resnet-cut": 1 - three.cost_at(accuracy) / cost,
    }


def triple_claims(best: Point, checked: pd.DataFrame) -> dict[str, Any]:
    """The triple with the largest factor; the pair and the triple with the largest
    factors."""
    return {
        "triple-factor": best.improvement,
        "triple-thresholds": best.thresholds,
        "triple-models": " → ".join(best.models),
        "triple-loss": (checked["accuracy"] - checked["accuracy_held_out"]).iloc[1],
        "triple-cost": checked["cost_held_out"] / checked["cost"] - 1,
    }


def shift_claims(
    front: Front, drops: pd.DataFrame, moved: pd.DataFrame, exits: pd.DataFrame
) -> dict[str, Any]:
    """Figures 6, 12: a front and what becomes of it.

    drops: ``accuracy_drops`` of its models to shifted splits; moved: ``fronts_under_shift`` of the
    split that chose (first row) and those; exits: ``exit_changes`` on those (columns).
    """
    of_front = front.singles.index[front.singles["on_front"]]
    rows = pd.MultiIndex.from_product([exits.columns, of_front], names=["split", "model"])
    there = drops.reindex(rows)
    spread = there.groupby("split").max() - there.groupby("split").min()
    shifted = moved.loc[list(exits)]
    changes = exits.abs()
    return {
        "shift-drops": there["drop"],
        "shift-lose": there["drop"].groupby("split").min(),
        "shift-range": spread["accuracy_moved"] - spread["accuracy"],
        "shift-order": _falls(there["accuracy_moved"]) - _falls(there["accuracy"]),
        "shift-improve": shifted["share_improved"],
        "shift-near": shifted["share_near_own_front"],
        "shift-harm": shifted["mean_improvement"] / moved["mean_improvement"].iloc[0],
        "shift-exits": changes.mean(),
        "shift-degree": changes.max() - changes.min(),
    }


def _falls(accuracy: pd.Series) -> pd.Series:
    """How often, per split, a dearer model of the front is less accurate than the one before it."""
    return (accuracy.groupby("split").diff() < 0).groupby("split").sum()


def leading(values: pd.Series, names: Any = None) -> str:
    """The names of the largest of a Series, and of all that are level with it."""
    values = values if names is None else values[names]
    return ", ".join(values.index[ahead(values, values.max()) == 0])


def methods_claims(
    two: dict[str, Front],
    three: dict[str, Front],
    timed: dict[str, Front],
    ensembles: dict[str, Front],
) -> dict[str, Any]:
    """Figures 3, 8, 9, 11: {method: front} of the twelve, and {"metric, mean": front}.

    two, three: pairs and triples in MACs; timed: pairs in time.
    """
    pairs = means_in(two)
    plain = [name for name in pairs.index if "_most_" not in name and "_mean_" not in name]
    others = [name for name in pairs.index if name not in plain]
    return {
        **_pairs_by_method(two, pairs, plain, others),
        **_ensembles_of_pairs(two, pairs, plain, others),
        **_triples_by_method(three, pairs),
        **_time_by_method(timed, pairs),
        "means-margin": _margin_by_mean(means_in(ensembles, 0.8)),
        "means-max": _margin_by_mean(means_in(ensembles, 0.86)),
    }


def _pairs_by_method(
    two: dict[str, Front], pairs: pd.Series, plain: list[str], others: list[str]
) -> dict[str, Any]:
    """What is claimed of the methods with pairs; pairs: {method: mean improvement}, plain: those
    without ensemble, others: those with one."""
    everywhere = [name for name in pairs.index if (factors(two[name])[1:] > 1).all()]
    return {
        "methods": len(two),
        "first": leading(pairs),
        "second": 1 + (ahead(pairs, pairs["max_softmax"]) > 0).sum(),
        "first-factor": pairs["softmax_margin"],
        "second-factor": pairs["max_softmax"],
        "worst-plain": leading(1 / pairs, plain),
        "margin-everywhere": ", ".join(everywhere) or "none",
        "margin-below-78": leading(means_in(two, None, 0.78)),
        "compared-least": sum("_most_confident" in name for name in pairs.index[-4:]),
        "ensembles-front": pairs[others].max() / pairs[plain].max(),
    }


def _ensembles_of_pairs(
    two: dict[str, Front], pairs: pd.Series, plain: list[str], others: list[str]
) -> dict[str, Any]:
    """What is claimed of ensembles with pairs; arguments as of :func:`_pairs_by_method`."""
    top = pd.Series({name: front.table["accuracy"].iloc[-1] for name, front in two.items()})
    scaled = pairs[[f"{LOGITS}_ts", f"{SOFTMAX}_ts"]].to_numpy()
    return {
        "scaling-means": list(scaled / pairs[[LOGITS, SOFTMAX]].to_numpy() - 1),
        "means-softmax": pairs[SOFTMAX] / pairs[LOGITS],
        "logits-86": leading(means_in(two, 0.86)),
        "logits-top-accuracy": top[LOGITS],
        "logits-top": ", ".join(top.index[top == top.max()]),
        "ensembles-top": top[others].max() - top[plain].max(),
    }


def _triples_by_method(three: dict[str, Front], pairs: pd.Series) -> dict[str, Any]:
    """What is claimed of the methods with triples."""
    triples = means_in(three)
    return {
        "triples-softmax": triples[SOFTMAX] / triples[LOGITS],
        "triples-first": leading(triples),
        "triples-first-80": leading(means_in(three, 0.8)),
        "triples-low": leading(means_in(three, None, 0.78)),
        "triples-high": leading(means_in(three, 0.87)),
        "triples-means": [_best_mean(pairs), _best_mean(triples)],
    }


def _time_by_method(timed: dict[str, Front], pairs: pd.Series) -> dict[str, Any]:
    """What is claimed of the methods with pairs in measured time."""
    time = means_in(timed)
    upper = means_in(timed, 0.86)
    return {
        "time-means": [_best_mean(pairs), _best_mean(time)],
        "time-first": leading(time),
        "time-softmax": time[SOFTMAX] / time[LOGITS],
        "time-86": [upper.filter(like="_mean_").max(), upper["max_softmax"]],
        "time-86-logits": upper[LOGITS],
        "time-86-factor": upper["max_softmax"],
    }


def _best_mean(means: pd.Series) -> float:
    """Mean improvement of the best mean ensemble ÷ that of max softmax."""
    return means.filter(like="_mean_").max() / means["max_softmax"]


def _margin_by_mean(means: pd.Series) -> list[float]:
    """Mean improvement of softmax margin ÷ that of max softmax, by kind of mean."""
    return [means[f"softmax_margin, {mean}"] / means[f"max_softmax, {mean}"] for mean in MEANS]


def text_claims(
    fronts: dict[str, Front], f1: dict[str, Front], same: pd.DataFrame | None = None
) -> dict[str, Any]:
    """Figure 7: {task: front of pairs} in accuracy and, where a task has it, in F1; ``same_fronts``
    of the metrics."""
    means = {task: mean_in(front) for task, front in fronts.items()}
    candidates = [f"{len(front.candidates)} ({task})" for task, front in fronts.items()]
    values = {
        "text-models": ", ".join(candidates),
        "text-improve": min(means.values()),
        "text-f1": [mean_in(front) / means[task] for task, front in f1.items()],
        "text-differences": [np.ptp(range_of(front)) for front in fronts.values()],
    }
    if same is not None:
        values["text-metrics"] = (same["front"] == "the same").sum()
    return values


def calibration_claims(
    table: pd.DataFrame,
    averages: dict[str, pd.DataFrame],
    effects: pd.DataFrame,
    scaling: pd.DataFrame,
    families: Any,
) -> dict[str, Any]:
    """Figures 13, 14: ``calibration_table``, {model: ``moving_average``}, ``threshold_table``,
    ``scaling_table``; a Series of the models' families."""
    gap = table["gap"].abs()
    counted = table["verdict"].value_counts()
    large = families[table.index].astype(str).str.contains("beit|convnext|deit")
    rising = [rows["accuracy"].corr(rows["confidence"], "spearman") for rows in averages.values()]
    above = effects["above_perfect"]
    below = effects["below_perfect"]
    better = (above > SLIGHT) & (below < -SLIGHT)
    worse = (above < -SLIGHT) & (below > SLIGHT)
    return {
        "rising": min(rising),
        "large-families": gap[large].mean() / gap.mean(),
        "underconfident": [counted.get(f"{side}confident", 0) for side in ("under", "over")],
        "scaling-curves": effects["above_scaled"].abs().max(),
        "scaling-fronts": scaling["cost_ratio"],
        "perfect": (better.sum(), worse.sum()),
    }


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """What ``side_by_side.ranking`` makes of the paper's own (paper-ranking.csv).

    A row per statement, a column per task. "holds": in both folds all that it calls better lead all
    that it calls worse by more than the statement's relative ``margin`` (below 0, where it claims
    no gain: trail by no more); "fails": in both one trails by more; else "open".
    """
    rows = {}
    searched = table[["n_models", "cost"]].drop_duplicates()
    for said in pd.read_csv(STATEMENTS).merge(searched).itertuples(index=False):
        part = table[(table["n_models"] == said.n_models) & (table["cost"] == said.cost)]
        values = part.set_index(["task", "fold", "method"])[said.measured].unstack()
        better = values[said.better.split()].min(axis=1)
        worse = values[said.worse.split()].max(axis=1)
        folds = (better / worse - 1).unstack()
        holds = (folds > said.margin).all(axis=1)
        fails = (folds < -abs(said.margin)).all(axis=1)
        verdict = np.select([holds, fails], ["holds", "fails"], "open")
        rows[said.statement] = dict(zip(folds.index, verdict))
    return pd.DataFrame.from_dict(rows, orient="index", columns=table["task"].unique())


def ranking_moves(table: pd.DataFrame, said: pd.DataFrame) -> pd.DataFrame:
    """How ``side_by_side.ranking`` moves from task to task, a row per task.

    Columns: classes, accuracy of the best model; how many of the :func:`verdicts` ``said`` (those
    that all tasks have) hold, fail and are open; Kendall's correlation of the methods' places with
    those of the first task; the first and the last methods ("–" where all are level).
    """
    tasks = table.groupby("task", sort=False)
    moves = tasks[["classes", "accuracy_of_best_model"]].mean().astype({"classes": int})
    places = table.pivot_table("place", "method", "task", sort=False)
    everywhere = said[moves.index].dropna()
    for verdict in ("holds", "fails", "open"):
        moves[verdict] = (everywhere == verdict).sum()
    moves["correlation_of_places"] = places.corr("kendall")[moves.index[0]]
    moves["first"] = [_at_place(places[task], places[task].min()) for task in moves.index]
    moves["last"] = [_at_place(places[task], places[task].max()) for task in moves.index]
    return moves


def _at_place(places: pd.Series, place: float) -> str:
    """The methods of a place; "–" where that is all of them."""
    level = list(places.index[places == place])
    return ", ".join(level) if len(level) < len(places) else "–"
