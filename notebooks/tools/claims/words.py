"""The value of a claim as text, with one 95% interval: that of the number that decides."""

from typing import Any

import numpy as np
import pandas as pd

from tools.claims.evidence import Evidence, known_draws
from tools.claims.verdicts import ROUNDING, contrasts_of, half_widths, sides_of

MOST_PARTS = 4  # parts of a value that are listed
DIFFERENCES = ("rises", "falls", "peaks", "first", "last")  # rules on differences of parts
LIMITS = {  # of shares and correlations, by "show"
    ".0%": (0, 1),
    ".1%": (0, 1),
    "+z.2f": (-1, 1),
}
NO_LIMITS = (-np.inf, np.inf)


def in_words(found: Evidence, claim: pd.Series) -> str:
    """Return a value as text, with the interval of the number that decides.

    A few parts are listed. Of many parts, the one that decides is shown. For most parts this is the
    middle one, and for an order a difference.
    """
    if isinstance(found.value, pd.Series):
        return methods_in_words(found, claim)
    parts = np.atleast_1d(np.asarray(found.value, float))
    kind, *bounds = claim["rule"].split() or [""]
    listed = [format(part, claim["show"]) for part in shown_numbers(found.value)]
    contrasts = contrasts_of(claim, found.value) if kind else None
    if contrasts is None or kind == "more" or not known_draws(found, contrasts):
        return ", ".join(listed)
    limits = LIMITS.get(claim["show"], NO_LIMITS)
    place, contrast, half = deciding_contrast(found, claim)
    if kind in DIFFERENCES:
        difference = with_interval(contrast, half, "+z" + claim["show"].lstrip("+z"))
        return f"{', '.join(listed)}; difference {difference}"
    if kind == "most":
        middle = with_interval(contrast + float(bounds[0]), half, claim["show"], limits)
        return middle if len(parts) == 1 else f"{middle}, middle of {len(parts)}"
    row = int(claim["part"]) if claim["part"] else place % len(parts)
    drawn = known_draws(found, lambda draw: np.atleast_1d(np.asarray(draw, float)))
    error = half_widths(drawn, found, claim["over"])[row]
    listed[row] = with_interval(parts[row], error, claim["show"], limits)
    if len(parts) <= MOST_PARTS:
        return ", ".join(listed)
    return f"{listed[row]}, least of {len(parts)}"


def shown_numbers(value: Any) -> list[Any]:
    """Return the numbers of a value. Whole numbers stay whole."""
    return list(np.atleast_1d(np.asarray(value, object)))


def deciding_contrast(found: Evidence, claim: pd.Series) -> tuple[int, float, float]:
    """Return the contrast that decides a claim: its place, its value and half its 95% interval.

    It has the least value ÷ standard error.
    """
    contrasts = contrasts_of(claim, found.value)
    values = contrasts(found.value)
    draws = known_draws(found, contrasts)
    errors = half_widths(draws, found, claim["over"]) if draws else np.zeros(len(values))
    place = int(np.argmin(values / np.fmax(errors, ROUNDING)))
    return place, float(values[place]), float(errors[place])


def methods_in_words(found: Evidence, claim: pd.Series) -> str:
    """Return the lead that decides a claim on methods: names, values, and its 95% interval.

    It is in percent of the mean of all methods. For "only", it is the value of one method.
    """
    value = found.value.astype(float)
    place, contrast, half = deciding_contrast(found, claim)
    names = [name.replace("_", " ") for name in value.index]
    show = claim["show"] or ".3f"
    if claim["rule"].startswith("only"):
        return f"{names[place]} {with_interval(value.iloc[place], half, show)}"
    better, worse = map(np.flatnonzero, sides_of(claim, value.index))
    one = better[place // len(worse)]
    other = worse[place % len(worse)]
    lead = with_interval(contrast, half, "+z" + (claim["show"] or ".1%"))
    return f"{names[one]} over {names[other]}: {lead}"


def with_interval(
    part: Any, error: float, show: str, limits: tuple[float, float] = NO_LIMITS
) -> str:
    """Return a part as text, with its interval if it has one. limits: of a part, but not of a
    difference of parts."""
    text = format(part, show)
    if not error > 0:
        return text
    low, high = limits
    return f"{text} [{max(low, part - error):{show}}, {min(high, part + error):{show}}]"
