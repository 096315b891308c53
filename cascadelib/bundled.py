"""Where the data that comes with the repository lies, whatever folder a notebook runs in."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def located(folder) -> Path:
    """``folder`` as given if it exists from here, else the one of that name under the repository's root.

    Raises FileNotFoundError, naming both, where neither exists.
    """
    for path in (Path(folder), ROOT / folder):
        if path.is_dir():
            return path
    raise FileNotFoundError(f"no folder {folder} here ({Path.cwd()}) nor under {ROOT}; pass folder=… or clone the data")
