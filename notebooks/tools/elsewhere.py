"""Tables of what becomes of models and cascades on other splits, in short, and of streams."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from cascadelib import Front, LogitStore, evaluate
from cascadelib.files import located
from cascadelib.tables import arrow


def open_splits(folder: str | Path, patterns: str | Sequence[str]) -> dict[str, LogitStore]:
    """{name: LogitStore} of the stores in ``folder`` that match a glob pattern or one of several.

    Such as "shift/*" or "v2"; FileNotFoundError for a pattern that no store matches.
    """
    root = located(folder)
    found = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        paths = sorted(path.parent for path in root.glob(f"{pattern}/manifest.json"))
        if not paths:
            raise FileNotFoundError(
                f"no store {pattern!r} in {folder}; a store is a folder with manifest.json"
            )
        found += paths
    return {path.name: LogitStore(path) for path in found}


def drops_table(drops: pd.DataFrame) -> pd.DataFrame:
    """:func:`cascadelib.analysis.accuracy_drops` in short, a row per split.

    Mean, least and largest drop, the model that it hits hardest, how many models lose for certain,
    the rank correlation of accuracies before and after, and the best model after.
    """
    splits = drops.groupby("split", sort=False)
    table = splits["drop"].agg(["mean", "min", "max"]).add_prefix("drop_")
    table["hit_hardest"] = splits["drop"].idxmax().str[1]
    table["certain_losses"] = (drops["drop_low"] > 0).groupby("split", sort=False).sum()
    ranks = drops[["accuracy", "accuracy_moved"]].groupby("split", sort=False).rank()
    table["rank_correlation"] = {
        split: rows.corr().iloc[0, 1] for split, rows in ranks.groupby("split")
    }
    return table.assign(best_model=splits["accuracy_moved"].idxmax().str[1])


def exit_changes(front: Front, splits: dict[str, Any]) -> pd.DataFrame:
    """By how much the share that leaves at the first stage changes, at identical thresholds.

    A row per cascade of the front (at its cheapest point), a column per split ({label: store}).
    """
    points = [front.point(row) for row in front.table.drop_duplicates("models").index]
    before = [point.exit_rates[0] for point in points]
    there = {}
    for label, store in splits.items():
        there[label] = [evaluate(store, point).exit_rates[0] for point in points]
    return pd.DataFrame(there, [arrow(point.models) for point in points]).sub(before, axis=0)


def by_kind(tables: dict[str, Any], first: str) -> dict[str, dict[str, Any]]:
    """{split: table} → {kind: {label: table}}.

    Splits named <kind>-<severity> share a panel, and in each is the table of ``first``, the split
    that the cascades were chosen on.
    """
    grouped: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        if name == first:
            continue
        kind, _, severity = name.rpartition("-")
        if kind and severity.isdigit():
            panel = kind
            label = f"severity {severity}"
        else:
            panel = name
            label = "moved"
        grouped.setdefault(panel, {first: tables[first]})[label] = table
    return grouped


def selection_bias_table(bias: pd.DataFrame) -> pd.DataFrame:
    """:func:`cascadelib.analysis.selection_bias` in short, a row per measure.

    Its means where chosen and where measured, and median, 5% and 95% quantile of the difference.
    """
    chosen = bias.filter(regex="_chosen$")
    measured = bias.filter(regex="_measured$")
    chosen.columns = measured.columns = [name.removesuffix("_chosen") for name in chosen]
    low, middle, high = (chosen - measured).quantile([0.05, 0.5, 0.95]).to_numpy()
    means = {"mean, chosen": chosen.mean(), "mean, measured": measured.mean()}
    return pd.DataFrame({**means, "difference, 5%": low, "median": middle, "95%": high})


def decide_elsewhere(path: str | Path, batch: Any) -> Any:
    """Decisions of a saved cascade on a batch, by a fresh Python process that loads it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(_decide, path, batch).result()


def _decide(path: str | Path, batch: Any) -> Any:
    from cascadelib import Cascade  # with torch, which takes seconds that the tables do without

    return Cascade.load(path)(batch)
