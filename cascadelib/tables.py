"""Tables that read well on a page: the same numbers, rounded as the paper rounds, cascades as arrows."""

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from .cost_kinds import COSTS

FRACTIONS = "accuracy top1 top5 drop share difference tolerance plateau exit_rate ece dominance".split()
FACTORS = ("improvement", "ratio", "gap")  # beside the kinds of cost


def arrow(models: Sequence[str]) -> str:
    """("a", "b") → "a → b"."""
    return " → ".join(models)


def digits(values: Iterable[float]) -> str:
    """Numbers at four significant digits, as the paper rounds: "0.4551, 0.7112"."""
    return ", ".join(f"{v:.4g}" for v in values)


def percents(values: Iterable[float]) -> str:
    """Fractions as "90.7%, 9.3%"."""
    return ", ".join(f"{v:.1%}" for v in values)


def number(value: float) -> str:
    """Four significant digits, SI suffixes from a thousand on: 14.39G, 0.7112, 2.6e-05; "–" for nan."""
    if pd.isna(value):
        return "–"
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{suffix}"
    return f"{value:.4g}"


def fraction(value: float) -> str:
    """A fraction as per cent with two decimals; "–" for nan."""
    return "–" if pd.isna(value) else f"{value:.2%}"


def formatter(column: Any) -> Any:
    """The format of a column by its name: cascades, tuples, fractions, then costs and factors; None: as it is."""
    name = str(column).replace(" ", "_")
    tuples = {"models": arrow, "thresholds": digits, "exit_rates": percents}
    if name in tuples:
        return tuples[name]
    if any(word in name for word in (*COSTS, *FACTORS)):
        return number
    return fraction if any(word in name for word in FRACTIONS) else None


def readable(table: pd.DataFrame, rows: int | None = None) -> pd.DataFrame:
    """The table with every column formatted by its name, as text, and names that can wrap. rows: show that many,
    evenly spread, ends kept."""
    if rows is not None and len(table) > rows:
        step = (len(table) - 1) / (rows - 1)
        table = table.iloc[[round(i * step) for i in range(rows)]]
    shown = {c: table[c].map(f) if (f := formatter(c)) else table[c] for c in table}
    return pd.DataFrame(shown, index=table.index).rename(columns=lambda name: str(name).replace("_", " "))
