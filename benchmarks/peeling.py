"""Measure the calls of a reference for a guarantee, relative to other methods.

``data/semantic-sql``, 20 draws. The numbers of others are not bundled. The environment variable
``SEMANTIC_SQL_PEERS`` is a folder with ``peers.csv``. It has the columns file, epsilon, labels,
rule ("mapie", "bargain") and oracle_calls, the share of the rows that they call for.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import row

from cascadelib.guarantees.peeling import peel_table, usual_labels

DATA = Path(__file__).resolve().parents[1] / "data" / "semantic-sql"
FILES = ("sst2", "arxiv", "boolq")
LABELS = (500, 1_000, 4_000)
EPSILONS = (0.05, 0.02, 0.01, 0.005)
DELTA = 0.05
BEST = "the best of the fixed numbers"
BARS = {  # of the ratios, (to whom, whether the number of labels is the usual one): mean, largest
    ("mapie", False): ("≤ 0.82", "≤ 1.02"),
    ("mapie", True): ("≤ 0.84", ""),
    ("bargain", True): ("≤ 1", "≤ 1"),
    (BEST, True): ("≤ 1.03", "≤ 1.15"),
}


def labels(quick: bool = False) -> list[dict]:
    """Return shares of rows that are called on bundled tables, and their ratios to others."""
    draws = 1 if quick else 20
    folder = os.environ.get("SEMANTIC_SQL_PEERS")
    peers = pd.read_csv(Path(folder) / "peers.csv") if folder else None
    rows = []
    ratios: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for file in FILES:
        for epsilon in EPSILONS:
            fewest = 1.0
            for count in (*LABELS, None):
                drawn = [called(file, epsilon, count, seed) for seed in range(draws)]
                asked = float(np.mean(drawn))
                at = f"{file}, ε = {epsilon:.1%}, {count or 'usual'} labels"
                rows.append(row(f"{at}: rows asked", asked, "share", runs=draws))
                theirs = others(peers, file, epsilon, count)
                if count is None:
                    theirs[BEST] = fewest
                for rule, value in theirs.items():
                    ratios[rule, count is None].append(asked / value)
                fewest = min(fewest, asked)
    return rows + summaries(ratios, quick)


def summaries(ratios: Mapping[tuple[str, bool], Sequence[float]], quick: bool) -> list[dict]:
    """Return the mean and the largest of the ratios by (rule, whether labels are usual)."""
    rows = []
    for (rule, is_usual), values in ratios.items():
        at = f"{'usual' if is_usual else 'fixed'} labels, rows asked ÷ {rule}"
        mean, largest = ("", "") if quick else BARS[rule, is_usual]
        rows.append(row(f"{at}: geometric mean", np.exp(np.mean(np.log(values))), "ratio", mean))
        rows.append(row(f"{at}: largest", max(values), "ratio", largest))
    return rows


def others(
    peers: pd.DataFrame | None, file: str, epsilon: float, count: int | None
) -> dict[str, float]:
    """Return {rule: its share of calls} at ``count`` labels, or at the best number if it is None.

    BARGAIN selects its number of labels.
    """
    if peers is None:
        return {}
    here = peers[(peers.file == file) & (peers.epsilon == epsilon)]
    if count is not None:
        here = here[(here.labels == count) & (here.rule == "mapie")]
    return here.groupby("rule")["oracle_calls"].min().to_dict()


def called(file: str, epsilon: float, count: int | None, seed: int) -> float:
    """Return the share of the rows that are called for the guarantee about the table."""
    frame = pd.read_parquet(DATA / f"{file}.parquet")
    p = frame["proxy_pred_true_prob"].to_numpy()
    predictions = p >= 0.5
    wrong = predictions != frame["oracle_pred"].to_numpy()
    rng = np.random.default_rng(seed)
    count = usual_labels(len(p), epsilon, DELTA) if count is None else count
    is_drawn = rng.permutation(len(p)) < count
    kept, _ = peel_table(
        np.maximum(p, 1 - p),
        predictions.astype(str),
        is_drawn,
        wrong & is_drawn,
        rng.random(len(p)),
        epsilon,
        DELTA,
    )
    return float(1 - kept.mean())


JOBS = {"labels": labels}
