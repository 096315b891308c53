"""A study, which notebooks open by its folder: one logit store per split, and ``study.json``.

That file stores the images and models of the stores, and the table of published results.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cascadelib import datasets, published, zoo
from cascadelib.checks import (
    CLASSES,
    brief,
    check_count,
    error_context,
    split_size,
    validate_choice,
)
from cascadelib.evaluation.pareto import Baseline
from cascadelib.files import digest_of, from_json, located, read_json, write_text
from cascadelib.store.logit_store import LogitStore

if TYPE_CHECKING:  # they import torch and timm, which most notebooks do not need
    from cascadelib.datasets.images import Photographs
    from cascadelib.datasets.samples import Samples
    from cascadelib.zoo.loaders import Source

FILE = "study.json"
KINDS = {"hub": "hub_images"} | {
    name: name for name in ("image_folder", "imagenet", "imagenet_v2")
}  # functions of cascadelib.datasets
MOST_IMAGES = 2**53 - 1


@dataclass(frozen=True)
class Images:
    """The images of a split.

    kind: the layout (a key of ``KINDS``). source: folder or Hub name. labels: the labels of a flat
    folder. every, offset: take every n-th image, starting at offset. named: the split's name in the
    source, if different.
    """

    kind: str
    source: str
    labels: str | None = None
    every: int = 1
    offset: int = 0
    named: str | None = None

    def __post_init__(self) -> None:
        check_count(self.every, "every", 1, MOST_IMAGES)
        check_count(self.offset, "offset", 0, MOST_IMAGES)

    def open(self, split: str) -> "Photographs":
        """Return the labelled photographs, named ``split``."""
        make = getattr(datasets, KINDS[validate_choice(self.kind, KINDS, "kind of images")])
        options = {}
        if self.labels is not None:
            validate_choice("labels", signature(make).parameters, f"option of {self.kind} images")
            options["labels"] = self.labels
        found = replace(make(self.source, split=self.named or split, **options), split=split)
        if self.every == 1:
            return found
        return found.take(slice(self.offset, None, self.every))


@dataclass(frozen=True)
class Study:
    """The splits {name: :class:`Images`} and the models of a study.

    checkpoints: the folder of local checkpoints. table: the table of published models, if it is not
    the paper's.
    """

    splits: dict[str, Images]
    models: tuple[str, ...]
    checkpoints: str | None = None
    classes: int = 1000
    table: str | None = None

    def __post_init__(self) -> None:
        check_count(self.classes, "classes", 1, CLASSES.stop - 1)
        if isinstance(self.models, str):
            raise ValueError(f"models must be a list of names, not {brief(self.models)}")
        object.__setattr__(self, "models", tuple(self.models))

    def save(self, folder: str | Path) -> None:
        """Write ``study.json`` with a digest of its content into ``folder``. The digest is
        optional."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        content = {"sha256": digest_of(asdict(self))} | asdict(self)
        write_text(Path(folder) / FILE, json.dumps(content, indent=1) + "\n")


def read_study(folder: str | Path) -> Study | None:
    """Read ``study.json`` in ``folder``. Return None without one, raise ValueError if it is
    damaged."""
    path = located(folder) / FILE
    if not os.path.lexists(path):
        return None
    found = read_json(path)
    with error_context(f"{path}: not a study"):
        digest = found.pop("sha256", None)
        if digest is not None and digest != digest_of(found):
            raise ValueError("edited after it was written: remove 'sha256' if the edit is intended")
        return from_json(Study, found)


def samples_of_study(folder: str | Path, split: str) -> "Samples | Photographs":
    """Return the labelled inputs of a split of the study in ``folder``, or of bundled
    Fashion-MNIST."""
    found = read_study(folder)
    if found is None:
        return datasets.fashion_mnist(split, folder)
    with error_context(str(located(folder) / FILE)):
        return found.splits[validate_choice(split, found.splits, "split")].open(split)


