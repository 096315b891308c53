"""Compare rules for recall and precision: each answers all rows of a file, by few calls.

docs/bench.md has the criteria.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from bench.task import DELTA, File
from bench.verdicts import (
    DOCUMENTED,
    EVEN,
    FITTED,
    LEVEL,
    LOST,
    WON,
    holm,
    mean_p_value,
)
from scipy.stats import binom, false_discovery_control

import cascadelib as cl

TARGETS = (0.9, 0.95)  # of recall and of precision
CELL = ["file", "target"]
OURS = "peeling"
SAMPLED = 0.1  # share of the rows that LOTUS samples
RANGE = 200  # LOTUS draws its sample from this number of rows
BINS = 50  # quantiles by which LOTUS rescales confidences
WEIGHTED = 0.9  # share of importance weights in LOTUS' draw, the rest is uniform
LABELS = 1_000  # of the exact binomial tests
BORDERS = 401  # quantiles that they try

Answers = tuple[np.ndarray, np.ndarray]  # whether a row is answered yes, and whether it was asked


@dataclass(frozen=True, eq=False)
class Query:
    """A yes-no query over the rows of a file.

    Parameters
    ----------
    chance : float64 array of shape (n,)
        The small model's probability of yes.
    truth : bool array of shape (n,)
        Whether the reference answers yes. A rule pays a call for each value that it reads.
    target : float
        The required recall and precision, with probability 1 − δ.
    seed : int
    """

    chance: np.ndarray
    truth: np.ndarray
    target: float
    seed: int


def by_peeling(query: Query) -> Answers:
    """Answer by ``cl.answer_table``."""
    ids = np.arange(len(query.truth)).astype(str)
    said = (query.chance >= 0.5).astype(str)
    confidence = np.maximum(query.chance, 1 - query.chance)
    table = cl.ScoreTable(None, [confidence], [1], ["small"], ids, predictions=[said])
    result = cl.answer_table(
        table,
        list,
        recall=query.target,
        precision=query.target,
        positive="True",
        delta=DELTA,
        bought=dict(zip(ids.tolist(), query.truth.astype(str).tolist())),
        seed=query.seed,
    )
    return result.answers == "True", result.asked


def by_lotus(query: Query, sampled_from: int | None = RANGE) -> Answers:
    """Answer by the thresholds of LOTUS' ``sem_filter`` (``learn_cascade_thresholds``).

    The function is ported, since the package needs a service of language models. Its bounds are
    normal approximations from a sample with importance weights, drawn from ``sampled_from`` rows.
    """
    count = len(query.truth)
    rng = np.random.default_rng(query.seed)
    order = rng.permutation(count)
    chance = query.chance[order]
    truth = query.truth[order]
    edges = np.percentile(chance, np.linspace(0, 100, BINS + 1))
    score = np.clip((np.digitize(chance, edges) - 1) / BINS, 0, 1)
    weight = np.sqrt(score)
    weight = WEIGHTED * weight / weight.sum() + (1 - WEIGHTED) / count
    first = min(sampled_from or count, count)
    size = int(SAMPLED * count)
    drawn = rng.choice(first, size, p=weight[:first] / weight[:first].sum())
    drawn = drawn[np.argsort(-score[drawn], kind="stable")]
    scores = score[drawn]
    is_yes = truth[drawn].astype(float)
    yes = is_yes / weight[drawn] / count

    def lower_threshold(recall: float) -> float:
        falling = np.unique(scores)[::-1]
        # As published: rows with the highest score count without their weight.
        reached = [
            is_yes[scores >= 1].sum() + yes[(scores < 1) & (scores > border)].sum()
            for border in falling
        ]
        enough = falling[np.array(reached) >= recall * max(yes.sum(), 1e-12)]
        return float(enough[0]) if len(enough) else 0.0

    def bound(values: np.ndarray, delta: float, side: int) -> float:
        if not len(values):
            return 0.0
        half = values.std() / np.sqrt(size) * np.sqrt(2 * np.log(1 / delta))
        return values.mean() + side * half

    start = lower_threshold(query.target)
    above = bound(yes[scores >= start], DELTA / 2, 1)
    below = bound(yes[scores < start], DELTA / 2, -1)
    least = lower_threshold(min(1.0, above / (above + below)) if above + below else 1.0)
    passing = [1.0]
    for border in np.unique(scores):
        answered = is_yes[: np.count_nonzero(scores >= border)]
        share = answered.mean()
        spread = np.sqrt(share * (1 - share) / len(answered))
        if share - spread * np.sqrt(2 * np.log(size / DELTA)) > query.target:
            passing.append(float(border))
    most = max(least, min(passing))
    is_asked = (score < most) & (score > least)
    is_asked[drawn] = True
    places = np.argsort(order)
    return np.where(is_asked, truth, score >= most)[places], is_asked[places]


def by_lotus_everywhere(query: Query) -> Answers:
    """Answer like :func:`by_lotus`, with a sample of all rows."""
    return by_lotus(query, None)


def by_exact_tests(query: Query) -> Answers:
    """Answer by two borders that exact binomial tests of uniform labels pass in sequence."""
    chance = query.chance
    truth = query.truth
    drawn = np.random.default_rng(query.seed).permutation(len(truth))[:LABELS]
    of_draw = chance[drawn]
    is_yes = truth[drawn]
    borders = np.unique(np.quantile(chance, np.linspace(0, 1, BORDERS)))
    positives = int(is_yes.sum())
    low = -np.inf
    for border in borders:
        missed = int(np.sum(is_yes & (of_draw <= border)))
        if not positives or binom.cdf(missed, positives, 1 - query.target) > DELTA / 2:
            break
        low = border
    high = np.inf
    for border in borders[borders > low][::-1]:
        answered = (of_draw >= border) | is_yes & (of_draw > low)
        wrong = int(np.sum(~is_yes & (of_draw >= border)))
        if binom.cdf(wrong, int(answered.sum()), 1 - query.target) > DELTA / 2:
            break
        high = border
    is_asked = (chance > low) & (chance < high)
    is_asked[drawn] = True
    return np.where(is_asked, truth, chance >= high), is_asked


RULES: dict[str, tuple[Callable[[Query], Answers], str, str]] = {
    OURS: (by_peeling, "", "`cl.answer_table(…, recall=γ, precision=γ, positive=)`"),
    "LOTUS": (by_lotus, DOCUMENTED, "LOTUS, `sem_filter`: sample of 10%, drawn from 200 rows"),
    "LOTUS, all rows": (by_lotus_everywhere, FITTED, "the same, with a sample from all rows"),
    "exact tests": (
        by_exact_tests,
        FITTED,
        "exact binomial tests of 1,000 uniform labels, two borders in sequence",
    ),
}


def one_draw(file: File, draw: int) -> list[dict]:
    """Return the records of one draw: calls ÷ rows, recall and precision of each rule."""
    small, large = file.pair.predictions == file.positive
    confidence = file.pair.confidence[0]
    chance = np.where(small, confidence, 1 - confidence)
    records = []
    for target in TARGETS:
        query = Query(chance, large, target, file.seed(draw))
        for name, (rule, _, _) in RULES.items():
            begun = time.process_time()
            answers, is_asked = rule(query)
            seconds = time.process_time() - begun
            correct = float(np.sum(answers & large))
            records.append(
                {
                    "file": file.name,
                    "draw": draw,
                    "target": target,
                    "rule": name,
                    "calls": is_asked.mean(),
                    "recall": correct / max(1.0, float(np.sum(large))),
                    "precision": correct / max(1.0, float(np.sum(answers))),
                    "seconds": seconds,
                }
            )
    return records


def cells_of(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row per file, target and rule, with the tests of docs/bench.md.

    Columns: draws, calls with their standard error, the least recall and precision, the number of
    broken draws, p_value, adjusted (Holm), breaks, and for peers the mean difference ours − theirs
    of the calls, its p-value adjusted by Benjamini and Hochberg, and the verdict.
    """
    rows = []
    for (file, target, rule), own in records.groupby([*CELL, "rule"], sort=False):
        least = own[["recall", "precision"]].min(axis=1)
        broken = int((least < target - 1e-12).sum())
        same = (records["file"] == file) & (records["target"] == target)
        ours = records[same & (records["rule"] == OURS)].set_index("draw")["calls"]
        difference = (ours - own.set_index("draw")["calls"]).dropna()
        rows.append(
            {
                "file": file,
                "target": target,
                "rule": rule,
                "inputs": RULES[rule][1],
                "draws": len(own),
                "calls": own["calls"].mean(),
                "error": own["calls"].sem(),
                "recall": own["recall"].min(),
                "precision": own["precision"].min(),
                "broken": broken,
                "p_value": float(binom.sf(broken - 1, len(own), DELTA)),
                "mean": difference.mean(),
                "difference": mean_p_value(difference, 0.0, "two-sided"),
                "seconds": own["seconds"].median(),
            }
        )
    cells = pd.DataFrame(rows)
    cells["adjusted"] = holm(cells["p_value"])
    cells["breaks"] = cells["adjusted"] <= LEVEL
    is_peer = cells["rule"] != OURS
    level = cells.loc[is_peer, "difference"]
    cells.loc[is_peer, "difference"] = false_discovery_control(level) if len(level) else level
    breaking = cells[~is_peer & cells["breaks"]].set_index(CELL).index
    cells["verdict"] = [verdict(row, breaking) for _, row in cells.iterrows()]
    return cells


def verdict(row: pd.Series, breaking: pd.Index) -> str:
    """Return the verdict of our rule against the peer of a row, "" for our rule."""
    if row["rule"] == OURS:
        return ""
    if (row["file"], row["target"]) in breaking:
        return EVEN if row["breaks"] else LOST
    if row["breaks"]:
        return WON
    if row["difference"] > LEVEL:
        return EVEN
    return LOST if row["mean"] > 0 else WON
