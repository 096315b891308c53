"""Measure what selection on few labels loses: rules of ``pick`` on observed and expected outcomes.

A cascade is selected on a draw of n labelled samples and evaluated on the others of its pool. Pools
are the bundled images (16 models), reviews and yes-no queries (two models), and FrugalML's markets.
The environment variable ``FRUGALML`` is the folder of the markets. A cell is a pool, n, the lengths
of cascades and a loss. *excess*: accuracy lost to the best model of the selection, minus the
requested loss, in points. *cost*: ÷ that of the cheapest cascade of the full pool with the accuracy
reached.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import row

from cascadelib import Front, LogitStore, Method, ScoreTable, evaluate, pick, search

DATA = Path(__file__).resolve().parents[1] / "data"
MARKETS = ("rafdb", "ferplus", "waimai", "digit")
QUERIES = ("sst2", "arxiv", "boolq")
MOST_MODELS = 16
MOST_SAMPLES = 20_000
LABELS = (500, 2_000)
LENGTHS = {"pairs": (1, 2), "triples": (1, 2, 3)}
LOSSES = (0.0, 0.005, 0.01)
BUDGETS = (0.1, 0.3)  # of the reference's cost
CAUTIONS = {"observed": (0, 0.5, 1, 1.25, 1.5), "expected": (0, 0.25, 0.5, 0.75, 1)}
DRAWS = 16
WIDE = 0.15  # points by which the mean excess may differ from nothing
FIRST_SEED = 50_000


def table_of(splits: list[LogitStore]) -> ScoreTable:
    """Return several splits of one store as a table of at most 16 models, evenly spaced in cost."""
    names = list(splits[0].models.index)
    at = np.unique(np.linspace(0, len(names) - 1, min(MOST_MODELS, len(names))).round().astype(int))
    chosen = [names[i] for i in at]
    parts = []
    for store in splits:
        stage = store.outcome(chosen, Method(), "top1")
        parts.append([stage((model,)) for model in range(len(chosen))])
    outcomes = list(zip(*parts))
    correct = [np.concatenate([part[0] for part in model]) for model in outcomes]
    confidence = [np.concatenate([part[1] for part in model]) for model in outcomes]
    costs = splits[0].select(chosen).costs("macs")
    return ScoreTable(np.array(correct), np.array(confidence), costs, chosen)


def queries(name: str) -> ScoreTable:
    """Return yes-no queries: a small model whose answers are compared with a large one's."""
    frame = pd.read_parquet(DATA / "semantic-sql" / f"{name}.parquet")
    p = frame["proxy_pred_true_prob"].to_numpy()
    correct = (p >= 0.5) == frame["oracle_pred"].to_numpy()
    confidence = np.maximum(p, 1 - p)
    both = np.array([correct, np.ones(len(p), bool)])
    return ScoreTable(both, np.array([confidence, confidence]), [1.0, 9.0], ["small", "large"])


def pools() -> Iterator[tuple[str, ScoreTable]]:
    """Return (name, table) of all available data."""
    for name, folder in (("images", "fashion-mnist"), ("reviews", "reviews")):
        yield name, table_of([LogitStore(DATA / folder / split) for split in ("val", "test")])
    for name in QUERIES:
        yield name, queries(name)
    if "FRUGALML" in os.environ:
        named = {"model": "service", "cost": "price", "label": "label", "prediction": "prediction"}
        for name in MARKETS:
            path = Path(os.environ["FRUGALML"], f"{name}.parquet")
            yield name, ScoreTable.from_frame(path, **named)


def chosen(quick: bool = False, draws: Iterable[int] = range(DRAWS)) -> pd.DataFrame:
    """A row per pool, n, lengths, draw, goal and rule: excess (points), cost (÷ the oracle's, or ÷
    the budget), promised and kept (accuracy on the others, less what was said; points)."""
    rows = []
    for name, pool in pools():
        if len(pool) > MOST_SAMPLES:
            pool = pool.take(np.random.default_rng(0).permutation(len(pool))[:MOST_SAMPLES])
        counts = [count for count in LABELS if 2 * count <= len(pool)]
        for lengths, numbers in LENGTHS.items():
            if len(pool.models) < max(numbers) or (quick and lengths == "triples"):
                continue
            oracle = search(pool, numbers)
            for count, draw in product(counts[:1] if quick else counts, draws):
                order = np.random.default_rng(FIRST_SEED + draw).permutation(len(pool))
                splits = pool.take(order[:count]), pool.take(order[count:])
                cell = {"pool": name, "labels": count, "lengths": lengths, "draw": draw}
                rows += [cell | found for found in one_draw(*splits, numbers, oracle)]
    return pd.DataFrame(rows)


