"""Compare fitted with original confidences, at three budgets, held out.

Data are markets and yes-no queries.
The markets of FrugalML are not bundled. The environment variable ``FRUGALML`` is their folder.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import row

from cascadelib import ScoreTable, evaluate, pick, search

DATA = Path(__file__).resolve().parents[1] / "data" / "semantic-sql"
QUERIES = ("sst2", "arxiv", "boolq")
MARKETS = ("rafdb", "ferplus", "digit", "waimai")
SHARES = (0.25, 0.5, 0.75)  # of the way from the cheapest price to that of the most accurate model
SAMPLES = 1_000  # choose
JUDGES = 10_000  # at most
DRAWS = 20
PRICE = 50.0  # of the large model, in prices of the small one


def queries(name: str) -> ScoreTable:
    """Yes-no queries: a small model and the reference, in whose answers it is correct."""
    frame = pd.read_parquet(DATA / f"{name}.parquet")
    yes = frame["proxy_pred_true_prob"].to_numpy(np.float64)
    reference = frame["oracle_pred"].to_numpy() == 1
    answers = np.stack([yes >= 0.5, reference]).astype(int).astype(str)
    labels = answers[1]
    confidence = np.stack([np.maximum(yes, 1 - yes), np.full(len(yes), np.nan)])
    return ScoreTable(
        None, confidence, [1.0, PRICE], ["small", "large"], predictions=answers, labels=labels
    )


def tables() -> dict[str, ScoreTable]:
    """Return all available tables, by name."""
    found = {name: queries(name) for name in QUERIES}
    if "FRUGALML" in os.environ:
        columns = {
            "model": "service",
            "cost": "price",
            "label": "label",
            "prediction": "prediction",
        }
        for name in MARKETS:
            path = Path(os.environ["FRUGALML"], f"{name}.parquet")
            found[name] = ScoreTable.from_frame(path, **columns)
    return found


def differences(table: ScoreTable, draws: int) -> np.ndarray:
    """Return held-out accuracy with fitted confidences minus that with the original ones.

    float64 [draws, budgets].
    """
    price = table.models["cost"]
    cheapest = price.min()
    span = price[table.models["top1"].idxmax()] - cheapest
    budgets = [cheapest + share * span for share in SHARES]
    found = []
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(table))
        choosing = min(SAMPLES, len(table) // 2)
        choose = table.take(order[:choosing])
        judge = table.take(order[choosing : choosing + JUDGES])
        lengths = tuple(range(1, min(3, len(price)) + 1))
        held_out = []
        for method in (None, "isotonic_by_label"):
            front = search(choose, lengths, method)
            points = [pick(front, budget=budget) for budget in budgets]
            held_out.append([run.accuracy for run in evaluate(judge, points)])
        found.append(np.subtract(held_out[1], held_out[0]))
    return np.array(found)


def fitted(quick: bool = False) -> list[dict]:
    """Return the rows of the table."""
    draws = 2 if quick else DRAWS
    rows = []
    errors = []
    for name, table in tables().items():
        found = 100 * differences(table, draws)
        error = found.std(axis=0, ddof=1) / np.sqrt(draws)
        for share, mean, one in zip(SHARES, found.mean(axis=0), error):
            what = f"{name}, budget {share:.0%}: fitted − given, held out (± {one:.2f})"
            rows.append(row(what, mean, "points", f"≥ {-2 * one:.2f}"))
            errors.append((mean, one))
    means, ones = np.transpose(errors)
    above = float(np.mean(means > 2 * ones))
    below = float(np.sum(means < -2 * ones))
    rows.append(row("… cells above by two standard errors", above, "share", "≥ 0.5"))
    rows.append(row("… cells below by two standard errors", below, "cells", "≤ 0"))
    return rows
