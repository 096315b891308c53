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
HERE = f".process-{quote(platform.node(), safe='')}"
PROCESSES = ".process-*[0-9a-f]"
CALL = ".call.json"
PROBE = "probe.json"
JOIN = "join"
BEAT_SECONDS = 5.0
WATCHED_BEATS = 4  # without a beat in this time, a process of another machine has ended
REMEDY = (
    "Give each process a folder of its own and part=(number, count), and join the stores with "
    "LogitStore.merge"
)


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
        with contextlib.ExitStack() as stack:
            with self.locked(JOIN):
                others = self._list_others()
                self._agree_on(call, others)
                stack.callback(self.clean)  # not if refused: others may run that are not seen
                stack.enter_context(self._register())
            yield len(others)

    @contextlib.contextmanager
    def _register(self) -> Iterator[None]:
        """Keep a locked file in the folder, which changes while this process runs."""
        record = self.path / f"{HERE}-{os.getpid()}-{uuid4().hex[:8]}"
        stop = threading.Event()
        with self.locked(record.name):
            try:
                record.touch()
                threading.Thread(target=_beat, args=(record, stop), daemon=True).start()
                yield
            finally:
                stop.set()
                record.unlink(missing_ok=True)

    def _list_others(self) -> list[Path]:
        """Return the files of other running processes, and remove those of ended ones."""
        running = self._list_running()
        ended = [record for record in self.path.glob(PROCESSES) if record not in running]
        elsewhere = [record for record in ended if record.name.rsplit("-", 2)[0] != HERE]
        before = [_read_time(record) for record in elsewhere]
        if elsewhere:
            time.sleep(WATCHED_BEATS * BEAT_SECONDS)
        for record, earlier in zip(elsewhere, before):
            if _read_time(record) not in (earlier, None):
                raise ValueError(
                    f"{self.path}: this machine does not see the lock of another machine's process "
                    f"({record.name}). {REMEDY}"
                )
        for record in ended:
            record.unlink(missing_ok=True)
        return running

    def _list_running(self) -> list[Path]:
        """Return the files of the processes that hold their locks."""
        running = []
        for record in self.path.glob(PROCESSES):
            with self.locked(record.name, wait=False) as has_ended:
                if not has_ended:
                    running.append(record)
        return running

    def _agree_on(self, call: dict, others: list[Path]) -> None:
        """Raise ValueError if other processes have other settings. Without others, begin a call."""
        path = self.path / CALL
        content = _to_json(call)
        if not others:
            for probe in self.path.glob(f"*/{PROBE}"):  # of an earlier call
                probe.unlink()
            self._write(path, content)
        if not holds_locks(path):
            raise ValueError(f"{self.path}: its disk holds no locks. {REMEDY}")
        found = read_json(path)
        differing = [
            f"{key} {brief(found.get(key))} there, {brief(value)} here"
            for key, value in json.loads(content).items()
            if found.get(key) != value
        ]
        if differing:
            raise ValueError(
                f"another process is extracting into {self.store_path} with other settings "
                f"({'; '.join(differing)}). Use the same, wait for it, or choose another folder"
            )

    def clean(self) -> None:
        """Remove the folder if no process runs and no unfinished model has shards."""
        with self.locked(JOIN):
            if not self._list_running() and not any(self.path.glob(f"*/[0-9]*{SUFFIX}")):
                shutil.rmtree(self.path, ignore_errors=True)

    def claim(self, key: str, wait: bool = False) -> FileLock | None:
        """Acquire the lock of this key. Returns None if another process has it and not ``wait``.

        The file of the lock remains after its release, since another process may wait for it.
        """
        lock = FileLock(self.path / f".{key.lstrip('.')}.lock", blocking=wait)
        while True:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                lock.acquire()
                return lock
            except Timeout:
                return None
            except FileNotFoundError:  # a process that has finished has just removed the folder
                continue

    @contextlib.contextmanager
    def locked(self, key: str, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of this key inside the context.

        Yields False if another process has it and not ``wait``.
        """
        lock = self.claim(key, wait)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def _file(self, model: str, name: str) -> Path:
        return self.path / file_name(model).removesuffix(SUFFIX) / name

    def _shard(self, model: str, span: tuple[int, int]) -> Path:
        return self._file(model, f"{span[0]}-{span[1]}{SUFFIX}")

    def _write(self, path: Path, content: bytes) -> None:
        """Write a file atomically.

        No fsync is needed: if a shard is damaged, its SHA-256 fails and it is computed again.
        """
        path.parent.mkdir(exist_ok=True, parents=True)
        with replace_atomically(path, durable=False) as temporary:
            temporary.write_bytes(content)

    def read_probe(self, model: str) -> dict | None:
        """Return the result of a probe of this call, or None."""
        path = self._file(model, PROBE)
        return read_json(path) if path.exists() else None

    def write_probe(self, model: str, result: dict) -> None:
        """Write the result of a probe, which all processes of this call read."""
        self._write(self._file(model, PROBE), _to_json(result))

    def read(self, model: str, run: dict, span: tuple[int, int]) -> tuple[np.ndarray, list] | None:
        """Return (logits [stop − start, classes], seconds per sample of each batch) of a shard.

        Returns None if the shard is missing or damaged, or has settings other than ``run``.
        """
        with contextlib.suppress(ValueError, OSError):
            shard = Output.read(self._shard(model, span))
            if shard.metadata.get("run") == digest_of(run):
                return shard.open(), shard.metadata["batch_seconds"]
        return None

    def write(
        self, model: str, run: dict, span: tuple[int, int], logits: np.ndarray, seconds: list
    ) -> None:
        """Write a finished shard. seconds: per sample, of each batch."""
        header = {"run": digest_of(run), "batch_seconds": seconds}
        self._write(self._shard(model, span), encode_tensor(logits, header))

    def is_stored(self, model: str, run: dict) -> bool:
        """Return whether the store has the model with the settings ``run``."""
        with contextlib.suppress(ValueError, OSError):
            metadata = Output.read(self.store_path / file_name(model)).metadata
            return metadata["extraction"].get("run") == digest_of(run)
        return False

    def remove(self, model: str) -> None:
        """Remove the shards of a stored model."""
        for path in self._file(model, "").glob(f"[0-9]*{SUFFIX}"):
            path.unlink(missing_ok=True)


def _to_json(value: Any) -> bytes:
    """Return a value as JSON, with plain numbers instead of those of NumPy."""
    return json.dumps(value, default=lambda number: number.item()).encode()


def _beat(record: Path, stop: threading.Event) -> None:
    """Change a file until ``stop``, so that other machines see that its process runs."""
    while not stop.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(record)


def _read_time(record: Path) -> float | None:
    """Return when a file was changed, or None if it has been removed."""
    # Network file systems read the time again when a file is opened.
    with contextlib.suppress(FileNotFoundError), open(record) as file:
        return os.fstat(file.fileno()).st_mtime
    return None
