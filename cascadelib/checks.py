"""Check user input and raise errors that name the nearest valid values."""

import contextlib
import math
import re
import sys
from collections.abc import Hashable, Iterable, Iterator
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

CLASSES = range(1, 2**20 + 1)
FINITE = (-sys.float_info.max, sys.float_info.max)  # bounds of a finite number
POSITIVE = (math.ulp(0), sys.float_info.max)  # bounds of a positive, finite number


def brief(value: Any) -> str:
    """Return the repr of a value for a message, shortened, or its type if repr fails."""
    with contextlib.suppress(Exception):
        return f"{value!r:.200}"
    return f"a {type(value).__name__}"


def items_of(values: Any) -> list:
    """Return the items of an iterable as a list.

    Text is a single item, and so is a value that is not iterable.
    """
    with contextlib.suppress(TypeError):
        return [values] if isinstance(values, str | bytes) else list(values)
    return [values]


def validate_choice(name: Any, names: Iterable, kind: str) -> Any:
    """Return `name` if it is one of `names`.

    Parameters
    ----------
    name : object
        Value to check.
    names : iterable
        Valid values.
    kind : str
        Word for the value in the message, such as "model" or "metric".

    Raises
    ------
    ValueError
        If `name` is not valid. The message lists the nearest valid names.
    """
    names = list(names)
    if isinstance(name, Hashable) and name in names:
        return name
    # Names are shortened, since difflib's time grows with the square of a length.
    short_names = {str(each)[:64]: each for each in names[:3000]}
    close = get_close_matches(brief(name).strip("'")[:64], short_names, n=5, cutoff=0.4)
    near = [short_names[each] for each in close] or names[:12]
    raise ValueError(f"unknown {kind} {brief(name)}; nearest: {', '.join(map(repr, near))}")


@contextlib.contextmanager
def error_context(what: str) -> Iterator[None]:
    """Prefix the message of a ValueError or ConnectionError in the context with `what`."""
    try:
        yield
    except (ValueError, ConnectionError) as error:
        kind = ValueError if isinstance(error, ValueError) else ConnectionError
        raise kind(f"{what}: {error}") from None


def check_count(value: Any, name: str, least: int = 1, most: int = sys.maxsize) -> int:
    """Return a whole number from `least` to `most`, or raise a ValueError that contains `name`."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        bound = f"of {least} or more" if most == sys.maxsize else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {bound}, not {brief(value)}")
    return int(value)


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Return whether a value is a single real number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    with contextlib.suppress(OverflowError):
        return least <= float(value) <= most
    return False


def check_number(value: Any, name: str, what: str = "a number", *bounds: float) -> float:
    """Return a number as a float, or raise a ValueError that states that `what` is needed."""
    if not is_number(value, *bounds):
        raise ValueError(f"{name} must be {what}, not {brief(value)}")
    return float(value)


def share(text: str) -> float:
    """Return a fraction, from a number or a percentage."""
    return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)


def checked_share(value: Any, name: str) -> float:
    """Return a share in [0, 1) from a number or from text such as "2%".

    Examples
    --------
    >>> checked_share("2%", "epsilon")
    0.02
    """
    number = value
    with contextlib.suppress(ValueError):
        if isinstance(value, str):
            number = share(value)
    if not is_number(number) or not 0 <= number < 1:
        is_percent = is_number(number, 1, 99)
        remedy = f" For {number:g}% write {number / 100:g} or '{number:g}%'." if is_percent else ""
        raise ValueError(f"{name} must be in [0, 1), got {brief(value)}.{remedy}")
    return float(number)


def timm_name(name: str) -> str:
    """Return the name of a model in timm, without the prefix "timm/" or "hf-hub:timm/"."""
    return re.sub(r"^(hf[-_]hub:)?timm/", "", name)


def split_size(name: str) -> tuple[str, int | None]:
    """Split "resnet50@288" into ("resnet50", 288). Without a size the second item is None."""
    found = re.fullmatch("(.*)@([0-9]{1,4})", timm_name(name))
    return (found[1], int(found[2])) if found else (timm_name(name), None)
