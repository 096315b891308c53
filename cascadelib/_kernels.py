"""Compile kernels with numba, without the GIL, and cache them on disk if possible."""

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
    """Compile as ``numba.njit(nogil=True, **options)``, with a cache on disk.

    Usage: ``@kernel`` or ``@kernel(…)``.

    A damaged cache is deleted. If no folder can hold a cache, a warning is issued.
    """
    if function is None:
        return partial(kernel, **options)
    compiled = njit(nogil=True, no_cfunc_wrapper=True, **options)(function)
    template_of = compiled.get_call_template

    def template_of_any(arguments: tuple, keywords: dict) -> Any:
        # compiled once for all numbers. numba would compile again for each literal
        return template_of([types.unliteral(argument) for argument in arguments], keywords)

    compiled.get_call_template = template_of_any
    try:
        compiled._cache = KernelCache(function)
    except (RuntimeError, OSError):  # "no locator available"; the sources cannot be read
        warn_of_no_cache(NOWHERE)
    return compiled


def inner(function: Callable) -> Any:
    """Compile a kernel that only kernels call.

    Without Python's wrapper it compiles in two thirds of the time.
    """

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError(f"{function.__name__} is called by kernels only")

    compiled = kernel(function, _nrt=False, no_cpython_wrapper=True)
    compiled._insert = lambda *_, **__: None
    compiled._compile_for_args = refuse
    return compiled


class Room:
    """Pass a namedtuple of namedtuples of arrays to kernels by one pointer.

    numba would pass seven numbers per array, and compile them at every call. The arrays cannot be
    replaced.
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
    """The numba type of a :class:`Room` or of a namedtuple in it.

    `parts` is numba's type of the namedtuple.
    """

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        super().__init__(f"InRoom({parts})")


register_model(InRoom)(models.OpaqueModel)


@unbox(InRoom)
def address_of(_: types.Type, room: Any, context: Any) -> NativeValue:
    """Return the pointer to a :class:`Room`."""
    address = context.pyapi.object_getattr_string(room, "address")
    pointer = context.pyapi.long_as_voidptr(address)
    context.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class TypeOfPart(AttributeTemplate):
    """Resolve the type of a part by its name."""

    key = InRoom

    def generic_resolve(self, value: Any, attr: str) -> Any:  # type: ignore[override]
        """Return a :class:`FromZero`, or an :class:`InRoom` for a namedtuple."""
        part = dict(zip(value.parts.fields, value.parts.types))[attr]
        return InRoom(part) if isinstance(part, types.NamedTuple) else FromZero(part)


class FromZero(types.Array):
    """The type of an array in a :class:`Room`, or of a part of one.

    Its indices are never negative.

    numba would check the sign of every index.
    """

    def __init__(self, array: types.Array) -> None:
        name = f"FromZero({array})"
        super().__init__(array.dtype, array.ndim, array.layout, not array.mutable, name)

    def copy(self, *changed: Any, **changes: Any) -> Any:
        """Return the type of a part, as numba requires."""
        return FromZero(super().copy(*changed, **changes))


register_model(FromZero)(models.ArrayModel)


def without_sign(context: Any, builder: Any, index: Any, value: Any) -> tuple[Any, Any]:
    """Return (type, value) of an index that is not negative."""
    if isinstance(index, types.Integer):
        return types.uintp, context.cast(builder, value, index, types.intp)
    if not isinstance(index, types.BaseTuple):
        return index, value
    parts = zip(index.types, cgutils.unpack_tuple(builder, value))
    kinds, values = zip(*[without_sign(context, builder, *part) for part in parts])
    return types.Tuple(kinds), context.make_tuple(builder, types.Tuple(kinds), values)


def lower_from_zero(operation: Any, *rest: Any) -> None:
    """Lower an operation on an item of a :class:`FromZero` to numba's, with an unsigned index."""

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
    """Return a part: an array, or the pointer to a namedtuple."""
    struct = context.get_data_type(room.parts).as_pointer()
    place = room.parts.fields.index(name)
    part = cgutils.gep_inbounds(builder, builder.bitcast(pointer, struct), 0, place)
    if isinstance(room.parts.types[place], types.NamedTuple):
        return builder.bitcast(part, cgutils.voidptr_t)
    return lasting(builder, part)


