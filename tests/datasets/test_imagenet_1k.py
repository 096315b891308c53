"""ImageNet from flat or class folders, and ImageNetV2."""

import numpy as np
import pytest
from pictures import jpeg
from scipy.io import savemat

from cascadelib import datasets
from cascadelib.datasets.imagenet_1k import descriptions, read_ilsvrc_order, synsets


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Write val/<synset>/….JPEG with one image per class, whose red value encodes the class."""
    root = tmp_path_factory.mktemp("imagenet")
    for label, synset in enumerate(synsets()):
        (root / "val" / synset).mkdir(parents=True)
        (root / "val" / synset / f"ILSVRC2012_val_{label:08}.JPEG").write_bytes(
            jpeg((label % 250, 0, 0))
        )
    return root


def test_classes_have_the_order_of_timm():
    assert len(synsets()) == len(descriptions()) == 1000 and list(synsets()) == sorted(synsets())
    assert (synsets()[0], descriptions()[281].split(",")[0]) == ("n01440764", "tabby")


def test_class_folders_of_imagenet_are_read(tree):
    for found in (datasets.imagenet(tree), datasets.imagenet(tree / "val")):
        assert found.labels.tolist() == list(range(1000)) and found.classes == synsets()
        assert (found.dataset, found.split) == ("imagenet-1k", "val")
        assert found.batch(7, 8)[0].getpixel((5, 5))[0] == pytest.approx(7, abs=3)


def test_a_missing_synset_is_named(tree, tmp_path):
    for synset in synsets()[:-1]:
        (tmp_path / synset).symlink_to(tree / "val" / synset)
    with pytest.raises(ValueError, match=f"no folder for class '{synsets()[-1]}' .1 of 1000"):
        datasets.imagenet(tmp_path)


def test_folders_that_are_not_synsets_are_refused(folder):
    with pytest.raises(ValueError, match=r"cat, dog.*not named by synset.*image_folder"):
        datasets.imagenet(folder)


@pytest.fixture
def flat(tmp_path):
    """Write a flat folder of five images, and return it with their labels in timm's order."""
    (tmp_path / "images").mkdir()
    for i in range(1, 6):
        (tmp_path / "images" / f"ILSVRC2012_val_{i:08}.JPEG").write_bytes(jpeg((i, 0, 0)))
    return tmp_path / "images", [999, 0, 3, 3, 500]


def write_devkit(folder, labels):
    """Write a devkit that numbers the classes in reverse order, after synsets that are not
    classes."""
    (folder / "data").mkdir(parents=True)
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O")]
    rows = [(1000 - i, synset, "a thing") for i, synset in enumerate(synsets())] + [
        (1001, "n00001740", "entity")
    ]
    savemat(folder / "data" / "meta.mat", {"synsets": np.array(rows, kinds).reshape(-1, 1)})
    lines = "".join(f"{1000 - label}\n" for label in labels)
    (folder / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


def test_a_flat_folder_is_read_with_the_devkit(flat):
    images, labels = flat
    write_devkit(images.parent / "ILSVRC2012_devkit_t12", labels)
    assert read_ilsvrc_order(images.parent / "ILSVRC2012_devkit_t12").tolist() == list(
        range(999, -1, -1)
    )
    for found in (
        datasets.imagenet(images),
        datasets.imagenet(images, labels=images.parent / "ILSVRC2012_devkit_t12"),
    ):
        assert (
            found.labels.tolist() == labels
            and found.sample_ids[0] == "ILSVRC2012_val_00000001.JPEG"
        )


LINES = {
    "kaggle": lambda i, label: f"ILSVRC2012_val_{i:08},{synsets()[label]} 85 1 499 272",
    "csv with synsets": lambda i, label: f"ILSVRC2012_val_{i:08}.JPEG,{synsets()[label]}",
    "text": lambda i, label: f"ILSVRC2012_val_{i:08}.JPEG {label}",
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("head", ["", "ImageId,PredictionString\n"])
def test_a_flat_folder_is_read_with_a_file_of_labels(flat, kind, head):
    images, labels = flat
    lines = [LINES[kind](i, label) for i, label in reversed(list(enumerate(labels, 1)))]
    (images.parent / "labels.csv").write_text(head + "\n".join(lines) + "\n")
    assert datasets.imagenet(images, labels=images.parent / "labels.csv").labels.tolist() == labels


def test_invalid_labels_of_a_flat_folder_are_refused(flat):
    images, labels = flat
    path = images.parent / "labels.csv"
    devkit = images.parent / "kit"
    lines = [LINES["text"](i, label) for i, label in enumerate(labels, 1)]
    for text, message in {
        "\n".join(lines[:-1]): "no label for image 'ILSVRC2012_val_00000005.JPEG' .1 of 5",
        "\n".join([*lines, "more.JPEG 3"]): "6 labels for 5 images",
        "\n".join([*lines[:4], "ILSVRC2012_val_00000005.JPEG 1000"]): "line 5.*1000",
        "\n".join([*lines, lines[0]]): "line 6.*listed twice",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            datasets.imagenet(images, labels=path)
    with pytest.raises(ValueError, match="no labels are given.*devkit"):
        datasets.imagenet(images)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.imagenet(images, labels="nowhere")
    write_devkit(devkit, labels[:-1])
    with pytest.raises(ValueError, match="ground_truth.* 4 labels for 5 images"):
        datasets.imagenet(images, labels=devkit)
    (devkit / "data" / "meta.mat").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"meta\.mat"):
        read_ilsvrc_order(devkit)
    (devkit / "data" / "meta.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"meta\.mat"):
        read_ilsvrc_order(devkit)


def test_imagenet_v2_is_not_sorted_as_text(tmp_path):
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    for label in range(1000):
        (root / str(label)).mkdir(parents=True)
        (root / str(label) / "a.jpeg").write_bytes(jpeg((label % 250, 0, 0)))
    found = datasets.imagenet_v2(tmp_path)
    assert found.labels.tolist() == list(range(1000)) and found.sample_ids[2] == "2/a.jpeg"
    assert found.batch(10, 11)[0].getpixel((5, 5))[0] == pytest.approx(10, abs=3)
    assert (found.dataset, found.split, found.classes) == (
        "imagenetv2",
        "matched-frequency",
        synsets(),
    )
    (root / "17" / "a.jpeg").unlink()
    (root / "17").rmdir()
    with pytest.raises(ValueError, match="no folder for class '17'"):
        datasets.imagenet_v2(root)
