"""Image and text classifiers of Hugging Face transformers: "organisation/name" on the Hub, or a
local folder.
"""

import contextlib
import inspect
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers

from ..checks import timm_name
from ..hub import cached_revision, check_reachable, is_reachable, weights_only
from .model import Model
from .transforms import Tokenized

OPTIONS: dict[str, Any] = {
    "trust_remote_code": False
}  # said, or transformers would ask at a prompt


@dataclass(frozen=True)
class ProcessorCut:
    """One photograph (PIL, RGB) → float32 [3, height, width] by a model's own image processor.
    ``settings``, its JSON, tells two of them apart.
    """

    settings: str
    processor: Any = field(compare=False)

    def __call__(self, image: Any) -> torch.Tensor:
        """The processor's pixels of one RGB image, [3, height, width]."""
        return self.processor(image, return_tensors="pt")["pixel_values"][0]

    def __repr__(self) -> str:
        return f"ProcessorCut({self.settings})"


@dataclass(frozen=True)
class ProcessedPhotos:
    """Transform of photographs: all of it is done by the model's image processor, in the workers
    that decode.
    """

    cut: ProcessorCut

    def __call__(self, images: Iterable) -> torch.Tensor:
        """Input [n, 3, height, width] from n PIL images."""
        return torch.stack([self.cut(image.convert("RGB")) for image in images])


def is_transformers_model(name: str) -> bool:
    """Whether this looks like a transformers model: a folder with config.json, or
    "organisation/name".
    """
    is_hub = (
        len(name.split("/")) == 2 and not name.startswith(("/", ".")) and timm_name(name) == name
    )
    return _is_folder(name) or is_hub


def is_sequence_classifier(name: str) -> bool:
    """Whether this is a sequence classifier: a folder or repository whose config.json says so."""
    place, revision = _parted(name)
    if not is_transformers_model(place) or not (
        _is_folder(place) or _revision_of(place, revision) or is_reachable()
    ):
        return False  # the image loader, asked next, says that the Hub does not answer
    try:
        architectures = (
            transformers.AutoConfig.from_pretrained(
                place, revision=revision, **OPTIONS
            ).architectures
            or ()
        )
    except Exception:  # whatever it is, the image loader, asked next, says it
        return False
    return any("ForSequenceClassification" in a for a in architectures)


def _is_folder(name: str) -> bool:
    return os.path.isfile(
        os.path.join(name, "config.json")
    )  # false for a name that no file can have


def _parted(name: str) -> tuple[str, str | None]:
    """ "repository@revision" → (repository, revision or None); a folder is taken as it is."""
    repository, _, revision = name.partition("@")
    return (name, None) if _is_folder(name) else (repository, revision or None)


def _revision_of(place: str, revision: str | None) -> str | None:
    """The commit of a Hub repository that the local cache holds.

    None for a folder, or where it is not there.
    """
    return None if _is_folder(place) else cached_revision(place, "config.json", revision=revision)


@contextlib.contextmanager
def _reading(name: str, place: str, revision: str | None, kind: str) -> Iterator[None]:
    """Inside, files of a folder or of the Hub are read; what fails there is a ValueError that says
    of which kind, or at once a ConnectionError where they are not in the cache and the Hub does not
    answer.
    """
    there = _is_folder(place) or _revision_of(place, revision) is not None
    check_reachable(
        f"model {name!r}", there, "give the path of a local folder made by save_pretrained"
    )
    try:
        with weights_only():
            yield
    except (
        Exception
    ) as error:  # torch, pickle, safetensors and transformers each have their own kinds
        reason = " ".join(str(error).split())[:400]
        raise ValueError(f"{name!r} cannot be loaded as {kind} of transformers: {reason}") from None


def load_image_model(name: str, revision: str | None = None) -> Model:
    """An image classifier of transformers with its own image processor: module([N, 3, H, W]) gives
    ``.logits``.

    name: a local folder (``save_pretrained``) or a repository of the Hub; revision: of that, which
    is recorded with the processor's settings. ValueError where it is no image classifier,
    ConnectionError, at once, without the Hub.
    """
    with _reading(name, name, revision, "an image classifier"):
        module = transformers.AutoModelForImageClassification.from_pretrained(
            name, revision=revision, **OPTIONS
        )
        processor = transformers.AutoImageProcessor.from_pretrained(
            name, revision=revision, **OPTIONS
        )
    settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    checkpoint = {"name": name, "source": "local folder" if _is_folder(name) else name}
    metadata = _metadata(
        module, checkpoint | {"revision": _revision_of(name, revision)}, json.loads(settings)
    )
    return Model(
        name, module.float().eval(), ProcessedPhotos(ProcessorCut(settings, processor)), metadata
    )


MAX_LENGTH = 128  # tokens, as usual on GLUE


def load_sequence_classifier(
    name: str, revision: str | None = None, max_length: int = MAX_LENGTH
) -> Model:
    """A fine-tuned sequence classifier of transformers with its tokenizer, in float32.

    name: a local folder (``save_pretrained``), or "organisation/name" on the Hub, with "@revision"
    where one is meant. max_length: tokens at which texts are cut (less where the model takes less).
    Raises as :func:`load_image_model`, and where the classifier is not fine-tuned or there is no
    padding token.
    """
    place, named = _parted(name)
    revision = revision or named
    with _reading(name, place, revision, "a sequence classifier"):
        module, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            place, revision=revision, dtype=torch.float32, output_loading_info=True, **OPTIONS
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, revision=revision, **OPTIONS)
        taken = inspect.signature(module.forward).parameters
        keys = tuple(key for key in tokenizer.model_input_names if key in taken)
        limit = min(max_length, tokenizer.model_max_length, _positions(module.config))
        transform = Tokenized(tokenizer, limit, keys)
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])[:3]
        raise ValueError(
            f"{name!r} is not fine-tuned for classification: its checkpoint lacks {missing}"
        )
    if module.config.pad_token_id is None:
        module.config.pad_token_id = tokenizer.pad_token_id
    checkpoint = {"name": place, "revision": _revision_of(place, revision)}
    metadata = _metadata(module, checkpoint, {"max_length": limit})
    metadata["classes"] = [
        re.sub(r"[\s-]+", "_", own.strip().lower()) for own in metadata["classes"]
    ]
    return Model(name, module.float().eval(), transform, metadata)


def _positions(config: Any) -> int:
    """Tokens that a model has positions for.

    RoBERTa and its kin count theirs from the padding token's on.
    """
    positions = getattr(config, "max_position_embeddings", None) or 10**9
    kin = {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"}
    return positions - (2 if config.model_type in kin else 0)


def _metadata(module: Any, checkpoint: dict, preprocessing: dict) -> dict:
    """What the header of the logits says of a model."""
    config = module.config
    return {
        "family": config.model_type,
        "architecture": type(module).__name__,
        "parameters": sum(p.numel() for p in module.parameters()),
        "checkpoint": checkpoint,
        "preprocessing": preprocessing,
        "classes": [config.id2label[i] for i in range(config.num_labels)],
    }
