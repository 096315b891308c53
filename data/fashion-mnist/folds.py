"""Make out-of-fold logits of the 60,000 training images of Fashion-MNIST, for the ledger.

``python data/fashion-mnist/folds.py --raw FOLDER`` (four IDX files; see README.md here) writes the
stores ``build/folds/val`` and ``build/folds/test``, which are not committed. An image is in fold 0
or 1 by the parity of its row in the original file. Each model size is trained once for each fold,
on the images of the other fold. The trained network computes the logits of its fold's images. So no
image trained the network that classifies it, and no official test image is used. Each store has one
half of every fold: ``val`` selects, and ``test`` evaluates.

The recipes are those of the variants that learn from hard labels (``twins/recipes.json``). No model
is distilled, because a teacher would need folds too. MACs and seconds are those of the bundled
models of these sizes. Sizes are trained from the smallest to the largest. Training resumes after
the last epoch, and sizes that both stores have are skipped.
"""

import json
from pathlib import Path

import numpy as np
import torch
from split import read_idx
from train import HERE, STATE, Labelled, as_tensors, read_options, train
from twins import TWINS, zoo_of

from cascadelib import LogitStore
from cascadelib.files import ROOT
from cascadelib.zoo.bundled import load_bundled

FOLDS = 2
OUT = ROOT / "build" / "folds"
SPLITS = ("val", "test")
WORK = STATE / "folds"
DATASET = "fashion-mnist-folds"
SEED = 3  # of the first fold; 1 and 2 are those of the variants
MONITORED = 1000  # images of the fold whose accuracy the log has after each epoch
FACTS = ("macs", "seconds", "family", "architecture", "image_size", "parameters")
EPOCHS = {
    "linear@28": 12,
    "linear@14": 12,
    "mlp@14": 12,
    "mlp@28": 12,
    "mlp_h256@28": 12,
    "lenet@28": 8,
    "lenet_w200@28": 6,
    "small_resnet_w16x2@28": 5,
    "lenet_w50@28": 8,
    "lenet_w150@28": 6,
    "lenet_w300@28": 6,
    "small_resnet_w16@28": 5,
}


def fold_zoos(bundled: dict) -> list[dict]:
    """Return the zoo of each fold, with the recipe of each model size."""
    every = json.loads((TWINS / "recipes.json").read_text())["every"]
    seeds = {str(fold): {"seed": SEED + fold} for fold in range(FOLDS)}
    recipes = {"epochs": EPOCHS, "every": every, "zoos": seeds}
    return [zoo_of(bundled, recipes, fold) for fold in seeds]


def read_training_images(raw: Path) -> Labelled:
    """Return the images uint8 [60000, 28, 28] and labels int64 [60000], in the original order."""
    parts = [read_idx(raw, f"train-{part}-ubyte") for part in ("images-idx3", "labels-idx1")]
    return as_tensors(*parts)


def fold_rows(count: int) -> list[np.ndarray]:
    """Return the rows of each fold."""
    return [np.arange(fold, count, FOLDS) for fold in range(FOLDS)]


def split_rows(count: int, number: int) -> np.ndarray:
    """Return the rows of a split: every second one of fold 0, then of fold 1."""
    return np.concatenate([rows[number :: len(SPLITS)] for rows in fold_rows(count)])


def train_in_folds(name: str, zoos: list[dict], data: Labelled) -> None:
    """Train one size for each fold, on the images of all other folds."""
    images, labels = data
    folds = fold_rows(len(images))
    for fold, zoo in enumerate(zoos):
        folder = WORK / str(fold)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "zoo.json").write_text(json.dumps(zoo))
        if not (folder / "weights" / f"{name}.safetensors").exists():
            rows = np.concatenate([rows for other, rows in enumerate(folds) if other != fold])
            held_out = folds[fold][:MONITORED]
            parts = [(images[chosen], labels[chosen]) for chosen in (rows, held_out)]
            train(name, zoo, *parts, folder, folder / "weights")


@torch.inference_mode()
def out_of_fold_logits(name: str, images: torch.Tensor) -> np.ndarray:
    """Return float32 [60000, classes] in the original order."""
    parts = []
    folds = fold_rows(len(images))
    for fold, rows in enumerate(folds):
        model = load_bundled(name, WORK / str(fold))
        module = model.module.to(memory_format=torch.channels_last)
        parts += [module(model.transform(part)) for part in images[rows].split(500)]
    return torch.cat(parts).numpy()[np.argsort(np.concatenate(folds))]


def open_store(split: str, labels: np.ndarray, classes: list[str]) -> LogitStore:
    """Return the store of a split. It is created if it does not exist."""
    if (OUT / split / "manifest.json").exists():
        return LogitStore(OUT / split)
    rows = split_rows(len(labels), SPLITS.index(split))
    ids = [f"train/{row:05d}" for row in rows]
    return LogitStore.create(OUT / split, labels[rows], ids, classes, DATASET, split)


def main() -> None:
    args = read_options(__doc__, "those of EPOCHS")
    bundled = json.loads((HERE / "zoo.json").read_text())
    zoos = fold_zoos(bundled)
    images, labels = read_training_images(args.raw)
    stores = [open_store(split, labels.numpy(), bundled["classes"]) for split in SPLITS]
    measured = LogitStore(HERE / "val")
    for name in args.names or EPOCHS:
        if all(name in store.models.index for store in stores):
            continue
        train_in_folds(name, zoos, (images, labels))
        logits = out_of_fold_logits(name, images)
        about = measured.metadata(name)
        for number, store in enumerate(stores):
            if name not in store.models.index:
                part = logits[split_rows(len(images), number)]
                store.add(name, part, folds=FOLDS, **{key: about[key] for key in FACTS})
    for store in stores:
        print(store.models[["top1", "macs", "folds"]].to_string())


if __name__ == "__main__":
    main()
