"""An extraction in shards: what an interrupted run has finished is kept, and ``torchrun`` shares
them out."""

import contextlib
import datetime
import math
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

from ..files import SUFFIX, digest_of, file_name, replacing
from ..store.formats import LogitFile, encoded

PARTIAL = ".partial"  # the folder of the shards, in that of the store
LOCK = ".lock"  # in the folder of the shards; no model's folder begins with a dot
GATHER_TIMEOUT = datetime.timedelta(
    days=30
)  # a slow process is waited for; torchrun itself ends the others when one dies


@dataclass(frozen=True)
class Processes:
    """``count`` processes, of which this is number ``rank``; alone: rank 0 of 1."""

    rank: int = 0
    count: int = 1
    group: Any = None

    @property
    def first(self) -> bool:
        """Whether this process does what only one may: locks, prints, puts models into the
        store."""
        return self.rank == 0

    def gather(self, own: dict) -> None:
        """Wait until all processes have come here; ``own`` gets what the others have in theirs."""
        parts = [own] * self.count
        if self.count > 1:
            distributed.all_gather_object(parts, dict(own), self.group)
        for part in parts:
            own |= part | own

    def device(self) -> torch.device | None:
        """This process's own GPU; None where there is one process or no GPU."""
        if self.count == 1 or not torch.cuda.is_available():
            return None
        return torch.device(
            "cuda", int(os.environ.get("LOCAL_RANK", self.rank)) % torch.cuda.device_count()
        )


def count_usable_cores(
    groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Cores for this process, at least one: its affinity, or less by the quota of a control group
    that it is in (v1 or v2), divided among the processes that torchrun has started on this
    machine."""
    cores = float(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        cores = float(len(os.sched_getaffinity(0)))
    lines = own.read_text().splitlines() if own.exists() else []
    for line in lines:
        _, kind, path = line.split(":", 2)
        place = groups / kind / path.strip("/")
        for folder in (place, *place.parents):
            # v2, then v1; no such file, or no quota ("max"), is no limit
            for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
                with contextlib.suppress(OSError, ValueError):
                    words = " ".join((folder / name).read_text() for name in names).split()
                    quota, period = map(int, words)
                    cores = min(cores, quota / period if quota > 0 else math.inf)
    return max(1, int(cores / int(os.environ.get("LOCAL_WORLD_SIZE", 1))))


@contextlib.contextmanager
def join_processes() -> Iterator[Processes]:
    """The processes of ``torchrun``, or of a group that the caller has started, over gloo; else
    this one alone."""
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
    """(start, stop) of each shard of ``count`` samples: ``shard_size`` rounded down to whole
    batches, at least one, so that batches begin at the same rows in every run, and resumed tensors
    equal uninterrupted ones."""
    return split_range(0, count, max(1, shard_size // batch_size) * batch_size)


def split_range(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """(first, last + 1) of rows start … stop − 1 in pieces of ``size``, the last one shorter."""
    return [(first, min(first + size, stop)) for first in range(start, stop, size)]


class Shards:
    """Shards of several models, each one file, written whole or not at all; a context that locks
    the store's folder, where this process is to (``locked``). Raises ValueError where another
    process extracts into the same folder."""

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
                f"another process is extracting into {self.path.parent}; wait for it or stop it"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        if not self.locked:
            return
        with contextlib.suppress(OSError):
            left = [path.name for path in self.path.iterdir()]
            if left == [LOCK]:  # nothing unfinished: leave no trace
                shutil.rmtree(self.path)
        self._lock.release()

    def _file(self, model: str, *span: int) -> Path:
        """Where a shard lies."""
        folder = self.path / file_name(model).removesuffix(SUFFIX)
        return folder / f"{'-'.join(map(str, span))}.safetensors"

    def read(self, model: str, run: dict, *span: int) -> tuple[np.ndarray, list[float]] | None:
        """(logits [stop − start, classes], seconds a sample of each batch); None if not finished
        under this ``run``, all that decides the logits, as text and numbers."""
        try:
            file = LogitFile.read(self._file(model, *span))
            tensor = file.open()
        except (ValueError, OSError):
            return None
        if file.metadata.get("run") != digest_of(run):
            return None
        return tensor, file.metadata["batch_seconds"]

    def write(
        self, model: str, run: dict, start: int, stop: int, logits: np.ndarray, batch_seconds: list
    ) -> None:
        """Keep one finished shard."""
        path = self._file(model, start, stop)
        path.parent.mkdir(exist_ok=True, parents=True)
        # No fsync: what a power cut spoils fails its SHA-256 and is computed again.
        with replacing(path, durable=False) as temporary:
            temporary.write_bytes(
                encoded(logits, {"run": digest_of(run), "batch_seconds": batch_seconds})
            )

    def remove(self, model: str) -> None:
        """Forget the shards of a model that is in the store."""
        shutil.rmtree(self._file(model).parent, ignore_errors=True)
