"""Make the table of models from their headers, and find the kinds of cost."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ..figures.cost_kinds import COSTS, NO_COSTS

FIRST_COLUMNS = "top1 top5 macs seconds parameters".split()
NEXT_COLUMNS = ["family", "architecture", "image_size"]
RESERVED = set("model samples sha256 order top1 top5".split())


def find_cost_names(headers: Iterable[dict]) -> list[str]:
    """Return the kinds of cost in any header, those of COSTS first."""
    numbers = {
        key
        for header in headers
        for key, value in header.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    others = numbers - COSTS.keys() - RESERVED - NO_COSTS
    return [kind for kind in COSTS if kind in numbers] + sorted(others)


def make_model_table(headers: dict[str, dict]) -> pd.DataFrame:
    """Return the table of models, cheapest first. Nested metadata is omitted."""
    by_order = sorted(headers, key=lambda name: (headers[name]["order"], name))
    hidden = RESERVED - set(FIRST_COLUMNS)
    rows = []
    for name in by_order:
        items = headers[name].items()
        row = {k: v for k, v in items if k not in hidden and not isinstance(v, dict | list)}
        rows.append(row)
    table = pd.DataFrame(rows, index=pd.Index(by_order, name="model", dtype=object))
    next_columns = [column for column in NEXT_COLUMNS if column in table]
    columns = dict.fromkeys(FIRST_COLUMNS + next_columns + sorted(table))
    table = table.reindex(columns=list(columns))
    for column in FIRST_COLUMNS:
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    kinds = find_cost_names(headers.values())
    for kind in kinds:
        if (kind in COSTS or len(kinds) == 1) and table[kind].notna().all():
            return table.sort_values(kind, kind="stable")
    return table
