"""Compiled kernels: numba's njit without the GIL, kept on disk where that can be done, else
compiled anew."""

import hashlib
import operator
import os
import pickle
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.ir
import numba
import numpy as np
from numba import typeof, types
from numba.core import caching, cgutils
from numba.core.serialize import dumps
from numba.core.typing import signature
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_builtin,
    lower_getattr_generic,
    models,
    register_model,
    unbox,
)

from .front_end import is_watched

config: Any = numba.config
njit: Any = numba.njit
FOLDER = Path(__file__).parent
# Every file that defines kernels. A kernel inlines those of other files, so that machine code is
# out of date as soon as any of these files changes, not only its own.
SOURCES = (
    "_kernels.py",
    "fronts/front.py",
    "fronts/kernels/bounds.py",
    "fronts/kernels/boxes.py",
    "fronts/kernels/grid.py",
    "fronts/kernels/sorting.py",
    "fronts/kernels/state.py",
    "fronts/kernels/sums.py",
    "methods/kernels.py",
)
# numba's settings that change machine code without being part of the key of its cache.
SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "USING_SVML",
)


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """``numba.njit(nogil=True, **options)``, cached on disk: ``@kernel`` or ``@kernel(…)``.

    A damaged cache is thrown away. Where no folder can hold one, there is a warning, not an error.
    """
    if function is None:
        return partial(kernel, **options)
    compiled = njit(nogil=True, no_cfunc_wrapper=True, **options)(function)
    template_of = compiled.get_call_template

    def template_of_any(arguments: tuple, keywords: dict) -> Any:
        # compiled once for all numbers, where numba would compile anew for each literal
        return template_of([types.unliteral(argument) for argument in arguments], keywords)

    compiled.get_call_template = template_of_any
    try:
        compiled._cache = KernelCache(function)
    except (RuntimeError, OSError):  # "no locator available"; the sources cannot be read
        warn_of_no_cache(NOWHERE)
    return compiled


def inner(function: Callable) -> Any:
    """A kernel that only kernels call: without Python's wrapper it compiles in two thirds of the
    time."""

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError(f"{function.__name__} is called by kernels only")

    compiled = kernel(function, _nrt=False, no_cpython_wrapper=True)
    compiled._insert = lambda *_, **__: None
    compiled._compile_for_args = refuse
    return compiled


class Room:
    """A namedtuple of namedtuples of arrays, which kernels take for just that.

    They get one pointer to it, where numba would hand on seven numbers per array, all of which are
    compiled at every call. Its arrays stay the same.
    """

    def __init__(self, parts: tuple) -> None:
        self.parts = parts
        self._numba_type_ = InRoom(typeof(parts))
        # an array as numba lays it out: no owner, no parent, size, item size, data, shape, strides
        structs = [
            (0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides)
            for part in parts
            for array in part
        ]
        self.structs = np.concatenate(structs)
        self.address = self.structs.ctypes.data


class InRoom(types.Type):
    """The type of a :class:`Room`, or of a namedtuple in it; parts: numba's type of the
    namedtuple."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        super().__init__(f"InRoom({parts})")


register_model(InRoom)(models.OpaqueModel)


@unbox(InRoom)
def address_of(_: types.Type, room: Any, context: Any) -> NativeValue:
    """The pointer to a room."""
    address = context.pyapi.object_getattr_string(room, "address")
    pointer = context.pyapi.long_as_voidptr(address)
    context.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class TypeOfPart(AttributeTemplate):
    """The type of a part by its name."""

    key = InRoom

    def generic_resolve(self, value: Any, attr: str) -> Any:  # type: ignore[override]
        """A :class:`FromZero`, or again an :class:`InRoom`."""
        part = dict(zip(value.parts.fields, value.parts.types))[attr]
        return InRoom(part) if isinstance(part, types.NamedTuple) else FromZero(part)


class FromZero(types.Array):
    """The type of an array in a room, or of a part of one: no index is negative.

    numba would check every index for that.
    """

    def __init__(self, array: types.Array) -> None:
        name = f"FromZero({array})"
        super().__init__(array.dtype, array.ndim, array.layout, not array.mutable, name)

    def copy(self, *changed: Any, **changes: Any) -> Any:
        """numba's: the type of a part."""
        return FromZero(super().copy(*changed, **changes))


register_model(FromZero)(models.ArrayModel)


def without_sign(context: Any, builder: Any, index: Any, value: Any) -> tuple[Any, Any]:
    """(type, value) of an index that is known not to be negative."""
    if isinstance(index, types.Integer):
        return types.uintp, context.cast(builder, value, index, types.intp)
    if not isinstance(index, types.BaseTuple):
        return index, value
    parts = zip(index.types, cgutils.unpack_tuple(builder, value))
    kinds, values = zip(*[without_sign(context, builder, *part) for part in parts])
    return types.Tuple(kinds), context.make_tuple(builder, types.Tuple(kinds), values)


def lower_from_zero(operation: Any, *rest: Any) -> None:
    """Let an operation on an item of a :class:`FromZero` be numba's, with an unsigned index."""

    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        array, index, *others = sig.args
        plain = types.Array(array.dtype, array.ndim, array.layout, not array.mutable)
        kind, value = without_sign(context, builder, index, arguments[1])
        own = context.get_function(operation, signature(sig.return_type, plain, kind, *others))
        return own(builder, (arguments[0], value, *arguments[2:]))

    for index in (types.Integer, types.BaseTuple):
        lower_builtin(operation, FromZero, index, *rest)(lowered)


