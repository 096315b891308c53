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
# Every file that defines kernels. A kernel inlines kernels of other files, so its machine code is
# out of date if any of these files changes.
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
# Settings of numba that change machine code, but are not in the key of its cache.
SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "USING_SVML",
)


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """Compile a function as ``numba.njit(nogil=True, **options)``, with a cache on disk.

    Usage: ``@kernel`` or ``@kernel(…)``. A damaged cache is deleted. If no folder can store a
    cache, a warning is issued.
    """
    if function is None:
        return partial(kernel, **options)
    compiled = njit(nogil=True, no_cfunc_wrapper=True, **options)(function)
    get_call_template = compiled.get_call_template

    def get_general_template(arguments: tuple, keywords: dict) -> Any:
        # numba would compile again for each literal number.
        return get_call_template([types.unliteral(argument) for argument in arguments], keywords)

    compiled.get_call_template = get_general_template
    try:
        compiled._cache = KernelCache(function)
    except (RuntimeError, OSError):  # no folder for a cache, or unreadable sources
        warn_of_no_cache(COMPILED_AGAIN)
    return compiled


def inner(function: Callable) -> Any:
    """Compile a kernel that only kernels call.

    It has no wrapper for calls from Python, which saves a third of the time of compilation.
    """

    def refuse(*_: Any, **__: Any) -> None:
        raise TypeError(f"{function.__name__} is called by kernels only")

    compiled = kernel(function, _nrt=False, no_cpython_wrapper=True)
    compiled._insert = lambda *_, **__: None
    compiled._compile_for_args = refuse
    return compiled


class ArrayStruct:
    """Pass a namedtuple of namedtuples of arrays to kernels by one pointer.

    numba would pass seven numbers per array, and generate code for them at every call. The arrays
    cannot be replaced.
    """

    def __init__(self, parts: tuple) -> None:
        self.parts = parts
        self._numba_type_ = ArrayStructType(typeof(parts))
        # numba's layout of an array: no owner, no parent, size, item size, data, shape, strides
        structs = [
            (0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides)
            for part in parts
            for array in part
        ]
        self.structs = np.concatenate(structs)
        self.address = self.structs.ctypes.data


class ArrayStructType(types.Type):
    """The numba type of an :class:`ArrayStruct`, or of a namedtuple in it.

    `parts` is the numba type of the namedtuple.
    """

    def __init__(self, parts: Any) -> None:
        self.parts = parts
        super().__init__(f"ArrayStructType({parts})")


register_model(ArrayStructType)(models.OpaqueModel)


@unbox(ArrayStructType)
def unbox_struct(_: types.Type, struct: Any, context: Any) -> NativeValue:
    """Return the pointer to an :class:`ArrayStruct`."""
    address = context.pyapi.object_getattr_string(struct, "address")
    pointer = context.pyapi.long_as_voidptr(address)
    context.pyapi.decref(address)
    return NativeValue(pointer)


@infer_getattr
class FieldTypes(AttributeTemplate):
    """Resolve the type of a field of an :class:`ArrayStruct` by its name."""

    key = ArrayStructType

    def generic_resolve(self, value: Any, attr: str) -> Any:  # type: ignore[override]
        """Return an :class:`ArrayStructType` for a namedtuple, else an :class:`UnsignedArray`."""
        part = dict(zip(value.parts.fields, value.parts.types))[attr]
        if isinstance(part, types.NamedTuple):
            return ArrayStructType(part)
        return UnsignedArray(part)


class UnsignedArray(types.Array):
    """The numba type of an array in an :class:`ArrayStruct`, or of a view of one.

    Its indices are unsigned. Otherwise numba would check the sign of every index.
    """

    def __init__(self, array: types.Array) -> None:
        name = f"UnsignedArray({array})"
        super().__init__(array.dtype, array.ndim, array.layout, not array.mutable, name)

    def copy(self, *changed: Any, **changes: Any) -> Any:
        """Return the type of a view, which numba requires."""
        return UnsignedArray(super().copy(*changed, **changes))


register_model(UnsignedArray)(models.ArrayModel)


def as_unsigned(context: Any, builder: Any, index: Any, value: Any) -> tuple[Any, Any]:
    """Return (type, value) of an index that is not negative, as an unsigned number."""
    if isinstance(index, types.Integer):
        return types.uintp, context.cast(builder, value, index, types.intp)
    if not isinstance(index, types.BaseTuple):
        return index, value
    parts = zip(index.types, cgutils.unpack_tuple(builder, value))
    kinds, values = zip(*[as_unsigned(context, builder, *part) for part in parts])
    return types.Tuple(kinds), context.make_tuple(builder, types.Tuple(kinds), values)


