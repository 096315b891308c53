"""Labelled photographs that are read and decoded only when they are asked for."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..checks import known
from ..files import opened
from .samples import Labelled

# The formats of photographs and of what people convert them to. Pillow reads others by programs of
# their own (EPS starts Ghostscript), whatever a file's name ends in.
FORMATS = tuple("JPEG PNG WEBP TIFF BMP PPM GIF".split())
LARGEST_IMAGE = 2**30  # bytes of a file
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
ENDINGS = tuple(".jpeg .jpg .png .bmp .webp .ppm .pgm .tif .tiff .gif".split())
# What file managers leave behind; so do names that begin with a dot.
BYSTANDERS = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class File:
    """An image file, decoded as RGB or, if ``mode`` is "L", as one channel."""

    path: Path
    mode: str = "RGB"

    def raw(self) -> bytes:
        """The file's bytes."""
        with opened(self.path, LARGEST_IMAGE) as file:
            return file.read()

    def __call__(self) -> Image.Image:
        """Decode the file; ValueError naming one that cannot be read, or is cut short."""
        path = self.path
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # whatever PIL was told
        try:
            with opened(path, LARGEST_IMAGE) as file:
                return decoded(file, self.mode)
        except FileNotFoundError:
            raise ValueError(
                f"{path}: the image is no longer there; restore it or list the folder again"
            ) from None
        except UNREADABLE as error:
            unknown = isinstance(error, UnidentifiedImageError)
            kind = "is no image that can be read" if unknown else "cannot be decoded"
            raise ValueError(
                f"{path}: {kind} ({error}); replace the file, no sample is left out silently"
            ) from None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def converted(image: Image.Image, mode: str = "RGB") -> Image.Image:
    """Convert an image; ValueError for one of more than 8 bits a value, which Pillow would clip."""
    if image.mode == "F" or image.mode.startswith("I"):
        raise ValueError(
            f"its values have more than 8 bits (mode {image.mode}): write them as 8 bits first"
        )
    return image.convert(mode)


def decoded(file: Any, mode: str = "RGB") -> Image.Image:
    """Decode the image in a binary file; UnidentifiedImageError for one of no known format."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return converted(image, mode)
    except UnidentifiedImageError:
        raise UnidentifiedImageError(f"it is none of {', '.join(FORMATS)}") from None


@dataclass(frozen=True)
class Item:
    """The image in column ``key`` and ``row`` of a data set of the Hub, in any form of an image."""

    data: Any
    row: int
    key: str

    def raw(self) -> bytes:
        """The decoded pixels."""
        return self().tobytes()

    def __call__(self) -> Image.Image:
        """The image as RGB; ValueError naming the row where there is none."""
        try:
            return as_image(self.data[self.row][self.key])
        except (*UNREADABLE, TypeError) as error:
            raise ValueError(
                f"row {self.row}: no image in column {self.key!r}: {error!r}"
            ) from None


def as_image(image: Any) -> Image.Image:
    """An image as RGB; ValueError for what is none.

    It may be a PIL image, a uint8 array or tensor [H, W], [H, W, 3] or [3, H, W], a path, or a dict
    with the "bytes" or the "path" of a file.
    """
    if isinstance(image, dict) and image.get("bytes"):
        return decoded(io.BytesIO(image["bytes"]))
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
    return converted(image)


class Photographs(Labelled):
    """k labelled photographs, which are read only when they are asked for.

    Extraction decodes each once for all models.

    Parameters
    ----------
    inputs : tuple
        k of them: ``inputs[row]()`` decodes one.
    labels, sample_ids, classes, dataset, split
        int [k], the names of the k samples and of the classes, and where they come from.

    Raises
    ------
    ValueError
        For lengths that differ, labels outside the classes, and ids that repeat.
    """

    inputs: tuple[File | Item, ...]
    word = "images"

    def batch(self, start: int, stop: int) -> list[Image.Image]:
        """Decoded images of rows start … stop − 1."""
        return [photograph() for photograph in self.inputs[start:stop]]

    def raw(self, row: int) -> bytes:
        """What distinguishes an image from others: the file's bytes, or the decoded pixels."""
        return self.inputs[row].raw()


def existing(folder: Path | str, what: str) -> Path:
    """``folder`` as a path; FileNotFoundError that says what was expected there."""
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}; expected {what}")
    return path


def images_in(folder: Path, needed: str = "images") -> list[str]:
    """Names of the images in a folder, sorted.

    ValueError where there are none (``needed``: the word for them), and for any other file: nothing
    is left out silently.
    """
    names = sorted(filter(_counts, os.listdir(folder)))
    strangers = [name for name in names if not name.lower().endswith(ENDINGS)]
    if strangers:
        stranger = folder / strangers[0]
        is_folder = stranger.is_dir()
        remedy = "class folders need no list of labels" if is_folder else "move it elsewhere"
        raise ValueError(
            f"{stranger} is no image by its ending ({len(strangers)} such in this folder); "
            f"expected {', '.join(ENDINGS[:4])} …; {remedy}"
        )
    if not names:
        raise ValueError(f"{folder}: no {needed}")
    return names


def _counts(name: str) -> bool:
    """Whether a file of that name belongs to the data."""
    return not name.startswith(".") and name.lower() not in BYSTANDERS


def files_in(folder: Path, names: Iterable[str], mode: str = "RGB") -> tuple[File, ...]:
    """The images of these names in a folder."""
    return tuple(File(folder / name, mode) for name in names)


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in ``folder``, sorted as text."""
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and _counts(entry.name)
    )


def image_folder(
    folder: Path | str,
    classes: Sequence[str] | None = None,
    dataset: str = "",
    split: str = "",
    mode: str = "RGB",
) -> Photographs:
    """Read a folder that holds one folder of images per class.

    Parameters
    ----------
    folder : Path or str
    classes : sequence of str, optional
        Names of the class folders in the order of the labels; by default all folders, sorted as
        text.
    dataset, split : str
        Where the images come from; by default the name of the folder.
    mode : {"RGB", "L"}, default="RGB"
        The channels of the decoded images: three, or one for models of grey images.

    Returns
    -------
    Photographs
        Labels are places in ``classes``, ids "class/file".

    Raises
    ------
    FileNotFoundError
        Where there is no such folder.
    ValueError
        Naming a class folder that is missing, empty or unknown, or a file that is no image.
    """
    known(mode, ("RGB", "L"), "mode")
    root = existing(folder, "a folder of images for each class")
    found = class_folders(root)
    if not found:
        raise ValueError(
            f"{root} holds no class folders; for a flat folder of ImageNet give its labels "
            "(imagenet(…))"
        )
    classes = found if classes is None else list(classes)
    missing = [name for name in classes if name not in found]
    more = [name for name in found if name not in classes]
    if missing:
        raise ValueError(
            f"{root}: no folder for class {missing[0]!r} "
            f"({len(missing)} of {len(classes)} are missing)"
        )
    if more:
        raise ValueError(
            f"{root / more[0]} belongs to no known class ({len(more)} such); "
            f"expected {classes[:3]} …"
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = images_in(root / name, f"images for class {name!r}")
        paths += [f"{name}/{image}" for image in images]
        labels += [label] * len(images)
    return Photographs(
        files_in(root, paths, mode), np.array(labels), paths, classes, dataset or root.name, split
    )
