"""Photographs in folders, one a class, as ImageNet, ImageNetV2 and most people's own images lie."""

import os
from pathlib import Path

import numpy as np

from .photographs import Files, Photographs

ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
BYSTANDERS = {"thumbs.db", "desktop.ini"}  # what file managers leave behind; so do names that begin with a dot


def existing(folder, what: str) -> Path:
    """``folder`` as a path; FileNotFoundError that says what was expected there."""
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"no folder {path}; expected {what}")
    return path


def images_in(folder: Path) -> list[str]:
    """Names of the images in a folder, sorted; ValueError naming any other file: nothing is left out silently."""
    names = sorted(entry.name for entry in os.scandir(folder) if _counts(entry.name))
    strangers = [name for name in names if not name.lower().endswith(ENDINGS)]
    if strangers:
        raise ValueError(
            f"{folder / strangers[0]} is no image by its ending ({len(strangers)} such in this folder); "
            f"expected {', '.join(ENDINGS[:4])} …; "
            + ("class folders need no list of labels" if (folder / strangers[0]).is_dir() else "move it elsewhere")
        )
    return names


def _counts(name):
    return not name.startswith(".") and name.lower() not in BYSTANDERS


def class_folders(folder: Path) -> list[str]:
    """Names of the folders in ``folder``, sorted as text."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and _counts(entry.name))


def image_folder(folder, classes=None, dataset="", split="") -> Photographs:
    """Any folder with a folder of images a class: labels are places in ``classes``, ids "class/file".

    classes: names of the class folders in the order of the labels; by default the folders, sorted as text.
    Raises FileNotFoundError for a missing folder, ValueError naming a missing, empty or unexpected class folder and
    any file in them that is no image.
    """
    root = existing(folder, "a folder of images for each class")
    found = class_folders(root)
    if not found:
        raise ValueError(f"{root} holds no class folders; for a flat folder of ImageNet give its labels (imagenet(…))")
    classes = [str(c) for c in (found if classes is None else classes)]
    missing, more = [c for c in classes if c not in found], [f for f in found if f not in classes]
    if missing:
        raise ValueError(f"{root}: no folder for class {missing[0]!r} ({len(missing)} of {len(classes)} are missing)")
    if more:
        raise ValueError(f"{root / more[0]} belongs to no known class ({len(more)} such); expected {classes[:3]} …")
    paths, labels = [], []
    for label, name in enumerate(classes):
        images = images_in(root / name)
        if not images:
            raise ValueError(f"{root / name}: no images for class {name!r}")
        paths += [f"{name}/{image}" for image in images]
        labels += [label] * len(images)
    return Photographs(Files(root, tuple(paths)), np.array(labels), paths, classes, dataset or root.name, split)
