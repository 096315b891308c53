"""ImageNet (ILSVRC 2012) and ImageNetV2, in the layouts in which people have them.

Labels are in timm's order.
"""

import csv
import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from timm.data import ImageNetInfo

from ..hub import check_reachable
from .images import (
    Item,
    Photographs,
    check_folder,
    image_folder,
    list_class_folders,
    list_files,
    list_images,
)

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LAYOUTS = (
    "1,000 folders named by synset (n01440764 …), or a flat folder of ILSVRC2012_val_*.JPEG with "
    "labels=: the devkit's folder, or a csv or text file of file names and labels"
)
# Names of columns, the first that a data set of the Hub has.
IMAGE = ("image", "img", "jpg")
LABEL = ("label", "labels", "fine_label", "cls")


@functools.cache
def synsets() -> tuple[str, ...]:
    """Name the 1,000 classes by their WordNet ids, in the order of timm's logits.

    Returns
    -------
    tuple of str
        "n01440764", …, sorted.
    """
    return tuple(ImageNetInfo().label_names())


@functools.cache
def descriptions() -> tuple[str, ...]:
    """Name the 1,000 classes in words, in the order of timm's logits.

    Returns
    -------
    tuple of str
        "tench, Tinca tinca", …
    """
    return tuple(ImageNetInfo().label_descriptions())


def imagenet(
    folder: Path | str,
    split: str = "val",
    labels: Path | str | None = None,
    dataset: str = "imagenet-1k",
) -> Photographs:
    """Read ImageNet's labelled images from class folders, or from a flat folder with labels.

    Parameters
    ----------
    folder : Path or str
        The images lie in it, or in its folder ``split``.
    split : str
    labels : Path or str, optional
        For a flat folder: the devkit (by default the folder ``ILSVRC2012_devkit_t12`` beside the
        images), or a file with one line per image, "file,label" or "file label", where the label is
        a synset or a number in timm's order (0 … 999); also Kaggle's ``ImageId,PredictionString``.
    dataset : str

    Returns
    -------
    Photographs
        Labels are in timm's order.

    Raises
    ------
    FileNotFoundError
        For a missing folder.
    ValueError
        Naming a missing class folder, images without a label, labels without an image, and a file
        of labels of another length.
    """
    root = check_folder(folder, LAYOUTS)
    root = root / split if (root / split).is_dir() else root
    if labels is None:
        folders = list_class_folders(root)
        if set(folders) & set(synsets()):
            return image_folder(root, synsets(), dataset, split)
        if folders:
            raise ValueError(
                f"{root}: its folders ({', '.join(folders[:3])} …) are not named by synset; "
                f"expected {LAYOUTS}. For ImageNetV2 use imagenet_v2(…), for other classes "
                "image_folder(…)"
            )
        devkits = sorted(root.glob("*devkit*")) + sorted(root.parent.glob("*devkit*"))
        labels = next(filter(Path.is_dir, devkits), None)
        if labels is None:
            raise ValueError(
                f"{root} holds no class folders and no labels are given; expected {LAYOUTS}"
            )
    names = list_images(root, f"images; expected {LAYOUTS}")
    return Photographs(
        list_files(root, names), _read_labels(names, Path(labels)), names, synsets(), dataset, split
    )


def _read_labels(names: list[str], path: Path) -> np.ndarray:
    """Labels int [k] of the images of a flat folder, from a devkit or a file of labels."""
    if path.is_dir():
        return _read_devkit_labels(names, path)
    if not path.is_file():
        raise FileNotFoundError(f"no labels {path}; expected {LAYOUTS}")
    given = _read_label_file(path)
    labels = [given.get(name, given.get(Path(name).stem)) for name in names]
    missing = [name for name, label in zip(names, labels) if label is None]
    if missing:
        raise ValueError(
            f"{path}: no label for image {missing[0]!r} ({len(missing)} of {len(names)} have none)"
        )
    _check_label_count(path, len(given), names)
    return np.array(labels)


def _check_label_count(path: Path, labels: int, names: list[str]) -> None:
    """ValueError where a file has another number of labels than there are images."""
    if labels != len(names):
        raise ValueError(
            f"{path} has {labels} labels for {len(names)} images; both must be the whole split"
        )


