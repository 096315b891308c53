"""Labelled inputs: bundled splits and arrays of the user."""

import numpy as np
import pytest
import torch

from cascadelib import datasets


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        datasets.fashion_mnist(folder="nowhere")
    with pytest.raises(FileNotFoundError, match=r"train\.npz.*Existing splits: \['test', 'val'\]"):
        datasets.fashion_mnist("train")
    images = np.zeros((2, 28, 28), np.uint8)
    labels = [0, 1]
    broken = {
        "layout": {"images": images},
        "lengths": {"images": images, "labels": [0], "sample_ids": ["a"]},
        "labels": {"images": images, "labels": [0, 10], "sample_ids": ["a", "b"]},
        "pickled": {"images": images, "labels": labels, "sample_ids": np.array(["a", {}], object)},
    }
    for name, arrays in broken.items():
        np.savez(tmp_path / f"{name}.npz", **arrays)
        with pytest.raises(ValueError, match=rf"{name}\.npz"):
            datasets.fashion_mnist(name, tmp_path)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "labels.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"cut\.npz"):
        datasets.fashion_mnist("cut", tmp_path)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_arrays_of_the_user_are_accepted(kind):
    samples = datasets.Samples(
        kind(np.arange(12.0).reshape(4, 3)), kind([0, 1, 2, 0]), list("wxyz")
    )
    assert torch.equal(samples.batch(1, 3), torch.arange(3.0, 9, dtype=torch.float64).reshape(2, 3))
    part = samples.take([3, 0])
    assert list(part.sample_ids) == ["z", "w"] and part.batch(0, 1)[0, 0] == 9 and len(part) == 2


def test_a_memory_map_is_read_batch_by_batch(tmp_path, recwarn):
    np.save(tmp_path / "x.npy", np.arange(6.0))
    samples = datasets.Samples(np.load(tmp_path / "x.npy", mmap_mode="r"), np.zeros(6, int))
    assert isinstance(samples.inputs, np.memmap) and samples.batch(4, 6).tolist() == [4, 5]
    assert not recwarn


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (np.zeros((3, 2)), [0, 1], "3 inputs for 2 labels"),
        (np.array(["a", "b"]), [0, 1], "numeric"),
        (np.zeros((0, 2)), [], "empty"),
        (np.zeros(2), [0, -1], "label -1"),
    ],
)
def test_invalid_inputs_are_refused(inputs, labels, message):
    with pytest.raises(ValueError, match=message):
        datasets.Samples(inputs, labels)
