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
import os
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from cascadelib import published
from cascadelib.extraction.extraction import extract
from cascadelib.tables import readable
from cascadelib.zoo.loaders import Source
from cascadelib.zoo.model import Model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "notebooks"))
from tools.study import (  # noqa: E402 - beside the notebooks
    KINDS,
    Images,
    Study,
    compare_with_published,
    names_today,
    on_fronts,
    row_of,
    samples_of_study,
    sources_of_study,
)


def described(options: argparse.Namespace) -> Study:
    """Return the study: images and models. Notebook 01 reads it."""
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
    parser.add_argument(
        "--dtype", default="float32", help="of the stored logits: float16 halves the files"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    asked = described(options)
    asked.save(options.out)
    samples = {
        split: samples_of_study(options.out, split) for split in asked.splits
    }  # first: what fails, fails at once
    table = published.models(options.table)
    models = [prepared(source, table, options.compile) for source in sources_of_study(options.out)]
    names = ("device", "batch_size", "workers", "amp", "dtype", "memory")
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
