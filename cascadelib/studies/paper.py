"""The paper's claims beside what a run shows: one table, what of it published figures tell, and a verdict a claim."""

from collections.abc import Callable
from math import comb, log
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..checks import known
from ..evaluation.pareto import Baseline
from . import published

CLAIMS = Path(__file__).with_name("claims.csv")
LOW, BEST = 0.59856, 0.88602  # top-1 of the cheapest and the best model of the paper's front in MACs
CHEAPEST, DEAREST, RESNET = 2.575e7, 3.622e11, 4.111e9  # MACs of both, and of the ResNet-50 of section 4.1
TABLE_1 = (  # accuracy and cost on the validation set, models
    (0.7588, 136.2e6, "tf_mobilenetv3_small_075", "mobilenetv3_large_100_miil"),
    (0.8339, 732.4e6, "mobilenetv3_large_100_miil", "tf_efficientnet_b3_ns"),
    (0.8732, 14.39e9, "tf_efficientnet_b4_ns", "beit_large_patch16_224"),
)
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


def ledger(values: dict[str, Any], notebook: str | None = None, dataset: str = "") -> pd.DataFrame:
    """What a run shows of the paper's claims (of one notebook's), a row each: section, claim, paper, published (see
    :func:`published_values`), this run, and the verdict: "agrees", "differs", or "not comparable" and why.

    values: {id: number, text or sequence; None or nan: this run has none}; dataset: the name in the run's store.
    ValueError for an unknown notebook, and for an id that these claims don't have.
    """
    table, told = paper_claims(), published_values()
    if notebook is not None:
        table = table[table["notebook"] == known(notebook, sorted(set(table["notebook"])), "notebook")]
    for name in values:
        known(name, table.index, "claim")
    found = {name: parts_of(values.get(name)) for name in table.index}
    rows = table[["section", "claim", "paper"]].copy()
    otherwise = table["unpublished"].replace("", "needs the models' outputs")
    rows["published"] = [in_words(parts_of(told.get(n)), table["show"][n]) or otherwise[n] for n in table.index]
    rows["this run"] = [in_words(parts, table["show"][name]) or "–" for name, parts in found.items()]
    rows["verdict"] = [verdict(parts, table.loc[name], dataset) for name, parts in found.items()]
    return rows


def parts_of(value):
    """A value as a list, empty where it is none or nan, or has such a part."""
    parts = list(value) if np.ndim(value) else [value]
    return [] if pd.isna(parts).any() else parts


def in_words(parts, show):
    """Up to five parts one by one, of more the least and the largest."""
    numbers = parts if len(parts) <= 5 else [min(parts), max(parts)]
    return (", " if numbers == parts else " to ").join(p if isinstance(p, str) else format(p, show) for p in numbers)


def verdict(parts, claim, dataset):
    """Of a value's parts, by a claim's row."""
    rule, *bounds = claim["rule"].split() or [""]
    if rule and parts and (claim["scope"] == "any" or dataset.startswith(claim["scope"])):
        return "agrees" if np.all(RULES[rule](parts, *bounds)) else "differs"
    return f"not comparable: {claim['why'] or 'this run has no value'}"


def published_values() -> dict[str, Any]:
    """{id of a claim: its value} where that follows from what timm published of ImageNet's models (see
    :func:`published.models`): fronts, families, the baseline at the paper's accuracies and costs, ImageNetV2."""
    table = published.models()
    macs, seconds = (rows[rows["on_front"]] for rows in (published.singles(table), published.singles(table, "seconds")))
    cost, accuracy = macs["cost"], macs["accuracy"]
    baseline, either = Baseline(cost, accuracy), len(macs.index.union(seconds.index))
    values: dict[str, Any] = {"front-models": len(macs), "time-front-models": len(seconds), "models": either}
    values |= {"pairs": comb(len(macs), 2), "triples": comb(len(macs), 3)}
    values |= {"time-overlap": (len(macs) + len(seconds) - either, either), "pairs-families": families_in(macs)}
    values["time-families"] = f"{families_in(macs)}; in time {families_in(seconds)}"
    values["time-orders"] = [np.ptp(np.log10(rows["cost"])) for rows in (macs, seconds)]
    factors = [baseline.cost_at(at) / macs_there for at, macs_there, *_ in TABLE_1]
    values |= {"table1": factors, "pairs-larger": factors, "pairs-most": factors[-1]}
    values["table1-exits"] = [1 - (c - cost[first]) / cost[second] for _, c, first, second in TABLE_1]
    values["pairs-dip"] = f"{TABLE_1[0][3]}: {accuracy[TABLE_1[0][3]]:.2%}, on the hull"
    values["triple-factor"] = baseline.cost_at(0.8786 + 0.0008) / (26.32e9 / 1.011)
    at_resnet = np.interp(RESNET, baseline.cost[baseline.hull], baseline.accuracy[baseline.hull])
    values["resnet-cut"] = f"59% less than 4.111G is {0.41 * RESNET / 1e9:.3f}G, at {at_resnet:.2%}"
    below = log(baseline.cost_at(0.78) / CHEAPEST) / log(DEAREST / CHEAPEST)
    values["margin-shares"] = (0.78 - LOW) / (BEST - LOW), below
    moved, top5 = (table.loc[macs.index, column] for column in ("imagenetv2_top1", "top5"))
    values |= {"topk-difference": [np.ptp(accuracy), np.ptp(top5)], "shift-range": np.ptp(moved) - np.ptp(accuracy)}
    return values | {"shift-drops": (accuracy - moved).agg(["min", "max"]), "shift-order": (moved.diff() < 0).sum()}


def families_in(models):
    """How many models of a table are of the families that the paper names (efficientnet: noisy students)."""
    names = r"(mobilenetv3|beit|tinynet|levit|convnext|efficientnet(?=\w*_ns))"
    found = models.index.str.extract(names, expand=False).value_counts()
    return ", ".join(f"{family} {count}" for family, count in found.items())
