"""Where the data that comes with the repository lies, whatever folder a notebook runs in; whole files."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
DATA = "CASCADELIB_DATA"  # environment: a folder with what the repository's data/ holds, for an installed package


def bundled_path(path) -> Path | None:
    """Where ``path`` of the repository (data/…) is to be: in the checkout where this runs from one, else below the
    folder that CASCADELIB_DATA names; None without either."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / path
    first, *rest = Path(path).parts or ("",)
    return Path(os.environ[DATA], *rest) if first == "data" and os.environ.get(DATA) else None


def folder_of(folder) -> Path:
    """``folder`` as given if it exists from here or nowhere, else its :func:`bundled_path`."""
    path = None if Path(folder).is_dir() else bundled_path(folder)
    return path if path is not None and path.is_dir() else Path(folder)


def located(folder) -> Path:
    """:func:`folder_of`, or FileNotFoundError that says where was looked and what helps."""
    path = folder_of(folder)
    if path.is_dir():
        return path
    place = bundled_path(folder)
    raise FileNotFoundError(
        f"no folder {folder} here ({Path.cwd()}) nor {place}; pass folder=… or clone the data"
        if place is not None
        else f"no folder {folder} here ({Path.cwd()}), and an installed cascadelib has no data of its own: "
        f"set {DATA} to a folder with what its data/ holds (a clone's, say), or pass folder=…"
    )


def short_path(path) -> str:
    """A path for people: below the repository's root without the root, so that notebooks read the same everywhere."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


SUFFIX = ".safetensors"


def file_name(model: str) -> str:
    """A model's name → its file's name, percent-encoded so that '/', ':' and a leading '.' are safe; reversible.

    Raises ValueError for names that are empty, not text, or too long for a file system.
    """
    if not isinstance(model, str) or not model:
        raise ValueError(f"a model's name must be a non-empty string, not {model!r}")
    try:
        name = quote(model, safe="@") + SUFFIX
    except UnicodeEncodeError:
        raise ValueError(f"the model's name {model!r} is not valid text") from None
    if len(name) > 200:  # file systems stop at 255; the temporary name is longer
        raise ValueError(f"the model's name {model[:40]!r}… makes a file name of {len(name)} characters; 200 at most")
    return "%2E" + name[1:] if name.startswith(".") else name


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``path``; what is written there appears under ``path`` at the end, whole, or never.

    ``durable``: also after a power cut (fsync).
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be opened
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_leftovers(path: Path) -> None:
    """Delete temporaries for ``path`` that a killed process left behind (an encoded name holds no wildcards)."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)


REVIEWS = "data/reviews"
