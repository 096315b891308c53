"""Sequence classifiers of transformers: built from a zoo's entry."""

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from .bag_of_words import BagOfWords


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
