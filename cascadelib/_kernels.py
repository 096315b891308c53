"""Compiled kernels: numba's njit without the GIL, kept on disk where that can be done and compiled anew where not."""

import hashlib
import pickle
import warnings
from contextlib import suppress
from functools import cache, partial

import numpy as np
from llvmlite import ir
from numba import njit, typeof, types
from numba.core import cgutils
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps
from numba.core.typing.templates import AttributeTemplate
from numba.extending import NativeValue, infer_getattr, lower_getattr_generic, models, register_model, unbox


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


class AtAddress(types.Type):
    """The numba type of a :class:`Room`, whose parts are of the numba type ``parts``."""

    def __init__(self, parts):
        self.parts = parts
        super().__init__(f"AtAddress({parts})")


register_model(AtAddress)(models.OpaqueModel)


class Room:
    """A namedtuple of arrays, or of such namedtuples, that kernels read through one pointer.

    To them it is the namedtuple itself; which arrays it has never changes. As a plain tuple its 43 arrays, seven
    numbers each, would be copied wherever it is handed on: half of all that is compiled.
    """

    def __init__(self, parts):
        self.parts, self._numba_type_ = parts, AtAddress(typeof(parts))
        self.words = np.array(list(words_of(parts)), np.int64)
        self.address = self.words.ctypes.data


def words_of(parts):
    """The words that numba's struct of each array has, one after another."""
    for part in parts:
        if isinstance(part, tuple):
            yield from words_of(part)
        else:
            yield from (0, 0, part.size, part.itemsize, part.ctypes.data, *part.shape, *part.strides)


@unbox(AtAddress)
def unbox_room(_, room, c):
    """The address of the words."""
    address = c.pyapi.object_getattr_string(room, "address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class PartsOfRoom(AttributeTemplate):
    """Types of the parts of a :class:`Room`."""

    key = AtAddress

    def generic_resolve(self, room, name):
        """An array, or a room again."""
        part = room.parts.types[room.parts.fields.index(name)]
        return AtAddress(part) if isinstance(part, types.NamedTuple) else part


@lower_getattr_generic(AtAddress)
def part_of_room(context, builder, room, pointer, name):
    """The pointer to a part, or the array there."""
    struct = context.get_data_type(room.parts).as_pointer()
    place = room.parts.fields.index(name)
    part = cgutils.gep_inbounds(builder, builder.bitcast(pointer, struct), 0, place)
    nested = isinstance(room.parts.types[place], types.NamedTuple)
    return builder.bitcast(part, cgutils.voidptr_t) if nested else loaded(builder, part)


def loaded(builder, pointer):
    """What lies at a pointer and never changes, number by number: so LLVM keeps it in registers."""
    kind = pointer.type.pointee
    if isinstance(kind, ir.Aggregate):
        parts = [loaded(builder, cgutils.gep_inbounds(builder, pointer, 0, i)) for i in range(len(kind))]
        return (
            cgutils.pack_struct(builder, parts)
            if isinstance(kind, ir.LiteralStructType)
            else cgutils.pack_array(builder, parts)
        )
    value = builder.load(pointer)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


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
