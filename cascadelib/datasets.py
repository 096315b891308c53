"""Labelled inputs. Extraction asks a data set for its length, labels, ids, class names, origin, and batches of rows."""

import zipfile
from dataclasses import dataclass

import numpy as np
import torch

from .bundled import located
from .glue import glue  # noqa: F401 - all data sets are found here
from .image_folders import image_folder  # noqa: F401
from .imagenet import hub_images, imagenet, imagenet_v2  # noqa: F401
from .labels import chosen_rows, settle
from .photographs import Photographs, from_items  # noqa: F401
from .texts import Texts, reviews, table  # noqa: F401

FASHION_MNIST = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Samples:
    """k labelled inputs in memory (or a memory-mapped array): inputs numpy or torch [k, …], labels int [k].

    Ids default to row numbers. Raises ValueError naming what is wrong: lengths, labels, repeated ids.
    """

    inputs: np.ndarray | torch.Tensor
    labels: np.ndarray
    sample_ids: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    dataset: str = ""
    split: str = ""

    def __post_init__(self):
        if (
            not isinstance(self.inputs, torch.Tensor)
            and getattr(self.inputs, "dtype", np.dtype("O")).kind not in "biuf"
        ):
            raise ValueError("inputs must be a numeric numpy array or a torch tensor [samples, …]")
        settle(self, len(self.inputs), "inputs")

    def __len__(self):
        return len(self.labels)

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Inputs of rows start … stop − 1, [stop − start, …]."""
        inputs = self.inputs[start:stop]
        # A read-only map is copied: torch would warn that it could be written through.
        return inputs if isinstance(inputs, torch.Tensor) else torch.from_numpy(np.require(inputs, requirements="CW"))

    def take(self, indices) -> "Samples":
        """Some of the samples: distinct row indices, a bool mask [k] or a slice."""
        rows = chosen_rows(indices, len(self))
        return Samples(
            self.inputs[rows], self.labels[rows], self.sample_ids[rows], self.classes, self.dataset, self.split
        )


def from_arrays(inputs, labels, sample_ids=None, classes=None, dataset="", split="") -> Samples:
    """:class:`Samples` from arrays or nested lists of numbers."""
    inputs = inputs if isinstance(inputs, torch.Tensor) else np.asanyarray(inputs)
    labels = labels.cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    return Samples(inputs, labels, sample_ids, classes, dataset, split)


def fashion_mnist(split="val", folder="data/fashion-mnist") -> Samples:
    """Bundled Fashion-MNIST, images uint8 [10000, 28, 28]: "val" (cut from the training images) or "test".

    ``folder`` is looked for from here, then from the root of the repository.
    Raises FileNotFoundError for a missing file, ValueError for one of another layout. Source: data/fashion-mnist.
    """
    path = located(folder) / f"{split}.npz"
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob("*.npz"))
        raise FileNotFoundError(f"no {path}; splits there: {there}; split.py in data/fashion-mnist makes val and test")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels, ids = arrays["images"], arrays["labels"], arrays["sample_ids"]
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ValueError(f"images are {images.dtype} {images.shape}, expected uint8 [k, height, width]")
        return Samples(images, labels, ids, FASHION_MNIST, "fashion-mnist", split)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a split with images, labels and sample_ids ({error})") from None
