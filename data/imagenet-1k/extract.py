"""Extract the logits of pretrained models on ImageNet: a study's folder that all notebooks take as
their ``dataset``.

The 43 models of the paper's fronts:

    python data/imagenet-1k/extract.py --images FOLDER --out OUT

The same on eight GPUs, or by any number of processes that are started by hand:

    torchrun --standalone --nproc-per-node=8 data/imagenet-1k/extract.py --images FOLDER --out OUT

Other options: ``--models resnet50.a1_in1k resnet50.a1_in1k@160 organisation/name`` (your own
choice), ``--v2 FOLDER`` (ImageNetV2 to check on), ``--whole`` (all images choose, as in the paper),
``--checkpoints FOLDER`` (local weights of timm's models), ``--table FILE`` (the models of another
table's fronts), ``--memory GB``.

The script makes two stores. Cascades are selected on ``val`` and checked on ``held_out``, which is
ImageNetV2 if its folder is given. Otherwise the images of each class are split in two halves, or
with ``--whole`` there is no ``held_out``. If the table has published times, they are in the models'
metadata as ``published_seconds``, a kind of cost for every notebook.

Models are loaded when their group starts, and released after it. An interrupted run resumes, also
with another number of processes. At the end, the top-1 accuracy of each model is printed next to
the published one.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.models import get_pretrained_cfg

from cascadelib import datasets, published
from cascadelib.checks import CLASSES, brief, check_count, split_size, validate_choice
from cascadelib.datasets.images import Photographs
from cascadelib.extraction.extraction import extract
from cascadelib.figures.tables import readable
from cascadelib.files import write_text
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.loaders import Source, find_sources
from cascadelib.zoo.model import Model
from cascadelib.zoo.timm_models import find_current_name

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "notebooks"))
from tools.claims.published_models import on_fronts  # noqa: E402 - beside the notebooks

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

    def open(self, split: str) -> Photographs:
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

    def samples(self, split: str) -> Photographs:
        """Return the labelled images of a split."""
        return self.splits[split].open(split)

    def sources(self) -> list[Source]:
        """Return the models, of which ``extract`` loads each when it needs it."""
        return find_sources(self.models, checkpoint=self.checkpoints, classes=self.classes)

    def save(self, folder: str | Path) -> None:
        """Write ``study.json``, a record of the study, into ``folder``."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_text(Path(folder) / FILE, json.dumps(asdict(self), indent=1) + "\n")


def names_today(table: pd.DataFrame) -> list[str]:
    """Return names with which :func:`cascadelib.zoo.load` loads these models at their published
    size.

    A name is "name@size" if timm now evaluates at another size. Models that timm no longer has are
    left out.
    """
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


def compare_with_published(store: LogitStore, table: pd.DataFrame) -> pd.DataFrame:
    """Compare extracted with published top-1, one row per model that both have.

    Columns: top1, published_top1, difference, tolerance, agrees. ImageNetV2 has a separate
    published column. For other data the table is empty. A model is found under its old or current
    name, at its published size. The tolerance is :data:`TOLERANCE` on the full split. On fewer
    images, 4 standard errors of a share are added.
    """
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


def described(options: argparse.Namespace) -> Study:
    """Return the study: images and models."""
    images = str(options.images if options.kind == "hub" else Path(options.images).resolve())
    labels = options.labels and str(options.labels.resolve())
    named = options.named or ("validation" if options.kind == "hub" else "val")
    halves = not (options.v2 or options.whole)
    val = Images(options.kind, images, labels, options.every * (1 + halves), named=named)
    splits = {"val": val} | ({"held_out": replace(val, offset=options.every)} if halves else {})
    if options.v2:
        splits["held_out"] = Images("imagenet_v2", str(options.v2.resolve()), every=options.every)
    names = options.models or names_today(on_fronts(published.models(options.table)))
    checkpoints = options.checkpoints and str(options.checkpoints.resolve())
    table = None if options.table == published.TABLE else str(options.table.resolve())
    return Study(splits, tuple(names), checkpoints, options.classes, table)


def prepared(source: Source, table: pd.DataFrame, is_compiled: bool) -> Source:
    """Return the source of a model with the published seconds per image, if ``table`` has them.

    is_compiled: whether the model runs as ``torch.compile`` makes it.
    """

    def load() -> Model:
        model = source.load()
        if is_compiled:
            model = replace(model, module=torch.compile(model.module, dynamic=True))
        row = row_of(table, model.name, model.metadata.get("image_size"))
        if row is None or pd.isna(row["seconds"]):
            return model
        return replace(
            model, metadata=model.metadata | {"published_seconds": float(row["seconds"])}
        )

    return replace(source, load=load)


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", required=True, help="ImageNet's folder of labelled images, or a name on the Hub"
    )
    parser.add_argument("--kind", default="imagenet", choices=list(KINDS))
    parser.add_argument(
        "--labels", type=Path, help="of a flat folder: the devkit's folder, or a csv or text file"
    )
    parser.add_argument(
        "--named", help="name of the split there (default: val; on the Hub: validation)"
    )
    parser.add_argument("--v2", type=Path, help="ImageNetV2's folder")
    parser.add_argument(
        "--whole", action="store_true", help="all images are val, also without --v2"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the study: its stores")
    parser.add_argument(
        "--models", nargs="+", help="names; default: those on the two fronts of the table"
    )
    parser.add_argument(
        "--table",
        type=Path,
        default=published.TABLE,
        help="made by tables.py; default: of 2022-07-27",
    )
    parser.add_argument(
        "--checkpoints", type=Path, help="file or folder of local weights for timm's models"
    )
    parser.add_argument("--classes", type=int, default=1000, help="of the local weights")
    parser.add_argument("--every", type=int, default=1, help="use only every n-th image")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument(
        "--workers", type=int, help="processes that decode (default: one a usable core, 16 at most)"
    )
    parser.add_argument(
        "--memory", type=float, help="GB for models (default: 90%% of a GPU, or half of the host)"
    )
    parser.add_argument("--device", help="default: CUDA if available")
    parser.add_argument(
        "--amp", nargs="?", const=True, help="float16 or bfloat16; default: float16, on CUDA only"
    )
    parser.add_argument(
        "--no-amp", dest="amp", action="store_const", const=False, help="float32 everywhere"
    )
    parser.add_argument(
        "--compile", action="store_true", help="run the models as torch.compile makes them"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    asked = described(options)
    asked.save(options.out)
    samples = {split: asked.samples(split) for split in asked.splits}  # what fails, fails at once
    table = published.models(options.table)
    models = [prepared(source, table, options.compile) for source in asked.sources()]
    names = ("device", "batch_size", "workers", "amp", "memory")
    settings = {name: getattr(options, name) for name in names}
    for split in samples:
        store = extract(models, samples[split], options.out / split, **settings)
        if int(os.environ.get("RANK", 0)) == 0:
            print(
                readable(
                    store.models[["image_size", "parameters", "macs", "seconds", "top1", "top5"]]
                ).to_string()
            )
            beside = compare_with_published(store, table)
            print(
                readable(beside).to_string()
                if len(beside)
                else "No published top-1 of these models at these sizes."
            )


if __name__ == "__main__":
    main()
