"""Cores and memory of the machine, its container and its job."""

import os
from types import SimpleNamespace

import pytest
import torch

from cascadelib.extraction import limits

GIB = 2**30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that writes files of control groups and the group of this process."""

    def write(own, files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    monkeypatch.setattr(limits, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(limits, "OWN_GROUP", tmp_path / "own")
    return write


@pytest.mark.parametrize(
    ("affinity", "own", "files", "processes", "cores"),
    [
        (8, "", {}, 1, 8),
        (8, "", {}, 3, 2),
        (2, "", {}, 8, 1),
        (8, "0::/a/b\n", {"a/cpu.max": "350000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1, 3),
        (8, "0::/\n", {"cpu.max": "50000 100000"}, 1, 1),
        (8, "0::/\n", {"cpu.max": "600000 100000"}, 2, 3),
        (8, "3:cpu,cpuacct:/a\n", {}, 1, 8),  # version 1 of control groups
    ],
)
def test_usable_cores_follow_affinity_and_quotas(
    groups, monkeypatch, affinity, own, files, processes, cores
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(affinity)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    groups(own, files)
    assert limits.count_usable_cores() == cores


@pytest.mark.parametrize(
    ("files", "processes", "expected"),
    [
        ({}, 1, 16),
        ({"a/memory.max": f"{4 * GIB}\n", "memory.max": "max\n"}, 1, 4),
        ({"a/memory.max": f"{64 * GIB}\n"}, 1, 16),
        ({"memory.max": f"{8 * GIB}\n"}, 2, 4),
    ],
)
def test_memory_is_that_of_the_machine_or_its_container(
    groups, monkeypatch, files, processes, expected
):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 16 * GIB // 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    groups("0::/a\n", files)
    assert limits.read_host_memory() == expected * GIB
    assert limits.find_memory(torch.device("cpu")) == int(expected * GIB / 2e9)


def test_a_gpu_is_used_up_to_nine_tenths(monkeypatch):
    total = SimpleNamespace(total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: total)
    assert limits.find_memory(torch.device("cuda", 1)) == 72


@pytest.mark.parametrize(
    ("variable", "device"), [("LOCAL_RANK", 1), ("SLURM_LOCALID", 1), ("RANK", None)]
)
def test_each_process_of_a_launcher_gets_its_gpu(monkeypatch, variable, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv(variable, "5")
    found = limits.find_device()
    assert (found if device is None else found.index) == device
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert limits.find_device() is None


@pytest.mark.parametrize(
    ("free", "processes", "expected"),
    [(64e6, 1, 32e6), (64e6, 2, 16e6), (100e9, 8, 2e9)],
)
def test_shared_buffers_use_half_of_the_shared_memory(monkeypatch, free, processes, expected):
    monkeypatch.setattr(limits.shutil, "disk_usage", lambda path: SimpleNamespace(free=int(free)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert limits.find_shared_memory() == expected


def test_a_system_without_a_folder_of_shared_memory_has_the_upper_bound(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "SHARED_MEMORY", tmp_path / "missing")
    assert limits.find_shared_memory() == limits.MOST_SHARED_BYTES
