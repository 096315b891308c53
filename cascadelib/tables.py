"""Tables that read well on a page: the same numbers, rounded as the paper rounds, cascades as
arrows, names in words."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .cost_kinds import COSTS

FRACTIONS = tuple(
    "accuracy top1 top5 drop share difference tolerance plateau exit_rate ece dominance".split()
)
# Beside the kinds of cost.
FACTORS = tuple("saving improvement ratio gap relative parameters".split())
WHOLE = ("display.max_colwidth", None, "display.max_rows", None, "display.max_columns", None)
TICKS = {True: "✓", False: ""}
PREFIXES = {
    1e12: "T",
    1e9: "G",
    1e6: "M",
    1e3: "k",
    1: "",
    1e-3: "m",
    1e-6: "µ",
    1e-9: "n",
}
PARTS_OF_METHODS = {
    "_most_confident": ", most confident",
    "_mean_logits": ", mean logits",
    "_mean_softmax": ", mean softmax",
    "_ts": ", scaled",
}


def in_words(key: str) -> str:
    """A kind of cost, score, metric or method as people read it: "macs" → "MACs per sample",
    "top1" → "top-1 accuracy", "max_softmax_ts" → "max softmax, scaled" (by temperature)."""
    if key in COSTS:
        return COSTS[key].title
    if key == "f1":
        return "F1"
    text = re.sub(r"^top(\d+)$", r"top-\1 accuracy", key)
    for part, words in PARTS_OF_METHODS.items():
        text = text.replace(part, words)
    return text.replace("_", " ")


def arrow(models: Sequence[str]) -> str:
    """("a", "b") → "a → b"."""
    return " → ".join(models)


def digits(values: Iterable[float]) -> str:
    """Numbers at four significant digits, as the paper rounds: "0.4551, 0.7112"."""
    return ", ".join(f"{value:.4g}" for value in values)


def percents(values: Iterable[float]) -> str:
    """Fractions as "90.7%, 9.3%"."""
    return ", ".join(f"{value:.1%}" for value in values)


def number(value: float, unit: str = "") -> str:
    """Four significant digits with SI prefixes, without a unit only below 0.001 and from a thousand
    on: 14.39G, 0.7112, 26µ, 1.5 ms; "–" for nan."""
    if pd.isna(value):
        return "–"
    plain = not np.isfinite(value) or (not unit and 1e-3 <= abs(value) < 1e3)
    size = 1 if plain else next((size for size in PREFIXES if abs(value) >= size), 1)
    space = " " if unit else ""
    return f"{value / size:.4g}{space}{PREFIXES[size]}{unit}"


seconds = partial(number, unit="s")
"""A time: 27.39 µs, 1.5 ms; "–" for nan."""


def times(value: float) -> str:
    """A factor as :func:`number`, but "< 0.001" for one that is smaller."""
    return "< 0.001" if 0 < value < 1e-3 else number(value)


def fraction(value: float) -> str:
    """A fraction as per cent with two decimals; "–" for nan."""
    return "–" if pd.isna(value) else f"{value:.2%}"


def formatter(column: Any, cost: str = "cost") -> Callable[[Any], str] | None:
    """The format of a column by its name: cascades, tuples, fractions, then costs and factors;
    None: as it is. cost: the kind of cost that "cost" stands for."""
    name = str(column).replace(" ", "_")
    tuples: dict[str, Callable[[Any], str]] = {
        "models": arrow,
        "thresholds": digits,
        "exit_rates": percents,
    }
    if name in tuples:
        return tuples[name]
    price = seconds if "seconds" in name.replace("cost", cost) else number
    kinds: dict[tuple[str, ...], Callable[[Any], str]] = {
        ("dominance", "excess"): fraction,
        FACTORS: times,
        tuple(COSTS): price,
        FRACTIONS: fraction,
    }
    for words, form in kinds.items():
        if any(word in name for word in words):
            return form
    return None


class Page(pd.DataFrame):
    """A table that a page shows whole, however long and wide."""

    @property
    def _constructor(self) -> type["Page"]:
        return Page

    def _repr_html_(self) -> str | None:
        with pd.option_context(*WHOLE):
            return super()._repr_html_()


def readable(table: pd.DataFrame, rows: int | None = None, cost: str = "cost") -> pd.DataFrame:
    """The table as text: every column formatted by its name, names that can wrap, and nothing cut
    by pandas.

    Parameters
    ----------
    table : DataFrame
        Any result table; ``front.table``, for example.
    rows : int, optional
        Show that many rows, evenly spread, the ends kept; all where it is not given.
    cost : str
        The kind of cost in columns named cost; seconds get a unit.

    Returns
    -------
    DataFrame
        The same rows and columns, as text.
    """
    if rows is not None and len(table) > rows:
        step = (len(table) - 1) / (rows - 1)
        table = table.iloc[[round(i * step) for i in range(rows)]]
    shown = {}
    for column in table:
        form: Callable[[Any], Any] | None = formatter(column, cost)
        if pd.api.types.infer_dtype(table[column], skipna=True) == "boolean":
            form = ticked
        shown[column] = table[column].map(form) if form else table[column]
    return Page(shown, index=table.index).rename(columns=lambda name: str(name).replace("_", " "))


def ticked(value: Any) -> str:
    """True as a tick, False as nothing, what is unknown as "–"."""
    return TICKS.get(value, "–")
