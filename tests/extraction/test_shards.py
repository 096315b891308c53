"""Shards in a folder, and the locks and settings that processes share there."""

import json
import threading
import time
import warnings

import numpy as np
import pytest

from cascadelib.extraction import shards as module
from cascadelib.extraction.shards import Shards, shard_bounds

EYE = np.eye(2, dtype=np.float32)
ELSEWHERE = ".process-elsewhere-1-00000000.json"


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
    from cascadelib.files import digest_of

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        header = {"run": digest_of({"a": 1}), "batch_seconds": [0.5]}
        shards.write("m/1", (0, 2), EYE, header)
        assert shards.read_shard("m/1", {"a": 2}, 0, 2) is None
        assert shards.read_shard("m/1", {"a": 1}, 2, 4) is None
        logits, seconds = shards.read_shard("m/1", {"a": 1}, 0, 2)
        assert logits.tolist() == EYE.tolist() and seconds == [0.5]
        (path,) = shards.path.glob("m%2F1/*")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert shards.read_shard("m/1", {"a": 1}, 0, 2) is None


def test_a_lock_excludes_others_until_it_is_released(shards):
    lock = shards.claim("key")
    assert shards.claim("key") is None and shards.claim("other") is not None
    lock.release()
    assert shards.claim("key") is not None


def test_the_last_process_removes_the_folder_and_unfinished_shards_remain(shards):
    with shards.join({"a": 1}) as others, Shards(shards.store_path).join({"a": 1}) as more:
        assert (others, more) == (0, 1)
    assert not shards.path.exists()
    with shards.join({}):
        shards.write("m", (module.PROBE,), EYE, {})
        with Shards(shards.store_path).join({}):
            assert shards.read("m", module.PROBE) is not None  # the first process needs it
        assert shards.path.exists()
        shards.write("m", (0, 2), EYE, {})
    assert shards.read("m", 0, 2) is not None
    with shards.join({}):
        assert shards.read("m", module.PROBE) is None  # it is of an earlier call
        shards.remove("m")
    assert not shards.path.exists()


def test_a_process_with_other_settings_is_refused(shards):
    other = Shards(shards.store_path)
    with shards.join({"batch_size": 8, "models": ["a"]}):
        with pytest.raises(ValueError, match=r"other settings \(batch_size 8 there, 4 here\)"):
            other.join({"batch_size": 4, "models": ["a"]}).__enter__()
        with pytest.raises(ValueError, match=r"models \['a'\] there, \['a', 'b'\] here"):
            other.join({"batch_size": 8, "models": ["a", "b"]}).__enter__()
    with other.join({"batch_size": 4}) as others:
        assert others == 0


def test_a_folder_that_holds_no_locks_is_refused(shards, monkeypatch):
    monkeypatch.setattr(module, "holds_locks", lambda path: False)
    with pytest.raises(ValueError, match=r"holds no locks.*part=.*LogitStore\.merge"):
        shards.join({}).__enter__()
    assert not [*shards.path.glob(module.PROCESSES)]


@pytest.mark.parametrize("runs", [True, False])
def test_a_process_of_another_machine_whose_lock_is_not_seen_is_refused(shards, monkeypatch, runs):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    shards.path.mkdir(parents=True)
    record = shards.path / ELSEWHERE
    record.write_text(json.dumps({"host": "elsewhere", "call": {}}))
    stop = threading.Event()
    if runs:
        threading.Thread(target=module._beat, args=(record, stop)).start()
    try:
        if runs:
            with pytest.raises(ValueError, match="machine elsewhere.*part="):
                shards.join({}).__enter__()
        else:
            with shards.join({}) as others:
                assert others == 0
    finally:
        stop.set()
    assert record.exists() == runs


def test_a_process_that_ended_long_ago_is_not_waited_for(shards, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 1e-9)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waited"))
    shards.path.mkdir(parents=True)
    (shards.path / ELSEWHERE).write_text(json.dumps({"host": "elsewhere", "call": {}}))
    time_of_file = time.time() - 1000
    module.os.utime(shards.path / ELSEWHERE, (time_of_file, time_of_file))
    with shards.join({}) as others:
        assert others == 0
