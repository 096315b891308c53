"""Verdicts on claims, from tests that hold simultaneously for a family of claims.

A claim states that some numbers are positive. These are its *contrasts*: the distance of a value
from a bound, or the lead of one method over another. A contrast is tested by its estimate ÷ its
standard error over resamples. A claim is *supported* if every contrast is significantly positive
(intersection-union test). It is *contradicted* if one contrast is significantly negative. Otherwise
it is *undetermined*.
Holm's procedure, over the contrasts of a claim and over the claims of a family, keeps the
probability of any false verdict in a family at 5% or less.
"""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import binomtest, norm, t

from tools.claims.evidence import Evidence, fisher_z, known_draws

LEVEL = 0.05  # the largest probability of a false verdict in a family
ROUNDING = 1e-9  # contrasts and errors below it come from rounding
SUPPORTED = "supported"
CONTRADICTED = "contradicted"
UNDETERMINED = "undetermined"
UNTESTABLE = "not tested here"

# rule: (numbers v [P] of a value, bounds) → the contrasts that the rule states are positive
RULES: dict[str, Callable] = {
    ">": lambda v, bound: v - bound,
    "above": lambda v, *bounds: v - bounds,  # each number has its bound
    "<": lambda v, bound: bound - v,
    "in": lambda v, low, high: np.concatenate([v - low, high - v]),
    "near": lambda v, *bounds: bounds[-1] - distances(v, bounds[:-1]),
    "rises": lambda v: np.diff(v),
    "falls": lambda v: -np.diff(v),
    "more": lambda v: -np.diff(v),  # of two counts, by the exact sign test
    "smaller": lambda v, bound: np.log(bound) - np.log(np.maximum(v, 1e-12)),  # a mean size
    "correlated": lambda v, bound: fisher_z(v) - fisher_z(bound),
    "uncorrelated": lambda v, bound: fisher_z(bound) - fisher_z(v),
    "peaks": lambda v: v[1] - v[[0, 2]],
    "first": lambda v, bound: v[0] - [bound, v[-1]],
    "last": lambda v, bound: v[-1] - [bound, v[0]],
    "most": lambda v, bound: np.sort(v)[(len(v) - 1) // 2] - bound,
}


def distances(values: Array, others: Sequence[float]) -> Array:
    """Return the distances of values from others, infinite if their numbers differ."""
    if len(values) != len(others):
        return np.array([np.inf])
    return np.abs(values - others)


def contrasts_by_rule(rule: str, value: Any) -> Array:
    """Return the contrasts of numbers by a rule of ``RULES`` with its bounds, such as "> 0.5"."""
    kind, *bounds = rule.split()
    numbers = np.atleast_1d(np.asarray(value, float))
    return np.atleast_1d(RULES[kind](numbers, *map(float, bounds)))


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim: a word and, if it needs one, a reason."""

    word: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.reason}" if self.reason else self.word


Verdicts = dict[str, Verdict]  # by the claim's id


@dataclass(frozen=True)
class Scores:
    """The contrasts of a sampled claim, in standard errors: float64 [C].

    Parameters
    ----------
    values : array of shape (n_contrasts,)
        The claim is that all are positive.
    freedom : float
        Degrees of freedom.
    """

    values: Array
    freedom: float

    def verdict(self) -> tuple[str, float]:
        """Return the likelier verdict and the p-value of its two-sided test."""
        all_positive = t.sf(self.values, self.freedom).max()
        one_negative = len(self.values) * t.cdf(self.values, self.freedom).min()
        word = SUPPORTED if all_positive < one_negative else CONTRADICTED
        return word, float(min(1.0, 2 * min(all_positive, one_negative)))


def match_names(patterns: str, names: Sequence[str]) -> Array:
    """Return which names match one of the patterns, and none of those that begin with "!"."""
    wanted: set[str] = set()
    unwanted: set[str] = set()
    for pattern in patterns.split():
        matched = fnmatch.filter(names, pattern.removeprefix("!"))
        (unwanted if pattern.startswith("!") else wanted).update(matched)
    return np.array([name in wanted - unwanted for name in names], bool)


def sides_of(claim: Mapping[str, Any], names: Sequence[str]) -> tuple[Array, Array]:
    """Return which methods a claim states are better, and which are worse."""
    better = match_names(claim["better"], names)
    return better, match_names(claim["worse"], names) & ~better


def leads(values: Array, better: Array, worse: Array, margin: float = 0.0) -> Array:
    """Return the lead of each better over each worse method, beyond a relative margin: float64 [B ×
    W].

    Leads are shares of the mean of all values. better, worse: which of the values, bool [N].
    """
    scale = np.abs(values).mean() or 1.0  # all values are 0: so are the leads
    found = np.subtract.outer(values[better], (1 + margin) * values[worse])
    return (found / scale).ravel()


def contrasts_of(claim: Mapping[str, Any], value: Any) -> Callable[[Any], Array]:
    """Return a function of a value: the numbers that a claim states are positive, float64 [C].

    The function takes ``value`` and its draws. Their names are those of ``value``, and are matched
    only once. A name that is better and worse by the patterns is better.
    """
    rule = claim["rule"]
    kind, *bounds = rule.split()
    if kind in RULES:
        return partial(contrasts_by_rule, rule)
    better, worse = sides_of(claim, value.index)
    if kind == "leads":
        return lambda v: leads(np.asarray(v, float), better, worse, *map(float, bounds))
    sides = np.where(better, 1, -1)  # "only": the better ones are above the bound
    return lambda v: sides * (np.asarray(v, float) - float(bounds[0]))


def evaluate_claims(claims: pd.DataFrame, evidence: Mapping[str, Evidence]) -> Verdicts:
    """Return {id: verdict} of the claims of one family that ``evidence`` has.

    claims: rows of :func:`tools.claims.ledger.paper_claims`. A value that is not sampled (``over``
    is "nothing") is compared exactly. A sampled value needs resamples.
    """
    verdicts = {}
    tested: dict[str, Scores] = {}
    for name in claims.index.intersection(list(evidence)):
        claim = claims.loc[name]
        if claim["over"] == "nothing":
            value = evidence[name].value
            estimate = contrasts_of(claim, value)(value)
            verdicts[name] = Verdict(SUPPORTED if obeys(estimate, claim["rule"]) else CONTRADICTED)
        elif scores := scores_of(claim, evidence[name]):
            tested[name] = scores
        else:
            verdicts[name] = Verdict(UNTESTABLE, "too few models or samples for an interval")
    words = {name: scores.verdict() for name, scores in tested.items()}
    decided = rejected_by_holm({name: p for name, (_, p) in words.items()})
    for name in tested:
        verdicts[name] = Verdict(words[name][0] if name in decided else UNDETERMINED)
    return verdicts


def scores_of(claim: pd.Series, found: Evidence) -> Scores | None:
    """Return the scores of a claim, None without enough resamples."""
    if claim["rule"] == "more":
        return sign_scores(found)
    contrasts = contrasts_of(claim, found.value)
    draws = known_draws(found, contrasts)
    estimate = contrasts(found.value)
    if not draws or {len(part) for part in draws} != {len(estimate)}:
        return None
    error, freedom = errors_of(draws, found, claim["over"])
    is_rounding = (np.abs(estimate) < ROUNDING) & (error < ROUNDING)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(is_rounding, 0.0, estimate / error)
    return Scores(scores, freedom)


def errors_of(draws: Sequence[Any], found: Evidence, over: str) -> tuple[Array, int]:
    """Return standard errors from resamples [R, …] of a population, and their degrees of freedom.

    Resamples of few models have too small a variance, by the factor (models − 1) ÷ models.
    """
    freedom = len(draws) - 1
    variance = np.var(draws, axis=0, ddof=1)
    if over == "models":
        freedom = min(freedom, found.samples - 1)
        variance = variance * found.samples / max(found.samples - 1, 1)
    return np.sqrt(variance), freedom


def half_widths(draws: Sequence[Any], found: Evidence, over: str) -> Array:
    """Return half the widths of the 95% intervals from resamples, by the test's own errors."""
    error, freedom = errors_of(draws, found, over)
    return t.isf(0.025, freedom) * error


def sign_scores(counted: Evidence) -> Scores:
    """Return the score of a claim that the first of two counts is larger: that of a sign test.

    The counts are of independent models, and the test is exact.
    """
    first, second = counted.value
    p = binomtest(first, first + second).pvalue if first + second else 1.0
    score = np.sign(first - second) * norm.isf(p / 2)
    return Scores(np.array([score]), np.inf)


def rejected_by_holm(p_values: Mapping[str, float]) -> set[str]:
    """Return the names whose tests are significant, simultaneously for all (Holm, 1979)."""
    rejected: set[str] = set()
    for name in sorted(p_values, key=lambda name: p_values[name]):
        if p_values[name] > LEVEL / (len(p_values) - len(rejected)):
            break
        rejected.add(name)
    return rejected


def obeys(estimate: Array, rule: str) -> bool:
    """Return whether contrasts that are not sampled obey a rule. The bounds of "in" are inside."""
    if rule.startswith("in"):
        return bool(np.all(estimate >= 0))
    return bool(np.all(estimate > 0))
