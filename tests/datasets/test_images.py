"""Photographs from class folders and data sets of the Hub."""

import pickle
import subprocess

import numpy as np
import pytest
import torch
from pictures import jpeg
from PIL import Image

from cascadelib import datasets
from cascadelib.datasets.images import ENDINGS, FORMATS, HubImage, as_image


def test_an_image_folder_is_read(folder):
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


def test_the_repr_of_a_folder_is_one_short_line(folder):
    (folder / "cat" / "0.jpg").rename(folder / "cat" / ("long" * 50 + ".jpg"))
    found = datasets.image_folder(folder, split="test")
    assert repr(found) == f"<Photographs {folder.name} test: 4 images, 2 classes>"
    assert repr(datasets.Samples(np.zeros((3, 2)), [0, 1, 0])) == "<Samples: 3 inputs>"


def test_images_are_read_with_one_channel_on_request(folder):
    found = datasets.image_folder(folder, mode="L")
    assert [image.mode for image in found.batch(0, 4)] == ["L"] * 4
    assert found.raw(0) == datasets.image_folder(folder).raw(0)
    with pytest.raises(ValueError, match="unknown mode 'grey'"):
        datasets.image_folder(folder, mode="grey")


def test_the_order_of_classes_can_be_passed(folder):
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
    with pytest.raises(ValueError, match=r"notes\.txt is not an image by its ending.*move it"):
        datasets.image_folder(folder)
    (folder / "emu").mkdir()
    (folder / "dog" / "notes.txt").unlink()
    with pytest.raises(ValueError, match="no images for class 'emu'"):
        datasets.image_folder(folder)


@pytest.mark.parametrize(
    "kind",
    {
        "PIL": lambda x: Image.fromarray(x),
        "array": lambda x: x,
        "channels first": lambda x: torch.from_numpy(x).permute(2, 0, 1),
        "bytes": lambda x: {"bytes": jpeg(tuple(x[0, 0].tolist())), "path": None},
    }.values(),
)
def test_images_in_a_column_of_any_type_are_read(kind):
    rows = [{"image": kind(np.full((8, 9, 3), 20 * i, np.uint8))} for i in range(4)]
    found = datasets.Photographs(
        tuple(HubImage(rows, i, "image") for i in range(4)), np.array([1, 0, 1, 2])
    )
    part = found.take([3, 1])
    assert part.labels.tolist() == [2, 0] and part.batch(0, 2)[1].getpixel((2, 2))[
        0
    ] == pytest.approx(20, abs=3)
    assert part.raw(0) != part.raw(1)


def test_grey_images_in_a_column_are_read():
    grey = [
        np.zeros((5, 6), np.uint8),
        torch.zeros(1, 5, 6, dtype=torch.uint8),
        np.zeros((5, 6, 1), np.uint8),
    ]
    rows = [{"img": image} for image in grey]
    assert {
        (HubImage(rows, i, "img")().mode, HubImage(rows, i, "img")().size) for i in range(3)
    } == {("RGB", (6, 5))}
    with pytest.raises(ValueError, match="row 0: no image in column 'img'.*uint8"):
        HubImage([{"img": np.zeros((3, 4, 4), np.float32)}], 0, "img")()


def test_a_hub_data_set_is_read_from_a_local_folder(folder):
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
    """Fail if another program is started."""

    def refused(*command, **options):
        raise AssertionError(f"started {command}")

    monkeypatch.setattr(subprocess, "Popen", refused)


@pytest.mark.usefixtures("no_program")
def test_decoding_an_image_does_not_start_a_program(folder):
    """Pillow would decode EPS with Ghostscript."""
    (folder / "cat" / "1.jpg").write_bytes(EPS)
    found = datasets.image_folder(folder)
    with pytest.raises(ValueError, match=r"cat/1\.jpg: is not a readable image \(it is none of"):
        found.batch(0, 3)


@pytest.mark.usefixtures("no_program")
def test_decoding_a_hub_data_set_does_not_start_a_program(tmp_path):
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


def test_the_format_is_detected_from_the_content(folder):
    """One of ImageNet's validation images is a PNG with the ending .JPEG."""
    for format in FORMATS:
        Image.new("RGB", (20, 16), (200, 0, 0)).save(folder / "cat" / "1.jpg", format)
        found = datasets.image_folder(folder)
        assert found.batch(1, 2)[0].getpixel((3, 3))[0] == pytest.approx(200, abs=3), format
    for ending in ENDINGS:
        assert Image.registered_extensions()[ending] in (*FORMATS, "JPEG"), ending


def test_a_path_that_is_not_a_regular_file_is_named_without_waiting(folder):
    path = folder / "cat" / "1.jpg"
    path.unlink()
    path.symlink_to("/dev/zero")
    found = datasets.image_folder(folder)
    for read in (lambda: found.batch(0, 3), lambda: found.raw(1)):
        with pytest.raises(ValueError, match=r"cat/1\.jpg.*not a regular file, or an empty one"):
            read()


def test_unreadable_images_are_named(folder):
    found = datasets.image_folder(folder)
    whole = (folder / "cat" / "1.jpg").read_bytes()
    for content, message in (
        (whole[: len(whole) // 2], "cannot be decoded"),
        (b"text", "not a readable image"),
    ):
        (folder / "cat" / "1.jpg").write_bytes(content)
        with pytest.raises(ValueError, match=rf"cat/1\.jpg: .*{message}.*no sample is skipped"):
            found.batch(0, 3)
    (folder / "cat" / "1.jpg").unlink()
    with pytest.raises(ValueError, match=r"cat/1\.jpg: the image no longer exists"):
        found.batch(0, 3)


@pytest.mark.parametrize(("dtype", "ending"), [("uint16", "png"), ("uint16", "tif"), ("f4", "tif")])
def test_images_of_more_than_8_bits_are_refused(tmp_path, dtype, ending):
    """Pillow clips values above 255 silently."""
    path = tmp_path / f"deep.{ending}"
    Image.fromarray(np.full((4, 4), 3000, dtype)).save(path)
    with pytest.raises(ValueError, match=f"deep.{ending}.*more than 8 bits"):
        as_image(path)