def one_draw(
    choose: ScoreTable, others: ScoreTable, numbers: tuple[int, ...], oracle: Front
) -> Iterator[dict]:
    """Select with each rule on some samples and evaluate on the others."""
    rules = []
    points = []
    for kind, cautions in CAUTIONS.items():
        front = search(choose, numbers, expected=kind == "expected")
        reference = front.reference
        goals = [("loss", loss, loss) for loss in LOSSES]
        goals += [("budget", share, share * reference.cost) for share in BUDGETS]
        for (goal, value, asked), caution in product(goals, cautions):
            with suppress(ValueError):  # no cascade is as cheap
                points.append(pick(front, **{goal: asked}, caution=caution))
                rules.append({"goal": goal, "value": value, "kind": kind, "caution": caution})
    alone = evaluate(others, reference)
    for rule, point, run in zip(rules, points, evaluate(others, points), strict=True):
        if rule["goal"] == "loss":
            allowed = rule["value"]
            reached = min(run.accuracy, oracle.table["accuracy"].iloc[-1])
            least = oracle.cost_at(reached)
        else:
            allowed = 0.0
            least = rule["value"] * reference.cost
        yield rule | {
            "excess": 100 * (alone.accuracy - run.accuracy - allowed),
            "cost": run.cost / least,
            "promised": 100 * (run.accuracy - point.accuracy),
            "kept": 100 * (run.accuracy - point.expected_accuracy),
        }


def cells_of(found: pd.DataFrame) -> pd.DataFrame:
    """A row per cell and rule: mean excess with the ends of its 95% interval, whether that meets
    ±0.15 points, the geometric mean of cost, mean promised and kept."""
    by = ["goal", "pool", "labels", "lengths", "value", "kind", "caution"]
    groups = found.assign(log_cost=np.log(found["cost"])).groupby(by)
    cells = groups[["excess", "log_cost", "promised", "kept", "cost"]].mean()
    half = 1.96 * groups["excess"].std() / np.sqrt(groups["excess"].count())
    cells["low"] = cells["excess"] - half
    cells["high"] = cells["excess"] + half
    cells["meets"] = (cells["low"] <= WIDE) & (cells["high"] >= -WIDE)
    cells["keeps"] = cells["low"] <= WIDE
    return cells.reset_index()


def choosing(quick: bool = False) -> list[dict]:
    """Rows of the table: per rule and n the excess and the cost, over all cells of losses; budgets;
    what was promised and kept."""
    draws = 2 if quick else DRAWS
    cells = cells_of(chosen(quick, range(draws)))
    rows = []
    for (kind, caution), own in cells[cells["goal"] == "loss"].groupby(["kind", "caution"]):
        at = f"{kind} outcomes, {caution:g} standard errors"
        counted = f"of {len(own)} cells"
        rows.append(row(f"{at}: excess meets ±0.15 points", own["meets"].mean(), counted))
        rows.append(row(f"{at}: excess at most 0.15 points", own["keeps"].mean(), counted))
        rows.append(row(f"{at}: mean absolute excess", own["excess"].abs().mean(), "points"))
        for count, same in own.groupby("labels"):
            cost = np.exp(same["log_cost"].mean())
            rows.append(row(f"… {count:,} labels: cost ÷ oracle's", cost, "ratio", runs=draws))
            rows.append(row(f"… {count:,} labels: excess", same["excess"].mean(), "points"))
        for what in ("promised", "kept"):
            rows.append(row(f"… accuracy less what was {what}", own[what].mean(), "points"))
    for (kind, caution), own in cells[cells["goal"] == "budget"].groupby(["kind", "caution"]):
        at = f"budgets, {kind} outcomes, {caution:g} standard errors"
        rows.append(row(f"{at}: cost at most the budget", (own["cost"] <= 1).mean(), "of cells"))
        rows.append(row(f"{at}: cost ÷ budget", own["cost"].mean(), "ratio", runs=draws))
    return rows
