"""Write a policy as one Python file that needs no package.

The file translates the exit rule, :func:`cascadelib.methods.thresholds.does_exit`.
tests/policy/test_exit_rule.py compares the two.
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from string import Template

import numpy as np
from numpy import ndarray as Array

from ..evaluation.point import Point
from ..files import __version__
from ..labels import WHOLE_NUMBER, normalize_text, written_value
from ..methods.confidence_metrics import metric_of
from ..methods.confidence_range import ROUNDING
from ..methods.fitted import BY_LABEL, Fitted, label_digest, value_columns
from ..methods.thresholds import convert_units, does_exit
from .decisions import check_answer, find_exits
from .form import threshold_to_json

MOST_LINES = 150
OTHER = "other"  # key of the threshold of all classes that have none
RISING = ("isotonic", BY_LABEL)  # fitted confidences that rise with one column
LOWER_BITS = np.int64(2**63 - 1)

FILE = '''"""Decide after which model of a cascade a query exits.

cascadelib $version wrote this file. It needs only Python. Run it to check its decisions.
Call the next model only if the query did not exit:

$usage

The confidence is $confidence.
"""

$imports

MODELS = $models
# $about_thresholds
THRESHOLDS = $thresholds
LEAST, MOST = $bounds  # a finite confidence outside is an error
CHECKS = $checks

$functions

def reaches(confidence, threshold):
    """Return whether a confidence reaches a threshold, which may be "always" or "never"."""
    confidence = nan if confidence is None else confidence
    if isfinite(confidence) and not LEAST <= confidence <= MOST:
        raise ValueError(f"the confidence {confidence} is not from {LEAST} to {MOST}")
    if threshold == "always":
        return True
    if isnan(confidence):
        raise ValueError("a query has no confidence. To defer it, pass $defers")
    return threshold != "never" and confidence $reaches threshold


def check():
    """Compare decisions with those of cascadelib, and print their number."""
    for *query, expected in CHECKS:
        try:
            found = $checked(*query)
        except ValueError:
            found = None
        if found != expected:
            raise SystemExit(f"{query}: exits is {found}, and should be {expected}")
    print(f"{len(CHECKS)} decisions are those of cascadelib")


if __name__ == "__main__":
    check()
'''
PLAIN = {
    "usage": """    answer, confidence = first_model(query)
    if not exits(0, confidence):
        answer, confidence = second_model(query)""",
    "imports": "from math import inf, isfinite, isnan, nan",
    "about_thresholds": "By model. A query exits if its confidence is $reaches the threshold.",
    "checked": "exits",
    "functions": '''
def exits(stage, confidence=None):
    """Return whether a query exits after the model of a stage (0: the first model).

    The last model needs no confidence. To defer a query, pass the confidence $defers.
    """
    return reaches(confidence, THRESHOLDS[stage])


def decide(confidences):
    """Return the stage at which a query exits, from one confidence per model.

    Confidences of the stages after it may be missing.
    """
    for stage in range(len(MODELS)):
        if exits(stage, confidences[stage] if stage < len(confidences) else None):
            return stage
''',
}
BY_CLASS = {
    "usage": """    answer, confidence = first_model(query)
    if not exits(0, confidence, answer):
        answer, confidence = second_model(query)""",
    "imports": """import hashlib
import re
import unicodedata
from math import inf, isfinite, isnan, nan
from typing import Any""",
    "about_thresholds": """By model and predicted class. A query exits if its confidence is >= this.
# Classes may be confidential, so the keys are label_digest(class), or "other" for all others.""",
    "checked": "exits_class",
    "functions": '''
def exits(stage, confidence=None, prediction=None):
    """Return whether a query exits after the model of a stage (0: the first model).

    The last model needs no confidence. To defer a query, pass the confidence -inf.
    """
    return exits_class(stage, confidence, class_of(stage, prediction))


def decide(confidences, predictions):
    """Return the stage at which a query exits, from a confidence and a prediction per model.

    Those of the stages after it may be missing.
    """
    for stage in range(len(MODELS)):
        pair = [each[stage] if stage < len(each) else None for each in (confidences, predictions)]
        if exits(stage, *pair):
            return stage


def exits_class(stage, confidence, key):
    """Return whether a query exits whose predicted class has a key in THRESHOLDS[stage]."""
    return reaches(confidence, THRESHOLDS[stage][key])


def class_of(stage, prediction):
    """Return the key of a prediction in THRESHOLDS[stage]."""
    if prediction is None and len(THRESHOLDS[stage]) > 1:
        raise ValueError("a prediction is needed, since the threshold depends on it")
    text = str(written_value(prediction))
    keys = [label_digest(text), label_digest(normalize_text(text)), "other"]
    return next(key for key in keys if key in THRESHOLDS[stage])


$copied''',
}


def python_text(point: Point) -> str:
    """Return the text of a Python file that decides a query as :meth:`Policy.decide` does."""
    metric = None if point.metric is None else metric_of(point.metric)
    is_negated = metric is not None and metric.negated
    least, most = (-np.inf, np.inf) if metric is None else metric.bounds
    variant = BY_CLASS if point.fitted else PLAIN
    number = f"WHOLE_NUMBER = re.compile({WHOLE_NUMBER.pattern!r})\n"
    copied = map(inspect.getsource, (label_digest, written_value, normalize_text))
    thresholds, checks = thresholds_by_class(point) if point.fitted else plain_thresholds(point)
    values = {
        "version": __version__,
        "confidence": describe_confidence(point),
        "bounds": f"{float(least - ROUNDING)!r}, {float(most + ROUNDING)!r}",
        "reaches": "<=" if is_negated else ">=",
        "defers": "inf" if is_negated else "-inf",
        "copied": "\n\n".join([number, *copied]),
    }
    template = Template(Template(FILE).safe_substitute(variant))
    width = 96
    while True:
        tables = {
            "models": packed_tuple(map(ascii, point.models), width),
            "thresholds": packed_tuple(thresholds, width),
            "checks": packed_tuple(checks, width),
        }
        text = template.substitute(values | tables)
        if text.count("\n") <= MOST_LINES:
            return text
        width *= 2


