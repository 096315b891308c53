"""Load image and text classifiers of transformers from the Hub or from a local folder."""

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

# Code of a repository never runs. Without this option, transformers asks the user.
OPTIONS = {"trust_remote_code": False}


@dataclass(frozen=True)
class ProcessorCut:
    """Transform of one photograph (PIL) → float32 [3, height, width] by a model's image processor.

    ``settings`` is the processor's JSON. Transforms with equal settings are equal.
    """

    settings: str
    processor: Any = field(compare=False)

    def __call__(self, image: Any) -> torch.Tensor:
        """Convert one image to the processor's pixels [3, height, width]."""
        return self.processor(image.convert("RGB"), return_tensors="pt")["pixel_values"][0]

    def __repr__(self) -> str:
        return f"ProcessorCut({self.settings})"


def is_transformers_model(name: str) -> bool:
    """Return whether a name is a folder with config.json or has the form "owner/name"."""
    on_hub = re.fullmatch("[^/.][^/]*/[^/]*", name) and timm_name(name) == name
    return _is_folder(name) or bool(on_hub)


def is_sequence_classifier(name: str) -> bool:
    """Return whether the config.json of a folder or repository is that of a sequence classifier."""
    place, revision = _split_revision(name)
    # The image loader, which is tried next, raises the error.
    if not is_transformers_model(place) or not (_is_available(place, revision) or is_reachable()):
        return False
    try:
        config = transformers.AutoConfig.from_pretrained(place, revision=revision, **OPTIONS)
    except Exception:
        return False
    return any("ForSequenceClassification" in name for name in config.architectures or ())


def _is_folder(name: str) -> bool:
    """Return whether a name is a folder with a model. The name may be an invalid path."""
    return os.path.isfile(os.path.join(name, "config.json"))


def _split_revision(name: str) -> tuple[str, str | None]:
    """Split "repository@revision" into both, or return (folder, None)."""
    repository, _, revision = name.partition("@")
    return (name, None) if _is_folder(name) else (repository, revision or None)


def _find_cached_revision(place: str, revision: str | None) -> str | None:
    """Return the commit of a cached Hub repository, or None for a folder or without a cache."""
    return None if _is_folder(place) else cached_revision(place, "config.json", revision=revision)


def _is_available(place: str, revision: str | None) -> bool:
    """Return whether this is a folder or a cached repository."""
    return _is_folder(place) or _find_cached_revision(place, revision) is not None


@contextlib.contextmanager
def _wrap_read_errors(name: str, place: str, revision: str | None, kind: str) -> Iterator[None]:
    """Convert errors while reading a folder or the Hub to ValueError.

    Raises ConnectionError first if the files are not cached and the Hub does not answer.
    """
    remedy = "pass the path of a local folder made by save_pretrained"
    check_reachable(f"model {name!r}", _is_available(place, revision), remedy)
    try:
        with weights_only():
            yield
    # torch, pickle, safetensors and transformers raise different types.
    except Exception as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(f"{name!r} cannot be loaded as {kind} of transformers: {reason}") from None


def load_image_model(name: str, revision: str | None = None) -> Model:
    """Load an image classifier of transformers with its image processor.

    Parameters
    ----------
    name : str
        Local folder (``save_pretrained``) or repository of the Hub.
    revision : str, optional
        Revision of that repository. It is recorded with the processor's settings.

    Returns
    -------
    Model
        Model whose module maps images of shape (n, 3, height, width) to an output with ``.logits``.

    Raises
    ------
    ValueError
        If it is not an image classifier.
    ConnectionError
        If the Hub is needed and does not answer. It is raised without retries.
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


MAX_LENGTH = 128  # tokens, the usual limit on GLUE
# Types of models whose position numbers start after that of the padding token.
OFFSET_TYPES = "roberta xlm-roberta camembert mpnet longformer".split()


def load_sequence_classifier(
    name: str, revision: str | None = None, max_length: int = MAX_LENGTH
) -> Model:
    """Load a fine-tuned sequence classifier of transformers with its tokenizer, in float32.

    Parameters
    ----------
    name : str
        Local folder (``save_pretrained``), or "owner/name" or "owner/name@revision" on the Hub.
    revision : str, optional
        Revision of the repository. It has precedence over the one in `name`.
    max_length : int, default=128
        Maximum number of tokens per text, or fewer if the model accepts fewer.

    Returns
    -------
    Model
        The model with its tokenizer.

    Raises
    ------
    ValueError
        If it is not a sequence classifier, is not fine-tuned, or has no padding token.
    ConnectionError
        If the Hub is needed and does not answer. It is raised without retries.
    """
    place, name_revision = _split_revision(name)
    revision = revision or name_revision
    options = OPTIONS | {"revision": revision}
    with _wrap_read_errors(name, place, revision, "a sequence classifier"):
        module, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, **options
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, **options)
        taken = inspect.signature(module.forward).parameters
        keys = tuple(key for key in tokenizer.model_input_names if key in taken)
        positions = getattr(module.config, "max_position_embeddings", None) or 10**9
        if module.config.model_type in OFFSET_TYPES:
            positions -= 2
        limit = min(max_length, tokenizer.model_max_length, positions)
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
        re.sub(r"[\s-]+", "_", label.strip().lower()) for label in metadata["classes"]
    ]
    return Model(name, module.float().eval(), transform, metadata)


def _describe_module(module: Any, checkpoint: dict, preprocessing: dict) -> dict:
    """Return the metadata of a model's logits."""
    config = module.config
    return {
        "family": config.model_type,
        "architecture": type(module).__name__,
        "parameters": count_parameters(module),
        "checkpoint": checkpoint,
        "preprocessing": preprocessing,
        "classes": [config.id2label[i] for i in range(config.num_labels)],
    }
