"""Short tables of models and cascades on other splits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascadelib import LogitStore, ScoreTable
from cascadelib.files import located
from cascadelib.store import ScoreFile
from cascadelib.store.score_file import is_score_file


def open_split(path: str) -> Any:
    """Open a store of logits, or the parquet file of that name.

    The file is one of ``LogitStore.to_scores``, or a table with the columns sample, model,
    confidence, cost and correct.
    """
    folder, _, name = path.rpartition("/")
    file = located(folder) / f"{name}.parquet"
    if not file.is_file():
        return LogitStore(path)
    if is_score_file(file):
        return ScoreFile(file)
    return ScoreTable.from_frame(file, correct="correct")


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
