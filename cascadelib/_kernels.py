"""Compiled kernels: numba's njit without the GIL, kept on disk where that can be done and compiled anew where not."""

import hashlib
import pickle
import warnings
from contextlib import suppress
from functools import cache, partial

from numba import njit, types
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps


def kernel(function=None, **options):
    """``numba.njit(nogil=True, **options)``, cached on disk; ``@kernel`` and ``@kernel(fastmath=True)`` both do. A
    damaged cache is thrown away; without a folder for one there is a warning a process, and no error."""
    if function is None:
        return partial(kernel, **options)
    compiled = njit(nogil=True, **options)(function)
    by_type = compiled.get_call_template
    compiled.get_call_template = lambda args, kws: by_type(
        [types.unliteral(a) for a in args], {n: types.unliteral(a) for n, a in kws.items()}
    )
    try:
        compiled._cache = KernelCache(function)
    except RuntimeError:  # "no locator available": neither package nor home can be written
        warn_of_no_cache()
    return compiled


@cache  # one warning a process, not one a kernel
def warn_of_no_cache():
    """Say that kernels are compiled anew by each process, and what helps."""
    warnings.warn(
        "compiled kernels cannot be kept: neither cascadelib's folder nor a home folder can be written, so "
        "every process compiles them anew (up to a minute); set NUMBA_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


class Digested(CompileResultCacheImpl):
    """A cache entry with a digest, so that machine code with a flipped bit never runs."""

    def reduce(self, data):
        """The entry as (SHA-256, bytes)."""
        content = dumps(super().reduce(data))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context, reduced_data):
        """The inverse of :meth:`reduce`; ValueError where the digest does not fit."""
        digest, content = reduced_data
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("this cache entry is damaged")
        return super().rebuild(target_context, pickle.loads(content))


class KernelCache(FunctionCache):
    """numba's cache of a function, which costs time where it fails, never the result."""

    _impl_class = Digested

    def load_overload(self, sig, target_context):
        """The compiled kernel, or None where there is none, or a damaged one: that is forgotten."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file raises anything
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig, data):
        """Keep a compiled kernel, unless the disk refuses."""
        try:
            super().save_overload(sig, data)
        except OSError:
            warn_of_no_cache()
