"""Published models as single models of a search, and those on the two fronts of the paper."""

import numpy as np
import pandas as pd

from cascadelib.checks import validate_choice
from cascadelib.evaluation.pareto import Baseline


def rounded(costs: pd.Series) -> np.ndarray:
    """Round costs to four significant digits, as the paper does: float64 of the same shape, with
    nan."""
    digits = costs.map("{:.3e}".format)
    return digits.to_numpy(float)


def singles(table: pd.DataFrame, cost: str = "macs") -> pd.DataFrame:
    """Return published models as single models of a search, cheapest first.

    Columns: accuracy (top-1), cost (four significant digits), on_front, on_hull. Models without
    that cost or accuracy are left out. ``on_front`` is the paper's baseline: 27 models in MACs and
    25 in seconds for the table of 2022. Raises ValueError if the cost is unknown.
    """
    validate_choice(cost, ["macs", "seconds"], "cost")
    rows = table.dropna(subset=[cost, "top1"])
    costs = rounded(rows[cost])
    return Baseline(costs, rows["top1"].to_numpy(float), rows.index).table


def on_fronts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of models on either front, cheapest first, with ``on_macs`` and
    ``on_seconds``."""
    fronts = {f"on_{cost}": singles(table, cost)["on_front"] for cost in ("macs", "seconds")}
    members = pd.DataFrame(fronts, table.index).eq(True)
    return table.assign(**members)[members.any(axis=1)].sort_values("macs")
