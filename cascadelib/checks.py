"""Checks of what a user hands over: a name is known, or refused with the nearest valid ones; no value is masked."""

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np


def known(name: str, names: Iterable[str], kind: str) -> str:
    """Return ``name`` if it is one of ``names``; else raise ValueError that names the nearest ones.

    ``kind`` is the word for the thing in the message: "model", "metric", "cost" … Names are compared by their first 64
    characters, and the first 3,000 of them: difflib's work grows with the square of a length.
    """
    names = list(names)
    if name in names:
        return name
    begins = {str(n)[:64]: n for n in names[:3000]}
    near = [begins[b] for b in get_close_matches(str(name)[:64], begins, n=5, cutoff=0.4)] or names[:12]
    raise ValueError(f"unknown {kind} {name!r}; nearest: {', '.join(map(repr, near))}")


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Inside, a ValueError or ConnectionError says what it is about."""
    try:
        yield
    except (ValueError, ConnectionError) as error:
        kind = ValueError if isinstance(error, ValueError) else ConnectionError
        raise kind(f"{what}: {error}") from None


def check_count(value: Any, name: str, least: int = 1) -> int:
    """``value`` if it is a whole number, ``least`` or more; else ValueError by ``name``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, not {value!r}")
    return int(value)


def unmasked(values: Any, what: str) -> Any:
    """``values`` as they are, or ValueError where a masked array (numpy.ma), alone or in a list, hides one of them:
    as a plain array it would be an answer that nobody gave."""
    parts = values if isinstance(values, list | tuple) else [values]
    hidden = sum(np.count_nonzero(np.ma.getmaskarray(part)) for part in parts if isinstance(part, np.ma.MaskedArray))
    if hidden:
        raise ValueError(f"{what}: {hidden} values are masked; leave those samples out, or fill them")
    return values


def is_cost(cost: Any) -> bool:
    """Whether ``cost`` is a positive, finite number."""
    try:
        return math.isfinite(cost) and cost > 0
    except (TypeError, OverflowError):
        return False


def check_costs(cost: Any, names: Sequence[str] | None = None) -> np.ndarray:
    """Costs as float64, or ValueError naming the first that is zero, negative, infinite or missing."""
    cost = np.asarray(unmasked(cost, "cost"), np.float64)
    bad = np.flatnonzero(~(np.isfinite(cost) & (cost > 0)).reshape(len(cost), -1).all(axis=1))
    if len(bad):
        first = int(bad[0]) if names is None else names[bad[0]]
        raise ValueError(f"cost of model {first!r} is {cost[bad[0]]}: costs must be positive and finite")
    return cost


def timm_name(name: str) -> str:
    """timm's own name of a model that is written as on the Hub: "timm/…", "hf-hub:timm/…", "hf_hub:timm/…" → "…"."""
    return re.sub(r"^(hf[-_]hub:)?timm/", "", name)


def split_size(name: str) -> tuple[str, int | None]:
    """ "resnet50@288" → ("resnet50", 288); without a size, (name, None). The name is timm's (:func:`timm_name`)."""
    base, at, size = timm_name(name).rpartition("@")
    return (base, int(size)) if at and size.isdigit() else (timm_name(name), None)
