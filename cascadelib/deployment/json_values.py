"""Values of JSON that a stranger may have written: each of the kind that is needed, or an error."""

import sys
from collections.abc import Mapping
from typing import Any

from ..checks import check_number

LARGEST_FLOAT = sys.float_info.max


def refused(what: str) -> ValueError:
    """The error for a value of another kind."""
    return ValueError(f"{what} is missing or of another kind")


def object_in(value: Any, what: str) -> dict[str, Any]:
    """An object of JSON."""
    if not isinstance(value, dict):
        raise refused(what)
    return value


def items_in(value: Any, what: str) -> list:
    """A list of JSON."""
    if not isinstance(value, list):
        raise refused(what)
    return value


def text_in(value: Any, what: str) -> str:
    """A text of JSON."""
    if not isinstance(value, str):
        raise refused(what)
    return value


def text_or_none(values: Mapping, key: str, what: str) -> str | None:
    """The text under a key, or null."""
    value = values.get(key)
    return None if value is None else text_in(value, f"{what}: {key!r}")


def number_in(
    value: Any, what: str, low: float = -LARGEST_FLOAT, high: float = LARGEST_FLOAT
) -> float:
    """A finite number of JSON between two bounds."""
    bounds = "finite number" if high == LARGEST_FLOAT else f"number from {low:g} to {high:g}"
    return check_number(value, what, f"a {bounds}", low, high)


def numbers_in(value: Any, what: str) -> tuple[float, ...]:
    """A list of finite numbers."""
    return tuple(number_in(one, what) for one in items_in(value, what))
