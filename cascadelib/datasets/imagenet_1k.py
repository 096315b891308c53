"""Read ImageNet (ILSVRC 2012) and ImageNetV2 in their usual layouts. Labels are in timm's order."""

import csv
import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ..hub import check_reachable
from .images import (
    HubImage,
    Photographs,
    check_folder,
    image_folder,
    list_class_folders,
    list_files,
    list_images,
)

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LAYOUTS = (
    "1,000 folders named by synset (n01440764 …), or a flat folder of ILSVRC2012_val_*.JPEG. For "
    "a flat folder, labels= is the devkit's folder, or a csv or text file of file names and labels"
)
# Names of columns in data sets of the Hub, in order of preference.
IMAGE = ("image", "img", "jpg")
LABEL = ("label", "labels", "fine_label", "cls")


@functools.cache
def synsets() -> tuple[str, ...]:
    """Return the WordNet ids of ImageNet's 1,000 classes, in the order of timm's logits.

    Returns
    -------
    tuple of str
        Sorted ids.

    See Also
    --------
    descriptions : Return the classes in words.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.datasets.synsets()[:2]
    ('n01440764', 'n01443537')
    """
    from timm.data import ImageNetInfo  # only names of ImageNet need timm

    return tuple(ImageNetInfo().label_names())


@functools.cache
def descriptions() -> tuple[str, ...]:
    """Return ImageNet's 1,000 classes in words, in the order of timm's logits.

    Returns
    -------
    tuple of str
        Descriptions of the classes.

    See Also
    --------
    synsets : Return the WordNet ids of the classes.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.datasets.descriptions()[0]
    'tench, Tinca tinca'
    """
    from timm.data import ImageNetInfo

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
        Folder of the images, or a folder with the subfolder `split`.
    split : str, default="val"
        Name of the split.
    labels : Path or str, optional
        Labels of a flat folder: the devkit, or a file with one line per image. Defaults to the
        devkit ``ILSVRC2012_devkit_t12`` in or next to the folder. A line is "file,label" or
        "file label" with a synset or a number in timm's order (0 … 999). Kaggle's
        ``ImageId,PredictionString`` is also read.
    dataset : str, default="imagenet-1k"
        Name of the data set.

    Returns
    -------
    Photographs
        Images with labels in timm's order.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If a class folder is missing, if an image has no label, or if the numbers of labels and
        images differ.

    See Also
    --------
    imagenet_v2 : Read ImageNetV2.
    image_folder : Read any folder of class folders.
    hub_images : Read images from the Hub.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "labels.txt").write_text("a.JPEG n01443537")
    ...     Path(folder, "val").mkdir()
    ...     Path(folder, "val", "a.JPEG").touch()
    ...     images = cl.datasets.imagenet(folder, labels=Path(folder, "labels.txt"))
    >>> images.labels
    array([1])
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
                f"{root} has no class folders and no labels are given; expected {LAYOUTS}"
            )
    names = list_images(root, f"images; expected {LAYOUTS}")
    return Photographs(
        list_files(root, names), _read_labels(names, Path(labels)), names, synsets(), dataset, split
    )


def _read_labels(names: list[str], path: Path) -> np.ndarray:
    """Read the labels int [k] of a flat folder from a devkit or a file of labels."""
    if path.is_dir():
        truth = _find_devkit_file(path, GROUND_TRUTH)
        lines = truth.read_text(encoding="utf-8").split()
        _check_label_count(truth, len(lines), names)
        numbers = {str(number) for number in range(1, 1001)}
        for number, line in enumerate(lines, 1):
            if line not in numbers:
                raise ValueError(f"{truth}, line {number}: {line!r} is not a class 1 … 1000")
        return read_ilsvrc_order(path)[np.array(lines, np.int64) - 1]
    if not path.is_file():
        raise FileNotFoundError(f"no labels {path}; expected {LAYOUTS}")
    by_name = _read_label_file(path)
    labels = [by_name.get(name, by_name.get(Path(name).stem)) for name in names]
    missing = [name for name, label in zip(names, labels) if label is None]
    if missing:
        raise ValueError(
            f"{path}: no label for image {missing[0]!r} ({len(missing)} of {len(names)} have none)"
        )
    _check_label_count(path, len(by_name), names)
    return np.array(labels)


def _check_label_count(path: Path, labels: int, names: list[str]) -> None:
    """Raise ValueError if the numbers of labels and images differ."""
    if labels != len(names):
        raise ValueError(
            f"{path} has {labels} labels for {len(names)} images; both must be the full split"
        )


