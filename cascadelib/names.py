"""One check for every name that a user types: known, or refused with the nearest valid ones."""

from collections.abc import Iterable
from difflib import get_close_matches


def known(name: str, names: Iterable[str], kind: str) -> str:
    """Return ``name`` if it is one of ``names``; else raise ValueError that names the nearest ones.

    ``kind`` is the word for the thing in the message: "model", "metric", "cost" …
    """
    names = list(names)
    if name in names:
        return name
    near = get_close_matches(str(name), [str(n) for n in names], n=5, cutoff=0.4) or names[:12]
    raise ValueError(f"unknown {kind} {name!r}; nearest: {', '.join(map(repr, near))}")
