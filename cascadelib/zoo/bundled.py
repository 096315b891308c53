"""The zoos that come with the repository: classifiers of images and of texts, their weights and architectures.

timm and transformers are imported where a model is built: they take seconds.
"""

import functools
import hashlib
import json
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..checks import known
from ..files import REVIEWS, folder_of, located
from .model import Model
from .transforms import GreyImages, Tokenized


class BagOfWords(torch.nn.Module):
    """[N, L] numbers of word pieces and their mask → logits [N, classes]; the order of the words does not count."""

    def __init__(self, vocab_size: int, classes: int):
        super().__init__()
        self.weights = torch.nn.Embedding(vocab_size, classes)
        torch.nn.init.zeros_(self.weights.weight)

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        """Logits [n, classes] of token ids and mask [n, length]."""
        # As a product, so that a count of multiply-accumulates sees one a word and class.
        return (attention_mask.to(self.weights.weight.dtype).unsqueeze(1) @ self.weights(input_ids)).squeeze(1)


def linear(in_chans=1, num_classes=10, img_size=28):
    """Softmax regression on pixels: [N, in_chans, img_size, img_size] → [N, num_classes]."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * img_size**2, num_classes))


def mlp(in_chans=1, num_classes=10, img_size=28, hidden=64):
    """One hidden layer of ``hidden`` ReLU units: [N, in_chans, img_size, img_size] → [N, num_classes]."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(in_chans * img_size**2, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
    )


