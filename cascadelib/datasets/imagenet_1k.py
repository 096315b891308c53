"""ImageNet (ILSVRC 2012) and ImageNetV2, in the layouts in which people have them, with labels in
timm's order.
"""

import csv
import functools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError
from timm.data import ImageNetInfo

from ..hub import check_reachable
from .images import Item, Photographs, class_folders, existing, files_in, image_folder, images_in

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LAYOUTS = (
    "1,000 folders named by synset (n01440764 …), or a flat folder of ILSVRC2012_val_*.JPEG with labels=: the devkit's "
    "folder, or a csv or text file of file names and labels"
)


@functools.cache
def synsets() -> tuple[str, ...]:
    """The 1,000 classes in the order of timm's logits: WordNet ids, sorted."""
    return tuple(ImageNetInfo().label_names())


@functools.cache
def descriptions() -> tuple[str, ...]:
    """The same in words: "tench, Tinca tinca" …"""
    return tuple(ImageNetInfo().label_descriptions())


def imagenet(
    folder: Path | str,
    split: str = "val",
    labels: Path | str | None = None,
    dataset: str = "imagenet-1k",
) -> Photographs:
    """ImageNet's labelled images below ``folder`` (or its folder ``split``): class folders, or flat
    with ``labels``.

    labels: for a flat folder: the devkit (``ILSVRC2012_devkit_t12``, looked for in ``folder`` by
    default), or a file
        with a line an image: "file,label" or "file label", with a synset, a number in timm's order
        (0 … 999), or Kaggle's ``ImageId,PredictionString``.
    Raises FileNotFoundError for a missing folder, ValueError naming a missing class folder, images
    without label and labels without image, and a label file of the wrong length.
    """
    root = existing(folder, LAYOUTS)
    root = root / split if (root / split).is_dir() else root
    folders = class_folders(root) if labels is None else []
    if folders and not set(folders) & set(synsets()):
        raise ValueError(
            f"{root}: its folders ({', '.join(folders[:3])} …) are not named by synset; expected {LAYOUTS}. "
            "For ImageNetV2 use imagenet_v2(…), for other classes image_folder(…)"
        )
    if folders:
        return image_folder(root, synsets(), dataset, split)
    if labels is None:
        devkits = [
            path
            for base in (root, root.parent)
            for path in sorted(base.glob("*devkit*"))
            if path.is_dir()
        ]
        if not devkits:
            raise ValueError(
                f"{root} holds no class folders and no labels are given; expected {LAYOUTS}"
            )
        labels = devkits[0]
    names = images_in(root, f"images; expected {LAYOUTS}")
    return Photographs(
        files_in(root, names), _labels_of(names, Path(labels)), names, synsets(), dataset, split
    )


def _labels_of(names: list[str], path: Path) -> np.ndarray:
    """Labels int [k] of the images of a flat folder, from a devkit or a file of labels."""
    if path.is_dir():
        return _devkit_labels(names, path)
    if not path.is_file():
        raise FileNotFoundError(f"no labels {path}; expected {LAYOUTS}")
    given = _listed_labels(path)
    missing = [name for name in names if name not in given and Path(name).stem not in given]
    if missing:
        raise ValueError(
            f"{path}: no label for image {missing[0]!r} ({len(missing)} of {len(names)} have none)"
        )
    if len(given) != len(names):
        raise ValueError(
            f"{path} has {len(given)} labels for {len(names)} images; both must be the whole split"
        )
    return np.array([given[name] if name in given else given[Path(name).stem] for name in names])


def _listed_labels(path: Path) -> dict[str, int]:
    """{name of an image: label} of a file with a line per image."""
    places = {synset: i for i, synset in enumerate(synsets())}
    given: dict[str, int] = {}
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line.strip().replace("\t", ",") for line in file]
    rows = [row for row in csv.reader(lines) if row]
    for number, row in enumerate(rows, 1):
        words = [row[0], *row[1].split()] if len(row) > 1 else row[0].rsplit(maxsplit=1)
        word = words[1] if len(words) > 1 else ""
        place = int(word) if re.fullmatch("[0-9]{1,9}", word) else places.get(word, len(places))
        if place >= len(places):
            if number == 1:
                continue  # the names of the columns
            raise ValueError(
                f"{path}, line {number}: {','.join(row)!r} is no image with a synset or a number 0 … 999"
            )
        if words[0] in given:
            raise ValueError(f"{path}, line {number}: image {words[0]!r} is there more than once")
        given[words[0]] = place
    return given


