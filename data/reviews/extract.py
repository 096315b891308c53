"""Extract the bundled logits: every trained model of zoo.json on all splits, into a store a split
here.

Run ``python data/reviews/extract.py``. An interrupted run resumes. Existing models are kept, and
refused if their weights have changed (``--replace`` extracts all of them again). The script also
writes results.csv. It measures seconds per sample, so run nothing else at the same time if they
matter.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from cascadelib.datasets.bundled import reviews
from cascadelib.extraction.extraction import extract
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.bundled import list_bundled_names, load_bundled_text_model

HERE = Path(__file__).parent
SPLITS = ("val", "test", "products", "editorials", "tweets")


def results(folder: Path) -> pd.DataFrame:
    """Return a row per model, cheapest first, with tokens, MACs and seconds of the validation
    split."""
    stores = {
        split: LogitStore(folder / split)
        for split in SPLITS
        if (folder / split / "manifest.json").is_file()
    }
    rows = stores["val"].models[["family", "parameters", "tokens", "macs", "seconds"]]
    return rows.assign(
        **{
            f"{split}_top1": store.models.top1.reindex(rows.index)
            for split, store in stores.items()
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--splits", nargs="*", default=SPLITS)
    parser.add_argument("--replace", action="store_true", help="extract existing models again")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    trained = [
        name
        for name in list_bundled_names(HERE)
        if (HERE / "weights" / f"{name}.safetensors").is_file()
    ]
    models = {name: load_bundled_text_model(name) for name in trained}
    # Full precision everywhere: the bundled logits are what fresh ones are compared with.
    settings = {
        "batch_size": args.batch_size,
        "amp": False,
        "replace": args.replace,
        "device": "cpu",
    }
    for split in args.splits:
        extract(models, reviews(split), HERE / split, **settings)
    found = results(HERE)
    found.to_csv(HERE / "results.csv", float_format="%.7g")
    print(found.to_string())


if __name__ == "__main__":
    main()
