"""Fixtures shared by the tests of the extraction."""

import numpy as np
import pytest

from cascadelib.extraction import shards


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Let a shard have 17 samples, two batches of eight."""
    monkeypatch.setattr(shards, "SHARD_SAMPLES", 17)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write 62 photographs in four class folders."""
    Image = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(1)
    for i in range(62):
        path = root / "abcd"[i % 4] / f"{i:02}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40 + i, 60, 3), np.uint8)).save(path)
    return root


@pytest.fixture
def one_thread():
    """Threads of torch do not survive a fork."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