def lasting(builder: Any, pointer: Any) -> Any:
    """Load a value that never changes, so that a loop loads it only once."""
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


NOWHERE = "every process compiles them again (up to a minute)"


@cache  # one warning per process, not one per kernel
def warn_of_no_cache(instead: str) -> None:
    """Warn that a cache folder is not writable, and state the consequence and the remedy."""
    refused = "neither cascadelib's folder nor a home folder can be written"
    if config.CACHE_DIR:
        refused = f"the folder that NUMBA_CACHE_DIR names, {config.CACHE_DIR}, cannot be written"
    warnings.warn(
        f"compiled kernels cannot be stored: {refused}, so {instead}. "
        "Set NUMBA_CACHE_DIR to a writable folder",
        RuntimeWarning,
        stacklevel=2,
    )


@cache
def say_compiling() -> None:
    """Print once, in a terminal or front end, that the first search compiles kernels."""
    if is_watched():
        print("cascadelib compiles its kernels, once: 10 to 20 seconds", file=sys.stderr)


def contents(path: Path) -> bytes:
    """Return the bytes of a file of this package, also from a zip or from its compiled form."""
    loader = __spec__.loader
    try:
        return loader.get_data(str(path))  # type: ignore[union-attr]
    except OSError:
        return loader.get_data(f"{path}c")  # type: ignore[union-attr]


def when_written(path: Path) -> tuple[int, int] | None:
    """Return a file's time and size, by which a reloaded module is detected. None in a zip."""
    with suppress(OSError):
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size
    return None


@cache
def digest_of_sources(folder: Path, written: tuple) -> str:
    """Return the SHA-256 of the inputs of machine code. numba's keys include the processor."""
    digest = hashlib.sha256()
    settings = [(name, getattr(config, name, None)) for name in SETTINGS]
    digest.update(repr((numba.__version__, llvmlite.__version__, settings)).encode())
    for name in SOURCES:
        content = contents(folder / name)
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def stamp(folder: Path = FOLDER) -> str:
    """Return :func:`digest_of_sources` of the current files. Other stamps are compiled again."""
    return digest_of_sources(folder, tuple(when_written(folder / name) for name in SOURCES))


class Readable(caching._CacheLocator):
    """A cache folder that is readable, even if it is not writable."""

    def ensure_cache_path(self) -> None:
        """Raise an OSError if the folder is not writable and has no kernels."""
        try:
            super().ensure_cache_path()
        except OSError:
            if not any(Path(self.get_cache_path()).glob("*.nbi")):
                raise


class Given(Readable, caching.UserProvidedCacheLocator):
    """The folder that NUMBA_CACHE_DIR names."""


class Beside(Readable, caching.InTreeCacheLocator):
    """The folder ``__pycache__`` next to the source."""


class AtHome(Readable, caching.UserWideCacheLocator):
    """The cache folder of the user."""


class Digested(caching.CompileResultCacheImpl):
    """A cache entry with a digest, so that damaged machine code never runs."""

    _locator_classes = [
        Given,
        Beside,
        AtHome,
        caching.IPythonCacheLocator,
        caching.ZipCacheLocator,
    ]

    def reduce(self, data: Any) -> tuple[bytes, bytes]:
        """Return the entry as (SHA-256, bytes)."""
        content = dumps(super().reduce(data))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, reduced_data: tuple[bytes, bytes]) -> Any:
        """Invert :meth:`reduce`, or raise a ValueError if the digest differs."""
        digest, content = reduced_data
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("this cache entry is damaged")
        return super().rebuild(target_context, pickle.loads(content))


class KernelCache(caching.FunctionCache):
    """numba's cache of a function, keyed by :func:`stamp`. Failures cost time, never the result."""

    _impl_class = Digested

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        own = None  # this package's files by content alone: a copy of them may bring its cache
        if not Path(function.__code__.co_filename).is_relative_to(FOLDER):
            own = self._impl.locator.get_source_stamp()
        self._cache_file._source_stamp = own, stamp()
        if config.CACHE_DIR and isinstance(self._impl.locator, Beside | AtHome):
            warn_of_no_cache("they are stored next to cascadelib's modules or in a home folder")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel, None if it is missing or damaged. Delete a damaged one."""
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
        """Store a compiled kernel, unless the disk refuses."""
        try:
            super().save_overload(sig, data)
        except OSError:
            warn_of_no_cache(NOWHERE)
