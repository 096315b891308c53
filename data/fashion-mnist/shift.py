"""Extract the logits of the shifted splits: every trained model of zoo.json, into the stores
shift/<kind>-<severity>/.

``python data/fashion-mnist/shift.py``. The images are 2,000 of the bundled *test* images under the
corruptions of corruptions.py; seeds are fixed, so they are made again when needed
and not kept. Sample ids are those of the test split. Interrupted, it resumes. Seconds per sample
are those of this run: compare shifted splits in MACs.
"""

import argparse
import sys
from pathlib import Path

import torch

from cascadelib.extraction.extraction import extract
from cascadelib.zoo.bundled import bundled_models
from cascadelib.zoo.loaders import load

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.resolve()))
from corruptions import SHIFTED, fashion_mnist_shifted  # noqa: E402 - a script beside this one


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=HERE, help="where zoo.json, weights/ and test.npz are"
    )
    parser.add_argument(
        "--out", type=Path, help="where the stores go (default: shift/ in the same folder)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--replace", action="store_true", help="extract existing models again")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    out = args.out or args.folder / "shift"
    table = bundled_models(args.folder)
    models = {name: load(name, args.folder) for name in table.index[table.trained]}
    for name in SHIFTED:
        samples = fashion_mnist_shifted(name, args.folder)
        store = extract(models, samples, out / name, amp=False, replace=args.replace)
        print(
            f"{name}: top-1 {store.models.top1.min():.4f} to {store.models.top1.max():.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
