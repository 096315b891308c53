"""Format tables and numbers for display."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .cost_kinds import COSTS

FRACTIONS = tuple("accuracy top1 top5 share tolerance plateau exit_rate ece dominance".split())
POINTS = ("difference", "drop", "loss")  # columns of differences of shares
# Columns whose numbers are factors or counts.
FACTORS = tuple("saving improvement ratio gap relative parameters".split())
UNLIMITED = ("display.max_colwidth", None, "display.max_rows", None, "display.max_columns", None)
Format = Callable[[Any], str]
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
    """Return a kind of cost, score, metric or method in words.

    "macs" becomes "MACs per sample", and "max_softmax_ts" becomes "max softmax, scaled".
    """
    if key in COSTS:
        return COSTS[key].title
    if key == "f1":
        return "F1"
    text = re.sub(r"^top(\d+)$", r"top-\1 accuracy", key)
    for part, words in PARTS_OF_METHODS.items():
        text = text.replace(part, words)
    return text.replace("_", " ")


def arrow(models: Sequence[str]) -> str:
    """Join names of models: ("a", "b") becomes "a → b"."""
    return " → ".join(models)


def digits(values: Iterable[float]) -> str:
    """Format numbers with four significant digits: "0.4551, 0.7112"."""
    return ", ".join(f"{value:.4g}" for value in values)


def percents(values: Iterable[float]) -> str:
    """Format fractions as "90.7%, 9.3%"."""
    return ", ".join(f"{value:.1%}" for value in values)


def number(value: float, unit: str = "") -> str:
    """Format a number with four significant digits and SI prefixes, "–" for nan.

    A number without a unit has a prefix if it is below 0.001 or at least 1,000. Examples: 14.39G,
    0.7112, 26µ, 1.5 ms.
    """
    if pd.isna(value):
        return "–"
    plain = not np.isfinite(value) or (not unit and 1e-3 <= abs(value) < 1e3)
    size = 1 if plain else next((size for size in PREFIXES if abs(value) >= size), 1)
    space = " " if unit else ""
    return f"{value / size:.4g}{space}{PREFIXES[size]}{unit}"


seconds = partial(number, unit="s")
"""Format a time: 27.39 µs or 1.5 ms, and "–" for nan."""


def times(value: float) -> str:
    """Format a factor as :func:`number`, or as "< 0.001" if it is smaller."""
    return "< 0.001" if 0 < value < 1e-3 else number(value)


def fraction(value: float) -> str:
    """Format a fraction as a percentage with two decimals, "–" for nan."""
    return "–" if pd.isna(value) else f"{value:.2%}"


def percentage_points(value: float) -> str:
    """Format a difference of fractions in points with two decimals, "–" for nan."""
    return "–" if pd.isna(value) else f"{100 * value:.2f} points"


def formatter(column: Any, cost: str = "cost") -> Format | None:
    """Return the function that formats a column of this name, or None.

    `cost` is the kind of cost of a column named "cost".
    """
    name = str(column).replace(" ", "_")
    tuples: dict[str, Format] = {
        "models": arrow,
        "thresholds": digits,
        "exit_rates": percents,
    }
    if name in tuples:
        return tuples[name]
    price = seconds if "seconds" in name.replace("cost", cost) else number
    kinds: dict[tuple[str, ...], Format] = {
        ("dominance", "excess"): fraction,
        FACTORS: times,
        tuple(COSTS): price,
        POINTS: percentage_points,
        FRACTIONS: fraction,
    }
    for words, form in kinds.items():
        if any(word in name for word in words):
            return form
    return None


class FullTable(pd.DataFrame):
    """Display a table in full, however long and wide it is."""

    @property
    def _constructor(self) -> type["FullTable"]:
        return FullTable

    def _repr_html_(self) -> str | None:
        with pd.option_context(*UNLIMITED):
            return super()._repr_html_()


def select_evenly(table: pd.DataFrame, most: int = 1500) -> pd.DataFrame:
    """Return at most ``most`` evenly spread rows with the first and the last one."""
    rows = np.linspace(0, len(table) - 1, min(most, len(table))).round()
    return table.iloc[rows.astype(int)]


def readable(table: pd.DataFrame, rows: int | None = None, cost: str = "cost") -> pd.DataFrame:
    """Format every column of a table by its name.

    Parameters
    ----------
    table : DataFrame
        Any result table, for example ``front.table``.
    rows : int, optional
        Number of rows to show, evenly spread and including both ends. Defaults to all.
    cost : str, default="cost"
        Kind of cost of columns named "cost". Seconds get a unit.

    Returns
    -------
    DataFrame
        The same rows and columns, as text.
    """
    table = select_evenly(table, rows or len(table))
    texts = {}
    for column in table:
        values = table[column]
        form = formatter(column, cost)
        if pd.api.types.infer_dtype(values, skipna=True) == "boolean":
            values = values.map(TICKS).fillna("–")
        elif form:
            values = values.map(form)
        texts[column] = values
    return FullTable(texts, index=table.index).rename(
        columns=lambda name: str(name).replace("_", " ")
    )
