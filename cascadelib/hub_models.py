"""Image classifiers of Hugging Face transformers: "organisation/name" on the Hub, or a local folder."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

from . import hub
from .model import Model


@dataclass(frozen=True)
class ProcessorCut:
    """One photograph (PIL, RGB) → float32 [3, height, width] by a model's own image processor.

    ``settings``, the processor's JSON, tells two of them apart.
    """

    settings: str
    processor: object

    def __call__(self, image) -> torch.Tensor:
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
        return torch.stack([self.cut(image.convert("RGB")) for image in images])

    def finished(self, cut: torch.Tensor) -> torch.Tensor:
        """The processor has normalised already."""
        return cut


def knows(name: str) -> bool:
    """Whether this looks like a transformers model: a folder with config.json, or "organisation/name"."""
    return is_folder(name) or len(name.split("/")) == 2 and not name.startswith(("/", ".", "timm/"))


def is_folder(name: str) -> bool:
    """Whether this is a local folder made by ``save_pretrained``."""
    return (Path(name) / "config.json").is_file()


def revision_of(name: str, revision: str | None = None) -> str | None:
    """The commit of a Hub repository that the local cache holds; None for a folder, or where it is not there."""
    return None if is_folder(name) else hub.cached_revision(name, "config.json", revision=revision)


def check_there(name: str, revision: str | None, what: str) -> None:
    """Raise ConnectionError, naming ``what``, at once unless this is a folder or in the cache, or the Hub answers."""
    if not is_folder(name):
        cached = revision_of(name, revision) is not None
        hub.check(what, cached, "give the path of a local folder made by save_pretrained")


def load(name: str, revision: str | None = None) -> Model:
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
