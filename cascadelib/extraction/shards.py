"""Split an extraction into shards, which survive interruptions and are shared by ``torchrun``."""

import contextlib
import datetime
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import distributed

from ..files import SUFFIX, digest_of, file_name, replace_atomically
from ..store.formats import Output, encode_tensor

PARTIAL = ".partial"  # folder of the shards, in the store
LOCK = ".lock"  # file in that folder; folders of models never begin with a dot
# Slow processes are not an error, and torchrun ends all processes if one dies.
GATHER_TIMEOUT = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Processes:
    """Number of processes, and the rank of this one. A single process has rank 0 of 1."""

    rank: int = 0
    count: int = 1
    group: Any = None

    @property
    def first(self) -> bool:
        """Whether this process locks the store, prints and stores models."""
        return self.rank == 0

    def gather(self, entries: dict) -> None:
        """Wait for all processes, and add the entries of all of them to ``entries``."""
        parts = [entries] * self.count
        if self.count > 1:
            distributed.all_gather_object(parts, dict(entries), self.group)
        for part in parts:
            entries |= part | entries

    def device(self) -> torch.device | None:
        """Return the GPU of this process, or None for a single process or without a GPU."""
        if self.count == 1 or not torch.cuda.is_available():
            return None
        return torch.device(
            "cuda", int(os.environ.get("LOCAL_RANK", self.rank)) % torch.cuda.device_count()
        )


def count_usable_cores(
    groups: Path = Path("/sys/fs/cgroup"), process_group: Path = Path("/proc/self/cgroup")
) -> int:
    """Count the cores available to this process, at least one.

    The CPU affinity of the process and the quotas of its control groups (version 2) limit the
    number. The result is divided by the number of processes that torchrun has started on this
    machine.
    """
    cores = float(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    group = groups
    with contextlib.suppress(OSError):
        group = groups / process_group.read_text().rpartition("::/")[2].strip()
    for folder in (group, *group.parents):
        # A missing file and the quota "max" are not limits.
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, (folder / "cpu.max").read_text().split())
            cores = min(cores, quota / period)
    return max(1, int(cores / int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


@contextlib.contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes of ``torchrun`` or of an existing group over gloo, if there are any."""
    if distributed.is_available() and distributed.is_initialized():
        group = distributed.new_group(backend="gloo", timeout=GATHER_TIMEOUT)
        yield Processes(distributed.get_rank(), distributed.get_world_size(), group)
    elif int(os.environ.get("WORLD_SIZE", 1)) > 1:
        distributed.init_process_group("gloo", timeout=GATHER_TIMEOUT)
        try:
            yield Processes(distributed.get_rank(), distributed.get_world_size())
        finally:
            distributed.destroy_process_group()
    else:
        yield Processes()


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
    """Context that reads shards of models and writes them atomically, one file per shard.

    locked: whether to lock the store's folder. Raises ValueError if another process extracts into
    the same folder.
    """

    def __init__(self, store_path: Path | str, locked: bool = True):
        self.path = Path(store_path) / PARTIAL
        self.locked = locked
        self._lock = FileLock(self.path / LOCK, blocking=False)

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            if self.locked:
                self._lock.acquire()
        except Timeout:
            raise ValueError(
                f"another process is extracting into {self.path.parent}. Wait for it or stop it"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if not self.locked:
            return
        with contextlib.suppress(OSError):
            if [path.name for path in self.path.iterdir()] == [LOCK]:  # no unfinished shards
                shutil.rmtree(self.path)
        self._lock.release()

    def _file(self, model: str, *span: int) -> Path:
        """Return the path of a shard."""
        folder = self.path / file_name(model).removesuffix(SUFFIX)
        return folder / f"{'-'.join(map(str, span))}.safetensors"

    def read(self, model: str, run: dict, *span: int) -> tuple[np.ndarray, list[float]] | None:
        """Return (logits [stop − start, classes], seconds per sample of each batch) of a shard.

        Returns None if there is no such shard, or if it was computed with settings other than
        ``run``.
        """
        try:
            shard = Output.read(self._file(model, *span))
            tensor = shard.open()
        except (ValueError, OSError):
            return None
        is_of_run = shard.metadata.get("run") == digest_of(run)
        return (tensor, shard.metadata["batch_seconds"]) if is_of_run else None

    def write(
        self, model: str, run: dict, start: int, stop: int, logits: np.ndarray, batch_seconds: list
    ) -> None:
        """Write one finished shard."""
        path = self._file(model, start, stop)
        path.parent.mkdir(exist_ok=True, parents=True)
        # No fsync is needed: if a shard is damaged, its SHA-256 fails and it is computed again.
        with replace_atomically(path, durable=False) as temporary:
            header = {"run": digest_of(run), "batch_seconds": batch_seconds}
            temporary.write_bytes(encode_tensor(logits, header))

    def remove(self, model: str) -> None:
        """Remove the shards of a stored model."""
        shutil.rmtree(self._file(model).parent, ignore_errors=True)
