"""Tables that read well on a page: the same numbers, rounded as the paper rounds, cascades as arrows."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .cost_kinds import COSTS

FRACTIONS = tuple(
    "accuracy top1 top5 drop share difference tolerance plateau exit_rate ece dominance".split()
)
FACTORS = ("improvement", "ratio", "gap", "relative", "parameters")  # beside the kinds of cost
WHOLE = ("display.max_colwidth", None, "display.max_rows", None, "display.max_columns", None)
TICKS = {True: "✓", False: ""}
PREFIXES = {1e12: "T", 1e9: "G", 1e6: "M", 1e3: "k", 1: "", 1e-3: "m", 1e-6: "µ", 1e-9: "n"}


def arrow(models: Sequence[str]) -> str:
    """("a", "b") → "a → b"."""
    return " → ".join(models)


def digits(values: Iterable[float]) -> str:
    """Numbers at four significant digits, as the paper rounds: "0.4551, 0.7112"."""
    return ", ".join(f"{v:.4g}" for v in values)


def percents(values: Iterable[float]) -> str:
    """Fractions as "90.7%, 9.3%"."""
    return ", ".join(f"{v:.1%}" for v in values)


def number(value: float, unit: str = "") -> str:
    """Four significant digits with SI's prefixes, without a unit only below 0.001 and from a thousand on: 14.39G,
    0.7112, 26µ, 1.5 ms; "–" for nan."""
    if pd.isna(value):
        return "–"
    plain = not np.isfinite(value) or (not unit and 1e-3 <= abs(value) < 1e3)
    size = 1 if plain else next((size for size in PREFIXES if abs(value) >= size), 1)
    return f"{value / size:.4g}{' ' * bool(unit)}{PREFIXES[size]}{unit}"


seconds = partial(number, unit="s")
"""A time: 27.39 µs, 1.5 ms; "–" for nan."""


def times(value: float) -> str:
    """A factor as :func:`number`, but "< 0.001" for one that is smaller."""
    return "< 0.001" if 0 < value < 1e-3 else number(value)


def fraction(value: float) -> str:
    """A fraction as per cent with two decimals; "–" for nan."""
    return "–" if pd.isna(value) else f"{value:.2%}"


def formatter(column: Any, cost: str = "cost") -> Any:
    """The format of a column by its name: cascades, tuples, fractions, then costs and factors; None: as it is."""
    name = str(column).replace(" ", "_")
    tuples = {"models": arrow, "thresholds": digits, "exit_rates": percents}
    if name in tuples:
        return tuples[name]
    price = seconds if "seconds" in name.replace("cost", cost) else number
    kinds = {
        ("dominance", "excess"): fraction,
        FACTORS: times,
        tuple(COSTS): price,
        FRACTIONS: fraction,
    }
    return next(
        (form for words, form in kinds.items() if any(word in name for word in words)), None
    )


class Page(pd.DataFrame):
    """A table that a page shows whole, however long and wide."""

    @property
    def _constructor(self):
        return Page

    def _repr_html_(self) -> str | None:
        with pd.option_context(*WHOLE):
            return super()._repr_html_()


def readable(table: pd.DataFrame, rows: int | None = None, cost: str = "cost") -> pd.DataFrame:
    """The table with every column formatted by its name, as text, names that can wrap, and nothing cut by pandas.

    rows: show that many, evenly spread, ends kept. cost: the kind of cost in columns named cost; seconds get a unit.
    """
    if rows is not None and len(table) > rows:
        step = (len(table) - 1) / (rows - 1)
        table = table.iloc[[round(i * step) for i in range(rows)]]
    ticks = [c for c in table if pd.api.types.infer_dtype(table[c], skipna=True) == "boolean"]
    forms = {c: formatter(c, cost) for c in table} | dict.fromkeys(
        ticks, lambda value: TICKS.get(value, "–")
    )
    shown = {c: table[c].map(form) if form else table[c] for c, form in forms.items()}
    return Page(shown, index=table.index).rename(columns=lambda name: str(name).replace("_", " "))
