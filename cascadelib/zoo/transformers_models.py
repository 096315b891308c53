"""Image and text classifiers of Hugging Face transformers: "organisation/name" on the Hub, or a
local folder.
"""

import contextlib
import inspect
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from ..checks import timm_name
from ..hub import cached_revision, check_reachable, is_reachable, weights_only
from .model import Model, count_parameters
from .transforms import Tokenized

# Said, or transformers would ask at a prompt.
OPTIONS: dict[str, Any] = {"trust_remote_code": False}


@dataclass(frozen=True)
class ProcessorCut:
    """One photograph (PIL) → float32 [3, height, width] by a model's own image processor.

    ``settings``, its JSON, distinguishes processors.
    """

    settings: str
    processor: Any = field(compare=False)

    def __call__(self, image: Any) -> torch.Tensor:
        """The processor's pixels of one image, [3, height, width]."""
        return self.processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    def __repr__(self) -> str:
        return f"ProcessorCut({self.settings})"


def is_transformers_model(name: str) -> bool:
    """Whether this may be a model of transformers: a folder with config.json, or "owner/name"."""
    on_hub = re.fullmatch("[^/.][^/]*/[^/]*", name) and timm_name(name) == name
    return _is_folder(name) or bool(on_hub)


def is_sequence_classifier(name: str) -> bool:
    """Whether this is a sequence classifier: a folder or repository whose config.json says so."""
    place, revision = _split_revision(name)
    # The image loader, asked next, says what is wrong, or that the Hub does not answer.
    if not is_transformers_model(place) or not (_is_available(place, revision) or is_reachable()):
        return False
    try:
        config = transformers.AutoConfig.from_pretrained(place, revision=revision, **OPTIONS)
    except Exception:
        return False
    return any("ForSequenceClassification" in name for name in config.architectures or ())


def _is_folder(name: str) -> bool:
    """Whether this is a folder with a model; False for a name that no folder can have."""
    return os.path.isfile(os.path.join(name, "config.json"))


def _split_revision(name: str) -> tuple[str, str | None]:
    """ "repository@revision" → (repository, revision or None); a folder is taken as it is."""
    repository, _, revision = name.partition("@")
    return (name, None) if _is_folder(name) else (repository, revision or None)


def _find_cached_revision(place: str, revision: str | None) -> str | None:
    """The commit of a Hub repository that the local cache holds, or None; None for a folder."""
    return None if _is_folder(place) else cached_revision(place, "config.json", revision=revision)


def _is_available(place: str, revision: str | None) -> bool:
    """Whether this is a folder, or a repository that the local cache holds."""
    return _is_folder(place) or _find_cached_revision(place, revision) is not None


@contextlib.contextmanager
def _wrap_read_errors(name: str, place: str, revision: str | None, kind: str) -> Iterator[None]:
    """Inside, files of a folder or of the Hub are read; what fails there is a ValueError.

    Where they are not in the cache and the Hub does not answer, it is a ConnectionError at once.
    """
    instead = "give the path of a local folder made by save_pretrained"
    check_reachable(f"model {name!r}", _is_available(place, revision), instead)
    try:
        with weights_only():
            yield
    # torch, pickle, safetensors and transformers each have their own kinds.
    except Exception as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(f"{name!r} cannot be loaded as {kind} of transformers: {reason}") from None


def load_image_model(name: str, revision: str | None = None) -> Model:
    """Load an image classifier of transformers with its own image processor.

    Parameters
    ----------
    name : str
        A local folder (``save_pretrained``) or a repository of the Hub.
    revision : str, optional
        Of that repository; it is recorded with the processor's settings.

    Returns
    -------
    Model
        Its module takes [N, 3, height, width] and gives ``.logits``.

    Raises
    ------
    ValueError
        Where it is no image classifier.
    ConnectionError
        At once, where the Hub is needed and does not answer.
    """
    options = OPTIONS | {"revision": revision}
    with _wrap_read_errors(name, name, revision, "an image classifier"):
        module = transformers.AutoModelForImageClassification.from_pretrained(name, **options)
        processor = transformers.AutoImageProcessor.from_pretrained(name, **options)
    settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    checkpoint = {
        "name": name,
        "source": "local folder" if _is_folder(name) else name,
        "revision": _find_cached_revision(name, revision),
    }
    metadata = _describe_module(module, checkpoint, json.loads(settings))
    return Model(name, module.float().eval(), ProcessorCut(settings, processor), metadata)


MAX_LENGTH = 128  # tokens, as usual on GLUE


def load_sequence_classifier(
    name: str, revision: str | None = None, max_length: int = MAX_LENGTH
) -> Model:
    """Load a fine-tuned sequence classifier of transformers with its tokenizer, in float32.

    Parameters
    ----------
    name : str
        A local folder (``save_pretrained``), or "owner/name" on the Hub, with "@revision" where one
        is meant.
    revision : str, optional
        The same, beside the name.
    max_length : int
        Tokens at which texts are cut; less where the model takes less.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        Where it is no sequence classifier, is not fine-tuned, or has no padding token.
    ConnectionError
        At once, where the Hub is needed and does not answer.
    """
    place, named = _split_revision(name)
    revision = revision or named
    options = OPTIONS | {"revision": revision}
    with _wrap_read_errors(name, place, revision, "a sequence classifier"):
        module, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **options
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **options)
        taken = inspect.signature(module.forward).parameters
        keys = tuple(key for key in tokenizer.model_input_names if key in taken)
        limit = min(max_length, tokenizer.model_max_length, _count_positions(module.config))
        transform = Tokenized(tokenizer, limit, keys)
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[:3]
        raise ValueError(
            f"{name!r} is not fine-tuned for classification: its checkpoint lacks {missing}"
        )
    if module.config.pad_token_id is None:
        module.config.pad_token_id = tokenizer.pad_token_id
    checkpoint = {"name": place, "revision": _find_cached_revision(place, revision)}
    metadata = _describe_module(module, checkpoint, {"max_length": limit})
    metadata["classes"] = [
        re.sub(r"[\s-]+", "_", own.strip().lower()) for own in metadata["classes"]
    ]
    return Model(name, module.float().eval(), transform, metadata)


def _count_positions(config: Any) -> int:
    """Tokens that a model has positions for; RoBERTa and its kin count after the padding's."""
    positions = getattr(config, "max_position_embeddings", None) or 10**9
    kin = "roberta xlm-roberta camembert mpnet longformer".split()
    return positions - (2 if config.model_type in kin else 0)


def _describe_module(module: Any, checkpoint: dict, preprocessing: dict) -> dict:
    """What the header of the logits says of a model."""
    config = module.config
    return {
        "family": config.model_type,
        "architecture": type(module).__name__,
        "parameters": count_parameters(module),
        "checkpoint": checkpoint,
        "preprocessing": preprocessing,
        "classes": [config.id2label[i] for i in range(config.num_labels)],
    }
