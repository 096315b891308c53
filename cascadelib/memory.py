"""Freed memory kept for the next batch while models run on the CPU."""

import contextlib
import ctypes
import platform
from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # parameters of glibc's mallopt(3)
ALL = 2**31 - 1
# What glibc's own adjustment comes to in a process that has freed a large tensor (mallopt(3), M_MMAP_THRESHOLD).
USUAL = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Inside, what tensors free stays with the process; afterwards it goes back to the system.

    glibc hands blocks above 32 MB back as soon as they are free, and asks for others for the next layer's output, which
    the system must map and clear page by page: for wide layers that takes as long as the layer itself. Nothing happens
    where malloc is not glibc's. CUDA tensors have torch's own caching allocator.
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, ALL)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