def describe_confidence(point: Point) -> str:
    """Return which confidence the thresholds refer to."""
    if point.method is None or point.fitted:
        return "that of the table from which the policy was chosen"
    parts = (point.metric, point.method.ensemble)
    name, ensemble = (getattr(part, "__name__", part) for part in parts)
    return f"{name}" if ensemble == "none" else f"{name} of the {ensemble} of all outputs so far"


def plain_thresholds(point: Point) -> tuple[list[str], list[str]]:
    """Return the threshold of each stage, and checks (stage, confidence, whether it exits).

    The last is None if :meth:`Policy.decide` raises an error.
    """
    thresholds = [threshold_to_json(point.metric, each) for each in point.thresholds]
    one_by_one = replace(point, expected=None)  # else the median of the values is tested
    checks: list[str] = []
    for stage, threshold in enumerate([*thresholds, "always"]):
        near = []
        if isinstance(threshold, float):
            near = [threshold, *np.nextafter(threshold, [-np.inf, np.inf])]
        values = np.array([*near, 93, -np.inf, np.inf, np.nan])
        unknown = np.full(len(values), None)
        answer = check_answer(one_by_one, stage, unknown, values, None, np.zeros(len(values), int))
        exits = find_exits(point, stage, convert_units(point.metric, answer.confidence)).tolist()
        found = [None if failed else one for failed, one in zip(answer.failures, exits)]
        checks += map(repr, zip([stage] * len(values), values.tolist(), found))
    return [*map(repr, thresholds), repr("always")], checks


def thresholds_by_class(point: Point) -> tuple[list[str], list[str]]:
    """Return {class: threshold} of each stage, and checks (stage, confidence, class, exits)."""
    thresholds = []
    checks = []
    for stage, fitted in enumerate(point.fitted):
        if stage == len(point.inside) or point.inside[stage] == -np.inf:
            thresholds.append(repr({OTHER: "always"}))
            checks.append(f"({stage}, nan, {OTHER!r}, True)")
            continue
        renamed, keys = with_digests_as_labels(fitted)
        least = least_exiting(renamed, keys, point.inside[stage])
        written = [value if value < np.inf else "never" for value in least.tolist()]
        entries = [f"{key!r}: {value!r}" for key, value in zip(keys, written)]
        entries[0] = "{" + entries[0]
        entries[-1] += "}"
        thresholds += entries
        with np.errstate(over="ignore"):  # the float below the least one is −inf
            values = np.concatenate([least, np.nextafter(least, -np.inf)])
        exits = does_exit(renamed(values, keys * 2), point.inside[stage])
        checks += map(repr, zip([stage] * len(values), values.tolist(), keys * 2, exits.tolist()))
    return thresholds, checks


def with_digests_as_labels(fitted: Fitted) -> tuple[Fitted, list[str]]:
    """Replace the labels of a fitted confidence by their digests, and return it and the digests.

    Raises ValueError unless it rises with one column, so that a class has one threshold.
    """
    names = list(fitted.columns)
    if (
        fitted.kind not in RISING
        or fitted.categories
        or len(names) > 1
        or value_columns(names) != names
    ):
        raise ValueError(
            f"the confidence {fitted.kind!r} of the columns {', '.join(names)} has no threshold "
            "per class. Run the policy file with cascadelib, which needs only NumPy, or fit "
            f"{BY_LABEL!r} to one column"
        )
    curves = [curve for curve in fitted.parameters if curve["digest"] is not None]
    keys = [curve["digest"] for curve in curves]
    curves = [curve | {"digest": label_digest(key)} for curve, key in zip(curves, keys)]
    return replace(fitted, parameters=fitted.parameters[:1] + curves), [OTHER, *keys]


def least_exiting(fitted: Fitted, keys: Sequence[str], threshold: float) -> Array:
    """Return the least finite value of the column at which each class exits, inf if none does.

    All floats are bisected, in the order of their bits.
    """

    def floats(order: Array) -> Array:
        return np.where(order < 0, order ^ LOWER_BITS, order).view(np.float64)

    infinite = np.full(len(keys), np.inf).view(np.int64)
    low = -infinite - 1
    high = infinite
    for _ in range(64):
        middle = (low >> 1) + (high >> 1) + (low & high & 1)
        exits = does_exit(fitted(floats(middle), keys), threshold)
        low = np.where(exits, low, middle)
        high = np.where(exits, middle, high)
    return floats(high) + 0.0  # 0.0 for −0.0


def packed_tuple(items: Iterable[str], width: int) -> str:
    """Return the source of a tuple, in lines of at most this width."""
    items = list(items)
    line = f"({', '.join(items)}{',' * (len(items) == 1)})"
    if len(line) < width - 20:
        return line
    lines = ["   "]
    for item in items:
        if len(lines[-1]) + len(item) > width and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {item},"
    return "\n".join(["(", *lines, ")"])
