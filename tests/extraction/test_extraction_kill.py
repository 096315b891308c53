"""After kill -9 at random moments, a resumed store equals an uninterrupted one byte by byte."""

import os
import random
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from cascadelib.extraction.extraction import extract
from cascadelib.store.logit_store import LogitStore

KILLS = 20
K = 60
C = 3
NAMES = ["a", "b/slash"]

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.usefixtures("one_thread"),
]


class Slow(nn.Module):
    """Linear model with a delay per batch, in which it can be killed."""

    def __init__(self, seed):
        super().__init__()
        self.linear = nn.Linear(5, C)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.linear.weight.copy_(torch.randn(C, 5, generator=generator))
            self.linear.bias.zero_()

    def forward(self, x):
        time.sleep(0.005)
        return self.linear(x)


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(K, 5, generator=generator), torch.arange(K) % C


def run(path):
    """Extract 12 shards of one batch for each of two models."""
    models = {name: Slow(seed) for seed, name in enumerate(NAMES)}
    return extract(models, inputs(), path, batch_size=5, shard_size=5, progress=False)


def forked(path):
    """Start :func:`run` in a child process without pytest's state, and return its id."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            run(path)
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


def tensors(path):
    store = LogitStore(path)
    store.verify()
    return {name: store.logits(name).tobytes() for name in store.models.index}


def shard_files(path):
    return list(path.glob(".partial/*/[!.]*.safetensors"))


def killed_after(child, path, shards, delay):
    """Kill a child ``delay`` seconds after a number of shards exist, and return whether it was
    running."""
    deadline = time.monotonic() + 60  # a forked torch may block in rare cases
    while len(shard_files(path)) < shards and time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.0005)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_store_equals_an_uninterrupted_one_after_a_kill(tmp_path):
    run(tmp_path / "whole")
    whole = tensors(tmp_path / "whole")
    assert list(whole) == NAMES

    moments = random.Random(7)
    killed = 0
    resumed_from = set()
    for trial in range(KILLS):
        path = tmp_path / str(trial)
        killed += killed_after(forked(path), path, moments.randrange(25), moments.uniform(0, 0.02))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a reader never sees a partial file
            if (path / "manifest.json").exists():
                assert all(whole[name] == tensor for name, tensor in tensors(path).items())
        resumed_from.add(len(shard_files(path)))
        run(path)
        assert tensors(path) == whole
        assert {p.suffix for p in path.iterdir()} == {
            ".npz",
            ".json",
            ".safetensors",
        }  # no file remains
    assert killed >= KILLS // 2 and len(resumed_from) > 4, "the kills must fall all over the run"


def test_a_store_is_complete_after_repeated_kills(tmp_path):
    run(tmp_path / "whole")
    moments = random.Random(8)
    for _ in range(5):
        child = forked(tmp_path / "s")
        time.sleep(moments.uniform(0.02, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    run(tmp_path / "s")
    assert tensors(tmp_path / "s") == tensors(tmp_path / "whole")


def test_a_killed_add_leaves_the_old_or_the_new_tensor(tmp_path):
    labels = np.zeros(20_000, int)
    versions = [np.full((20_000, 20), value, np.float32) for value in (1, 2)]
    store = LogitStore.create(tmp_path / "s", labels)
    store.add("m", versions[0])
    moments = random.Random(9)
    seen = set()
    kills = 0
    while kills < 10 or len(seen) == 1 and kills < 60:
        kills += 1
        child = os.fork()
        if child == 0:
            for turn in range(10_000):
                store.add("m", versions[turn % 2], replace=True, padding="x" * (turn % 2))
            os._exit(0)
        written = set()
        count = moments.randrange(2, 8)
        while len(written) < count:  # the file, and those that replaced it
            status = (tmp_path / "s" / "m.safetensors").stat()
            written.add((status.st_ino, status.st_mtime_ns))
        time.sleep(moments.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            opened = LogitStore(tmp_path / "s")
            opened.verify()
        value = opened.logits("m")[0, 0]
        np.testing.assert_array_equal(opened.logits("m"), versions[int(value) - 1])
        seen.add(float(value))
    assert seen == {1, 2}, "the kills must fall into both"
