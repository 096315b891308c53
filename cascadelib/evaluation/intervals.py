"""Intervals in closed form: of a share, a cost, a difference."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy import ndarray as Array
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from .evaluation import paid_by

LEVEL = 0.95
BETS = np.sin(np.pi * np.arange(0.5, 32) / 64) ** 2  # constant bets in (0, 1)
LEAST = -1 + 1e-12  # of means in [−1, 1]
Ends = tuple[float, float]


def with_ends(value: float, ends: Iterable[float], name: str) -> dict[str, float]:
    """A number and the ends of its interval as columns {name, name_low, name_high}."""
    keys = (name, f"{name}_low", f"{name}_high")
    return dict(zip(keys, map(float, (value, *ends))))


def counted(correct: Any, name: str) -> Array:
    """correct as bool [k], or ValueError: these intervals count samples."""
    correct = np.asarray(correct)
    if correct.ndim != 1 or not correct.size or not np.isin(correct, (0, 1)).all():
        what = f"{name} must be bool [samples], at least one, not {correct.dtype} {correct.shape}"
        raise ValueError(
            f"{what}: these intervals count samples; for graded scores use the bootstrap"
        )
    return correct.astype(bool)


def share_interval(correct: Array, level: float = LEVEL, kind: str = "wilson") -> Ends:
    """Interval of the share of correct samples.

    Parameters
    ----------
    correct : bool array of shape (k,)
    level : float
    kind : str
        "wilson" covers as promised on average over shares, "exact" at least so for every share,
        also of one sample in thousands.

    Returns
    -------
    tuple of float
        (low, high).

    Raises
    ------
    ValueError
        For anything but bool, and for no sample.

    References
    ----------
    Wilson, 1927; Clopper and Pearson, 1934 ("exact").
    """
    correct = counted(correct, "correct")
    found = binomtest(int(correct.sum()), len(correct)).proportion_ci(level, kind)
    return float(found.low), float(found.high)


def cost_interval(exits: Array, costs: Sequence, level: float = LEVEL) -> Ends:
    """(low, high) of a cascade's mean cost from exit stages int [k] and the n costs of its stages,
    at least ``level``.

    Costs that are numbers: the cost is a sum over the n − 1 later stages of cost × share of samples
    that reach it, each with its exact interval, all at once by Bonferroni. Costs float [k]:
    :func:`betting_interval` of what each sample paid, taken to lie between the least first cost and
    the dearest run through all stages that the k samples show. (Prices
    rarer than about one in k inputs may not occur here, and then no interval accounts for them.)
    """
    if any(np.ndim(c) for c in costs):
        paid = paid_by(exits, costs)
        return betting_interval(paid, np.min(costs[0]), np.max(sum(costs)), level)
    each = 1 - (1 - level) / max(1, len(costs) - 1)
    ends = [
        np.multiply(c, share_interval(exits >= i, each, "exact")) for i, c in enumerate(costs) if i
    ]
    if not ends:
        return float(costs[0]), float(costs[0])
    low, high = costs[0] + np.sum(ends, axis=0)
    return float(low), float(high)


def betting_interval(values: Array, least: float, most: float, level: float = LEVEL) -> Ends:
    """(low, high) of the mean of independent values [k] in [least, most]: covers at least
    ``level``, for any k.

    Hedged capital with predictable plug-in bets (Waudby-Smith and Ramdas, 2024, *Estimating means
    of bounded random variables by betting*, theorem 3). Bets follow one another, so the values are
    shuffled, the same way every time.
    """
    if not least < most:
        return float(least), float(most)
    x = np.clip((np.random.default_rng(0).permutation(values) - least) / (most - least), 0, 1)
    low, high = (_lower_mean(side, 2 / (1 - level)) for side in (x, 1 - x))
    return float(least + (most - least) * low), float(most - (most - least) * high)


def plug_in_bets(x: Array, wealth: float, guess: float) -> Array:
    """Predictable plug-in bets [k] of Waudby-Smith and Ramdas on values x [k], each from the values
    before it. wealth: to be reached, in stakes; guess: of the mean before the first value."""
    number = np.arange(1, len(x) + 1)
    means = (guess + np.cumsum(x)) / (number + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (number + 1)
    return np.sqrt(2 * np.log(wealth) / (len(x) * np.append(0.25, variances[:-1])))


def _lower_mean(x: Array, wealth: float) -> float:
    """The least mean in [0, 1] against which bets on values x [k] above it never reach ``wealth``
    times their stake; at most the mean of x: an interval holds what was found, also where bets were
    won early and lost again."""
    bets = plug_in_bets(x, wealth, 0.5)

    def won(mean: float) -> float:
        logs = np.log1p(np.minimum(bets, 0.75 / mean) * (x - mean))
        return np.cumsum(logs).max() - np.log(wealth)

    return min(brentq(won, 1e-12, 1.0), float(x.mean())) if won(1e-12) > 0 else 0.0


def anytime_lower(lost: int, same: int, gained: int, error: float) -> float:
    """Lower bound of the mean of independent values, of which so many were 1, 0 and −1: right at
    all times at once with a probability of at least 1 − error. The upper one is
    −anytime_lower(gained, same, lost, error).

    Bets against "the mean is m": a value d multiplies one by 1 + c (d − m) / (1 + m); many of
    constant c together ever come to 1 / error with a probability of at most that (Ville, 1939;
    mixtures: Waudby-Smith and Ramdas, 2024). As they rise with each d, a value that is not known
    yet may count as −1.
    """
    values = np.array([[1], [0], [-1]])
    counts = np.array([[lost], [same], [gained]])

    def won(mean: float) -> float:
        logs = (counts * np.log1p(BETS * (values - mean) / (1 + mean))).sum(axis=0)
        return float(np.logaddexp.reduce(logs)) + np.log(error / len(BETS))

    return brentq(won, LEAST, 1.0) if won(LEAST) > 0 else -1.0


def paired_difference_interval(first: Array, second: Array, level: float = LEVEL) -> Ends:
    """(low, high) of accuracy(second) − accuracy(first) on the same samples: bool [k] each, paired
    by row.

    Wald's interval of the discordant pairs with half a sample added to each of the four cells
    (Agresti and Min, 2005). It covers 94 to 99% where samples differ both ways; where only losses
    occur and rarely, it is too short: of 500 samples with 0.4% lost and none gained, 86%. For a
    promise about rare losses use :func:`certify`, which is exact.
    """
    first = counted(first, "first")
    second = counted(second, "second")
    if len(first) != len(second):
        raise ValueError(
            f"first has {len(first)} samples, second {len(second)}: a paired interval needs "
            "the same"
        )
    k = len(first) + 2
    gained = np.count_nonzero(second & ~first) + 0.5
    lost = np.count_nonzero(first & ~second) + 0.5
    difference = (gained - lost) / k
    half = norm.isf((1 - level) / 2) * np.sqrt((gained + lost) / k - difference**2) / np.sqrt(k)
    return float(max(-1, difference - half)), float(min(1, difference + half))


def difference_interval(first: Array, second: Array, level: float = LEVEL) -> Ends:
    """(low, high) of accuracy(second) − accuracy(first) on different samples.

    Parameters
    ----------
    first, second : bool arrays of shape (k1,) and (k2,)
    level : float

    Raises
    ------
    ValueError
        For anything but bool, and for no sample.

    References
    ----------
    Newcombe, 1998: Interval estimation for the difference between independent proportions, method
    10, from Wilson's interval of each.
    """
    first = counted(first, "first")
    second = counted(second, "second")
    first_low, first_high = share_interval(first, level)
    second_low, second_high = share_interval(second, level)
    difference = second.mean() - first.mean()
    below = np.hypot(second.mean() - second_low, first_high - first.mean())
    above = np.hypot(second_high - second.mean(), first.mean() - first_low)
    return float(difference - below), float(difference + above)
