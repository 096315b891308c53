"""Extract the bundled logits: every trained model of zoo.json on val and test, into the stores val/
and test/ here.

Run ``python data/fashion-mnist/extract.py``. An interrupted run resumes. Existing models are kept,
and refused if their weights have changed (``--replace`` extracts all of them again). The script
also writes results.csv. It measures seconds per sample, so run nothing else at the same time if
they matter. Seconds of different runs or machines cannot be compared. ``--seconds`` measures all
models in one run and keeps the logits.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cascadelib.datasets.bundled import fashion_mnist
from cascadelib.datasets.samples import Samples
from cascadelib.extraction.extraction import extract
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.bundled import bundled_models
from cascadelib.zoo.loaders import load

HERE = Path(__file__).parent
SPLITS = ("val", "test")


FACTS = (
    "family",
    "architecture",
    "image_size",
    "parameters",
    "checkpoint",
    "preprocessing",
    "extraction",
)


def timed_again(store: LogitStore, models: Any, samples: Samples, settings: dict) -> None:
    """Store the seconds of one run and their settings with the logits, the cheapest model first."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = extract(models, samples, folder, **settings)
        for name in fresh.models["macs"].sort_values(kind="stable").index:
            kept = store.metadata(name)
            logits = np.array(store.logits(name))
            again = fresh.logits(name)
            if not np.allclose(logits, again, atol=1e-3):
                raise ValueError(
                    f"model {name!r}: its logits are not those of the store; extract it again "
                    "(--replace)"
                )
            where = {
                key: fresh.metadata(name)["extraction"][key]
                for key in ("batch_size", "device_name", "versions")
            }
            facts = {key: kept[key] for key in FACTS if key in kept} | {"seconds_measured": where}
            costs = {"macs": kept["macs"], "seconds": fresh.metadata(name)["seconds"]}
            store.add(name, logits, replace=True, dtype=logits.dtype.name, **costs, **facts)


def results(stores: dict[str, LogitStore], table: pd.DataFrame) -> pd.DataFrame:
    """One row a model, cheapest first; MACs and seconds are those of the validation split."""
    val, test = (stores[split].models for split in SPLITS)
    rows = val[["family", "image_size", "parameters", "macs", "seconds"]].rename(
        columns={"image_size": "size"}
    )
    whole = {column: rows[column].astype(int) for column in ("size", "parameters", "macs")}
    rows = rows.assign(**whole, val_top1=val.top1, test_top1=test.top1.reindex(val.index))
    return rows[rows.index.isin(table.index)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=HERE, help="where zoo.json, weights/ and the splits are"
    )
    parser.add_argument(
        "--out", type=Path, help="where val/, test/ and results.csv go (default: the same folder)"
    )
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", help="default: CUDA if available")
    parser.add_argument("--replace", action="store_true", help="extract existing models again")
    parser.add_argument(
        "--seconds",
        action="store_true",
        help="measure the seconds of all models in this run as well",
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out = args.out or args.folder
    table = bundled_models(args.folder)
    table = table[table.trained]
    models = {name: load(name, args.folder) for name in table.index}
    # Full precision everywhere: the bundled logits are what fresh ones are compared with.
    settings = {
        "device": args.device,
        "batch_size": args.batch_size,
        "amp": False,
    }
    stores = {
        split: extract(
            models, fashion_mnist(split, args.folder), out / split, replace=args.replace, **settings
        )
        for split in SPLITS
    }
    for split in SPLITS if args.seconds else ():
        timed_again(LogitStore(out / split), models, fashion_mnist(split, args.folder), settings)
    stores = {split: LogitStore(out / split) for split in SPLITS}
    found = results(stores, table)
    found.to_csv(out / "results.csv", float_format="%.7g")
    print(found.to_string())


if __name__ == "__main__":
    main()
