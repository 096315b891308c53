"""Locks of the processes that fill a folder of shards."""

import contextlib
import errno
import multiprocessing
import os

import numpy as np
import pytest

from cascadelib.extraction import locks
from cascadelib.extraction.shards import Shards

EYE = np.eye(2, dtype=np.float32)
SPAN = (0, 2)
FORK = multiprocessing.get_context("fork")


@contextlib.contextmanager
def others(path, count=1):
    """Let other processes call methods of Shards. Yields a function that returns their results."""

    def work(pipe):
        own = Shards(path)
        with own.locks.shared():
            pipe.send(None)
            for name, *arguments in iter(pipe.recv, None):
                pipe.send(getattr(own.locks, name)(*arguments))

    pipes, ends = zip(*(FORK.Pipe() for _ in range(count)))
    children = [FORK.Process(target=work, args=(end,), daemon=True) for end in ends]
    for child in children:
        child.start()

    def call(*request):
        for pipe in pipes:
            pipe.send(request)
        return [pipe.recv() for pipe in pipes]

    assert [pipe.recv() for pipe in pipes] == [None] * count
    yield call
    for pipe, child in zip(pipes, children):
        pipe.send(None)
        child.join()
        assert child.exitcode == 0


def test_a_lock_excludes_others_until_it_is_released(tmp_path):
    ours = Shards(tmp_path)
    with others(tmp_path) as call, ours.locks.shared():
        assert ours.locks.claim("m", SPAN) and ours.locks.claim("n", SPAN)
        assert call("claim", "m", SPAN) == [False] and call("claim", "m", (2, 4)) == [True]
        assert not ours.locks.claim("m", (2, 4))
        ours.locks.release_all()
        assert call("claim", "m", SPAN) == [True] == call("claim", "n", SPAN)
        call("release_all")
        with ours.locks.held("store"):
            assert call("claim", "store") == [False]
        assert call("claim", "store") == [True]


def test_the_last_process_removes_the_folder_unless_shards_remain(tmp_path):
    ours = Shards(tmp_path)
    with others(tmp_path, 2):
        with ours.locks.shared():
            pass
        assert ours.path.exists()
    assert not ours.path.exists()
    with ours.locks.shared():
        ours.write("m", {}, SPAN, EYE, [])
    assert not ours.is_missing("m", {}, SPAN)
    with ours.locks.shared():
        ours.remove("m")
    assert not ours.path.exists()


def test_processes_that_begin_and_end_together_lose_no_file(tmp_path):
    """Processes that removed the folder made others fail."""

    def work():
        for number in range(200):
            ours = Shards(tmp_path)
            with ours.locks.shared():
                ours.write(f"m{os.getpid()}", {}, SPAN, EYE, [])
                assert not ours.is_missing(f"m{os.getpid()}", {}, SPAN), number
                ours.remove(f"m{os.getpid()}")

    children = [FORK.Process(target=work, daemon=True) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert not Shards(tmp_path).path.exists()


def fail_to_lock(*arguments):
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize("system", ["disk", "Windows"])
def test_one_process_at_a_time_works_without_locks(tmp_path, monkeypatch, system):
    if system == "Windows":
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        monkeypatch.setattr(locks.fcntl, "lockf", fail_to_lock)
    ours = Shards(tmp_path)
    message = rf"without locks .*Process {os.getpid()} on .* does\. .*delete .*\.owner"
    for _ in range(2):
        with ours.locks.shared(), ours.locks.held("store"):
            assert ours.locks.claim("m", SPAN)
            with pytest.raises(ValueError, match=message):
                Shards(tmp_path).locks.shared().__enter__()
            ours.locks.release_all()
        assert not ours.path.exists()
