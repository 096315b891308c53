"""Compile kernels with numba, without the GIL, and cache their machine code on disk."""

import atexit
import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba

FOLDER = Path(__file__).parent
config: Any = numba.config


def kernel(function: Callable) -> Any:
    """Compile a function as ``numba.njit(nogil=True, cache=True)``."""
    return compile_cached(function)


def entry(function: Callable) -> Any:
    """Compile a kernel that allocates nothing, so that numba counts no references."""
    return compile_cached(function, _nrt=False)


def inner(function: Callable) -> Any:
    """Compile a kernel that allocates nothing and that only kernels call."""
    return compile_cached(function, _nrt=False, no_cpython_wrapper=True)


def compile_cached(function: Callable, **options: Any) -> Any:
    """Compile a function, and cache it in :func:`cache_folder`, which numba reads now."""
    folder = cache_folder()
    # numba finds no place for the machine code of a package without source files.
    is_cached = folder is not None and os.path.isfile(function.__code__.co_filename)
    named = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        return numba.njit(nogil=True, cache=is_cached, **options)(function)
    finally:
        config.CACHE_DIR = named


@cache
def stamp() -> str:
    """Return a digest of everything that machine code depends on, apart from numba's settings.

    numba compiles a kernel again if its own file changes, but a kernel inlines those of others.
    """
    compiler = numba.__version__, llvmlite.__version__, llvmlite.binding.get_host_cpu_name()
    digest = hashlib.sha256(repr(compiler).encode())
    for file in sorted([*FOLDER.rglob("kernels/*.py"), *FOLDER.rglob("*kernels.py")]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def cache_folder() -> Path | None:
    """Return the folder of the kernels with this :func:`stamp`, or None if none is writable.

    numba reads no cache in a folder that it cannot write, so the kernels of a read-only
    installation are copied.
    """
    bases = [FOLDER / "__pycache__", Path("~/.cache/cascadelib").expanduser()]
    for base in [config.CACHE_DIR, *bases] if config.CACHE_DIR else bases:
        folder = Path(base, f"kernels-{stamp()}")
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
            copy = tempfile.mkdtemp()
            atexit.register(shutil.rmtree, copy, ignore_errors=True)
            return Path(shutil.copytree(folder, copy, dirs_exist_ok=True))
    warnings.warn(
        "compiled kernels cannot be stored, so every process compiles them again (up to a "
        "minute): neither cascadelib's folder nor ~/.cache/cascadelib is writable. Set "
        "NUMBA_CACHE_DIR to a writable folder",
        RuntimeWarning,
        stacklevel=2,
    )
    return None
