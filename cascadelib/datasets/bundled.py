"""Load the bundled images and texts."""

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
    """Load the bundled Fashion-MNIST, 10,000 grey images per split.

    Parameters
    ----------
    split : {"val", "test"}, default="val"
        Split to load. "val" is a part of the original training images.
    folder : Path or str, default="data/fashion-mnist"
        Folder of the splits, relative to the current folder or to the root of the repository. The
        scripts in ``data/fashion-mnist`` make them.

    Returns
    -------
    Samples
        Images uint8 of shape (n_samples, 28, 28) with labels, ids and class names.

    Raises
    ------
    FileNotFoundError
        If the split does not exist. The message lists the existing splits.
    ValueError
        If the file has no images, labels and sample ids.

    See Also
    --------
    load_bundled : Load a model that was trained on these images.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.datasets.fashion_mnist("val")
    <Samples fashion-mnist val: 10000 inputs, 10 classes>
    """
    path = _find_split_file(
        folder, split, ".npz", "split.py in data/fashion-mnist makes val and test"
    )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels, ids = (arrays[name] for name in ("images", "labels", "sample_ids"))
        return Samples(images, labels, ids, FASHION_MNIST, "fashion-mnist", split)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not a split with images, labels and sample_ids ({error})"
        ) from None


def reviews(split: str = "val", folder: Path | str = REVIEWS) -> Texts:
    """Load the bundled sentences with a positive or negative sentiment (``data/reviews``).

    Parameters
    ----------
    split : {"train", "val", "test", "products", "editorials", "tweets"}, default="val"
        Split to load. The first three are film reviews, the others are shifted splits.
    folder : Path or str, default="data/reviews"
        Folder of the splits, relative to the current folder or to the root of the repository.

    Returns
    -------
    Texts
        Sentences with labels, ids and class names.

    Raises
    ------
    FileNotFoundError
        If the split does not exist. The message lists the existing splits.

    See Also
    --------
    table : Read texts from other tables.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.datasets.reviews("val").inputs[0]
    'If you sometimes like to go to the movies to have fun, Wasabi is a good place to start.'
    """
    path = _find_split_file(folder, split, ".parquet", f"prepare.py in {REVIEWS} makes them")
    return table(path, "text", "label", "sample_id", ("negative", "positive"), "reviews", split)


def _find_split_file(folder: Path | str, split: str, ending: str, source: str) -> Path:
    """Find the file of a split. If missing, the error names existing splits and the source."""
    path = located(folder) / (split + ending)
    if not path.is_file():
        found = sorted(p.stem for p in path.parent.glob(f"*{ending}"))
        raise FileNotFoundError(f"no {path}. Existing splits: {found}. {source}.")
    return path
