"""Accuracy and cost that timm publishes of its pretrained models: the paper's starting point (section 4)."""

from pathlib import Path

import numpy as np
import pandas as pd

from ..checks import about, known
from ..evaluation.pareto import Baseline
from ..files import LARGEST_JSON, folder_of, opened
from ..fronts.front import singles_table

TABLE = Path(__file__).with_name("models-2022-07.csv")
COLUMNS = "top1 top5 imagenetv2_top1 image_size parameters macs seconds family current source".split()


def models(path: str | Path = TABLE) -> pd.DataFrame:
    """A row a model, by its name in that table: top1, top5, imagenetv2_top1 (fractions), image_size (pixels),
    parameters, macs and seconds an image (nan where none is published), family, current (today's name), source.

    Source: timm's tables of 2022-07-27 and fvcore's counts (data/imagenet-1k); a newer one comes from ``tables.py``
    there. Raises FileNotFoundError where there is none, ValueError where columns are missing."""
    path = Path(path) if Path(path).is_file() else folder_of(Path(path).parent) / Path(path).name
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}; data/imagenet-1k/tables.py makes one")
    with opened(path, LARGEST_JSON) as file, about(str(path)):
        table = pd.read_csv(file)
    missing = [c for c in ["model", *COLUMNS] if c not in table]
    if missing:
        raise ValueError(f"{path}: columns {missing} are missing; data/imagenet-1k/tables.py writes them")
    return table.set_index("model")[COLUMNS]


def rounded(costs: pd.Series) -> np.ndarray:
    """Costs at four significant digits, as the paper rounds them: float64 of the same shape; nan stays."""
    return np.array([float(f"{cost:.3e}") for cost in np.asarray(costs, np.float64)])


def singles(table: pd.DataFrame, cost: str = "macs", accuracy: str = "top1") -> pd.DataFrame:
    """Published models as single models of a search: accuracy, cost (four significant digits), on_front, on_hull.

    Cheapest first; models without that cost or accuracy are left out. ``on_front`` is the paper's baseline: 27 models
    in MACs and 25 in seconds for the table of 2022. Raises ValueError for an unknown cost."""
    known(cost, ["macs", "seconds"], "cost")
    rows = table[table[cost].notna() & table[accuracy].notna()]
    costs, accuracies = rounded(rows[cost]), rows[accuracy].to_numpy(np.float64)
    return singles_table(rows.index, accuracies, costs, Baseline(costs, accuracies))


def on_fronts(table: pd.DataFrame) -> pd.DataFrame:
    """The models on either front of a table: its rows, cheapest first, with ``on_macs`` and ``on_seconds``."""
    fronts = {f"on_{cost}": singles(table, cost)["on_front"] for cost in ("macs", "seconds")}
    members = pd.DataFrame(fronts, table.index).eq(True)
    return table.assign(**members)[members.any(axis=1)].sort_values("macs")
