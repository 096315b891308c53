"""Labelled photographs that are read and decoded on access."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..checks import validate_choice
from ..files import open_regular_file
from .samples import Labelled

# Usual formats of photographs. Pillow reads some others by starting other programs (Ghostscript for
# EPS), whatever the ending of the file's name.
FORMATS = tuple("JPEG PNG WEBP TIFF BMP PPM GIF".split())
MAX_IMAGE_BYTES = 2**30  # bytes of a file
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
ENDINGS = tuple(".jpeg .jpg .png .bmp .webp .ppm .pgm .tif .tiff .gif".split())
# Files of file managers. Names that begin with a dot are also ignored.
IGNORED_FILES = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class File:
    """Image file that is decoded as RGB, or as one channel if ``mode`` is "L"."""

    path: Path
    mode: str = "RGB"

    def raw(self) -> bytes:
        """Return the file's bytes."""
        with open_regular_file(self.path, MAX_IMAGE_BYTES) as file:
            return file.read()

    def __call__(self) -> Image.Image:
        """Decode the file, or raise ValueError if it cannot be read or is truncated."""
        path = self.path
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False
        try:
            with open_regular_file(path, MAX_IMAGE_BYTES) as file:
                return decode_image(file, self.mode)
        except FileNotFoundError:
            raise ValueError(
                f"{path}: the image no longer exists; restore it or list the folder again"
            ) from None
        except UNREADABLE as error:
            unknown = isinstance(error, UnidentifiedImageError)
            problem = "is not a readable image" if unknown else "cannot be decoded"
            raise ValueError(
                f"{path}: {problem} ({error}). Replace the file, since no sample is skipped."
            ) from None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def convert_image(image: Image.Image, mode: str = "RGB") -> Image.Image:
    """Convert an image to a mode.

    Raises ValueError if it has more than 8 bits per value, which Pillow would clip.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(
            f"its values have more than 8 bits (mode {image.mode}): write them as 8 bits first"
        )
    return image.convert(mode)


def decode_image(file: Any, mode: str = "RGB") -> Image.Image:
    """Decode the image in a binary file.

    Raises UnidentifiedImageError if its format is not in :data:`FORMATS`.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            return convert_image(image, mode)
    except UnidentifiedImageError:
        raise UnidentifiedImageError(f"it is none of {', '.join(FORMATS)}") from None


@dataclass(frozen=True)
class HubImage:
    """Image in column ``key`` and ``row`` of a data set of the Hub, in any form."""

    data: Any
    row: int
    key: str

    def raw(self) -> bytes:
        """Return the decoded pixels as bytes."""
        return self().tobytes()

    def __call__(self) -> Image.Image:
        """Return the image as RGB, or raise ValueError if the row has none."""
        try:
            return as_image(self.data[self.row][self.key])
        except (*UNREADABLE, TypeError) as error:
            raise ValueError(
                f"row {self.row}: no image in column {self.key!r}: {error!r}"
            ) from None


def as_image(image: Any) -> Image.Image:
    """Convert an image to RGB, or raise ValueError if it is not an image.

    image: a PIL image, a uint8 array or tensor [H, W], [H, W, 3] or [3, H, W], a path, or a dict
    with the "bytes" or the "path" of a file.
    """
    if isinstance(image, dict) and image.get("bytes"):
        return decode_image(io.BytesIO(image["bytes"]))
    if isinstance(image, dict) and image.get("path"):
        image = Path(image["path"])
    if isinstance(image, Path):
        return File(image)()
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.dtype != np.uint8:
            raise ValueError(f"an image must be PIL or uint8, not {array.dtype} {array.shape}")
        if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[-1] not in (1, 3):
            array = array.transpose(1, 2, 0)
        if array.shape[2:] == (1,):
            array = array[..., 0]
        image = Image.fromarray(array)
    return convert_image(image)


