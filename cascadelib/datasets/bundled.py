"""The bundled images and texts."""

import zipfile
from pathlib import Path

import numpy as np

from ..files import REVIEWS, located
from .samples import Samples
from .texts import Texts, table

FASHION_MNIST = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def fashion_mnist(split: str = "val", folder: Path | str = "data/fashion-mnist") -> Samples:
    """Bundled Fashion-MNIST, images uint8 [10000, 28, 28]: "val" (cut from the training images) or
    "test".

    ``folder`` is looked for from here, then from the root of the repository (data/fashion-mnist
    makes it). Raises FileNotFoundError for a missing file, ValueError for one of another layout.
    """
    path = _file_of(folder, split, ".npz", "split.py in data/fashion-mnist makes val and test")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
            labels = arrays["labels"]
            ids = arrays["sample_ids"]
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ValueError(
                f"images are {images.dtype} {images.shape}, expected uint8 [k, height, width]"
            )
        return Samples(images, labels, ids, FASHION_MNIST, "fashion-mnist", split)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a split with images, labels and sample_ids ({error})"
        ) from None


def reviews(split: str = "val", folder: Path | str = REVIEWS) -> Texts:
    """Bundled sentences with a binary sentiment (data/reviews): film reviews "train", "val" and
    "test", and the shifted "products", "editorials" and "tweets".

    ``folder`` as for :func:`fashion_mnist`. Raises FileNotFoundError for a split that is not there.
    """
    path = _file_of(folder, split, ".parquet", f"prepare.py in {REVIEWS} makes them")
    return table(path, "text", "label", "sample_id", ("negative", "positive"), "reviews", split)


def _file_of(folder: Path | str, split: str, ending: str, source: str) -> Path:
    """The file of a split; FileNotFoundError names those that are there. source: who makes them."""
    path = located(folder) / (split + ending)
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob(f"*{ending}"))
        raise FileNotFoundError(f"no {path}; splits there: {there}; {source}")
    return path
