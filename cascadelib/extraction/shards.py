"""Shards of an extraction in a folder, which several processes fill simultaneously.

A lock of the operating system ends with its process, so a killed process blocks no other.
"""

import contextlib
import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout

from ..checks import brief
from ..files import SUFFIX, digest_of, file_name, holds_locks, read_json, replace_atomically
from ..store.formats import Output, encode_tensor

PARTIAL = ".partial"  # folder of the shards, in the store. Folders of models never begin with a dot
PROCESSES = ".process-*.json"
PROBE = "probe"
BEAT_SECONDS = 5.0
WATCHED_BEATS = 4  # without a beat in this time, a process of another machine has ended
FORGOTTEN_BEATS = 60


def shard_bounds(count: int, shard_size: int, batch_size: int) -> list[tuple[int, int]]:
    """Return (start, stop) of each shard of ``count`` samples.

    The size of a shard is rounded down to a multiple of the batch size, at least one batch. Batches
    then begin at the same rows in every run, so a resumed extraction gives the same tensors as an
    uninterrupted one.
    """
    return split_range(0, count, max(1, shard_size // batch_size) * batch_size)


def split_range(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Split rows start … stop − 1 into (start, stop) of ``size`` rows each, or fewer at the end."""
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


class Shards:
    """Folder with one file per model and shard, and the locks of the processes that write them.

    A process claims a shard before it computes it. If two processes compute the same shard, only
    time is lost.
    """

    def __init__(self, store_path: Path | str):
        self.store_path = Path(store_path)
        self.path = self.store_path / PARTIAL

    @contextlib.contextmanager
    def join(self, call: dict) -> Iterator[int]:
        """Take part in the extraction into this folder. Yields the number of other processes.

        call: settings that all processes must share. Raises ValueError if a running process has
        other settings, or if the folder holds no locks.
        """
        host = quote(platform.node(), safe="")
        record = self.path / f".process-{host}-{os.getpid()}-{uuid4().hex[:8]}.json"
        lock = self.claim(record.stem)
        stop = threading.Event()
        joined = False
        try:
            with replace_atomically(record, durable=False) as temporary:
                temporary.write_text(json.dumps({"host": host, "call": call}))
            threading.Thread(target=_beat, args=(record, stop), daemon=True).start()
            others = self._find_others(record, host)
            for other in others:
                self._check_call(other, json.loads(json.dumps(call)))
            if not others:
                for probe in self.path.glob(f"*/{PROBE}{SUFFIX}"):  # of an earlier call
                    probe.unlink()
            joined = True
            yield len(others)
        finally:
            stop.set()
            record.unlink(missing_ok=True)
            _release(lock)
            if joined:  # a refused process cannot see whether others run
                self.clean()

    def _find_others(self, own: Path, host: str) -> list[Path]:
        """Return the records of other running processes, and remove those of ended ones."""
        if not holds_locks(own):
            raise ValueError(f"{self.path}: its disk holds no locks. {self._remedy()}")
        others = []
        for record, runs in self._list_processes():
            with contextlib.suppress(FileNotFoundError):  # a process has just ended
                if not runs and read_json(record)["host"] != host and _changes(record, own):
                    raise ValueError(
                        f"{self.path}: this machine does not see the lock of a process on machine "
                        f"{read_json(record)['host']}. {self._remedy()}"
                    )
                if not runs:
                    record.unlink()
                elif record != own:
                    others.append(record)
        return others

    def _remedy(self) -> str:
        return (
            "Give each process a folder of its own and part=(number, count), and join the stores "
            "with LogitStore.merge"
        )

    def _list_processes(self) -> Iterator[tuple[Path, bool]]:
        """Yield (record, whether it runs) of each process that has joined."""
        for record in sorted(self.path.glob(PROCESSES)):
            lock = self.claim(record.stem)
            yield record, lock is None
            _release(lock)

    def _check_call(self, record: Path, call: dict) -> None:
        """Raise ValueError if another process has other settings than this one."""
        with contextlib.suppress(FileNotFoundError):
            other = read_json(record)["call"]
            differing = [
                f"{key} {brief(other.get(key))} there, {brief(value)} here"
                for key, value in call.items()
                if other.get(key) != value
            ]
            if differing:
                raise ValueError(
                    f"another process is extracting into {self.store_path} with other settings "
                    f"({'; '.join(differing)}). Use the same, wait for it, or choose another folder"
                )

    def clean(self) -> None:
        """Remove the folder if no process runs and no unfinished model has shards."""
        if any(runs for _, runs in self._list_processes()):
            return
        if not any(self.path.glob(f"*/[0-9]*{SUFFIX}")):
            shutil.rmtree(self.path, ignore_errors=True)

    def _lock_file(self, key: str) -> Path:
        return self.path / f".{key.lstrip('.')}.lock"

    def claim(self, key: str, wait: bool = False) -> FileLock | None:
        """Acquire the lock of this key. Returns None if another process has it and not ``wait``."""
        lock = FileLock(self._lock_file(key), blocking=wait)
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                return lock
            except Timeout:
                return None
            except FileNotFoundError:  # a process that has finished has just removed the folder
                continue

    def wait_for(self, key: str) -> FileLock:
        """Acquire the lock of this key, after other processes have released it."""
        lock = self.claim(key, wait=True)
        assert lock is not None
        return lock

    def _file(self, model: str, *span: Any) -> Path:
        """Return the path of a shard, or of the result of a probe."""
        folder = self.path / file_name(model).removesuffix(SUFFIX)
        return folder / f"{'-'.join(map(str, span))}{SUFFIX}"

    def read(self, model: str, *span: Any) -> tuple[np.ndarray, dict] | None:
        """Return (logits, header) of a shard or probe, or None if it is missing or damaged."""
        with contextlib.suppress(ValueError, OSError):
            shard = Output.read(self._file(model, *span))
            return shard.open(), shard.metadata
        return None

    def read_shard(self, model: str, run: dict, *span: int) -> tuple[np.ndarray, list] | None:
        """Return (logits [stop − start, classes], seconds per sample of each batch) of a shard.

        Returns None if there is no such shard, or if it was computed with settings other than
        ``run``.
        """
        shard = self.read(model, *span)
        if shard is None or shard[1].get("run") != digest_of(run):
            return None
        return shard[0], shard[1]["batch_seconds"]

    def is_stored(self, model: str, run: dict) -> bool:
        """Return whether the store has the model with the settings ``run``."""
        with contextlib.suppress(ValueError, OSError):
            metadata = Output.read(self.store_path / file_name(model)).metadata
            return metadata["extraction"].get("run") == digest_of(run)
        return False

    def write(self, model: str, span: tuple, logits: np.ndarray, header: dict) -> None:
        """Write one finished shard or the result of a probe."""
        path = self._file(model, *span)
        path.parent.mkdir(exist_ok=True, parents=True)
        # No fsync is needed: if a shard is damaged, its SHA-256 fails and it is computed again.
        with replace_atomically(path, durable=False) as temporary:
            temporary.write_bytes(encode_tensor(logits, header))

    def remove(self, model: str) -> None:
        """Remove the shards of a stored model."""
        for path in self._file(model).parent.glob(f"[0-9]*{SUFFIX}"):
            path.unlink(missing_ok=True)


def _beat(record: Path, stop: threading.Event) -> None:
    """Change a record until ``stop``, so that other machines see that its process runs."""
    while not stop.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(record)


def _changes(record: Path, own: Path) -> bool:
    """Return whether the process of a record still changes it. Waits if it might.

    own: record of this process, whose time is of the same clock.
    """

    def read_time(path: Path) -> float:
        with open(path) as file:  # network file systems read the time again when a file is opened
            return os.fstat(file.fileno()).st_mtime

    before = read_time(record)
    if read_time(own) - before > FORGOTTEN_BEATS * BEAT_SECONDS:
        return False
    time.sleep(WATCHED_BEATS * BEAT_SECONDS)
    return read_time(record) != before


def _release(lock: FileLock | None) -> None:
    """Release a lock. Its file remains, since another process may wait for it."""
    if lock is not None:
        lock.release()