def lenet(in_chans=1, num_classes=10, img_size=28, width=1.0):
    """LeNet-5 with channels and units × ``width``: [N, in_chans, img_size, img_size] → [N, num_classes]."""
    c1, c2, f1, f2 = (round(n * width) for n in (6, 16, 120, 84))
    features = nn.Sequential(
        nn.Conv2d(in_chans, c1, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(c1, c2, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
    side = (img_size // 2 - 4) // 2
    head = nn.Sequential(
        nn.Flatten(), nn.Linear(c2 * side**2, f1), nn.ReLU(), nn.Linear(f1, f2), nn.ReLU(), nn.Linear(f2, num_classes)
    )
    return nn.Sequential(features, head)


CLASSICAL = {"linear": linear, "mlp": mlp, "lenet": lenet}
"""Nets below timm's smallest, by the architecture that zoo.json names; the others are timm's."""


def image_classifier(entry: dict, classes: int) -> torch.nn.Module:
    """An untrained classifier of an image zoo, [N, 1, size, size] → [N, classes]. entry: the model in zoo.json."""
    options = {"in_chans": 1, "num_classes": classes, **entry.get("options", {})}
    if entry["architecture"] in CLASSICAL:
        return CLASSICAL[entry["architecture"]](**options)
    import timm

    return timm.create_model(entry["architecture"], **options)


SCALE = ".scale"


def packed(state: dict) -> dict:
    """{name: float tensor} → matrices rounded to int8 with ``name.scale`` [rows] beside them, the others to float16."""
    tensors = {}
    for name, value in state.items():
        value = value.detach().float()
        if value.ndim == 2:
            scale = value.abs().amax(1).clamp_min(1e-12) / 127
            tensors[name], tensors[name + SCALE] = (value / scale[:, None]).round().to(torch.int8), scale
        else:
            tensors[name] = value.half()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def unpacked(tensors: dict) -> dict:
    """The float32 weights that :func:`packed` keeps; plain float16 and float32 tensors pass."""
    return {
        name: value.float() * tensors[name + SCALE][:, None] if name + SCALE in tensors else value.float()
        for name, value in tensors.items()
        if not name.endswith(SCALE)
    }


def write_weights(path: Path, state: dict, **metadata: str) -> None:
    """Write :func:`packed` weights as safetensors, whole or not at all."""
    new = path.with_suffix(".new")
    save_file(packed(state), new, metadata)
    new.chmod(0o644)  # safetensors makes files that only their owner reads
    new.replace(path)


def read_weights(path: Path) -> dict:
    """{name: float32 tensor} of a file of :func:`write_weights`. Raises ValueError naming a damaged file."""
    try:
        return unpacked(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path}: its weights cannot be read: {error}") from None


SPECIAL = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}


def built(entry: dict, zoo: dict) -> torch.nn.Module:
    """An untrained classifier of a text zoo, float32: its architecture in transformers, or the bag of words."""
    if entry["architecture"] == "bag_of_words":
        return BagOfWords(zoo["vocab_size"], len(zoo["classes"]))
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"vocab_size": zoo["vocab_size"], "max_position_embeddings": zoo["max_length"], "pad_token_id": 0}
    names = {"id2label": dict(enumerate(zoo["classes"])), "label2id": {c: i for i, c in enumerate(zoo["classes"])}}
    config = AutoConfig.for_model(entry["architecture"], **sizes, **names, **entry["options"])
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def embedding_of(module: torch.nn.Module) -> torch.nn.Module:
    """The table of token embeddings."""
    return module.weights if isinstance(module, BagOfWords) else module.get_input_embeddings()


def text_catalogue(folder=REVIEWS) -> dict:
    """zoo.json of a text zoo: classes, vocab_size, max_length, models. Raises FileNotFoundError."""
    return json.loads((located(folder) / "zoo.json").read_text(encoding="utf-8"))


def bundled_text_models(folder=REVIEWS) -> list[str]:
    """The bundled text models, as they stand in zoo.json; none in an installed package without the data."""
    return list(text_catalogue(folder)["models"]) if (folder_of(folder) / "zoo.json").is_file() else []


def is_bundled_text_model(name: str) -> bool:
    """Whether a bundled text model has this name."""
    return name in bundled_text_models()


def load_bundled_text_model(name: str, folder=REVIEWS) -> Model:
    """A trained model of the bundled text zoo: transform(texts) → dict; module(**dict) → ``.logits`` [N, 2].

    Raises ValueError for unknown names and damaged weights, FileNotFoundError for models whose weights are not
    bundled (their logits are).
    """
    folder, zoo = located(folder), text_catalogue(folder)
    entry = zoo["models"][known(name, zoo["models"], "model")]
    path = folder / "weights" / f"{entry['weights']}.safetensors"
    if not path.is_file():
        there = [n for n, e in zoo["models"].items() if (path.parent / f"{e['weights']}.safetensors").is_file()]
        raise FileNotFoundError(f"no weights {path} for model {name!r}; bundled are {there}; train.py makes the others")
    module, weights = built(entry, zoo), read_weights(path)
    if entry["shared_embeddings"]:
        embedding_of(module).weight.data.copy_(_embeddings(path.parent))
    own = {key for key, value in module.named_parameters() if not _is_shared(module, value, entry)}
    if own != weights.keys():
        raise ValueError(f"{path}: its weights do not fit {name!r}: {sorted(own ^ weights.keys())[:5]}")
    module.load_state_dict(weights, strict=False)
    metadata = {
        "family": entry["family"],
        "architecture": entry["architecture"],
        "parameters": sum(p.numel() for p in module.parameters()),
        "checkpoint": {"name": entry["weights"], "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        "preprocessing": {"max_length": zoo["max_length"], "tokenizer": "tokenizer.json"},
    }
    return Model(name, module.eval(), Tokenized(_tokenizer(folder), zoo["max_length"]), metadata)


def _is_shared(module, value, entry):
    return entry["shared_embeddings"] and value is embedding_of(module).weight


@functools.lru_cache(maxsize=2)
def _embeddings(folder):
    return read_weights(folder / "embeddings.safetensors")["embeddings"]


@functools.lru_cache(maxsize=2)
def _tokenizer(folder):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **SPECIAL)


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


def bundled_models(folder=FOLDER) -> pd.DataFrame:
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


def load_bundled(name: str, folder=FOLDER) -> Model:
    """Build a bundled model, [N, 1, size, size] → [N, classes], with its trained weights.

    Raises ValueError for unknown names and for weights that do not fit, FileNotFoundError for missing ones.
    """
    folder, zoo = _catalogue(folder)
    entry = zoo["models"][known(name, zoo["models"], "model")]
    path = _weights_file(folder, entry)
    if not path.is_file():
        raise FileNotFoundError(f"no weights {path} for model {name!r}; data/fashion-mnist/train.py makes them")
    module = image_classifier(entry, len(zoo["classes"]))
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
