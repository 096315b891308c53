"""Out-of-fold logits: which images train which network, and resamples within folds."""

import gzip
import sys

import numpy as np
import pytest

from cascadelib import LogitStore
from cascadelib.files import ROOT
from cascadelib.zoo import load_bundled
from tools.claims import evidence

FOLDER = ROOT / "data" / "fashion-mnist"
IMAGES = 800


@pytest.fixture
def folds(monkeypatch, tmp_path):
    """The script with all files in a temporary folder, and one size that learns for one epoch."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for name in ("split", "train", "twins", "folds"):  # other data folders have such names too
        monkeypatch.delitem(sys.modules, name, raising=False)
    import folds as script

    monkeypatch.setattr(script, "OUT", tmp_path / "out")
    monkeypatch.setattr(script, "WORK", tmp_path / "work")
    monkeypatch.setattr(script, "EPOCHS", {"linear@14": 1})
    return script


def write_idx(folder, name, values):
    """Write one file of unsigned bytes in the format of the original."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    with gzip.open(folder / f"{name}.gz", "wb") as file:
        file.write(head + values.tobytes())


@pytest.fixture
def made(folds, monkeypatch, tmp_path):
    """(script, all images, images that trained each network, stores) of random images."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 28, 28), np.uint8)
    write_idx(tmp_path, "train-images-idx3-ubyte", images)
    write_idx(tmp_path, "train-labels-idx1-ubyte", rng.integers(0, 10, IMAGES).astype(np.uint8))
    learned = []

    def train(name, zoo, data, *others):
        learned.append(data[0].numpy())
        return original(name, zoo, data, *others)

    original = folds.train
    monkeypatch.setattr(folds, "train", train)
    monkeypatch.setattr(sys, "argv", ["folds.py", "--raw", str(tmp_path)])
    folds.main()
    folds.main()  # nothing is trained again
    return folds, images, learned, [LogitStore(folds.OUT / split) for split in folds.SPLITS]


def rows_of(store):
    """The rows of the original file."""
    return np.array([int(name.rpartition("/")[2]) for name in store.sample_ids])


def test_no_image_trains_the_network_that_classifies_it(made):
    folds, images, learned, stores = made
    assert len(learned) == folds.FOLDS
    assert sorted(np.concatenate([rows_of(store) for store in stores])) == list(range(IMAGES))
    for fold, seen in enumerate(learned):
        network = load_bundled("linear@14", folds.WORK / str(fold))
        seen_images = {image.tobytes() for image in seen}
        assert len(seen) == IMAGES / folds.FOLDS
        for store in stores:
            places = np.flatnonzero(rows_of(store) % folds.FOLDS == fold)
            own = images[rows_of(store)[places]]
            assert not any(image.tobytes() in seen_images for image in own)
            logits = network.module(network.transform(folds.torch.from_numpy(own)))
            expected = pytest.approx(logits.detach().numpy(), abs=1e-5)
            assert store.logits("linear@14")[places] == expected


def test_resamples_and_halves_have_equal_shares_of_the_folds(made):
    for store in made[-1]:
        for part in (store, store.take(slice(0, None, 2)), store.take(slice(1, None, 2))):
            folds = evidence.folds_of(part)
            counts = evidence.counts_of(part)
            assert np.bincount(folds).tolist() == [len(part) / 2] * 2
            for fold in (0, 1):
                assert (counts[folds == fold].sum(axis=0) == len(part) / 2).all()
            assert (counts > 1).any()
