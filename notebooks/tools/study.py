"""A study, which notebooks open by its folder: one logit store per split, and ``study.json``.

That file says of which images and models the stores are, and what was published of these.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import published
from cascadelib.checks import CLASSES, TEXT, about, brief, fits, known, split_size
from cascadelib.datasets.bundled import fashion_mnist
from cascadelib.datasets.imagenet_1k import hub_images, imagenet, imagenet_v2
from cascadelib.datasets.images import Photographs, image_folder
from cascadelib.datasets.samples import Samples
from cascadelib.evaluation.pareto import Baseline
from cascadelib.files import digest_of, located, read_json, replacing
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.bundled import bundled_models, load_bundled
from cascadelib.zoo.loaders import load
from cascadelib.zoo.model import Model

FILE = "study.json"
KINDS: dict[str, Callable] = dict(
    imagenet=imagenet, imagenet_v2=imagenet_v2, image_folder=image_folder, hub=hub_images
)
IMAGES = {
    "kind": str,
    "source": str,
    "labels": TEXT,
    "every": range(1, 2**53),
    "offset": range(2**53),
    "named": TEXT,
}
STUDY = {"splits": dict, "models": [str], "checkpoints": TEXT, "classes": CLASSES, "table": TEXT}


@dataclass(frozen=True)
class Images:
    """Where a split's images lie: kind of layout (a key of ``KINDS``), folder or Hub name, labels
    of a flat folder; every, offset: take every so many-th image, from that one on; named: the
    split's name there, if otherwise."""

    kind: str
    source: str
    labels: str | None = None
    every: int = 1
    offset: int = 0
    named: str | None = None

    def __post_init__(self) -> None:
        if not fits(vars(self), IMAGES):
            raise ValueError(f"{brief(self)} has parts of another kind")

    def open(self, split: str) -> Photographs:
        """The labelled photographs, named ``split``."""
        make = KINDS[known(self.kind, KINDS, "kind of images")]
        options = {}
        if self.labels is not None:
            known("labels", signature(make).parameters, f"option of {self.kind} images")
            options["labels"] = self.labels
        found = replace(make(self.source, split=self.named or split, **options), split=split)
        if self.every == 1:
            return found
        return found.take(slice(self.offset, None, self.every))


