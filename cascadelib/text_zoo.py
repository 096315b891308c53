"""The bundled text zoo: sequence classifiers of review sentences, built by transformers (data/reviews)."""

import functools
import hashlib
import json

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from .bag_of_words import BagOfWords
from .bundled import found, located
from .model import Model
from .names import known
from .packed_weights import read_weights
from .texts import REVIEWS
from .tokens import Tokenized

SPECIAL = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}


def built(entry: dict, zoo: dict) -> torch.nn.Module:
    """An untrained classifier of a text zoo, float32: its architecture in transformers, or the bag of words."""
    if entry["architecture"] == "bag_of_words":
        return BagOfWords(zoo["vocab_size"], len(zoo["classes"]))
    sizes = {"vocab_size": zoo["vocab_size"], "max_position_embeddings": zoo["max_length"], "pad_token_id": 0}
    names = {"id2label": dict(enumerate(zoo["classes"])), "label2id": {c: i for i, c in enumerate(zoo["classes"])}}
    config = AutoConfig.for_model(entry["architecture"], **sizes, **names, **entry["options"])
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def embedding_of(module: torch.nn.Module) -> torch.nn.Module:
    """The table of token embeddings."""
    return module.weights if isinstance(module, BagOfWords) else module.get_input_embeddings()


def catalogue(folder=REVIEWS) -> dict:
    """zoo.json of a text zoo: classes, vocab_size, max_length, models. Raises FileNotFoundError."""
    return json.loads((located(folder) / "zoo.json").read_text(encoding="utf-8"))


def names(folder=REVIEWS) -> list[str]:
    """The bundled text models, as they stand in zoo.json; none in an installed package without the data."""
    return list(catalogue(folder)["models"]) if (found(folder) / "zoo.json").is_file() else []


def knows(name: str) -> bool:
    """Whether a bundled text model has this name."""
    return name in names()


def load(name: str, folder=REVIEWS) -> Model:
    """A trained model of the bundled text zoo: transform(texts) → dict; module(**dict) → ``.logits`` [N, 2].

    Raises ValueError for unknown names and damaged weights, FileNotFoundError for models whose weights are not
    bundled (their logits are).
    """
    folder, zoo = located(folder), catalogue(folder)
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
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **SPECIAL)
