"""The bundled images and texts."""

import zipfile
from pathlib import Path

import numpy as np

from ..files import REVIEWS, located
from .samples import Samples
from .texts import Texts, table

FASHION_MNIST = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip


def fashion_mnist(split: str = "val", folder: Path | str = "data/fashion-mnist") -> Samples:
    """Load the bundled Fashion-MNIST, images uint8 [10000, 28, 28].

    Parameters
    ----------
    split : str
        "val", which is cut from the training images, or "test".
    folder : Path or str
        Looked for below the current folder first, then below the root of the repository; the
        scripts in ``data/fashion-mnist`` make it.

    Returns
    -------
    Samples

    Raises
    ------
    FileNotFoundError
        Naming the file that is missing, and the splits that are there.
    ValueError
        For a file without images, labels and sample ids.
    """
    path = _find_split_file(
        folder, split, ".npz", "split.py in data/fashion-mnist makes val and test"
    )
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
    """Load the bundled sentences with a positive or negative sentiment (``data/reviews``).

    Parameters
    ----------
    split : str
        Film reviews: "train", "val" or "test"; shifted splits: "products", "editorials" or
        "tweets".
    folder : Path or str
        As for :func:`fashion_mnist`.

    Returns
    -------
    Texts

    Raises
    ------
    FileNotFoundError
        Naming the file that is missing, and the splits that are there.
    """
    path = _find_split_file(folder, split, ".parquet", f"prepare.py in {REVIEWS} makes them")
    return table(path, "text", "label", "sample_id", ("negative", "positive"), "reviews", split)


def _find_split_file(folder: Path | str, split: str, ending: str, source: str) -> Path:
    """The file of a split; FileNotFoundError names those that are there.

    source: what makes them.
    """
    path = located(folder) / (split + ending)
    if not path.is_file():
        there = sorted(p.stem for p in path.parent.glob(f"*{ending}"))
        raise FileNotFoundError(f"no {path}; splits there: {there}; {source}")
    return path
