"""Find bundled data, read untrusted files, and write files atomically."""

import base64
import contextlib
import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from io import BufferedReader
from pathlib import Path
from types import NoneType, UnionType
from typing import IO, Any, get_args, get_origin, get_type_hints, is_typeddict
from urllib.parse import quote
from uuid import uuid4

from .checks import FINITE, is_number

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

try:
    __version__ = version("cascadelib")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "unknown"

ROOT = Path(__file__).resolve().parent.parent
# Environment variable of an installed package: a folder with the content of the repository's data/.
DATA = "CASCADELIB_DATA"
REVIEWS = "data/reviews"


def bundled_path(path: str | Path) -> Path | None:
    """Return the location of a path of the repository, such as "data/…".

    It is in the checkout, or else in the folder that CASCADELIB_DATA names. Returns None if there
    is neither.
    """
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / path
    folder = os.environ.get(DATA)
    if folder and Path(path).is_relative_to("data"):
        return folder / Path(path).relative_to("data")
    return None


def find_folder(folder: str | Path) -> Path:
    """Return `folder` if it exists, otherwise its :func:`bundled_path` if that exists."""
    path = Path(folder)
    bundled = bundled_path(folder)
    return bundled if not path.is_dir() and bundled is not None and bundled.is_dir() else path


def located(folder: str | Path) -> Path:
    """Return :func:`find_folder`, or raise a FileNotFoundError with the searched locations."""
    path = find_folder(folder)
    if path.is_dir():
        return path
    bundled = bundled_path(folder)
    if bundled is not None:
        raise FileNotFoundError(
            f"no folder {folder} in {Path.cwd()}, and no {bundled}. Pass folder=… or clone the data"
        )
    raise FileNotFoundError(
        f"no folder {folder} in {Path.cwd()}, and an installed cascadelib has no bundled data: set "
        f"{DATA} to a folder with the content of the repository's data/, or pass folder=…"
    )


def short_path(path: str | Path) -> str:
    """Return a path for display, relative to the repository if it is inside it."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


SUFFIX = ".safetensors"
TEMPORARY = ".cascadelib-tmp"  # ending of the names of files that are being written
TEMPORARY_NAME = re.compile(r"\..+\.[0-9a-f]{12}" + re.escape(TEMPORARY))
LARGEST_JSON = 2**26  # bytes
# Windows opens a device instead of a file of these names, with any ending.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9]|lpt[0-9])\.", re.IGNORECASE)
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # Path converts "http://" to "http:/"


def file_name(model: str) -> str:
    """Return the file name of a model, percent-encoded and reversible, valid on all systems.

    Raises
    ------
    ValueError
        If the name is empty, is not text, or is too long for a file system.
    """
    if not isinstance(model, str) or not model:
        raise ValueError(f"a model's name must be a non-empty string, not {model!r}")
    try:
        name = quote(model, safe="@") + SUFFIX
    except UnicodeEncodeError:
        raise ValueError(f"the model's name {model!r} is not valid text") from None
    if len(name) > 200:  # file systems allow 255, and the temporary name is longer
        raise ValueError(
            f"the model's name {model[:40]!r}… makes a file name of {len(name)} characters. "
            "The limit is 200"
        )
    if name.startswith(".") or DEVICE.match(name):
        return f"%{ord(name[0]):02X}{name[1:]}"
    return name


@contextlib.contextmanager
def replace_atomically(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path whose file replaces `path` atomically at the end.

    `durable` also syncs it to the disk. An OSError, such as a full disk, names `path`.
    """
    with write_temporary(path) as temporary:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    if durable:
        with contextlib.suppress(OSError):  # not every file system lets a folder be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with replace_atomically(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def write_temporary(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file next to `path`, and remove the file at the end."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:12]}{TEMPORARY}")
    try:
        with name_path_in_errors(path, temporary, str(temporary)):
            yield temporary
    finally:
        with contextlib.suppress(OSError):  # a read-only disk
            temporary.unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Raise an OSError if :func:`replace_atomically` could not write a file of 1 MiB.

    A long computation calls this before it starts.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder has this name, choose another", str(path))
    with write_temporary(path) as temporary:
        temporary.write_bytes(bytes(2**20))


@contextlib.contextmanager
def name_path_in_errors(path: Path, *instead_of: Any) -> Iterator[None]:
    """Make an OSError of the context name `path` if it names no path or one of `instead_of`."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, *instead_of):
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def lock_file(file: IO) -> None:
    """Lock an open file against other processes and threads until it is closed (not on Windows)."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)


def holds_locks(path: Path) -> bool:
    """Return whether the disk of an existing file refuses a second lock of it."""
    if fcntl is None:
        return True
    exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
    with open(path, "rb+") as first, open(path, "rb+") as second:
        try:
            fcntl.flock(first, exclusive)
        except OSError:
            return False
        try:
            fcntl.flock(second, exclusive)
        except OSError as error:
            return isinstance(error, BlockingIOError)
    return False


