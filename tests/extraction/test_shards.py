"""Shards in a folder, and the locks and settings that processes share there."""

import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from cascadelib.extraction import shards as module
from cascadelib.extraction.shards import Shards, shard_bounds

EYE = np.eye(2, dtype=np.float32)
SPAN = (0, 2)


@pytest.fixture
def shards(tmp_path):
    return Shards(tmp_path / "s")


@pytest.mark.parametrize(
    ("count", "shard", "batch", "expected"),
    [
        (10, 4, 2, [(0, 4), (4, 8), (8, 10)]),
        (10, 5, 2, [(0, 4), (4, 8), (8, 10)]),
        (3, 1, 8, [(0, 3)]),
        (8, 8, 8, [(0, 8)]),
    ],
)
def test_shards_have_full_batches(count, shard, batch, expected):
    assert shard_bounds(count, shard, batch) == expected


def test_shards_of_other_runs_or_damaged_ones_read_as_missing(shards):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shards.write("m/1", {"a": 1}, SPAN, EYE, [0.5])
        assert shards.read("m/1", {"a": 2}, SPAN) is None
        assert shards.read("m/1", {"a": 1}, (2, 4)) is None
        logits, seconds = shards.read("m/1", {"a": 1}, SPAN)
        assert logits.tolist() == EYE.tolist() and seconds == [0.5]
        (path,) = shards.path.glob("m%2F1/*")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert shards.read("m/1", {"a": 1}, SPAN) is None


def test_a_lock_excludes_others_until_it_is_released(shards):
    lock = shards.claim("key")
    assert shards.claim("key") is None
    with shards.locked("key", wait=False) as ours, shards.locked("other", wait=False) as also:
        assert (ours, also) == (False, True)
    lock.release()
    with shards.locked("key") as ours:
        assert ours and shards.claim("key") is None


def test_the_last_process_removes_the_folder_and_unfinished_shards_remain(shards):
    with shards.join({"a": 1}) as others, Shards(shards.store_path).join({"a": 1}) as more:
        assert (others, more) == (0, 1)
    assert not shards.path.exists()
    with shards.join({}):
        shards.write_probe("m", {"macs": 1})
        with Shards(shards.store_path).join({}):
            assert shards.read_probe("m") == {"macs": 1}  # the first process needs it
        assert shards.path.exists()
        shards.write("m", {}, SPAN, EYE, [])
    assert shards.read("m", {}, SPAN) is not None
    with shards.join({}):
        assert shards.read_probe("m") is None  # it is of an earlier call
        shards.remove("m")
    assert not shards.path.exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"size": 4, "models": ["a"]}, r"other settings \(size 8 there, 4 here\)"),
        ({"size": 8, "models": ["a", "b"]}, r"models \['a'\] there, \['a', 'b'\] here"),
    ],
)
def test_a_process_with_other_settings_is_refused_while_another_runs(shards, call, message):
    other = Shards(shards.store_path)
    with shards.join({"size": 8, "models": ["a"]}):
        with pytest.raises(ValueError, match=message):
            other.join(call).__enter__()
        with other.join({"size": 8, "models": ("a",)}) as others:  # JSON has no tuples
            assert others == 1
    with other.join(call) as others:
        assert others == 0


@pytest.mark.parametrize("runs", [True, False])
def test_a_process_of_another_machine_whose_lock_is_not_seen_is_refused(shards, monkeypatch, runs):
    """It changes its file while it runs. The file of an ended one is removed."""
    shards.path.mkdir(parents=True)
    record = shards.path / ".process-elsewhere-1-00000000"
    record.touch()
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        os.utime(record, (0, 0)) if runs else None

    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=sleep))
    if runs:
        with pytest.raises(ValueError, match="process .*process-elsewhere-1.*part="):
            shards.join({}).__enter__()
    else:
        with shards.join({}) as others:
            assert others == 0
    assert record.exists() == runs and waited == [4 * module.BEAT_SECONDS]


def test_a_process_changes_its_file_until_it_stops(tmp_path):
    record = tmp_path / "record"
    record.touch()
    os.utime(record, (0, 0))
    answers = iter([False, False, True])
    waited = []
    stop = SimpleNamespace(wait=lambda seconds: waited.append(seconds) or next(answers))
    module._beat(record, stop)
    assert module._read_time(record) > 0 and waited == [module.BEAT_SECONDS] * 3
    record.unlink()
    assert module._read_time(record) is None
