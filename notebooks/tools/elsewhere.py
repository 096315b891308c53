"""Short tables of models and cascades on other splits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cascadelib import LogitStore
from cascadelib.files import located


def open_split(path: str) -> Any:
    """Open a store of logits."""
    return LogitStore(path)


def open_splits(folder: str | Path, patterns: str | Sequence[str]) -> dict[str, LogitStore]:
    """Return {name: LogitStore} of the stores in ``folder`` that match one or several glob
    patterns.

    Patterns are such as "shift/*" or "v2". Raises FileNotFoundError if no store matches a pattern.
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
    """Summarize :func:`cascadelib.analysis.accuracy_drops`, a row per split.

    Mean, least and largest drop, the model with the largest drop, the number of models with a
    significant drop, the rank correlation of accuracies before and after, and the best model after.
    """
    splits = drops.groupby("split", sort=False)
    table = splits["drop"].agg(["mean", "min", "max"]).add_prefix("drop_")
    table["hit_hardest"] = splits["drop"].idxmax().str[1]
    table["significant_losses"] = (drops["drop_low"] > 0).groupby("split", sort=False).sum()
    ranks = drops[["accuracy", "accuracy_replayed"]].groupby("split", sort=False).rank()
    table["rank_correlation"] = {
        split: rows.corr().iloc[0, 1] for split, rows in ranks.groupby("split")
    }
    return table.assign(best_model=splits["accuracy_replayed"].idxmax().str[1])


def by_kind(tables: dict[str, Any], first: str) -> dict[str, dict[str, Any]]:
    """Regroup {split: table} as {kind: {label: table}}.

    Splits named <kind>-<severity> share a panel. Each panel also has the table of ``first``, the
    selection split.
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
            label = "other split"
        grouped.setdefault(panel, {first: tables[first]})[label] = table
    return grouped


def selection_bias_table(bias: pd.DataFrame) -> pd.DataFrame:
    """Summarize :func:`cascadelib.analysis.selection_bias`, a row per measure.

    Its means on the selection split and on the other, and median, 5% and 95% quantile of the
    difference.
    """
    chosen = bias.filter(regex="_chosen$")
    measured = bias.filter(regex="_measured$")
    chosen.columns = measured.columns = [name.removesuffix("_chosen") for name in chosen]
    low, middle, high = (chosen - measured).quantile([0.05, 0.5, 0.95]).to_numpy()
    means = {"mean, chosen": chosen.mean(), "mean, measured": measured.mean()}
    return pd.DataFrame({**means, "difference, 5%": low, "median": middle, "95%": high})
