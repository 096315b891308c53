"""Ten values of docs/ledger.md, drawn at random, equal NumPy on the raw files.

The draw is among the values that files of this repository give without a search of three models.
"""

import json
import re

import numpy as np
import pandas as pd
import pytest
from paper_by_hand import front_of_singles, hull_cost, midway, softmax
from safetensors import safe_open
from safetensors.numpy import load_file
from scipy.stats import rankdata

from cascadelib.files import ROOT
from tools.claims import catalogue

TIMM = pd.read_csv(ROOT / "cascadelib" / "models-2022-07.csv")
POINTS = 200
PARTS = ("val", "test")


def priced(column):
    """The published models with a cost, at four digits."""
    rows = TIMM.dropna(subset=[column, "top1"])
    return rows.assign(cost=[float(f"{cost:.3e}") for cost in rows[column]])


def published_front(column):
    rows = priced(column).reset_index()
    return rows.loc[front_of_singles(rows["top1"], rows["cost"])]


MACS = published_front("macs")
TIME = published_front("seconds")
TOP1 = MACS["top1"].to_numpy()
COST = MACS["cost"].to_numpy()
LOST = TOP1 - MACS["imagenetv2_top1"].to_numpy()


def gains_by_half():
    logs = np.log(COST)
    middle = np.interp(logs[[0, -1]].mean(), logs, TOP1)
    return [middle - TOP1[0], TOP1[-1] - middle]


def below_78_percent():
    at, first, last = np.log([hull_cost(TOP1, COST, 0.78), *COST[[0, -1]]])
    return [(0.78 - TOP1[0]) / np.ptp(TOP1), (at - first) / (last - first)]


def added_in_time(*families):
    return [
        sum(family in name for name in TIME["model"])
        - sum(family in name for name in MACS["model"])
        for family in families
    ]


def rank_correlation():
    rows = priced("macs").assign(time=priced("seconds")["cost"]).dropna(subset=["cost", "time"])
    return [np.corrcoef(rankdata(rows["cost"]), rankdata(rows["time"]))[0, 1]]


class Split:
    """Correctness and max softmax of the models of a folder, cheapest first."""

    def __init__(self, folder, left_out=()):
        macs = {}
        for name in json.loads((folder / "manifest.json").read_text())["models"]:
            with safe_open(folder / f"{name}.safetensors", "np") as file:
                macs[name] = float(file.metadata()["macs"])
        names = sorted(macs.keys() - {*left_out}, key=macs.__getitem__)
        labels = np.load(folder / "labels.npz")["labels"]
        self.cost = np.array([macs[name] for name in names])
        self.hits = []
        self.confidence = []
        for name in names:
            logits = load_file(folder / f"{name}.safetensors")["logits"].astype(float)
            self.hits.append(logits.argmax(axis=1) == labels)
            self.confidence.append(softmax(logits).max(axis=1))
        self.accuracy = np.mean(self.hits, axis=1)

    def run(self, first, second, threshold):
        """Return the accuracy and the cost of a pair."""
        exits = self.confidence[first] >= threshold
        hits = np.where(exits, self.hits[first], self.hits[second])
        return hits.mean(), self.cost[first] + (~exits).mean() * self.cost[second]

    def pairs(self, candidates):
        """Yield accuracy, cost, models and the least exiting confidence of the pairs."""
        for first in candidates:
            order = np.argsort(-self.confidence[first], kind="stable")
            levels = self.confidence[first][order]
            exits = np.append(0, 1 + np.flatnonzero(np.diff(levels, append=-np.inf)))
            for second in candidates:
                if first == second or self.cost[first] > self.cost[second]:
                    continue
                change = (self.hits[first][order] * 1 - self.hits[second][order]).cumsum()
                accuracy = self.accuracy[second] + np.append(0, change)[exits] / len(levels)
                cost = self.cost[first] + (1 - exits / len(levels)) * self.cost[second]
                for row, count in enumerate(exits):
                    level = levels[count - 1] if count else np.inf
                    yield accuracy[row], cost[row], first, second, level


def median_factors(here, others, candidates):
    """Return the median factor on other splits of the cheapest pairs at even accuracies."""
    found = pd.DataFrame(here.pairs(candidates), columns=["accuracy", "cost", "a", "b", "level"])
    found = found.sort_values(["accuracy", "cost"], ascending=[False, True], kind="stable")
    front = found[found["cost"] < found["cost"].cummin().shift(fill_value=np.inf) * (1 - 1e-12)]
    front = front[::-1]
    start = here.accuracy[front_of_singles(here.accuracy, here.cost)[0]]
    at = np.linspace(start, here.accuracy.max(), POINTS) - 1e-12
    rows = np.minimum(front["accuracy"].searchsorted(at), len(front) - 1)
    medians = []
    for other in others:
        factor = {}
        for row in np.unique(rows):
            _, _, first, second, level = front.iloc[row]
            first, second = int(first), int(second)
            threshold = midway(here.confidence[first], level)
            accuracy, cost = other.run(first, second, threshold)
            reached = min(accuracy, other.accuracy.max())
            factor[row] = hull_cost(other.accuracy, other.cost, reached) / cost
        medians.append(np.median([factor[row] for row in rows]))
    return medians


def text_factor():
    here, there = (Split(ROOT / "data" / "reviews" / part, ["bag_of_words"]) for part in PARTS)
    return median_factors(here, [there], range(len(here.cost)))


def middle_shifted_factor():
    folder = ROOT / "data" / "fashion-mnist"
    here = Split(folder / "val")
    others = [Split(path.parent) for path in sorted(folder.glob("shift/*/manifest.json"))]
    factors = median_factors(here, others, front_of_singles(here.accuracy, here.cost))
    return [np.sort(factors)[(len(factors) - 1) // 2]]


BY_HAND = {
    "candidates": lambda: [len(priced("macs"))],
    "front-models": lambda: [len(MACS)],
    "time-front-models": lambda: [len(TIME)],
    "models": lambda: [len({*MACS["model"], *TIME["model"]})],
    "size-diminishes": gains_by_half,
    "time-orders": lambda: [np.ptp(np.log10(rows["cost"])) for rows in (MACS, TIME)],
    "macs-time": rank_correlation,
    "low-range": below_78_percent,
    "time-families": lambda: added_in_time("levit", "convnext"),
    "macs-families": lambda: added_in_time("efficientnet", "tinynet"),
    "pairs-most": lambda: [hull_cost(TOP1, COST, 0.8732) / 14.39e9],
    "topk-difference": lambda: [np.ptp(TOP1), np.ptp(MACS["top5"])],
    "shift-drops": lambda: [LOST.min(), LOST.max()],
    "shift-span": lambda: [np.ptp(TOP1 - LOST) - np.ptp(TOP1)],
    "shift-range": lambda: [np.std(TOP1 - LOST, ddof=1) - np.std(TOP1, ddof=1)],
    "text-improve": text_factor,
    "shift-improve": middle_shifted_factor,
}
DRAWN = np.random.default_rng(76).choice(sorted(BY_HAND), 10, replace=False)


@pytest.mark.soak
@pytest.mark.parametrize("name", DRAWN)
def test_a_value_of_the_ledger_equals_numpy(name):
    claim = catalogue.paper_claims().loc[name]
    page = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    _, _, table = page.partition("<!--all-->")
    (here,) = re.findall(rf"^\|{re.escape(claim['claim'])}\|[^|]*\|([^|]*)\|", table, re.MULTILINE)
    values = ", ".join(format(value, claim["show"]) for value in BY_HAND[name]())
    assert re.match(rf"{re.escape(values)}( \[|;|, [a-z])", here), (values, here)
