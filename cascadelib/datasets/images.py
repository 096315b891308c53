"""Labelled photographs that are read and decoded only when they are asked for."""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ..files import opened
from .samples import Labelled

# The formats of photographs and of what people convert them to. Pillow reads others by programs of
# their own (EPS starts Ghostscript), whatever a file's name ends in.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
LARGEST_IMAGE = 2**30  # bytes of a file


@dataclass(frozen=True)
class File:
    """An image file."""

    path: Path

    def raw(self) -> bytes:
        """The file's bytes."""
        with opened(self.path, LARGEST_IMAGE) as file:
            return file.read()

    def __call__(self) -> Image.Image:
        """The decoded file as RGB; ValueError naming one that cannot be read, or is cut short."""
        path = self.path
        before = ImageFile.LOAD_TRUNCATED_IMAGES
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # whatever PIL was told
        try:
            with opened(path, LARGEST_IMAGE) as file:
                return decoded(file)
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


UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def decoded(file: Any) -> Image.Image:
    """The image in a binary file as RGB, in one of :data:`FORMATS`.

    UnidentifiedImageError for others.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.convert("RGB")
    except UnidentifiedImageError:
        raise UnidentifiedImageError(f"it is none of {', '.join(FORMATS)}") from None


@dataclass(frozen=True)
class Item:
    """The image in column ``key`` and ``row`` of a data set of the Hub: whatever :func:`as_image`
    takes.
    """

    data: Any
    row: int
    key: str

    def raw(self) -> bytes:
        """The decoded pixels."""
        return self().tobytes()

    def __call__(self) -> Image.Image:
        """The image as RGB; ValueError naming the row where it is none."""
        try:
            return as_image(self.data[self.row][self.key])
        except (OSError, SyntaxError, ValueError, TypeError) as error:
            raise ValueError(
                f"row {self.row}: no image in column {self.key!r}: {error!r}"
            ) from None


def as_image(image: Any) -> Image.Image:
    """PIL image, uint8 array or tensor [H, W], [H, W, 3] or [3, H, W], or {"bytes": …} → RGB.

    ValueError for others.
    """
    if isinstance(image, dict) and image.get("bytes"):
        return decoded(io.BytesIO(image["bytes"]))
    if isinstance(image, dict) and image.get("path"):
        return File(Path(image["path"]))()
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise ValueError(f"an image must be PIL or uint8, not {array.dtype} {array.shape}")
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[-1] not in (1, 3):
        array = array.transpose(1, 2, 0)
    return Image.fromarray(
        array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    ).convert("RGB")


class Photographs(Labelled):
    """k :class:`Labelled` photographs: ``inputs[row]()`` decodes one.

    Extraction does so once for all models.
    """

    inputs: tuple[File | Item, ...]
    word = "images"

    def batch(self, start: int, stop: int) -> list[Image.Image]:
        """Decoded images of rows start … stop − 1."""
        return [photograph() for photograph in self.inputs[start:stop]]

    def raw(self, row: int) -> bytes:
        """What tells this image from another: the file's bytes, or the decoded pixels."""
        return self.inputs[row].raw()


ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
BYSTANDERS = {
    "thumbs.db",
    "desktop.ini",
}  # what file managers leave behind; so do names that begin with a dot


def existing(folder: Path | str, what: str) -> Path:
    """``folder`` as a path; FileNotFoundError that says what was expected there."""
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}; expected {what}")
    return path


def images_in(folder: Path, needed: str = "images") -> list[str]:
    """Names of the images in a folder, sorted; ValueError where there are none (``needed``: the
    word for them), and
    naming any other file: nothing is left out silently.
    """
    names = sorted(entry.name for entry in os.scandir(folder) if _counts(entry.name))
    strangers = [name for name in names if not name.lower().endswith(ENDINGS)]
    if strangers:
        raise ValueError(
            f"{folder / strangers[0]} is no image by its ending ({len(strangers)} such in this folder); "
            f"expected {', '.join(ENDINGS[:4])} …; "
            + (
                "class folders need no list of labels"
                if (folder / strangers[0]).is_dir()
                else "move it elsewhere"
            )
        )
    if not names:
        raise ValueError(f"{folder}: no {needed}")
    return names


def _counts(name: str) -> bool:
    """Whether a name in a folder is not of a bystander."""
    return not name.startswith(".") and name.lower() not in BYSTANDERS


def files_in(folder: Path, names: Iterable[str]) -> tuple[File, ...]:
    """The images of these names in a folder."""
    return tuple(File(folder / name) for name in names)


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in ``folder``, sorted as text."""
    return sorted(
        entry.name for entry in os.scandir(folder) if entry.is_dir() and _counts(entry.name)
    )


def image_folder(
    folder: Path | str, classes: Sequence[str] | None = None, dataset: str = "", split: str = ""
) -> Photographs:
    """Any folder with a folder of images a class: labels are places in ``classes``, ids
    "class/file".

    classes: names of the class folders in the order of the labels; by default the folders, sorted
    as text. Raises FileNotFoundError for a missing folder, ValueError naming a class folder that is
    missing, empty or unknown, or a file that is no image.
    """
    root = existing(folder, "a folder of images for each class")
    found = class_folders(root)
    if not found:
        raise ValueError(
            f"{root} holds no class folders; for a flat folder of ImageNet give its labels (imagenet(…))"
        )
    classes = [str(c) for c in (found if classes is None else classes)]
    missing = [name for name in classes if name not in found]
    more = [name for name in found if name not in classes]
    if missing:
        raise ValueError(
            f"{root}: no folder for class {missing[0]!r} ({len(missing)} of {len(classes)} are missing)"
        )
    if more:
        raise ValueError(
            f"{root / more[0]} belongs to no known class ({len(more)} such); expected {classes[:3]} …"
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = images_in(root / name, f"images for class {name!r}")
        paths += [f"{name}/{image}" for image in images]
        labels += [label] * len(images)
    return Photographs(
        files_in(root, paths), np.array(labels), paths, classes, dataset or root.name, split
    )
