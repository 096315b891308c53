"""Photographs where people have them: class folders, ImageNet's layouts, ImageNetV2, data sets of the Hub."""

import io
import os
import pickle
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from cascadelib import datasets
from cascadelib.datasets.imagenet_1k import descriptions, ilsvrc_order, synsets
from cascadelib.datasets.images import ENDINGS, FORMATS, Item


def jpeg(colour, size=(20, 16)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """ImageNet's layout: val/<synset>/….JPEG, one image a class, its red value telling the class."""
    root = tmp_path_factory.mktemp("imagenet")
    for label, synset in enumerate(synsets()):
        (root / "val" / synset).mkdir(parents=True)
        (root / "val" / synset / f"ILSVRC2012_val_{label:08}.JPEG").write_bytes(
            jpeg((label % 250, 0, 0))
        )
    return root


@pytest.fixture
def folder(tmp_path):
    """Two classes of two images."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            (tmp_path / name / f"{i}.jpg").write_bytes(jpeg((90 * i, 9, 200)))
    return tmp_path


def test_classes_are_timms():
    assert len(synsets()) == len(descriptions()) == 1000 and list(synsets()) == sorted(synsets())
    assert (synsets()[0], descriptions()[281].split(",")[0]) == ("n01440764", "tabby")


def test_any_image_folder(folder):
    found = datasets.image_folder(folder, split="test")
    assert found.classes == ("cat", "dog") and found.labels.tolist() == [0, 0, 1, 1]
    assert list(found.sample_ids) == ["cat/0.jpg", "cat/1.jpg", "dog/0.jpg", "dog/1.jpg"]
    assert (found.dataset, found.split) == (folder.name, "test")
    assert found.batch(1, 2)[0].size == (20, 16) and found.batch(1, 2)[0].getpixel((3, 3))[
        0
    ] == pytest.approx(90, abs=3)
    part = found.take([3, 0])
    assert (
        list(part.sample_ids) == ["dog/1.jpg", "cat/0.jpg"]
        and part.raw(1) == (folder / "cat" / "0.jpg").read_bytes()
    )
    assert pickle.loads(pickle.dumps(found)).raw(2) == found.raw(2)


def test_the_order_of_classes_can_be_given(folder):
    assert datasets.image_folder(folder, ["dog", "cat"]).labels.tolist() == [0, 0, 1, 1]
    assert datasets.image_folder(folder, ["dog", "cat"]).sample_ids[0] == "dog/0.jpg"


def test_a_wrong_folder_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*a folder of images for each class"):
        datasets.image_folder("nowhere")
    with pytest.raises(ValueError, match="no folder for class 'horse'.*1 of 3"):
        datasets.image_folder(folder, ["cat", "dog", "horse"])
    with pytest.raises(ValueError, match="dog belongs to no known class"):
        datasets.image_folder(folder, ["cat"])
    with pytest.raises(ValueError, match="no class folders"):
        datasets.image_folder(folder / "cat")
    (folder / "dog" / ".DS_Store").write_bytes(b"")
    (folder / "dog" / "Thumbs.db").write_bytes(b"")
    assert len(datasets.image_folder(folder)) == 4
    (folder / "dog" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"notes\.txt is no image by its ending.*move it"):
        datasets.image_folder(folder)
    (folder / "emu").mkdir()
    (folder / "dog" / "notes.txt").unlink()
    with pytest.raises(ValueError, match="no images for class 'emu'"):
        datasets.image_folder(folder)


def test_class_folders_of_imagenet(tree):
    for found in (datasets.imagenet(tree), datasets.imagenet(tree / "val")):
        assert found.labels.tolist() == list(range(1000)) and found.classes == synsets()
        assert (found.dataset, found.split) == ("imagenet-1k", "val")
        assert found.batch(7, 8)[0].getpixel((5, 5))[0] == pytest.approx(7, abs=3)


def test_a_missing_synset_is_named(tree, tmp_path):
    for synset in synsets()[:-1]:
        (tmp_path / synset).symlink_to(tree / "val" / synset)
    with pytest.raises(ValueError, match=f"no folder for class '{synsets()[-1]}' .1 of 1000"):
        datasets.imagenet(tmp_path)


def test_other_folders_than_synsets_are_refused(folder):
    with pytest.raises(ValueError, match=r"cat, dog.*not named by synset.*image_folder"):
        datasets.imagenet(folder)


@pytest.fixture
def flat(tmp_path):
    """A flat folder of five images, and their labels in timm's order."""
    (tmp_path / "images").mkdir()
    for i in range(1, 6):
        (tmp_path / "images" / f"ILSVRC2012_val_{i:08}.JPEG").write_bytes(jpeg((i, 0, 0)))
    return tmp_path / "images", [999, 0, 3, 3, 500]


def write_devkit(folder, labels):
    """A devkit whose numbering of the classes is the reverse of timm's, after some synsets that are no classes."""
    (folder / "data").mkdir(parents=True)
    kinds = [("ILSVRC2012_ID", "i4"), ("WNID", "O"), ("words", "O")]
    rows = [(1000 - i, synset, "a thing") for i, synset in enumerate(synsets())] + [
        (1001, "n00001740", "entity")
    ]
    savemat(folder / "data" / "meta.mat", {"synsets": np.array(rows, kinds).reshape(-1, 1)})
    lines = "".join(f"{1000 - label}\n" for label in labels)
    (folder / "data" / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


def test_flat_with_the_devkit(flat):
    images, labels = flat
    write_devkit(images.parent / "ILSVRC2012_devkit_t12", labels)
    assert ilsvrc_order(images.parent / "ILSVRC2012_devkit_t12").tolist() == list(
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
    "csv with numbers": lambda i, label: f"ILSVRC2012_val_{i:08}.JPEG, {label}",
    "text": lambda i, label: f"ILSVRC2012_val_{i:08}.JPEG {label}",
    "tabs": lambda i, label: f"ILSVRC2012_val_{i:08}.JPEG\t{label}",
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("head", ["", "ImageId,PredictionString\n"])
def test_flat_with_a_file_of_labels(flat, kind, head):
    images, labels = flat
    lines = [LINES[kind](i, label) for i, label in reversed(list(enumerate(labels, 1)))]
    (images.parent / "labels.csv").write_text(head + "\n".join(lines) + "\n")
    assert datasets.imagenet(images, labels=images.parent / "labels.csv").labels.tolist() == labels


def test_wrong_labels_of_a_flat_folder(flat):
    images, labels = flat
    path, devkit = images.parent / "labels.csv", images.parent / "kit"
    lines = [LINES["text"](i, label) for i, label in enumerate(labels, 1)]
    for text, message in {
        "\n".join(lines[:-1]): "no label for image 'ILSVRC2012_val_00000005.JPEG' .1 of 5",
        "\n".join([*lines, "more.JPEG 3"]): "6 labels for 5 images",
        "\n".join([*lines[:4], "ILSVRC2012_val_00000005.JPEG 1000"]): "line 5.*1000",
        "\n".join([*lines, lines[0]]): "line 6.*more than once",
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
        ilsvrc_order(devkit)
    (devkit / "data" / "meta.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"meta\.mat"):
        ilsvrc_order(devkit)


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


@pytest.mark.parametrize(
    "kind",
    {
        "PIL": lambda x: Image.fromarray(x),
        "array": lambda x: x,
        "channels first": lambda x: torch.from_numpy(x).permute(2, 0, 1),
        "bytes": lambda x: {"bytes": jpeg(tuple(x[0, 0].tolist())), "path": None},
    }.values(),
)
def test_images_of_a_column(kind):
    rows = [{"image": kind(np.full((8, 9, 3), 20 * i, np.uint8))} for i in range(4)]
    found = datasets.Photographs(
        tuple(Item(rows, i, "image") for i in range(4)), np.array([1, 0, 1, 2])
    )
    part = found.take([3, 1])
    assert part.labels.tolist() == [2, 0] and part.batch(0, 2)[1].getpixel((2, 2))[
        0
    ] == pytest.approx(20, abs=3)
    assert part.raw(0) != part.raw(1)


def test_grey_images_of_a_column():
    grey = [
        np.zeros((5, 6), np.uint8),
        torch.zeros(1, 5, 6, dtype=torch.uint8),
        np.zeros((5, 6, 1), np.uint8),
    ]
    rows = [{"img": image} for image in grey]
    assert {(Item(rows, i, "img")().mode, Item(rows, i, "img")().size) for i in range(3)} == {
        ("RGB", (6, 5))
    }
    with pytest.raises(ValueError, match="row 0: no image in column 'img'.*uint8"):
        Item([{"img": np.zeros((3, 4, 4), np.float32)}], 0, "img")()


def test_hub_data_set_from_a_local_folder(folder):
    import datasets as hub_datasets

    for name in ("cat", "dog"):
        (folder / "train" / name).mkdir(parents=True)
        for path in (folder / name).iterdir():
            path.rename(folder / "train" / name / path.name)
        (folder / name).rmdir()
    assert hub_datasets.__name__ == "datasets"
    found = datasets.hub_images(str(folder), split="train")
    assert found.classes == ("cat", "dog") and sorted(found.labels) == [0, 0, 1, 1]
    assert found.batch(0, 1)[0].size == (20, 16)
    with pytest.raises(ValueError, match="cannot be read"):
        datasets.hub_images(str(folder), split="nosuch")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n8 8 scale\nshowpage\n"


@pytest.fixture
def no_program(monkeypatch):
    """Whatever would start another program fails."""

    def refused(*command, **options):
        raise AssertionError(f"started {command}")

    monkeypatch.setattr(subprocess, "Popen", refused)


@pytest.mark.usefixtures("no_program")
def test_an_image_starts_no_program_whatever_it_is_called(folder):
    """Pillow would decode EPS by Ghostscript."""
    (folder / "cat" / "1.jpg").write_bytes(EPS)
    found = datasets.image_folder(folder)
    with pytest.raises(
        ValueError, match=r"cat/1\.jpg: is no image that can be read \(it is none of"
    ):
        found.batch(0, 3)
    rows = [{"image": {"bytes": EPS, "path": None}}]
    with pytest.raises(ValueError, match="row 0: no image in column 'image'.*none of JPEG"):
        Item(rows, 0, "image")()


@pytest.mark.usefixtures("no_program")
def test_a_data_set_of_the_hub_starts_no_program_either(tmp_path):
    import datasets as hub_datasets

    images = [{"bytes": content, "path": None} for content in (EPS, jpeg((90, 9, 200)))]
    features = {
        "image": hub_datasets.Image(),
        "label": hub_datasets.ClassLabel(names=["cat", "dog"]),
    }
    data = hub_datasets.Dataset.from_dict(
        {"image": images, "label": [0, 1]}, features=hub_datasets.Features(features)
    )
    data.to_parquet(tmp_path / "train.parquet")
    found = datasets.hub_images(str(tmp_path), split="train")
    assert found.batch(1, 2)[0].getpixel((3, 3))[0] == pytest.approx(90, abs=3)
    with pytest.raises(ValueError, match="row 0: no image.*none of JPEG"):
        found.batch(0, 1)


def test_the_format_is_what_the_file_holds_not_its_name(folder):
    """ImageNet's validation images have a PNG whose name ends in .JPEG."""
    for format in FORMATS:
        Image.new("RGB", (20, 16), (200, 0, 0)).save(folder / "cat" / "1.jpg", format)
        found = datasets.image_folder(folder)
        assert found.batch(1, 2)[0].getpixel((3, 3))[0] == pytest.approx(200, abs=3), format
    for ending in ENDINGS:
        assert Image.registered_extensions()[ending] in (*FORMATS, "JPEG"), ending


@pytest.mark.parametrize("kind", ["pipe", "endless", "empty"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(folder, kind):
    path = folder / "cat" / "1.jpg"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.touch()
    found = datasets.image_folder(folder)
    with pytest.raises(ValueError, match=r"cat/1\.jpg.*no regular file, or an empty one"):
        found.batch(0, 3)
    with pytest.raises(ValueError, match=r"cat/1\.jpg.*no regular file, or an empty one"):
        found.raw(1)


def test_unreadable_images_are_named(folder):
    found = datasets.image_folder(folder)
    whole = (folder / "cat" / "1.jpg").read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "cannot be decoded"),
        (b"text", "no image that can be read"),
    ):
        (folder / "cat" / "1.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=rf"cat/1\.jpg: .*{message}.*no sample is left out"):
            found.batch(0, 3)
    (folder / "cat" / "1.jpg").unlink()
    with pytest.raises(ValueError, match=r"cat/1\.jpg: the image is no longer there"):
        found.batch(0, 3)
