"""Measure what selection on few labels loses: the default of ``pick`` per pool of samples.

A cascade is selected on a draw of n labelled samples and evaluated on the others of its pool. Pools
are the bundled images (16 models), reviews and yes-no queries (two models), and FrugalML's markets.
The environment variable ``FRUGALML`` is the folder of the markets. A cell is a pool, n, and the
lengths of cascades. *excess*: accuracy lost to the best model of the selection, minus the requested
loss, in points, a mean over draws and losses. *saving*: cost of that model ÷ cost of the cascade.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import row

from cascadelib import LogitStore, Method, ScoreTable, evaluate, pick, search

DATA = Path(__file__).resolve().parents[1] / "data"
MARKETS = ("rafdb", "ferplus", "waimai", "digit")
QUERIES = ("sst2", "arxiv", "boolq")
MOST_MODELS = 16
MOST_SAMPLES = 20_000
LABELS = (500, 2_000)
LENGTHS = {"pairs": (1, 2), "triples": (1, 2, 3)}
LOSSES = (0.0, 0.005, 0.01)
BUDGETS = (0.1, 0.3)  # of the reference's cost
CAUTIONS = (None, 0.0)  # the default, and the raw front
DRAWS = 400
WIDE = 0.15  # points: the upper 95% end of the mean excess
FIRST_SEED = 90_000


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
    """Return a row per pool, n, lengths, draw, goal and rule.

    The columns are excess (points), saving, cost ÷ budget, and the accuracy on the other samples
    minus the expected accuracy (points).
    """
    rows = []
    for name, pool in pools():
        if len(pool) > MOST_SAMPLES:
            pool = pool.take(np.random.default_rng(0).permutation(len(pool))[:MOST_SAMPLES])
        counts = [count for count in LABELS if 2 * count <= len(pool)]
        for lengths, numbers in LENGTHS.items():
            if len(pool.models) < max(numbers) or (quick and lengths == "triples"):
                continue
            for count, draw in product(counts[:1] if quick else counts, draws):
                order = np.random.default_rng(FIRST_SEED + draw).permutation(len(pool))
                splits = pool.take(order[:count]), pool.take(order[count:])
                cell = {"pool": name, "labels": count, "lengths": lengths, "draw": draw}
                rows += [cell | found for found in one_draw(*splits, numbers)]
    return pd.DataFrame(rows)


def one_draw(choose: ScoreTable, others: ScoreTable, numbers: tuple[int, ...]) -> Iterator[dict]:
    """Select with each rule on some samples and evaluate on the others."""
    rules = []
    points = []
    for kind in ("observed", "expected"):
        front = search(choose, numbers, expected=kind == "expected")
        reference = front.reference
        goals = [("loss", loss, loss) for loss in LOSSES]
        goals += [("budget", share, share * reference.cost) for share in BUDGETS]
        for (goal, value, asked), caution in product(goals, CAUTIONS):
            with suppress(ValueError):  # no cascade is as cheap
                points.append(pick(front, **{goal: asked}, caution=caution))
                named = "default" if caution is None else "raw front"
                rules.append({"goal": goal, "value": value, "kind": kind, "rule": named})
    alone = evaluate(others, reference)
    for rule, point, run in zip(rules, points, evaluate(others, points), strict=True):
        allowed = rule["value"] if rule["goal"] == "loss" else 0.0
        yield rule | {
            "excess": 100 * (alone.accuracy - run.accuracy - allowed),
            "saving": alone.cost / run.cost,
            "cost": run.cost / (rule["value"] * reference.cost or np.nan),
            "kept": 100 * (run.accuracy - point.expected_accuracy),
        }


def cells_of(found: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell and rule: mean excess and its upper 95% end, median saving, kept."""
    by = ["pool", "lengths", "labels", "kind", "rule"]
    of_draws = found.groupby([*by, "draw"])["excess"].mean().groupby(by)
    cells = found.groupby(by)[["excess", "kept", "cost"]].mean()
    cells["saving"] = found.groupby(by)["saving"].median()
    cells["high"] = of_draws.mean() + 1.96 * of_draws.std() / np.sqrt(of_draws.count())
    return cells.reset_index()


def choosing(quick: bool = False) -> list[dict]:
    """Return rows of the table: for each cell and rule the excess and the saving, then budgets."""
    draws = 2 if quick else DRAWS
    found = chosen(quick, range(draws))
    rows = []
    for _, cell in cells_of(found[found["goal"] == "loss"]).iterrows():
        at = f"{cell['pool']}, {cell['lengths']}, {cell['labels']:,} labels, {cell['kind']}"
        at = f"{at}, {cell['rule']}"
        bar = "" if quick or cell["rule"] != "default" else f"≤ {WIDE}"
        rows.append(row(f"{at}: mean excess", cell["excess"], "points", runs=draws))
        rows.append(row(f"{at}: upper 95% end", cell["high"], "points", bar))
        rows.append(row(f"{at}: median saving", cell["saving"], "ratio"))
        rows.append(row(f"{at}: accuracy less the expected one", cell["kept"], "points"))
    for _, cell in cells_of(found[found["goal"] == "budget"]).iterrows():
        at = f"budgets, {cell['pool']}, {cell['lengths']}, {cell['labels']:,} labels"
        name = f"{at}, {cell['kind']}, {cell['rule']}: cost ÷ budget"
        rows.append(row(name, cell["cost"], "ratio", runs=draws))
    return rows