def _read_label_file(path: Path) -> dict[str, int]:
    """{name of an image: label} of a file with one line per image."""
    places = dict(zip(synsets(), range(1000))) | {str(place): place for place in range(1000)}
    given: dict[str, int] = {}
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line.strip().replace("\t", ",") for line in file]
    rows = [row for row in csv.reader(lines) if row]
    for number, row in enumerate(rows, 1):
        words = [row[0], *row[1].split()] if len(row) > 1 else row[0].rsplit(maxsplit=1)
        place = places.get(words[1]) if len(words) > 1 else None
        if place is None:
            if number == 1:
                continue  # the names of the columns
            raise ValueError(
                f"{path}, line {number}: {','.join(row)!r} is no image with a synset "
                "or a number 0 … 999"
            )
        if words[0] in given:
            raise ValueError(f"{path}, line {number}: image {words[0]!r} is there more than once")
        given[words[0]] = place
    return given


def _find_devkit_file(devkit: Path, name: str) -> Path:
    """A file of the devkit, wherever it lies there."""
    found = [path for path in (devkit / name, devkit / "data" / name) if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no {name} in {devkit} or its folder data; expected ImageNet's devkit_t12"
        )
    return found[0]


def read_ilsvrc_order(devkit: Path | str) -> np.ndarray:
    """Place in timm's order of each of the challenge's classes 1 … 1000, int [1000].

    devkit: its ``meta.mat`` lists them.
    """
    path = _find_devkit_file(Path(devkit), "meta.mat")
    try:
        table = loadmat(path, squeeze_me=True)["synsets"]
        ids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
        return np.array([synsets().index(ids[i]) for i in range(1, 1001)])
    except (MatReadError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{path}: not the table of the 1,000 synsets ({error!r})") from None


def _read_devkit_labels(names: list[str], devkit: Path) -> np.ndarray:
    """Labels int [k] of the images by the ground truth of the devkit."""
    path = _find_devkit_file(devkit, GROUND_TRUTH)
    lines = path.read_text(encoding="utf-8").split()
    _check_label_count(path, len(lines), names)
    numbers = {str(number) for number in range(1, 1001)}
    for place, line in enumerate(lines, 1):
        if line not in numbers:
            raise ValueError(f"{path}, line {place}: {line!r} is no class 1 … 1000")
    return read_ilsvrc_order(devkit)[np.array(lines, np.int64) - 1]


def imagenet_v2(folder: Path | str, split: str = "matched-frequency") -> Photographs:
    """Read ImageNetV2, whose folders 0 … 999 are named by label.

    Sorted as text, "10" comes before "2": a folder's place in that order is not its label.

    Parameters
    ----------
    folder : Path or str
    split : str

    Returns
    -------
    Photographs

    Raises
    ------
    FileNotFoundError
        For a missing folder.
    ValueError
        Naming the class folders that are missing.

    References
    ----------
    Recht et al., 2019: Do ImageNet classifiers generalize to ImageNet?, ICML.
    """
    root = check_folder(folder, "ImageNetV2's 1,000 folders 0 … 999")
    found = list_class_folders(root)
    if len(found) == 1 and not found[0].isdigit():  # the tarball's own folder
        return imagenet_v2(root / found[0], split)
    images = image_folder(root, [str(i) for i in range(1000)], "imagenetv2", split)
    return replace(images, classes=synsets())


def hub_images(name: str, split: str = "validation", revision: str | None = None) -> Photographs:
    """Read labelled images from the Hub, or from a local folder that ``datasets`` can read.

    Parameters
    ----------
    name : str
        A data set of the Hub, for example "ILSVRC/imagenet-1k", or a folder.
    split : str
    revision : str, optional
        Of the Hub's repository.

    Returns
    -------
    Photographs

    Raises
    ------
    ConnectionError
        At once, where the Hub is needed and does not answer.
    ValueError
        Where there is no such split, or no column of images or labels.
    """
    import datasets as hub_datasets

    if not Path(name).exists():
        cached = Path(hub_datasets.config.HF_DATASETS_CACHE, name.replace("/", "___")).is_dir()
        check_reachable(
            f"the data set {name!r}",
            cached,
            "give a folder of images (imagenet(…), image_folder(…))",
        )
    try:
        data = hub_datasets.load_dataset(str(name), split=split, revision=revision)
    except (ValueError, OSError, ConnectionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{name!r} cannot be read as a data set of images: {reason}") from None
    image = next(filter(data.column_names.__contains__, IMAGE), None)
    label = next(filter(data.column_names.__contains__, LABEL), None)
    if image is None or label is None:
        raise ValueError(
            f"{name}: no columns for image and label among {data.column_names}; rename them so"
        )
    if isinstance(data.features[image], hub_datasets.Image):
        # Undecoded: ``datasets`` lets Pillow read any format, by programs of its own too.
        data = data.cast_column(image, hub_datasets.Image(decode=False))
    items = tuple(Item(data, row, image) for row in range(len(data)))
    classes = getattr(data.features[label], "names", None)
    return Photographs(items, np.asarray(data[label]), None, classes, Path(name).name, split)