lower_from_zero(operator.getitem)
lower_from_zero(operator.setitem, types.Any)


@lower_getattr_generic(InRoom)
def part_of(context: Any, builder: Any, room: InRoom, pointer: Any, name: str) -> Any:
    """A part: an array, or the pointer to a namedtuple."""
    struct = context.get_data_type(room.parts).as_pointer()
    place = room.parts.fields.index(name)
    part = cgutils.gep_inbounds(builder, builder.bitcast(pointer, struct), 0, place)
    if isinstance(room.parts.types[place], types.NamedTuple):
        return builder.bitcast(part, cgutils.voidptr_t)
    return lasting(builder, part)


def lasting(builder: Any, pointer: Any) -> Any:
    """What lies at a pointer and never changes, so that a loop need load it once."""
    kind = pointer.type.pointee
    if not hasattr(kind, "elements"):
        value = builder.load(pointer)
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value
    whole = kind(llvmlite.ir.Undefined)
    for i in range(len(kind.elements)):
        part = lasting(builder, cgutils.gep_inbounds(builder, pointer, 0, i))
        whole = builder.insert_value(whole, part, i)
    return whole


NOWHERE = "every process compiles them anew (up to a minute)"


@cache  # one warning per process, not one per kernel
def warn_of_no_cache(instead: str) -> None:
    """Say which folder cannot be written, what happens instead, and what helps."""
    refused = "neither cascadelib's folder nor a home folder can be written"
    if config.CACHE_DIR:
        refused = f"the folder that NUMBA_CACHE_DIR names, {config.CACHE_DIR}, cannot be written"
    warnings.warn(
        f"compiled kernels cannot be kept: {refused}, so {instead}; "
        "set NUMBA_CACHE_DIR to a folder that can be written",
        RuntimeWarning,
        stacklevel=2,
    )


@cache
def say_compiling() -> None:
    """Say once, where somebody watches, what the first search waits for."""
    if is_watched():
        print("cascadelib compiles its kernels, once: 10 to 20 seconds", file=sys.stderr)


def contents(path: Path) -> bytes:
    """The bytes of a file of this package, also in a zip, or of what was compiled from it."""
    loader = __spec__.loader
    try:
        return loader.get_data(str(path))  # type: ignore[union-attr]
    except OSError:
        return loader.get_data(f"{path}c")  # type: ignore[union-attr]


def when_written(path: Path) -> tuple[int, int] | None:
    """A file's time and size, by which a reloaded module is noticed; None in a zip."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size
    return None


@cache
def digest_of_sources(folder: Path, written: tuple) -> str:
    """SHA-256 of what machine code depends on, except the processor, which numba's keys hold."""
    digest = hashlib.sha256()
    settings = [(name, getattr(config, name, None)) for name in SETTINGS]
    digest.update(repr((numba.__version__, llvmlite.__version__, settings)).encode())
    for name in SOURCES:
        content = contents(folder / name)
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def stamp(folder: Path = FOLDER) -> str:
    """:func:`digest_of_sources` as they are now: kernels with another stamp are compiled anew."""
    return digest_of_sources(folder, tuple(when_written(folder / name) for name in SOURCES))


class Readable(caching._CacheLocator):
    """A folder of kernels that can be read although nothing can be written there is one as well."""

    def ensure_cache_path(self) -> None:
        """OSError where the folder can neither be written nor has anything to read."""
        try:
            super().ensure_cache_path()
        except OSError:
            if not any(Path(self.get_cache_path()).glob("*.nbi")):
                raise


class Given(Readable, caching.UserProvidedCacheLocator):
    """The folder that NUMBA_CACHE_DIR names."""


class Beside(Readable, caching.InTreeCacheLocator):
    """``__pycache__`` beside the source."""


class AtHome(Readable, caching.UserWideCacheLocator):
    """The user's own cache folder."""


class Digested(caching.CompileResultCacheImpl):
    """A cache entry with a digest, so that machine code with a flipped bit never runs."""

    _locator_classes = [
        Given,
        Beside,
        AtHome,
        caching.IPythonCacheLocator,
        caching.ZipCacheLocator,
    ]

    def reduce(self, data: Any) -> tuple[bytes, bytes]:
        """The entry as (SHA-256, bytes)."""
        content = dumps(super().reduce(data))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, reduced_data: tuple[bytes, bytes]) -> Any:
        """The inverse of :meth:`reduce`; ValueError where the digest does not fit."""
        digest, content = reduced_data
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("this cache entry is damaged")
        return super().rebuild(target_context, pickle.loads(content))


class KernelCache(caching.FunctionCache):
    """numba's cache of a function under :func:`stamp`, which costs time where it fails, never the
    result."""

    _impl_class = Digested

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        own = None  # this package's files by content alone: a copy of them may bring its cache
        if not Path(function.__code__.co_filename).is_relative_to(FOLDER):
            own = self._impl.locator.get_source_stamp()
        self._cache_file._source_stamp = own, stamp()
        if config.CACHE_DIR and isinstance(self._impl.locator, Beside | AtHome):
            warn_of_no_cache("they are kept beside cascadelib's modules or in a home folder")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
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

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled kernel, unless the disk refuses."""
        try:
            super().save_overload(sig, data)
        except OSError:
            warn_of_no_cache(NOWHERE)
