"""Compiled kernels: numba's njit without the GIL, kept on disk where that can be done and compiled anew where not."""

import hashlib
import pickle
import sys
import warnings
from contextlib import suppress
from functools import cache, partial

import numpy as np
from numba import njit, typeof, types
from numba.core import cgutils
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    models,
    register_model,
    unbox,
)

from .front_end import is_watched


def kernel(function=None, **options):
    """``numba.njit(nogil=True, **options)``, cached on disk; ``@kernel`` and ``@kernel(fastmath=True)`` both do. A
    damaged cache is thrown away; without a folder for one there is a warning a process, and no error."""
    if function is None:
        return partial(kernel, **options)
    compiled = njit(nogil=True, no_cfunc_wrapper=True, **options)(function)
    by_type = (
        compiled.get_call_template
    )  # compiled once for all numbers, where numba would for literals anew
    compiled.get_call_template = lambda args, kws: by_type([types.unliteral(a) for a in args], kws)
    try:
        compiled._cache = KernelCache(function)
    except RuntimeError:  # "no locator available": neither package nor home can be written
        warn_of_no_cache()
    return compiled


def inner(function):
    """A kernel that only kernels call, compiled without what Python needs for a call: in two thirds of the time."""

    def refuse(*_, **__):
        raise TypeError(f"{function.__name__} is called by kernels only")

    compiled = kernel(function, _nrt=False, no_cpython_wrapper=True)
    compiled._insert, compiled._compile_for_args = lambda *_, **__: None, refuse
    return compiled


class Room:
    """A namedtuple of namedtuples of arrays, which kernels take for just that. They get one pointer to it, where numba
    would hand on seven numbers an array, all of which are compiled at every call. Its arrays stay the same."""

    def __init__(self, parts):
        self.parts, self._numba_type_ = parts, InRoom(typeof(parts))
        words = [
            (0, 0, a.size, a.itemsize, a.ctypes.data, *a.shape, *a.strides)
            for part in parts
            for a in part
        ]
        self.structs = np.concatenate(words)  # as numba lays them out
        self.address = self.structs.ctypes.data


class InRoom(types.Type):
    """The type of a :class:`Room`, or of a namedtuple in it; parts: numba's type of the namedtuple."""

    def __init__(self, parts):
        self.parts = parts
        super().__init__(f"InRoom({parts})")


register_model(InRoom)(models.OpaqueModel)


@unbox(InRoom)
def address_of(_, room, c):
    """The pointer to a room."""
    address = c.pyapi.object_getattr_string(room, "address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class TypeOfPart(AttributeTemplate):
    """The type of a part by its name."""

    key = InRoom

    def generic_resolve(self, room, name):
        """An array's, or again an :class:`InRoom`."""
        part = dict(zip(room.parts.fields, room.parts.types))[name]
        return InRoom(part) if isinstance(part, types.NamedTuple) else part


@lower_getattr_generic(InRoom)
def part_of(context, builder, room, pointer, name):
    """A part: an array, or the pointer to a namedtuple."""
    struct, place = context.get_data_type(room.parts).as_pointer(), room.parts.fields.index(name)
    part = cgutils.gep_inbounds(builder, builder.bitcast(pointer, struct), 0, place)
    nested = isinstance(room.parts.types[place], types.NamedTuple)
    return builder.bitcast(part, cgutils.voidptr_t) if nested else builder.load(part)


@cache  # one warning a process, not one a kernel
def warn_of_no_cache():
    """Say that kernels are compiled anew by each process, and what helps."""
    warnings.warn(
        "compiled kernels cannot be kept: neither cascadelib's folder nor a home folder can be written, so "
        "every process compiles them anew (up to a minute); set NUMBA_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


@cache
def say_compiling():
    """Say once, where somebody watches, what the first search waits for."""
    if is_watched():
        print("cascadelib compiles its kernels, once: 10 to 20 seconds", file=sys.stderr)


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
            found = super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file raises anything
            found = None
            with suppress(OSError):
                self.flush()
        if found is None:
            say_compiling()
        return found

    def save_overload(self, sig, data):
        """Keep a compiled kernel, unless the disk refuses."""
        try:
            super().save_overload(sig, data)
        except OSError:
            warn_of_no_cache()
