"""From a model's name to its module and preprocessing: the bundled zoo, timm, or transformers."""

import functools
import hashlib
import json
from pathlib import Path

import pandas as pd
import timm
from safetensors import SafetensorError
from safetensors.torch import load_file

from . import (
    classical,  # noqa: F401 - registers linear, mlp and lenet with timm
    hub_models,
    sequence_models,
    text_zoo,
    timm_models,
)
from .bundled import found, located
from .model import Model, reordered  # noqa: F401 - part of the zoo for its users
from .names import known
from .preprocessing import GreyImages

FOLDER = "data/fashion-mnist"


def _catalogue(folder) -> tuple[Path, dict]:
    path = located(folder) / "zoo.json"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; it lists the models of a zoo (see data/fashion-mnist)")
    return path.parent, _parsed(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _parsed(path, _modified):
    try:
        zoo = json.loads(path.read_text(encoding="utf-8"))
        return {key: zoo[key] for key in ("classes", "mean", "std", "models")}
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a zoo with classes, mean, std and models ({error!r})") from None


def _weights_file(folder, entry) -> Path:
    return folder / "weights" / f"{entry['weights']}.safetensors"


def bundled(folder=FOLDER) -> pd.DataFrame:
    """The zoo's models, a row each in the order of zoo.json: family, architecture, size (pixels), weights, trained.

    ``weights`` names a file that models at several sizes may share; ``trained`` says whether it is there.
    """
    folder, zoo = _catalogue(folder)
    columns = ["family", "architecture", "size", "weights"]
    rows = {
        name: {c: entry[c] for c in columns} | {"trained": _weights_file(folder, entry).is_file()}
        for name, entry in zoo["models"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*columns, "trained"]).rename_axis("model")


def load(name: str, folder=FOLDER, **options) -> Model:
    """The model of that name: of the bundled zoo in ``folder`` or of texts, else of timm, else of transformers.

    options go to the loader that knows the name: :func:`timm_models.load` (checkpoint, size, revision, classes),
    :func:`hub_models.load` (revision), :func:`sequence_models.load` (revision, max_length); the bundled zoos take none.
    Raises ValueError for unknown names and for weights that do not fit, FileNotFoundError for missing ones,
    ConnectionError where the Hub is needed and does not answer.
    """
    # An installed package has no bundled zoo; what timm and the Hub have can be loaded there all the same.
    bundled_names = list(_catalogue(folder)[1]["models"]) if (found(folder) / "zoo.json").is_file() else []
    if name in bundled_names:
        return load_bundled(name, folder, **options)
    for knows, loader in LOADERS:
        if knows(name):
            return loader(name, **options)
    return known(name, [*bundled_names, *text_zoo.names(), *timm_models.names()], "model")


def load_bundled(name: str, folder=FOLDER) -> Model:
    """Build a bundled model, [N, 1, size, size] → [N, classes], with its trained weights.

    Raises ValueError for unknown names and for weights that do not fit, FileNotFoundError for missing ones.
    """
    folder, zoo = _catalogue(folder)
    entry = zoo["models"][known(name, zoo["models"], "model")]
    path = _weights_file(folder, entry)
    if not path.is_file():
        raise FileNotFoundError(f"no weights {path} for model {name!r}; data/fashion-mnist/train.py makes them")
    module = timm.create_model(
        entry["architecture"], in_chans=1, num_classes=len(zoo["classes"]), **entry.get("options", {})
    )
    _load_weights(module, path)
    transform = GreyImages(entry["size"], zoo["mean"], zoo["std"])
    return Model(name, module.eval(), transform, _metadata(entry, module, transform, path))


def _load_weights(module, path):
    """Strictly, but for BatchNorm's counters, which inference does not use and the files leave out."""
    try:
        weights = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        missing, unexpected = module.load_state_dict(weights, strict=False)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: its weights do not fit or cannot be read: {error}") from None
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ValueError(f"{path}: weights are missing for {missing[:5]}; without a place: {unexpected[:5]}")


def _metadata(entry, module, transform, path):
    return {
        "family": entry["family"],
        "architecture": entry["architecture"],
        "image_size": entry["size"],
        "parameters": sum(p.numel() for p in module.parameters()),
        "checkpoint": {"name": entry["weights"], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "preprocessing": {
            "mean": transform.mean,
            "std": transform.std,
            "interpolation": "bilinear, antialiased",
            "crop": 1.0,
        },
    }


# Tried in this order for a name that the bundled zoo does not have.
LOADERS = [
    (text_zoo.knows, text_zoo.load),
    (timm_models.knows, timm_models.load),
    (sequence_models.knows, sequence_models.load),
    (hub_models.knows, hub_models.load),
]
