"""Extract the bundled logits: every trained model of zoo.json on val and test, into the stores val/ and test/ here.

``python data/fashion-mnist/extract.py``. Interrupted, it resumes; models that are there already are kept, and
refused if their weights have changed since (``--replace`` extracts all anew). Writes results.csv as well.
Seconds a sample are measured on the way: run nothing beside it where they matter.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from cascadelib.datasets.bundled import fashion_mnist
from cascadelib.extraction.extraction import extract
from cascadelib.zoo.bundled import bundled_models
from cascadelib.zoo.loaders import load

HERE = Path(__file__).parent
SPLITS = ("val", "test")


def results(stores, table) -> pd.DataFrame:
    """One row a model, cheapest first; MACs and seconds are those of the validation split."""
    val, test = (stores[split].models for split in SPLITS)
    rows = val[["family", "image_size", "parameters", "macs", "seconds"]].rename(columns={"image_size": "size"})
    whole = {column: rows[column].astype(int) for column in ("size", "parameters", "macs")}
    rows = rows.assign(**whole, val_top1=val.top1, test_top1=test.top1.reindex(val.index))
    return rows[rows.index.isin(table.index)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=HERE, help="where zoo.json, weights/ and the splits are")
    parser.add_argument("--out", type=Path, help="where val/, test/ and results.csv go (default: the same folder)")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", help="default: CUDA where there is one")
    parser.add_argument("--dtype", default="float32", help="of the stored logits: float16 halves the files")
    parser.add_argument("--replace", action="store_true", help="extract models anew that are there already")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out, table = args.out or args.folder, bundled_models(args.folder)
    table = table[table.trained]
    models = {name: load(name, args.folder) for name in table.index}
    # Full precision everywhere: the bundled logits are what fresh ones are compared with.
    settings = {"device": args.device, "batch_size": args.batch_size, "dtype": args.dtype, "amp": False}
    stores = {
        split: extract(models, fashion_mnist(split, args.folder), out / split, replace=args.replace, **settings)
        for split in SPLITS
    }
    found = results(stores, table)
    found.to_csv(out / "results.csv", float_format="%.7g")
    print(found.to_string())


if __name__ == "__main__":
    main()
