"""Measure what each extra adds to an installation, in MB: ``python benchmarks/extras.py``.

It counts the files in this environment of all packages that an extra requires, directly or
indirectly, and that the core does not.
"""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FILE = Path(__file__).with_name("extras.json")
EXTRAS = "explore sklearn vision text notebooks all".split()


def needed(name: str, extra: str = "") -> set[str]:
    """Return a package and the packages that it requires, with or without an extra.

    Packages for other systems, which are not installed, are left out.
    """
    found = set()
    asked = [(name, frozenset({extra}))]
    for package, extras in asked:  # which grows meanwhile
        try:
            lines = distribution(package).requires or []
        except PackageNotFoundError:
            continue
        found.add(package)
        for requirement in map(Requirement, lines):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                more = canonicalize_name(requirement.name), frozenset({"", *requirement.extras})
                asked += [more] if more not in asked else []
    return found


def megabytes(packages: set[str]) -> int:
    """Return the MB of all files of some packages."""
    files = [file for package in packages for file in distribution(package).files or []]
    paths = [Path(str(file.locate())) for file in files]
    return round(sum(path.stat().st_size for path in paths if path.is_file()) / 1e6)


def main() -> None:
    """Count and write."""
    core = needed("cascadelib")
    table = {"numpy alone": needed("numpy"), "the core": core - {"cascadelib"}}
    table |= {f"[{extra}]": needed("cascadelib", extra) - core for extra in EXTRAS}
    sizes = {name: [len(packages), megabytes(packages)] for name, packages in table.items()}
    content = {"torch": distribution("torch").version, "sizes": sizes}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