@dataclass(frozen=True)
class Study:
    """Splits {name: :class:`Images`}, models by name, the folder of their checkpoints where they
    are local, and the table of published models that they are from where that is not the
    paper's."""

    splits: dict[str, Images]
    models: tuple[str, ...]
    checkpoints: str | None = None
    classes: int = 1000
    table: str | None = None

    def __post_init__(self) -> None:
        if not fits(vars(self), STUDY):
            raise ValueError(f"{brief(self)} has parts of another kind")
        object.__setattr__(self, "models", tuple(self.models))

    def save(self, folder: str | Path) -> None:
        """Write ``study.json`` into ``folder``, with a digest of what it says; one without is read,
        too."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        content = {"sha256": digest_of(asdict(self))} | asdict(self)
        with replacing(Path(folder) / FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_study(folder: str | Path) -> Study | None:
    """The study that ``study.json`` in ``folder`` describes; None without one. ValueError where it
    is damaged."""
    path = located(folder) / FILE
    if not os.path.lexists(path):
        return None
    found = read_json(path)
    try:
        stated = found.pop("sha256", None)
        if stated is not None and stated != digest_of(found):
            raise ValueError("edited after it was written: take 'sha256' out where that is meant")
        splits = {name: Images(**images) for name, images in found.pop("splits").items()}
        return Study(splits, found.pop("models"), **found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a study with splits and models ({error!r})") from None


def samples_of_study(folder: str | Path, split: str) -> Samples | Photographs:
    """The labelled inputs of a split of the study in ``folder``, or of bundled Fashion-MNIST."""
    found = read_study(folder)
    if found is None:
        return fashion_mnist(split, folder)
    with about(str(located(folder) / FILE)):
        return found.splits[known(split, found.splits, "split")].open(split)


def models_of_study(folder: str | Path) -> dict[str, Model]:
    """{name: model} of the study in ``folder``, or of the bundled zoo there (those that are
    trained)."""
    found = read_study(folder)
    if found is None:
        table = bundled_models(folder)
        return {name: load_bundled(name, folder) for name in table.index[table["trained"]]}
    with about(str(located(folder) / FILE)):
        from cascadelib.zoo.timm_models import is_timm_model

        models = {}
        for name in found.models:
            options: dict[str, Any] = {}
            if is_timm_model(name):  # others know their own
                options = {"checkpoint": found.checkpoints, "classes": found.classes}
            models[name] = load(name, **options)
        return models


def candidates_of_study(folder: str | Path) -> pd.DataFrame:
    """The models of a study or a bundled zoo, one row each, with what is known before anything
    runs.

    That is family, image_size, macs, seconds and top1 as published; of bundled ones family,
    architecture, size, weights, trained.
    """
    found = read_study(folder)
    if found is None:
        return bundled_models(folder)
    columns = ["family", "image_size", "macs", "seconds", "top1"]
    table = published.models(found.table or published.TABLE)
    rows = {}
    for name in found.models:
        row = row_of(table, name)
        if row is not None:
            rows[name] = row[columns]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return frame.reindex(found.models).rename_axis("model")


def rounded(costs: pd.Series) -> np.ndarray:
    """Costs at four significant digits, as the paper rounds them: float64 of the same shape; nan
    stays."""
    return np.array([float(f"{cost:.3e}") for cost in np.asarray(costs, np.float64)])


def singles(table: pd.DataFrame, cost: str = "macs", accuracy: str = "top1") -> pd.DataFrame:
    """Published models as single models of a search, cheapest first.

    Columns: accuracy, cost (four significant digits), on_front, on_hull. Models without that cost
    or accuracy are left out. ``on_front`` is the paper's baseline: 27 models in MACs and 25 in
    seconds for the table of 2022. Raises ValueError for an unknown cost.
    """
    known(cost, ["macs", "seconds"], "cost")
    rows = table[table[cost].notna() & table[accuracy].notna()]
    costs = rounded(rows[cost])
    accuracies = rows[accuracy].to_numpy(np.float64)
    return Baseline(costs, accuracies, rows.index).table


def on_fronts(table: pd.DataFrame) -> pd.DataFrame:
    """The models on either front of a table: its rows, cheapest first, with ``on_macs`` and
    ``on_seconds``."""
    fronts = {f"on_{cost}": singles(table, cost)["on_front"] for cost in ("macs", "seconds")}
    members = pd.DataFrame(fronts, table.index).eq(True)
    return table.assign(**members)[members.any(axis=1)].sort_values("macs")


def names_today(table: pd.DataFrame) -> list[str]:
    """Names under which :func:`cascadelib.zoo.load` gives these models at their published size.

    "name@size" where timm evaluates at another size now. Those that timm no longer has are left
    out.
    """
    from timm.models import get_pretrained_cfg  # timm takes seconds, which other studies do without

    from cascadelib.zoo.timm_models import find_current_name

    rows = table[table["current"].notna()]
    names = []
    for name, size in zip(rows["current"], rows["image_size"].astype(int)):
        config: Any = get_pretrained_cfg(find_current_name(name), allow_unregistered=True)
        size_now = (config.test_input_size or config.input_size)[-1]
        names.append(name if size == size_now else f"{name}@{size}")
    return names


# What is published of a data set, and on how many images.
SPLITS = {"imagenet-1k": ("top1", 50_000), "imagenetv2": ("imagenetv2_top1", 10_000)}
# Of 50,000 images: another decoder, resizing library, or half precision moves a few dozen.
TOLERANCE = 0.002


def compared(
    store: LogitStore, table: pd.DataFrame | None = None, tolerance: float = TOLERANCE
) -> pd.DataFrame:
    """Extracted top-1 beside the published one, one row per model that both have.

    Columns: top1, published_top1, difference, tolerance, agrees. ImageNetV2 is compared with its
    own column; for other data nothing is published and the table is empty. A model is found under
    its name then or now, at the size it was published for. tolerance: of the whole split; on fewer
    images, 4 standard errors of a share are added.
    """
    table = published.models() if table is None else table
    k = len(store)
    rows = {}
    column, whole = SPLITS.get(store.dataset, (None, 0))
    for name, own in store.models.iterrows():
        found = row_of(table, name, own.get("image_size"))
        if column is None or found is None or np.isnan(found[column]):
            continue
        p = found[column]
        allowed = tolerance
        if k < whole:
            allowed += 4 * np.sqrt(p * (1 - p) / k)
        difference = own["top1"] - p
        rows[name] = (own["top1"], p, difference, allowed, abs(difference) <= allowed)
    columns = ["top1", "published_top1", "difference", "tolerance", "agrees"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("model")


def row_of(table: pd.DataFrame, name: str, size: float | None = None) -> pd.Series | None:
    """The published row of a model under its name then or now, at ``size`` or that in its name;
    None without one."""
    base, asked = split_size(name)
    rows = table[(table.index == base) | (table["current"] == base) | (table.index == name)]
    size = asked or size
    if size is not None and not np.isnan(size):
        rows = rows[rows["image_size"] == size]
    return rows.iloc[0] if len(rows) else None


def agreement(store: LogitStore, reference: LogitStore) -> pd.DataFrame:
    """Two stores of the same samples: a DataFrame, one row per model that both hold.

    Columns: largest_gap (of any logit, absolute), relative_to_spread (that ÷ the standard deviation
    of the model's reference logits), changed_predictions (count), top1 and reference_top1
    (fractions). Raises ValueError where sample ids or labels differ.
    """
    if store.fingerprint != reference.fingerprint:
        raise ValueError(
            "the stores hold other samples, or the same in another order: take() the common ones "
            "first"
        )
    rows = {}
    for name in [n for n in reference.models.index if n in store.models.index]:
        ours = np.asarray(store.logits(name), np.float64)
        theirs = np.asarray(reference.logits(name), np.float64)
        largest = np.abs(ours - theirs).max()
        rows[name] = {
            "largest_gap": largest,
            "relative_to_spread": largest / theirs.std() if theirs.std() else largest,
            "changed_predictions": int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
            "top1": store.models.loc[name, "top1"],
            "reference_top1": reference.models.loc[name, "top1"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
