"""Short tables of models and cascades on other splits."""

from typing import Any

from cascadelib.store import open_split, open_splits  # noqa: F401 - the former place


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