def register_unsigned(operation: Any, *rest: Any) -> None:
    """Register an operation on items of an :class:`UnsignedArray`, with unsigned indices."""

    def lowered(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        array, index, *others = sig.args
        plain = types.Array(array.dtype, array.ndim, array.layout, not array.mutable)
        kind, value = as_unsigned(context, builder, index, arguments[1])
        numba_operation = context.get_function(
            operation, signature(sig.return_type, plain, kind, *others)
        )
        return numba_operation(builder, (arguments[0], value, *arguments[2:]))

    for index in (types.Integer, types.BaseTuple):
        lower_builtin(operation, UnsignedArray, index, *rest)(lowered)


register_unsigned(operator.getitem)
register_unsigned(operator.setitem, types.Any)


@lower_getattr_generic(ArrayStructType)
def load_field(context: Any, builder: Any, struct: ArrayStructType, pointer: Any, name: str) -> Any:
    """Return a field of a struct: an array, or the pointer to a namedtuple."""
    kind = context.get_data_type(struct.parts).as_pointer()
    place = struct.parts.fields.index(name)
    field = cgutils.gep_inbounds(builder, builder.bitcast(pointer, kind), 0, place)
    if isinstance(struct.parts.types[place], types.NamedTuple):
        return builder.bitcast(field, cgutils.voidptr_t)
    return load_constant(builder, field)


def load_constant(builder: Any, pointer: Any) -> Any:
    """Load a value that never changes, so that a loop loads it only once."""
    kind = pointer.type.pointee
    if not hasattr(kind, "elements"):
        value = builder.load(pointer)
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value
    value = kind(llvmlite.ir.Undefined)
    for i in range(len(kind.elements)):
        element = load_constant(builder, cgutils.gep_inbounds(builder, pointer, 0, i))
        value = builder.insert_value(value, element, i)
    return value


COMPILED_AGAIN = "every process compiles them again (up to a minute)"


@cache  # one warning per process, not one per kernel
def warn_of_no_cache(consequence: str) -> None:
    """Warn that a cache folder is not writable, and state the consequence and the remedy."""
    reason = "neither cascadelib's folder nor a home folder can be written"
    if config.CACHE_DIR:
        reason = f"the folder that NUMBA_CACHE_DIR names, {config.CACHE_DIR}, cannot be written"
    warnings.warn(
        f"compiled kernels cannot be stored: {reason}, so {consequence}. "
        "Set NUMBA_CACHE_DIR to a writable folder",
        RuntimeWarning,
        stacklevel=2,
    )


@cache
def announce_compilation() -> None:
    """Print that kernels are compiled, once per process, in a terminal or a front end."""
    if is_watched():
        print("cascadelib compiles its kernels, once: 10 to 20 seconds", file=sys.stderr)


@cache
def digest_of_sources(folder: Path, modifications: tuple) -> str:
    """Return the SHA-256 of the inputs of machine code, apart from the processor type.

    A change in `modifications` makes the cached digest invalid. numba's keys have the processor.
    """
    digest = hashlib.sha256()
    settings = [(name, getattr(config, name, None)) for name in SETTINGS]
    digest.update(repr((numba.__version__, llvmlite.__version__, settings)).encode())
    for name in SOURCES:
        content = (folder / name).read_bytes()
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()


def stamp(folder: Path = FOLDER) -> str:
    """Return :func:`digest_of_sources` of the current files.

    A kernel in the cache with another stamp is compiled again.
    """
    found = [os.stat(folder / name) for name in SOURCES]
    return digest_of_sources(folder, tuple((file.st_mtime_ns, file.st_size) for file in found))


class ReadableLocator(caching._CacheLocator):
    """Locate a cache folder, which may be read-only if it has kernels."""

    def ensure_cache_path(self) -> None:
        """Raise an OSError if the folder is not writable and has no kernels."""
        try:
            super().ensure_cache_path()
        except OSError:
            if not any(Path(self.get_cache_path()).glob("*.nbi")):
                raise


class NamedFolder(ReadableLocator, caching.UserProvidedCacheLocator):
    """Locate the folder that NUMBA_CACHE_DIR names."""


class SourceFolder(ReadableLocator, caching.InTreeCacheLocator):
    """Locate the folder ``__pycache__`` next to the source."""


class UserFolder(ReadableLocator, caching.UserWideCacheLocator):
    """Locate the cache folder of the user."""


class DigestedEntries(caching.CompileResultCacheImpl):
    """Store each cache entry with its digest, so that damaged machine code never runs."""

    _locator_classes = [
        NamedFolder,
        SourceFolder,
        UserFolder,
        caching.IPythonCacheLocator,
        caching.ZipCacheLocator,
    ]

    def reduce(self, data: Any) -> tuple[bytes, bytes]:
        """Return an entry as (SHA-256, bytes)."""
        content = dumps(super().reduce(data))
        return hashlib.sha256(content).digest(), content

    def rebuild(self, target_context: Any, reduced_data: tuple[bytes, bytes]) -> Any:
        """Return the entry of the result of :meth:`reduce`.

        Raises
        ------
        ValueError
            If the digest differs.
        """
        digest, content = reduced_data
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("this cache entry is damaged")
        return super().rebuild(target_context, pickle.loads(content))


class KernelCache(caching.FunctionCache):
    """Cache the machine code of a function on disk, keyed by :func:`stamp`.

    If the cache fails, the function is compiled again.
    """

    _impl_class = DigestedEntries

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        # Files of this package count by content only, so that a copy of the package can include
        # its cache. Other files also count by time and size.
        file_stamp = None
        if not Path(function.__code__.co_filename).is_relative_to(FOLDER):
            file_stamp = self._impl.locator.get_source_stamp()
        self._cache_file._source_stamp = file_stamp, stamp()
        if config.CACHE_DIR and isinstance(self._impl.locator, SourceFolder | UserFolder):
            warn_of_no_cache("they are stored next to cascadelib's modules or in a home folder")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled kernel, or None if it is missing or damaged. Delete a damaged cache."""
        try:
            compiled = super().load_overload(sig, target_context)
        except Exception:  # unpickling a damaged file can raise any exception
            compiled = None
            with suppress(OSError):
                self.flush()
        if compiled is None:
            announce_compilation()
        return compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a compiled kernel, or warn if that fails."""
        try:
            super().save_overload(sig, data)
        except OSError:
            warn_of_no_cache(COMPILED_AGAIN)
