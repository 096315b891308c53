"""Classifiers of Hugging Face transformers, of images and of texts: "organisation/name" on the Hub, or a local
folder."""

import inspect
import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from ..checks import timm_name
from ..hub import cached_revision, check_reachable, is_reachable
from .model import Model
from .transforms import Tokenized


@dataclass(frozen=True)
class ProcessorCut:
    """One photograph (PIL, RGB) → float32 [3, height, width] by a model's own image processor.

    ``settings``, the processor's JSON, tells two of them apart.
    """

    settings: str
    processor: object

    def __call__(self, image) -> torch.Tensor:
        """The processor's pixels of one RGB image, [3, height, width]."""
        return self.processor(image, return_tensors="pt")["pixel_values"][0]

    def __eq__(self, other):
        return isinstance(other, ProcessorCut) and self.settings == other.settings

    def __hash__(self):
        return hash(self.settings)

    def __repr__(self):
        return f"ProcessorCut({self.settings})"


@dataclass(frozen=True)
class ProcessedPhotos:
    """Transform of photographs: all of it is done by the model's image processor, in the workers that decode."""

    cut: ProcessorCut

    def __call__(self, images) -> torch.Tensor:
        """Input [n, 3, height, width] from n PIL images."""
        return torch.stack([self.cut(image.convert("RGB")) for image in images])

    def finished(self, cut: torch.Tensor) -> torch.Tensor:
        """The processor has normalised already."""
        return cut


def is_transformers_model(name: str) -> bool:
    """Whether this looks like a transformers model: a folder with config.json, or "organisation/name"."""
    return is_folder(name) or len(name.split("/")) == 2 and not name.startswith(("/", ".")) and timm_name(name) == name


def is_folder(name: str) -> bool:
    """Whether this is a local folder made by ``save_pretrained``."""
    return (Path(name) / "config.json").is_file()


def revision_of(name: str, revision: str | None = None) -> str | None:
    """The commit of a Hub repository that the local cache holds; None for a folder, or where it is not there."""
    return None if is_folder(name) else cached_revision(name, "config.json", revision=revision)


def check_there(name: str, revision: str | None, what: str) -> None:
    """Raise ConnectionError, naming ``what``, at once unless this is a folder or in the cache, or the Hub answers."""
    if not is_folder(name):
        cached = revision_of(name, revision) is not None
        check_reachable(what, cached, "give the path of a local folder made by save_pretrained")


def load_image_model(name: str, revision: str | None = None) -> Model:
    """An image classifier of transformers with its own image processor: module([N, 3, H, W]) gives ``.logits``.

    name: a local folder (``save_pretrained``) or a repository of the Hub; revision: of that.
    Recorded: revision, the processor's settings. For models at several sizes, give extraction (module, transform).

    Raises ValueError where the files are not those of an image classifier, ConnectionError, at once, where the Hub is
    needed and does not answer.
    """
    check_there(name, revision, f"model {name!r}")
    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
        module = AutoModelForImageClassification.from_pretrained(name, revision=revision).float().eval()
        processor = AutoImageProcessor.from_pretrained(name, revision=revision)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(f"{name!r} cannot be loaded as an image classifier of transformers: {reason}") from None
    settings = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    source = {"name": name, "source": "local folder" if is_folder(name) else name}
    metadata = {
        "family": config.model_type,
        "architecture": type(module).__name__,
        "parameters": sum(p.numel() for p in module.parameters()),
        "checkpoint": source | {"revision": revision_of(name, revision)},
        "preprocessing": json.loads(settings),
        "classes": [config.id2label[i] for i in range(config.num_labels)],
    }
    return Model(name, module, ProcessedPhotos(ProcessorCut(settings, processor)), metadata)


MAX_LENGTH = 128  # tokens, as usual on GLUE


def is_sequence_classifier(name: str) -> bool:
    """Whether this is a sequence classifier: a folder or repository whose config.json says so."""
    place, revision = _parted(name)
    known = is_transformers_model(place)
    return known and any("ForSequenceClassification" in a for a in _architectures(place, revision))


def _parted(name):
    """ "repository@revision" → (repository, revision or None); a folder is taken as it is."""
    repository, _, revision = name.partition("@")
    return (name, None) if is_folder(name) else (repository, revision or None)


def _architectures(name, revision):
    local = is_folder(name) or revision_of(name, revision)
    if not local and not is_reachable():
        return ()  # the Hub's image loader, asked next, says that it does not answer
    try:
        return AutoConfig.from_pretrained(name, revision=revision).architectures or ()
    except (OSError, ValueError, KeyError):
        return ()


def load_sequence_classifier(name: str, revision: str | None = None, max_length: int = MAX_LENGTH) -> Model:
    """A fine-tuned sequence classifier of transformers with its tokenizer, in float32.

    name: a local folder (``save_pretrained``), or "organisation/name" on the Hub, with "@revision" where one is
    meant. max_length: tokens at which texts are cut (less where the model takes less).

    Raises ValueError where the files are no fine-tuned sequence classifier or the tokenizer has no padding token;
    ConnectionError, at once, where the Hub is needed and does not answer.
    """
    place, named = _parted(name)
    revision = revision or named
    check_there(place, revision, f"model {name!r}")
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
        "checkpoint": {"name": place, "revision": revision_of(place, revision)},
        "preprocessing": {"max_length": limit},
        "classes": own,
    }