def find_leftovers(folder: Path) -> list[Path]:
    """Find the temporary files of active or killed writers in a folder."""
    return [path for path in folder.glob(".*") if TEMPORARY_NAME.fullmatch(path.name)]


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of killed writers. The caller excludes active writers."""
    for leftover in find_leftovers(folder):
        with contextlib.suppress(OSError):  # a folder with such a name
            leftover.unlink()


def ignores_case(path: Path) -> bool:
    """Return whether the disk of an existing file with a lower-case name ignores case."""
    return path.with_name(path.name.upper()).exists()


@contextlib.contextmanager
def open_regular_file(path: Path, most: float = math.inf) -> Iterator[BufferedReader]:
    """Open a regular file of 1 to `most` bytes for reading.

    Raises
    ------
    ValueError
        If the path is an address, a pipe, a device, a file of /proc, empty or too large. Reading it
        could block or never end.
    OSError
        If the file cannot be read. The error names the path.
    """
    if ADDRESS.match(str(path)) and not os.path.lexists(path):
        raise ValueError(
            f"{path} is an address. Only files on this machine are read: download it first"
        )
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    found = os.fstat(handle)
    if not (stat.S_ISREG(found.st_mode) and 0 < found.st_size <= most):
        os.close(handle)
        too_large = found.st_size > most and f"more than {most} bytes"
        raise ValueError(f"{path}: {too_large or 'not a regular file, or an empty one'}")
    with name_path_in_errors(path), open(handle, "rb") as file:
        yield file


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, see :func:`open_regular_file`."""
    with open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def to_json(value: Any) -> Any:
    """Return a value as plain values of JSON, without the defaults of dataclasses."""
    if is_dataclass(value):
        items = ((part, getattr(value, part.name)) for part in fields(value))
        return {part.name: to_json(item) for part, item in items if item != part.default}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, or raise a ValueError if a key repeats."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key occurs twice")
    return content


UNUSABLE = "it is nested too deep, or has nan, inf, a number too large for a float, or invalid text"


def is_usable_json(value: Any, most: int = 50) -> bool:
    """Return whether a JSON value can be used, see :data:`UNUSABLE`.

    It nests at most `most` levels, its numbers are finite floats, and its text can be encoded.
    """
    if isinstance(value, str):
        return re.search("[\ud800-\udfff]", value) is None
    if isinstance(value, int | float):
        return abs(value) <= sys.float_info.max
    inner = []
    if isinstance(value, dict):
        inner = [*value, *value.values()]
    elif isinstance(value, list):
        inner = value
    return most > 0 and all(is_usable_json(each, most - 1) for each in inner)


def parse_json_object(text: str | bytes, what: Any) -> dict:
    """Parse an untrusted JSON object.

    Raises
    ------
    ValueError
        If the text is not a JSON object or repeats a key. The message starts with `what`.
    """
    try:
        found = json.loads(text, object_pairs_hook=_refuse_repeated_keys)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{what}: not JSON ({str(error)[:200]})") from None
    if not isinstance(found, dict) or not is_usable_json(found):
        raise ValueError(f"{what}: not a JSON object, or {UNUSABLE}")
    return found


def read_json(path: Path, most: int = LARGEST_JSON) -> dict:
    """Parse an untrusted JSON file of at most `most` bytes, see :func:`parse_json_object`."""
    with open_regular_file(path, most) as file:
        return parse_json_object(file.read(most), path)


def from_json(kind: Any, value: Any, place: str = "") -> Any:
    """Return a JSON value as a value of a type, or raise a ValueError that names its place.

    A place is text such as "'models': 0: 'name'". A type is one of

    - a type of JSON, float for a finite number, bytes for base64, or Any,
    - ``tuple[X, ...]``, ``list[X]``, ``dict[str, X]``, a dataclass or a TypedDict,
    - ``X | None``, or ``X | Y`` where only Y is an object.

    A class may have a method ``from_json``, which is then called.
    """
    options = get_args(kind)
    outer = get_origin(kind)
    if NoneType in options:
        return None if value is None else from_json(options[0], value, place)
    if outer is UnionType:
        return from_json(options[isinstance(value, dict)], value, place)
    if outer in (tuple, list) and isinstance(value, list):
        parts = enumerate(value)
        return outer(from_json(options[0], part, f"{place}: {row}") for row, part in parts)
    if isinstance(value, dict):
        if hasattr(kind, "from_json"):
            return kind.from_json(value, place)
        if outer is dict or is_dataclass(kind) or is_typeddict(kind):
            return object_from_json(kind, value, place)
    return plain_from_json(kind, value, place)


def plain_from_json(kind: Any, value: Any, place: str) -> Any:
    """Return a JSON value without parts as :func:`from_json` does."""
    if kind is float and is_number(value, *FINITE):
        return float(value)
    if kind is bytes and isinstance(value, str):
        with contextlib.suppress(ValueError):
            return base64.b64decode(value, validate=True)
        raise ValueError(f"{place}: not base64")
    if kind is float or kind is not Any and type(value) is not kind:
        raise ValueError(f"{place}: missing or of another kind. Write the file again")
    return value


def object_from_json(kind: Any, value: dict, place: str = "") -> Any:
    """Return a JSON object as a dict, or as an instance of a dataclass or a TypedDict."""
    if get_origin(kind) is dict:
        kinds = dict.fromkeys(value, get_args(kind)[1])
    else:
        kinds = get_type_hints(kind)
        required = {name for name in kinds if not hasattr(kind, name)}
        required = getattr(kind, "__required_keys__", required)
        for names, verb in ((required - value.keys(), "lacks"), (value.keys() - kinds, "has no")):
            if names:
                named = ", ".join(map(repr, sorted(names)))
                raise ValueError(f"{place or 'it'} {verb} {named}")
    items = {
        key: from_json(kinds[key], item, f"{place}: {key!r}".removeprefix(": "))
        for key, item in value.items()
    }
    return kind(**items)