class Photographs(Labelled):
    """Store labelled photographs that are read and decoded on access.

    :func:`extract` decodes each photograph once for all models.

    Parameters
    ----------
    inputs : tuple of callables
        ``inputs[row]()`` decodes one photograph.
    labels : array-like of int, shape (n_samples,)
        Class numbers.
    sample_ids : array-like of shape (n_samples,), optional
        Ids of the samples. Defaults to the row numbers.
    classes : sequence of str, optional
        Names of the classes in the order of the labels.
    dataset, split : str, default=""
        Origin of the samples.

    Raises
    ------
    ValueError
        If lengths differ, if labels are not in the classes, or if ids repeat.

    See Also
    --------
    image_folder : Read photographs from a folder.

    Examples
    --------
    >>> from PIL import Image
    >>> import cascadelib as cl
    >>> images = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    >>> cl.datasets.Photographs(tuple(image.copy for image in images), [0, 1])
    <Photographs: 2 images>
    """

    inputs: tuple[File | HubImage, ...]
    noun = "images"

    def batch(self, start: int, stop: int) -> list[Image.Image]:
        """Decode the images of rows start … stop − 1."""
        return [photograph() for photograph in self.inputs[start:stop]]

    def raw(self, row: int) -> bytes:
        """Return the file's bytes or the decoded pixels of a row, for its digest."""
        return self.inputs[row].raw()


def check_folder(folder: Path | str, what: str) -> Path:
    """Return a folder's path, or raise FileNotFoundError with its expected content."""
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}; expected {what}")
    return path


def list_images(folder: Path, needed: str = "images") -> list[str]:
    """Return the sorted names of the images in a folder.

    needed: description of the images in the error. Raises ValueError if there are none, or if the
    folder has other files, since no file is skipped silently.
    """
    names = sorted(filter(_is_data, os.listdir(folder)))
    others = [name for name in names if not name.lower().endswith(ENDINGS)]
    if others:
        other = folder / others[0]
        remedy = "class folders need no list of labels" if other.is_dir() else "move it elsewhere"
        raise ValueError(
            f"{other} is not an image by its ending ({len(others)} such files in this folder); "
            f"expected {', '.join(ENDINGS[:4])} …; {remedy}"
        )
    if not names:
        raise ValueError(f"{folder}: no {needed}")
    return names


def _is_data(name: str) -> bool:
    """Return whether a file of this name belongs to the data."""
    return not name.startswith(".") and name.lower() not in IGNORED_FILES


def list_files(folder: Path, names: Iterable[str], mode: str = "RGB") -> tuple[File, ...]:
    """Return the images of these names in a folder."""
    return tuple(File(folder / name, mode) for name in names)


def list_class_folders(folder: Path) -> list[str]:
    """Return the names of a folder's subfolders, sorted as text."""
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and _is_data(entry.name)
    )


def image_folder(
    folder: Path | str,
    classes: Sequence[str] | None = None,
    dataset: str = "",
    split: str = "",
    mode: str = "RGB",
) -> Photographs:
    """Read a folder with one folder of images per class.

    Parameters
    ----------
    folder : Path or str
        Folder of the class folders.
    classes : sequence of str, optional
        Names of the class folders in the order of the labels. Defaults to all folders, sorted as
        text.
    dataset, split : str, default=""
        Origin of the images. The default of `dataset` is the name of the folder.
    mode : {"RGB", "L"}, default="RGB"
        Channels of the decoded images. "L" is one channel, for models of grey images.

    Returns
    -------
    Photographs
        Images whose labels are positions in `classes` and whose ids are "class/file".

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If a class folder is missing, empty or unknown, or if a file is not an image.

    See Also
    --------
    imagenet : Read ImageNet's class folders or flat folder.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> import cascadelib as cl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (8, 6)).save(Path(folder, name, "1.png"))
    ...     images = cl.datasets.image_folder(folder, dataset="pets")
    >>> images
    <Photographs pets: 2 images, 2 classes>
    """
    validate_choice(mode, ("RGB", "L"), "mode")
    root = check_folder(folder, "a folder of images for each class")
    found = list_class_folders(root)
    if not found:
        raise ValueError(
            f"{root} has no class folders; for a flat folder use imagenet(…) with labels"
        )
    classes = found if classes is None else list(classes)
    missing = [name for name in classes if name not in found]
    unknown = [name for name in found if name not in classes]
    if missing:
        raise ValueError(
            f"{root}: no folder for class {missing[0]!r} "
            f"({len(missing)} of {len(classes)} are missing)"
        )
    if unknown:
        raise ValueError(
            f"{root / unknown[0]} belongs to no known class ({len(unknown)} such folders); "
            f"expected {classes[:3]} …"
        )
    paths = []
    labels = []
    for label, name in enumerate(classes):
        images = list_images(root / name, f"images for class {name!r}")
        paths += [f"{name}/{image}" for image in images]
        labels += [label] * len(images)
    return Photographs(
        list_files(root, paths, mode), np.array(labels), paths, classes, dataset or root.name, split
    )
