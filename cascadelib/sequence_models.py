"""Fine-tuned sequence classifiers of transformers: a local folder, or "organisation/name" on the Hub."""

import inspect
import re

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from . import hub, hub_models
from .model import Model
from .tokens import Tokenized

MAX_LENGTH = 128  # tokens, as usual on GLUE


def knows(name: str) -> bool:
    """Whether this is a sequence classifier: a folder or repository whose config.json says so."""
    place, revision = _parted(name)
    known = hub_models.knows(place)
    return known and any("ForSequenceClassification" in a for a in _architectures(place, revision))


def _parted(name):
    """ "repository@revision" → (repository, revision or None); a folder is taken as it is."""
    repository, _, revision = name.partition("@")
    return (name, None) if hub_models.is_folder(name) else (repository, revision or None)


def _architectures(name, revision):
    local = hub_models.is_folder(name) or hub_models.revision_of(name, revision)
    if not local and not hub.answers():
        return ()  # the Hub's image loader, asked next, says that it does not answer
    try:
        return AutoConfig.from_pretrained(name, revision=revision).architectures or ()
    except (OSError, ValueError, KeyError):
        return ()


def load(name: str, revision: str | None = None, max_length: int = MAX_LENGTH) -> Model:
    """A fine-tuned sequence classifier of transformers with its tokenizer, in float32.

    name: a local folder (``save_pretrained``), or "organisation/name" on the Hub, with "@revision" where one is
    meant. max_length: tokens at which texts are cut (less where the model takes less).

    Raises ValueError where the files are no fine-tuned sequence classifier or the tokenizer has no padding token;
    ConnectionError, at once, where the Hub is needed and does not answer.
    """
    place, named = _parted(name)
    revision = revision or named
    hub_models.check_there(place, revision, f"model {name!r}")
    try:
        module, info = AutoModelForSequenceClassification.from_pretrained(
            place, revision=revision, dtype=torch.float32, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(place, revision=revision)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(f"{name!r} cannot be loaded as a sequence classifier of transformers: {reason}") from None
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[:3]
        raise ValueError(f"{name!r} is not fine-tuned for classification: its checkpoint lacks {missing}")
    taken = inspect.signature(module.forward).parameters
    keys = tuple(key for key in tokenizer.model_input_names if key in taken)
    limit = min(max_length, tokenizer.model_max_length, _positions(module.config))
    try:
        transform = Tokenized(tokenizer, limit, keys)
    except ValueError as error:
        raise ValueError(f"model {name!r}: {error}") from None
    if module.config.pad_token_id is None:
        module.config.pad_token_id = tokenizer.pad_token_id
    return Model(name, module.float().eval(), transform, _metadata(place, revision, module, limit))


def _positions(config) -> int:
    """Tokens that a model has positions for; RoBERTa and its kin count theirs from the padding token's on."""
    positions = getattr(config, "max_position_embeddings", None) or 10**9
    kin = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}
    return positions - (2 if config.model_type in kin else 0)


def _metadata(place, revision, module, limit):
    config = module.config
    own = [re.sub(r"[\s-]+", "_", config.id2label[i].strip().lower()) for i in range(config.num_labels)]
    return {
        "family": config.model_type,
        "architecture": type(module).__name__,
        "parameters": sum(p.numel() for p in module.parameters()),
        "checkpoint": {"name": place, "revision": hub_models.revision_of(place, revision)},
        "preprocessing": {"max_length": limit},
        "classes": own,
    }