def _read_label_file(path: Path) -> dict[str, int]:
    """Read {name of an image: label} from a file with one line per image."""
    numbers = dict(zip(synsets(), range(1000))) | {str(number): number for number in range(1000)}
    labels = {}
    with open(path, newline="", encoding="utf-8") as file:
        lines = [line.strip().replace("\t", ",") for line in file]
    rows = [row for row in csv.reader(lines) if row]
    for number, row in enumerate(rows, 1):
        words = [row[0], *row[1].split()] if len(row) > 1 else row[0].rsplit(maxsplit=1)
        label = numbers.get(words[1]) if len(words) > 1 else None
        if label is None:
            if number == 1:
                continue  # the names of the columns
            raise ValueError(
                f"{path}, line {number}: {','.join(row)!r} is not an image with a synset "
                "or a number 0 … 999"
            )
        if words[0] in labels:
            raise ValueError(f"{path}, line {number}: image {words[0]!r} is listed twice")
        labels[words[0]] = label
    return labels


def _find_devkit_file(devkit: Path, name: str) -> Path:
    """Find a file of the devkit or of its folder ``data``."""
    found = [path for path in (devkit / name, devkit / "data" / name) if path.is_file()]
    if not found:
        raise FileNotFoundError(
            f"no {name} in {devkit} or its folder data; expected ImageNet's devkit_t12"
        )
    return found[0]


def read_ilsvrc_order(devkit: Path | str) -> np.ndarray:
    """Return timm's label of each class of the challenge, int [1000].

    The devkit numbers the classes 1 … 1000. Its file ``meta.mat`` lists their synsets.
    """
    path = _find_devkit_file(Path(devkit), "meta.mat")
    try:
        table = loadmat(path, squeeze_me=True)["synsets"]
        ids = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
        return np.array([synsets().index(ids[i]) for i in range(1, 1001)])
    except (MatReadError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise ValueError(f"{path}: not the table of the 1,000 synsets ({error!r})") from None


def imagenet_v2(folder: Path | str, split: str = "matched-frequency") -> Photographs:
    """Read ImageNetV2, whose folders 0 … 999 are named by label.

    The folders are not sorted as text, since "10" would come before "2".

    Parameters
    ----------
    folder : Path or str
        Folder of the class folders, or its parent.
    split : str, default="matched-frequency"
        Name of the split.

    Returns
    -------
    Photographs
        Images with labels in timm's order.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If class folders are missing.

    See Also
    --------
    imagenet : Read ImageNet.

    References
    ----------
    .. [1] Recht et al., "Do ImageNet classifiers generalize to ImageNet?", ICML 2019.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for label in range(1000):
    ...         Path(folder, str(label)).mkdir()
    ...         Path(folder, str(label), "a.jpeg").touch()
    ...     images = cl.datasets.imagenet_v2(folder)
    >>> images.labels[:3]
    array([0, 1, 2])
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
        Data set of the Hub, for example "ILSVRC/imagenet-1k", or a folder.
    split : str, default="validation"
        Split to read.
    revision : str, optional
        Revision of the Hub's repository.

    Returns
    -------
    Photographs
        Images with the labels of the data set.

    Raises
    ------
    ConnectionError
        If the Hub is needed and does not answer. It is raised without retries.
    ValueError
        If there is no such split, or no column of images or labels.

    See Also
    --------
    imagenet : Read ImageNet from a folder.
    image_folder : Read a folder of class folders.

    Examples
    --------
    >>> import cascadelib as cl
    >>> images = cl.datasets.hub_images("ILSVRC/imagenet-1k")  # doctest: +SKIP
    """
    import datasets as hub_datasets

    if not Path(name).exists():
        cached = Path(hub_datasets.config.HF_DATASETS_CACHE, name.replace("/", "___")).is_dir()
        check_reachable(
            f"the data set {name!r}",
            cached,
            "pass a folder of images (imagenet(…), image_folder(…))",
        )
    try:
        data = hub_datasets.load_dataset(str(name), split=split, revision=revision)
    except (ValueError, OSError, ConnectionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{name!r} cannot be read as a data set of images: {reason}") from None
    image = next(filter(data.column_names.__contains__, IMAGE), None)
    label = next(filter(data.column_names.__contains__, LABEL), None)
    if image is None or label is None:
        raise ValueError(
            f"{name}: no columns named image and label among {data.column_names}; rename them"
        )
    if isinstance(data.features[image], hub_datasets.Image):
        # ``datasets`` would let Pillow read any format, also those that start other programs.
        data = data.cast_column(image, hub_datasets.Image(decode=False))
    items = tuple(HubImage(data, row, image) for row in range(len(data)))
    classes = getattr(data.features[label], "names", None)
    return Photographs(items, np.asarray(data[label]), None, classes, Path(name).name, split)