def sources_of_study(folder: str | Path) -> "list[Source]":
    """Return the models of the study in ``folder``, or the trained models of a bundled zoo.

    ``extract`` loads each of them when it needs it.
    """
    from cascadelib.zoo.loaders import find_source

    found = read_study(folder)
    if found is None:
        table = zoo.bundled_models(folder)
        return [find_source(name, folder=folder) for name in table.index[table["trained"]]]
    with error_context(str(located(folder) / FILE)):
        from cascadelib.zoo.timm_models import is_timm_model

        local = {"checkpoint": found.checkpoints, "classes": found.classes}
        # Models that are not timm's store their classes.
        return [
            find_source(name, **(local if is_timm_model(name) else {})) for name in found.models
        ]


def rounded(costs: pd.Series) -> np.ndarray:
    """Round costs to four significant digits, as the paper does: float64 of the same shape, with
    nan."""
    return np.array([float(f"{cost:.3e}") for cost in np.asarray(costs, np.float64)])


def singles(table: pd.DataFrame, cost: str = "macs") -> pd.DataFrame:
    """Return published models as single models of a search, cheapest first.

    Columns: accuracy (top-1), cost (four significant digits), on_front, on_hull. Models without
    that cost or accuracy are left out. ``on_front`` is the paper's baseline: 27 models in MACs and
    25 in seconds for the table of 2022. Raises ValueError if the cost is unknown.
    """
    validate_choice(cost, ["macs", "seconds"], "cost")
    rows = table.dropna(subset=[cost, "top1"])
    return Baseline(rounded(rows[cost]), rows["top1"].to_numpy(np.float64), rows.index).table


def on_fronts(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of models on either front, cheapest first, with ``on_macs`` and
    ``on_seconds``."""
    fronts = {f"on_{cost}": singles(table, cost)["on_front"] for cost in ("macs", "seconds")}
    members = pd.DataFrame(fronts, table.index).eq(True)
    return table.assign(**members)[members.any(axis=1)].sort_values("macs")


def names_today(table: pd.DataFrame) -> list[str]:
    """Return names with which :func:`cascadelib.zoo.load` loads these models at their published
    size.

    A name is "name@size" if timm now evaluates at another size. Models that timm no longer has are
    left out.
    """
    from timm.models import get_pretrained_cfg  # the import takes seconds

    from cascadelib.zoo.timm_models import find_current_name

    rows = table[table["current"].notna()]
    names = []
    for name, size in zip(rows["current"], rows["image_size"].astype(int)):
        config: Any = get_pretrained_cfg(find_current_name(name), allow_unregistered=True)
        size_now = (config.test_input_size or config.input_size)[-1]
        names.append(name if size == size_now else f"{name}@{size}")
    return names


# data set: (column of its published accuracy, number of images)
SPLITS = {"imagenet-1k": ("top1", 50_000), "imagenetv2": ("imagenetv2_top1", 10_000)}
# Another decoder, resizing library or half precision changes a few dozen of 50,000 images.
TOLERANCE = 0.002


def compare_with_published(store: LogitStore, table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Compare extracted with published top-1, one row per model that both have.

    Columns: top1, published_top1, difference, tolerance, agrees. ImageNetV2 has a separate
    published column. For other data the table is empty. A model is found under its old or current
    name, at its published size. The tolerance is :data:`TOLERANCE` on the full split. On fewer
    images, 4 standard errors of a share are added.
    """
    table = published.models() if table is None else table
    k = len(store)
    rows = {}
    column, full_size = SPLITS.get(store.dataset, (None, 0))
    for name, model in store.models.iterrows():
        found = row_of(table, name, model.get("image_size"))
        if column is None or found is None or np.isnan(found[column]):
            continue
        p = found[column]
        allowed = TOLERANCE
        if k < full_size:
            allowed += 4 * np.sqrt(p * (1 - p) / k)
        difference = model["top1"] - p
        rows[name] = (model["top1"], p, difference, allowed, abs(difference) <= allowed)
    columns = ["top1", "published_top1", "difference", "tolerance", "agrees"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("model")


def row_of(table: pd.DataFrame, name: str, size: float | None = None) -> pd.Series | None:
    """Return the published row of a model under its old or current name, None without one.

    The row is that of ``size``, or of the size in the name.
    """
    base, named_size = split_size(name)
    rows = table[(table.index == base) | (table["current"] == base) | (table.index == name)]
    size = named_size or size
    if size is not None and not np.isnan(size):
        rows = rows[rows["image_size"] == size]
    return rows.iloc[0] if len(rows) else None
