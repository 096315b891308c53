"""Train the twins of eight bundled models in four ways, and keep their logits.

``python data/fashion-mnist/twins.py --raw FOLDER`` (four IDX files; see README.md here). Twins
differ in what they learn from alone: hard labels (two seeds), smoothed labels, or the bundled
``resnet18_w32@56`` (distillation). Of a size all have the same images, epochs and learning rates;
``twins/recipes.json`` has them.

Trained one after the other, smallest first; state is kept after every epoch in ``.training/twins``,
as are the weights, which are not bundled. When all are trained, the logits on the same samples of
val and test go into the stores ``twins/<zoo>/<split>``, and the epochs into
``twins/training-log.csv``.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from train import HERE, STATE, read_options, tensors, train

from cascadelib.datasets.bundled import fashion_mnist
from cascadelib.extraction.extraction import extract
from cascadelib.zoo.bundled import load_bundled

TWINS = HERE / "twins"
WORK = STATE / "twins"
COLUMNS = ("zoo", "model", "epoch", "image_size", "loss", "validation_top1", "seconds")


def zoo_of(bundled: dict, recipes: dict, name: str) -> dict:
    """The bundled zoo with eight models, each with the recipe that the zoo ``name`` has for it."""
    models = {}
    for number, (model, epochs) in enumerate(recipes["epochs"].items()):
        entry = bundled["models"][model]
        kept = {key: entry["recipe"][key] for key in ("lr", "weight_decay")}
        recipe = kept | recipes["every"] | recipes["zoos"][name]
        recipe["seed"] = 100 * recipe["seed"] + number
        recipe["sizes"] = [[entry["size"], epochs]]
        models[model] = entry | {"recipe": recipe}
    return bundled | {"models": models}


def write_zoos(recipes: dict) -> dict[str, dict]:
    """A zoo.json for each zoo, in the folder that gets its weights."""
    bundled = json.loads((HERE / "zoo.json").read_text())
    zoos = {name: zoo_of(bundled, recipes, name) for name in recipes["zoos"]}
    for name, zoo in zoos.items():
        (WORK / name).mkdir(parents=True, exist_ok=True)
        (WORK / name / "zoo.json").write_text(json.dumps(zoo))
    return zoos


def train_all(raw: Path, zoos: dict[str, dict], models: Iterable[str]) -> None:
    """Train what has no weights yet: a size in all zoos, then the next size."""
    data = tensors(raw, "train")
    held_out = tensors(raw, "val")
    for model in models:
        for name, zoo in zoos.items():
            weights = WORK / name / "weights"
            if not (weights / f"{model}.safetensors").exists():
                print(name, flush=True)
                train(model, zoo, data, held_out, WORK / name, weights)


def extract_all(recipes: dict) -> None:
    """The logits of every zoo on the same samples of both splits, as float16."""
    for split in ("val", "test"):
        samples = fashion_mnist(split, HERE)
        rng = np.random.default_rng(len(samples))
        rows = np.sort(rng.choice(len(samples), recipes["samples"], replace=False))
        chosen = samples.take(rows)
        for name in recipes["zoos"]:
            models = {model: load_bundled(model, WORK / name) for model in recipes["epochs"]}
            extract(models, chosen, TWINS / name / split, amp=False, dtype="float16")


def write_log(recipes: dict) -> None:
    """The epochs of all twins, a row each."""
    with open(TWINS / "training-log.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name in recipes["zoos"]:
            for model in recipes["epochs"]:
                with open(WORK / name / f"{model}.csv", newline="") as epochs:
                    writer.writerows([name, *row] for row in csv.reader(epochs))


def main() -> None:
    recipes = json.loads((TWINS / "recipes.json").read_text())
    args = read_options(__doc__, "those of recipes.json")
    zoos = write_zoos(recipes)
    train_all(args.raw, zoos, args.names or recipes["epochs"])
    write_log(recipes)
    extract_all(recipes)


if __name__ == "__main__":
    main()
