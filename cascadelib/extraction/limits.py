"""Cores and memory that a process may use: of the machine, its container and its job."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")
SHARED_MEMORY = Path("/dev/shm")  # folder of the buffers that processes share
MOST_SHARED_BYTES = 2 * 10**9
ASSUMED_MEMORY = 8e9  # bytes of a host that does not report its memory (Windows)


def count_local_processes() -> int:
    """Count the processes that torchrun has started on this machine, at least one."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def find_device() -> torch.device | None:
    """Return the GPU of a process of torchrun or Slurm, or None for others or without a GPU."""
    rank = os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID")
    if rank is None or not torch.cuda.is_available():
        return None
    return torch.device("cuda", int(rank) % torch.cuda.device_count())


def _read_group_file(name: str) -> Iterator[list[str]]:
    """Yield the words in a file of this process's control group (version 2) and its parents."""
    group = CONTROL_GROUPS
    with contextlib.suppress(OSError):
        group = group / OWN_GROUP.read_text().rpartition("::/")[2].strip()
    for folder in (group, *group.parents):
        with contextlib.suppress(OSError):  # a missing file is not a limit
            yield (folder / name).read_text().split()


def count_usable_cores() -> int:
    """Count the cores available to this process, at least one.

    The CPU affinity of the process and the quotas of its control groups limit the number. It is
    divided by the number of processes of the launcher on this machine.
    """
    cores = float(os.cpu_count() or 1)
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    for quota, *period in _read_group_file("cpu.max"):
        if quota != "max":
            cores = min(cores, int(quota) / int(period[0]))
    return max(1, int(cores / count_local_processes()))


def read_host_memory() -> float:
    """Return the bytes of memory of this machine, or of the container or job if it has fewer.

    They are divided by the number of processes of the launcher on this machine.
    """
    limits = [ASSUMED_MEMORY]
    if hasattr(os, "sysconf"):
        limits = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    limits += [float(limit) for limit, *_ in _read_group_file("memory.max") if limit != "max"]
    return min(limits) / count_local_processes()


def find_memory(device: torch.device) -> int:
    """Return the default of ``memory`` in gigabytes: half of the host, or 90% of a GPU.

    It depends on total memory and not on free memory, so that all processes of an extraction use
    the same number.
    """
    if device.type == "cuda":
        return max(1, int(0.9e-9 * torch.cuda.get_device_properties(device).total_memory))
    return max(1, int(0.5e-9 * read_host_memory()))


def find_shared_memory() -> int:
    """Return the bytes that the shared buffers of this process may use."""
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:  # the system has no such folder
        return MOST_SHARED_BYTES
    return min(MOST_SHARED_BYTES, free // 2 // count_local_processes())
