"""Checks of what a user hands over: a name is known, or refused with the nearest valid ones.

No value is masked.
"""

import contextlib
import math
import re
import sys
from collections.abc import Hashable, Iterable, Iterator
from difflib import get_close_matches
from numbers import Real
from typing import Any

import numpy as np
from numpy import ndarray as Array

# Forms of what a file may state, as fits() reads them.
TEXT = (str, None)
CLASSES = range(1, 2**20 + 1)
POSITIVE = (math.ulp(0), sys.float_info.max)  # and finite: bounds of a number


def brief(value: Any) -> str:
    """A value in a message: its repr, cut short, or its type where that fails (5,000 digits)."""
    with contextlib.suppress(Exception):
        return f"{value!r:.200}"
    return f"a {type(value).__name__}"


def items_of(values: Any) -> list:
    """The items of what has some, text excepted; anything else as the only item."""
    with contextlib.suppress(TypeError):
        return [values] if isinstance(values, str | bytes) else list(values)
    return [values]


def known(name: Any, names: Iterable, kind: str) -> Any:
    """``name`` if it is one of ``names``; else ValueError that names the nearest ones.

    kind: the word for the thing in the message: "model", "metric", "cost" …
    """
    names = list(names)
    if isinstance(name, Hashable) and name in names:
        return name
    # difflib's work grows with the square of a length.
    begins = {str(each)[:64]: each for each in names[:3000]}
    close = get_close_matches(
        brief(name).strip("'")[:64],
        begins,
        n=5,
        cutoff=0.4,
    )
    near = [begins[begin] for begin in close] or names[:12]
    raise ValueError(f"unknown {kind} {brief(name)}; nearest: {', '.join(map(repr, near))}")


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Inside, a ValueError or ConnectionError says what it is about."""
    try:
        yield
    except (ValueError, ConnectionError) as error:
        kind = ValueError if isinstance(error, ValueError) else ConnectionError
        raise kind(f"{what}: {error}") from None


def check_count(value: Any, name: str, least: int = 1, most: int = sys.maxsize) -> int:
    """``value`` if it is a whole number, ``least`` or more, up to ``most``.

    Else ValueError by ``name``.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        bound = f"of {least} or more" if most == sys.maxsize else f"from {least} to {most}"
        raise ValueError(f"{name} must be a whole number {bound}, not {brief(value)}")
    return int(value)


def is_number(value: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether ``value`` is one real number from ``least`` to ``most``, as a float has them."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    with contextlib.suppress(OverflowError):
        return least <= float(value) <= most
    return False


def check_number(value: Any, name: str, what: str = "a number", *bounds: float) -> float:
    """``value`` as a float where :func:`is_number` within ``bounds``.

    Else ValueError that says ``what`` is needed.
    """
    if not is_number(value, *bounds):
        raise ValueError(f"{name} must be {what}, not {brief(value)}")
    return float(value)


def checked_share(value: Any, name: str) -> float:
    """Return a share in [0, 1) of a number or of text in percent.

    Examples
    --------
    >>> checked_share("2%", "epsilon")
    0.02
    """
    number = value
    with contextlib.suppress(ValueError):
        if isinstance(value, str):
            number = float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    if not is_number(number) or not 0 <= number < 1:
        is_percent = is_number(number, 1, 99)
        remedy = f" For {number:g}% write {number / 100:g} or '{number:g}%'." if is_percent else ""
        raise ValueError(f"{name} must be in [0, 1), got {brief(value)}.{remedy}")
    return float(number)


def fits(value: Any, form: Any) -> bool:
    """Whether a value of JSON has a form: see :func:`misfit`."""
    return misfit(value, form) is None


def misfit(value: Any, form: Any, place: str = "") -> str | None:
    """The place of the first part of a value of JSON that has not the form asked for, as
    "'models': 0: 'name'"; None: it has.

    A form is a tuple of forms (one of them), [form] of all in a list, {key: form} of an object's
    values (key ``str``: of each value), None, a range (of whole numbers), float (a finite number),
    a slice (a number in it), or a type.
    """
    if isinstance(form, tuple):
        places = [misfit(value, one, place) for one in form]
        return None if None in places else max(map(str, places), key=len, default=place)
    parts = inner_parts(value, form)
    if parts is None:
        return None if is_of(value, form) else place
    for key, part, inner in parts:
        wrong = misfit(part, inner, f"{place}: {key!r}".removeprefix(": "))
        if wrong is not None:
            return wrong
    return None


def inner_parts(value: Any, form: Any) -> list[tuple] | None:
    """(key, part, its form) of a list or an object, where the form asks for one; else None."""
    if isinstance(form, list) and isinstance(value, list | tuple):
        return [(row, part, form[0]) for row, part in enumerate(value)]
    if isinstance(form, dict) and isinstance(value, dict):  # a value that is missing is None
        keys = value if str in form else form
        return [(key, value.get(key), form.get(key, form.get(str))) for key in keys]
    return None


def is_of(value: Any, form: Any) -> bool:
    """:func:`fits` of a form without parts."""
    if isinstance(form, range):
        return type(value) is int and value in form
    if isinstance(form, slice):
        return is_of(value, float) and form.start <= value <= form.stop
    if form is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if form is None:
        return value is None
    return isinstance(form, type) and isinstance(value, form)


def unmasked(values: Any, what: str) -> Any:
    """``values`` as they are; ValueError where a masked array, alone or in a list, hides some.

    In a plain array a hidden value would be an answer that nobody gave.
    """
    parts = values if isinstance(values, list | tuple) else [values]
    masked = [part for part in parts if isinstance(part, np.ma.MaskedArray)]
    hidden = sum(np.ma.count_masked(part) for part in masked)
    if hidden:
        raise ValueError(
            f"{what}: {hidden} values are masked; leave those samples out, or fill them"
        )
    return values


def reals(values: Any, what: str) -> Array:
    """``values`` as float64.

    ValueError by name where they are masked, complex, text, or no array of numbers.
    """
    try:
        array = np.asarray(unmasked(values, what))
        return array.astype(np.float64, casting="same_kind", copy=False)
    # Of a kind that numpy cannot take, or only at a loss.
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{what} must be real numbers: {error}") from None


def check_costs(cost: Any) -> Array:
    """Costs as float64, or ValueError naming the first that is negative, infinite or missing.

    0: free.
    """
    cost = np.atleast_1d(reals(cost, "cost"))
    bad = np.flatnonzero(~(np.isfinite(cost) & (cost >= 0)).reshape(len(cost), -1).all(axis=1))
    if len(bad):
        raise ValueError(
            f"cost of model {bad[0]} is {cost[bad[0]]}: costs must be finite, and not negative"
        )
    return cost


def timm_name(name: str) -> str:
    """timm's own name of a model, which the Hub writes as "timm/…" and timm as "hf-hub:timm/…"."""
    return re.sub(r"^(hf[-_]hub:)?timm/", "", name)


def split_size(name: str) -> tuple[str, int | None]:
    """A name (:func:`timm_name`) and a size: "resnet50@288" → ("resnet50", 288), or None."""
    found = re.fullmatch("(.*)@([0-9]{1,4})", timm_name(name))
    return (found[1], int(found[2])) if found else (timm_name(name), None)