def _devkit_file(devkit: Path, name: str) -> Path:
    """A file of the devkit, wherever it lies there."""
    found = [path for path in (devkit / name, devkit / "data" / name) if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no {name} in {devkit} or its folder data; expected ImageNet's devkit_t12"
        )
    return found[0]


def ilsvrc_order(devkit: Path | str) -> np.ndarray:
    """Int [1000]: ``order[i − 1]`` is the place in timm's order of the class that the challenge
    calls i (1 … 1000), by ``meta.mat`` of the devkit.
    """
    path = _devkit_file(Path(devkit), "meta.mat")
    try:
        table = loadmat(path, squeeze_me=True)["synsets"]
        ids = {
            int(row["ILSVRC2012_ID"]): str(row["WNID"])
            for row in table
            if int(row["ILSVRC2012_ID"]) <= 1000
        }
        return np.array([synsets().index(ids[i]) for i in range(1, 1001)])
    except (MatReadError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{path}: not the table of the 1,000 synsets ({error!r})") from None


def _devkit_labels(names: list[str], devkit: Path) -> np.ndarray:
    """Labels int [k] of the images by the ground truth of the devkit."""
    path = _devkit_file(devkit, GROUND_TRUTH)
    lines = path.read_text(encoding="utf-8").split()
    if len(lines) != len(names):
        raise ValueError(
            f"{path} has {len(lines)} labels for {len(names)} images; both must be the whole split"
        )
    bad = [
        i
        for i, line in enumerate(lines)
        if not re.fullmatch("[0-9]{1,9}", line) or not 1 <= int(line) <= 1000
    ]
    if bad:
        raise ValueError(f"{path}, line {bad[0] + 1}: {lines[bad[0]]!r} is no class 1 … 1000")
    return ilsvrc_order(devkit)[np.array(lines, np.int64) - 1]


def imagenet_v2(folder: Path | str, split: str = "matched-frequency") -> Photographs:
    """ImageNetV2 (Recht et al., 2019): folders 0 … 999 named by label, not by place in their order
    as text, in which "10" comes before "2". Raises ValueError naming missing folders.
    """
    root = existing(folder, "ImageNetV2's 1,000 folders 0 … 999")
    found = class_folders(root)
    if len(found) == 1 and not found[0].isdigit():  # the tarball's own folder
        return imagenet_v2(root / found[0], split)
    return replace(
        image_folder(root, [str(i) for i in range(1000)], "imagenetv2", split), classes=synsets()
    )


IMAGE_AND_LABEL = (("image", "img", "jpg"), ("label", "labels", "fine_label", "cls"))  # columns


def _first_of(names: tuple[str, ...], columns: list[str]) -> str:
    """The first of these names that is a column, or ""."""
    return next((name for name in names if name in columns), "")


def hub_images(name: str, split: str = "validation", revision: str | None = None) -> Photographs:
    """Labelled images from the Hub, e.g. "ILSVRC/imagenet-1k", or from a local folder that
    ``datasets`` can read.

    Raises ConnectionError, at once, where the Hub does not answer; ValueError where there is no
    such split or columns.
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
    image, label = (_first_of(names, data.column_names) for names in IMAGE_AND_LABEL)
    if not (image and label):
        raise ValueError(
            f"{name}: no columns for image and label among {data.column_names}; rename them so"
        )
    if isinstance(data.features[image], hub_datasets.Image):
        # Undecoded: ``datasets`` lets Pillow read any format, by programs of its own too.
        data = data.cast_column(image, hub_datasets.Image(decode=False))
    items = tuple(Item(data, row, image) for row in range(len(data)))
    classes = getattr(data.features[label], "names", None)
    return Photographs(
        items, np.asarray(data[label]), None, classes, str(name).rpartition("/")[2], split
    )
