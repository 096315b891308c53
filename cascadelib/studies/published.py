"""Accuracy and cost that timm publishes of its pretrained models: the paper's starting point (section 4)."""

from pathlib import Path

import numpy as np
import pandas as pd

from ..checks import about, known, split_size
from ..evaluation.pareto import Baseline
from ..files import LARGEST_JSON, folder_of, opened
from ..fronts.front import singles_table
from ..store.logit_store import LogitStore

TABLE = Path(__file__).with_name("models-2022-07.csv")
COLUMNS = "top1 top5 imagenetv2_top1 image_size parameters macs seconds family current source".split()
SPLITS = {"imagenet-1k": ("top1", 50_000), "imagenetv2": ("imagenetv2_top1", 10_000)}  # what is published, of how many
TOLERANCE = 0.002  # of 50,000 images: another decoder, resizing library, or half precision moves a few dozen


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


def names_today(table: pd.DataFrame) -> list[str]:
    """Names under which :func:`cascadelib.zoo.load` gives these models at their published size: "name@size"
    where timm evaluates at another one now. Those that timm no longer has are left out."""
    from ..zoo.timm_models import evaluated_size  # timm takes seconds, and the published figures do without

    rows = table[table["current"].notna()]
    sizes = zip(rows["current"], rows["image_size"].astype(int))
    return [name if evaluated_size(name) == size else f"{name}@{size}" for name, size in sizes]


def compared(store: LogitStore, table: pd.DataFrame | None = None, tolerance: float = TOLERANCE) -> pd.DataFrame:
    """Extracted top-1 beside the published one, a line a model that both have, before any cascade is believed.

    Columns: top1, published_top1, difference, tolerance, agrees. ImageNetV2 is compared with its own column; for
    other data nothing is published and the table is empty. A model is found under its name then or now, at the size
    it was published for. tolerance: of the whole split; on fewer images, 4 standard errors of a share are added."""
    table, k, rows = models() if table is None else table, len(store), {}
    column, whole = SPLITS.get(store.dataset, (None, 0))
    for name, own in store.models.iterrows():
        found = row_of(table, name, own.get("image_size"))
        if column is None or found is None or np.isnan(found[column]):
            continue
        p = found[column]
        allowed = tolerance + (4 * np.sqrt(p * (1 - p) / k) if k < whole else 0)
        rows[name] = (own["top1"], p, own["top1"] - p, allowed, abs(own["top1"] - p) <= allowed)
    columns = ["top1", "published_top1", "difference", "tolerance", "agrees"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("model")


def row_of(table: pd.DataFrame, name: str, size: float | None = None) -> pd.Series | None:
    """The published row of a model under its name then or now, at ``size`` or that in its name; None without one."""
    base, asked = split_size(name)
    rows = table[(table.index == base) | (table["current"] == base) | (table.index == name)]
    size = asked or size
    rows = rows if size is None or np.isnan(size) else rows[rows["image_size"] == size]
    return rows.iloc[0] if len(rows) else None
