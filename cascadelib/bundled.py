"""Where the data that comes with the repository lies, whatever folder a notebook runs in."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def found(folder) -> Path:
    """``folder`` as given if it exists from here or nowhere, else the one of that name under the repository's root."""
    return ROOT / folder if not Path(folder).is_dir() and (ROOT / folder).is_dir() else Path(folder)


def located(folder) -> Path:
    """:func:`found`, or FileNotFoundError, naming both places, where neither exists."""
    path = found(folder)
    if path.is_dir():
        return path
    raise FileNotFoundError(f"no folder {folder} here ({Path.cwd()}) nor under {ROOT}; pass folder=… or clone the data")


def shown(path) -> str:
    """A path for people: below the repository's root without the root, so that notebooks read the same everywhere."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
