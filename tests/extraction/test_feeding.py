"""Batches: photographs are decoded once, by workers into few shared buffers."""

import warnings

import numpy as np
import pytest
import torch
from tiny_modules import MEAN, STD, head

from cascadelib import datasets
from cascadelib.datasets.images import File, Photographs
from cascadelib.extraction import feeding, planning, shards
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.feeding import feed
from cascadelib.extraction.shards import split_range
from cascadelib.zoo.forward import select_device
from cascadelib.zoo.transforms import Cut, Photos

SMALL = Cut((16, 16), "bilinear", 0.9)
LARGE = Cut((24, 24), "bicubic", 1.0)
CPU = select_device("cpu")


class Counted(File):
    """File that records its decoding in a list of this process."""

    decoded = []

    def __call__(self):
        self.decoded.append(self.path)
        return super().__call__()


def test_each_photograph_is_decoded_once_per_group_and_each_cut_computed_once(
    folder, tmp_path, monkeypatch
):
    found = datasets.image_folder(folder)
    paths = [file.path for file in found.inputs]
    samples = Photographs(tuple(map(Counted, paths)), found.labels, found.sample_ids, found.classes)
    monkeypatch.setattr(planning, "FIRST_LOADING", 60.0)  # memory alone divides the models
    cuts = []
    own = Cut.__call__
    monkeypatch.setattr(Cut, "__call__", lambda self, image: cuts.append(self) or own(self, image))
    models = {
        "a": (head(1), Photos(SMALL, MEAN, STD)),
        "b": (head(2), Photos(SMALL, MEAN, STD)),
        "c": (head(3), Photos(SMALL, STD, MEAN)),  # the same cut with another normalization
        "d": (head(4, 24), Photos(LARGE, MEAN, STD)),
    }
    options = {"batch_size": 8, "workers": 0, "progress": False, "device": "cpu"}
    Counted.decoded.clear()
    store = extract(models, samples, tmp_path / "s", **options)
    probed = 32
    each = [paths[0], *paths]  # the first one is also decoded to find the shapes
    assert Counted.decoded[probed:] == each
    assert cuts.count(SMALL) == len(each) + 2 * (probed + 1)
    assert cuts.count(LARGE) == len(each) + probed + 1
    for name, (module, transform) in models.items():
        expected = module.eval()(transform(found.batch(0, 62))).detach().numpy()
        np.testing.assert_allclose(store.logits(name), expected, rtol=1e-4, atol=1e-4)
    Counted.decoded.clear()
    again = extract(models, samples, tmp_path / "t", memory=1.2e-4, **options)
    assert Counted.decoded[probed:] == each * 2  # two groups
    for name in models:
        assert again.logits(name).tobytes() == store.logits(name).tobytes()


def test_a_function_of_one_image_is_accepted_as_a_transform(folder, tmp_path):
    def crop(image):
        pixels = np.array(image.resize((16, 16)), np.float32)
        return torch.from_numpy(pixels).movedim(-1, 0) / 255

    samples = datasets.image_folder(folder)
    store = extract({"a": (head(1), crop)}, samples, tmp_path / "s", workers=1, progress=False)
    expected = head(1)(torch.stack([crop(image) for image in samples.batch(0, 62)])).detach()
    np.testing.assert_allclose(store.logits("a"), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="photographs needs a transform"):
        extract({"b": head(1)}, samples, tmp_path / "t", progress=False, workers=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photograph_that_cannot_be_read_stops_the_run_and_loses_nothing(
    folder, tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(shards, "SHARD_SAMPLES", 8)
    samples = datasets.image_folder(folder)
    path = samples.inputs[45].path
    whole = path.read_bytes()
    models = {"a": (head(1), Photos(SMALL, MEAN, STD))}
    settings = {"batch_size": 8, "workers": workers, "progress": False}
    try:
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"^{path}: cannot be decoded"):
            extract(models, samples, tmp_path / "s", **settings)
        assert len(list((tmp_path / "s" / ".partial" / "a").glob("*"))) == 5
    finally:
        path.write_bytes(whole)
    assert len(extract(models, samples, tmp_path / "s", **settings).models) == 1


def test_photographs_of_several_shapes_are_refused_by_row(folder):
    def whole(image):
        return torch.from_numpy(np.array(image))

    samples = datasets.image_folder(folder).take([0, 1, 4])
    message = r"row 1 becomes torch.uint8 \[44, 60, 3\], the first torch.uint8 \[40, 60, 3\]"
    with pytest.raises(ValueError, match=message):
        next(feed(samples, [(0, 3)], [whole], CPU))


@pytest.mark.parametrize(
    ("limit", "warning"),
    [
        (2 * 10**9, None),
        (90_000, "little free memory, so 1 of 2 processes decode photographs"),
        (60_000, "little free memory, so 0 of 2 processes decode photographs"),
    ],
)
def test_workers_fill_few_buffers_with_equal_photographs(folder, monkeypatch, limit, warning):
    """The limit holds all chunks, two, or one."""
    samples = datasets.image_folder(folder)
    transforms = [Photos(SMALL, MEAN, STD), Photos(LARGE, MEAN, STD)]
    shared = []
    own = feeding._CutPhotographs.create_buffers

    def create(self, size, is_shared=False):
        buffers = own(self, size, is_shared)
        shared.extend(one.nbytes for one in buffers if is_shared)
        return buffers

    monkeypatch.setattr(feeding._CutPhotographs, "create_buffers", create)
    monkeypatch.setattr(feeding, "find_shared_memory", lambda: limit)
    batches = split_range(0, 62, 20)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for (start, stop), prepare in feed(samples, batches, transforms, CPU, 2):
            for transform in transforms:
                assert torch.equal(prepare(transform), transform(samples.batch(start, stop)))
    assert sum(shared) <= limit and bool(shared) == (limit > 60_000)
    messages = [str(one.message) for one in warned if "shm-size" in str(one.message)]
    assert [warning in message for message in messages] == [True] * (warning is not None)


def test_an_error_of_a_data_set_names_the_sample():
    class Broken(datasets.samples.Samples):
        def batch(self, start, stop):
            if start <= bad < stop:
                raise RuntimeError("the disk is gone")
            return super().batch(start, stop)

    samples = Broken(torch.zeros(50, 4), np.zeros(50, int), [f"i{i}" for i in range(50)])
    for bad in (0, 3, 45):
        with pytest.raises(ValueError, match=rf"row {bad} \(i{bad}\): .*'the disk is gone'\)"):
            list(feed(samples, split_range(0, 50, 8), [None], CPU))
