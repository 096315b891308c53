"""Verdicts on claims from simultaneous intervals of a family of claims.

A claim states that some numbers are positive. These are its *contrasts*: the distance of a value
from a bound, or the lead of one method over another. The intervals of a family hold simultaneously
in 95% of samples. They use the largest studentised deviation (max-t, Romano and Wolf, 2005). A
claim is *supported* if all its intervals are above 0, *contradicted* if one is below, else
*undetermined*. In a family of claims on equal methods, one is decided with a probability of at most
5%.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np
import pandas as pd

from tools.evidence import Evidence

LEVEL = 0.95
DRAWS = 4000  # draws of the largest deviation
FEWEST = 0.8  # share of the resamples that must have a contrast
MOST_SAMPLES = 10**8  # larger numbers are not reported
SUPPORTED = "supported"
CONTRADICTED = "contradicted"
UNDETERMINED = "undetermined"
UNTESTABLE = "not testable here"

# rule: (numbers v [P] of a value, bounds) → the contrasts that the rule states are positive
RULES: dict[str, Callable] = {
    ">": lambda v, bound: v - float(bound),
    "<": lambda v, bound: float(bound) - v,
    "in": lambda v, low, high: np.concatenate([v - float(low), float(high) - v]),
    "near": lambda v, *bounds: -distances(v, bounds[:-1]) + float(bounds[-1]),
    "rises": lambda v: np.diff(v),
    "falls": lambda v: -np.diff(v),
    "peaks": lambda v: np.array([v[1] - v[0], v[1] - v[2]]),
    "half": lambda v: np.array([2 * v[0] - v[1]]),
    "any": lambda v, bound: v - float(bound),
    "most": lambda v, bound: np.array([np.sort(v)[(len(v) - 1) // 2] - float(bound)]),
}


def distances(values: np.ndarray, others: Sequence[str]) -> np.ndarray:
    """Return the distances of values from others, infinite if their numbers differ."""
    if len(values) != len(others):
        return np.array([np.inf])
    return np.abs(values - np.array(others, float))


@dataclass(frozen=True)
class Verdict:
    """The verdict that a family's intervals have on a claim.

    low, high: ends of its least contrast. samples: the number that would decide, nan if unknown.
    """

    word: str
    low: float = np.nan
    high: float = np.nan
    samples: float = np.nan
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.word}: {self.reason}"
        if np.isfinite(self.samples):
            return f"{self.word}: about {self.samples:,.0f} samples would decide"
        return self.word


def names_of(patterns: str, names: Any) -> list[str]:
    """Return the names that match one of the patterns, and none of the patterns that begin with
    "!"."""
    wanted = [part for part in patterns.split() if not part.startswith("!")]
    unwanted = [part[1:] for part in patterns.split() if part.startswith("!")]
    found = []
    for name in names:
        is_wanted = any(fnmatch(name, part) for part in wanted)
        if is_wanted and not any(fnmatch(name, part) for part in unwanted):
            found.append(name)
    return found


def leads(values: pd.Series, better: str, worse: str, margin: float = 0.0) -> np.ndarray:
    """Return the lead of each better over each worse method, beyond a relative margin: float64 [B ×
    W].

    Leads are shares of the mean of all values. better, worse: patterns, see :func:`names_of`. A
    name that matches both is better.
    """
    ahead = names_of(better, values.index)
    behind = [name for name in names_of(worse, values.index) if name not in ahead]
    scale = values.abs().mean()
    lead = values[ahead].to_numpy(float)[:, None] - (1 + margin) * values[behind].to_numpy(float)
    return (lead / scale).ravel()


def contrasts_of(value: Any, claim: Mapping[str, Any]) -> np.ndarray:
    """Return the numbers that a claim states are positive, of one value: float64 [C]."""
    kind, *bounds = str(claim["rule"]).split()
    if kind == "leads":
        return leads(value, claim["better"], claim["worse"], *map(float, bounds))
    if kind == "best":
        inside = names_of(claim["better"], value.index)
        return np.array([value[inside].max() - value.drop(inside).max()])
    if kind == "only":
        inside = names_of(claim["better"], value.index)
        others = value.drop(inside)
        return np.concatenate([value[inside] - float(bounds[0]), float(bounds[0]) - others])
    return np.atleast_1d(RULES[kind](np.atleast_1d(np.asarray(value, float)), *bounds))


def is_known(value: Any) -> bool:
    """Return whether a value exists and no part of it is missing."""
    parts = np.asarray(value, object).ravel()
    return bool(len(parts)) and not pd.isna(parts).any()


def evaluate_claims(
    claims: pd.DataFrame, evidence: Mapping[str, Evidence], seed: int = 0
) -> dict[str, Verdict]:
    """Return {id: verdict} of the claims of one family on one split that ``evidence`` has.

    claims: rows of :func:`tools.ledger.paper_claims`. A value that is not sampled (``over`` is
    "nothing") is compared exactly. A sampled value without an interval stays undetermined.
    """
    verdicts = {}
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in claims.index.intersection(list(evidence)):
        claim = claims.loc[name]
        found = evidence[name]
        estimate = contrasts_of(found.value, claim)
        if claim["over"] == "nothing":
            verdicts[name] = Verdict(SUPPORTED if obeys(estimate, claim["rule"]) else CONTRADICTED)
            continue
        draws = [contrasts_of(draw, claim) for draw in found.draws if is_known(draw)]
        enough = len(draws) >= max(2, FEWEST * len(found.draws))
        if not enough or len({len(draw) for draw in draws} | {len(estimate)}) > 1:
            verdicts[name] = Verdict(UNDETERMINED, reason="no interval")
            continue
        parts[name] = estimate, np.array(draws)
    widths = half_widths([draws for _, draws in parts.values()], seed)
    for (name, (estimate, _)), width in zip(parts.items(), widths):
        is_of_samples = claims.loc[name, "over"] == "samples"
        samples = evidence[name].samples if is_of_samples else 0
        decide = verdict_of_any if claims.loc[name, "rule"].startswith("any") else verdict_of
        verdicts[name] = decide(estimate, width, samples)
    return verdicts


def obeys(estimate: np.ndarray, rule: str) -> bool:
    """Return whether contrasts that are not sampled obey a rule. The bounds of "in" are inside."""
    if rule.startswith("any"):
        return bool(np.any(estimate > 0))
    return bool(np.all(estimate >= 0) if rule.startswith("in") else np.all(estimate > 0))


def half_widths(draws: list[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """Return half the widths of simultaneous intervals, of contrasts float64 [R, C] each.

    The resamples of all are paired, row by row. If some have fewer, the first rows count. The
    factor on each standard error is a quantile of the largest of all deviations. Deviations are
    drawn from a normal distribution with the correlations of the resamples. They include the
    uncertainty of R resamples.
    """
    if not draws:
        return []
    rows = min(len(part) for part in draws)
    stacked = np.concatenate([part[:rows] for part in draws], axis=1)
    errors = stacked.std(axis=0, ddof=1)
    varies = errors > 0
    factor = 0.0
    if varies.any():
        standard = (stacked[:, varies] - stacked[:, varies].mean(axis=0)) / errors[varies]
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal((DRAWS, rows))
        deviations = np.abs(noise @ standard / np.sqrt(rows - 1)).max(axis=1)
        spread = np.sqrt(rng.chisquare(rows - 1, DRAWS) / (rows - 1))
        factor = float(np.quantile(deviations / spread, LEVEL))
    ends = np.cumsum([part.shape[1] for part in draws])
    return np.split(factor * errors, ends[:-1])


def verdict_of(estimate: np.ndarray, width: np.ndarray, samples: int) -> Verdict:
    """Return the verdict on contrasts [C] with half the widths of their intervals.

    samples: the sample size, 0 if more samples would not help.
    """
    low = estimate - width
    high = estimate + width
    least = int(np.argmin(low))
    ends = float(low[least]), float(high[least])
    if np.all(low > 0):
        return Verdict(SUPPORTED, *ends)
    if np.any(high < 0):
        worst = int(np.argmin(high))
        return Verdict(CONTRADICTED, float(low[worst]), float(high[worst]))
    return Verdict(UNDETERMINED, *ends, samples_to_decide(estimate, width, samples))


def verdict_of_any(estimate: np.ndarray, width: np.ndarray, samples: int) -> Verdict:
    """Return the verdict on the claim that at least one contrast is positive, by negating both."""
    negated = verdict_of(-estimate, width, samples)
    words = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED, UNDETERMINED: UNDETERMINED}
    return Verdict(words[negated.word], -negated.high, -negated.low, negated.samples)


def samples_to_decide(estimate: np.ndarray, width: np.ndarray, samples: int) -> float:
    """Return the number of samples that would decide, if the estimates were exact.

    Widths fall with the square root of the number. To support a claim, all contrasts must be
    decided. To contradict it, one that is below 0 must be. The result is nan if an estimate is 0 or
    if the number is too large to be useful.
    """
    if not samples:
        return np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = samples * np.square(width / estimate)
    below = estimate < 0
    found = float(np.min(needed[below]) if below.any() else np.max(needed))
    if not np.isfinite(found) or found > MOST_SAMPLES:
        return np.nan
    digits = max(0, int(np.floor(np.log10(max(found, 1)))) - 1)
    return float(np.ceil(found / 10**digits) * 10**digits)


def together(verdicts: list[Verdict]) -> Verdict:
    """Combine the verdicts of several directions: the verdict that they share, else
    undetermined."""
    if len(verdicts) == 1:
        return verdicts[0]
    words = {verdict.word for verdict in verdicts}
    if len(words) == 1:
        samples = float(np.max([verdict.samples for verdict in verdicts]))
        return Verdict(words.pop(), verdicts[0].low, verdicts[0].high, samples)
    decided = words & {SUPPORTED, CONTRADICTED}
    if len(decided) > 1:
        return Verdict(UNDETERMINED, reason="the two directions contradict each other")
    samples = float(np.max([v.samples for v in verdicts if v.word == UNDETERMINED]))
    return Verdict(UNDETERMINED, verdicts[0].low, verdicts[0].high, samples)
