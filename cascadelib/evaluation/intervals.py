"""Compute intervals of a share, a mean cost and a difference of accuracies, without resampling."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy import ndarray as Array
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from .evaluation import paid_by

LEVEL = 0.95
BETS = np.sin(np.pi * np.arange(0.5, 32) / 64) ** 2  # sizes of constant bets, in (0, 1)
LEAST = -1 + 1e-12  # least tested mean of values in [−1, 1]
Ends = tuple[float, float]


def with_ends(value: float, ends: Iterable[float], name: str) -> dict[str, float]:
    """Return an estimate and its interval as {name: value, name_low: low, name_high: high}."""
    keys = (name, f"{name}_low", f"{name}_high")
    return dict(zip(keys, map(float, (value, *ends))))


def counted(correct: Any, name: str) -> Array:
    """Return `correct` as bool (n_samples,), or raise a ValueError if it is graded."""
    correct = np.asarray(correct)
    if correct.ndim != 1 or not correct.size or not np.isin(correct, (0, 1)).all():
        raise ValueError(
            f"{name} must be bool [samples], at least one, not {correct.dtype} {correct.shape}. "
            "These intervals count samples. For graded scores use the bootstrap"
        )
    return correct.astype(bool)


def share_interval(correct: Array, level: float = LEVEL, kind: str = "wilson") -> Ends:
    """Return an interval of the share of correct samples.

    Parameters
    ----------
    correct : bool array of shape (n_samples,)
        Whether each sample is correct.
    level : float, default=0.95
        Coverage.
    kind : {"wilson", "exact"}, default="wilson"
        "wilson" has this coverage on average over shares. "exact" has at least this coverage for
        every share, also for a share of one sample in thousands.

    Returns
    -------
    tuple of float
        (low, high).

    Raises
    ------
    ValueError
        If `correct` is not bool, or has no sample.

    References
    ----------
    .. [1] Wilson, 1927. Clopper and Pearson, 1934 ("exact").
    """
    correct = counted(correct, "correct")
    share = binomtest(int(correct.sum()), len(correct)).proportion_ci(level, kind)
    return float(share.low), float(share.high)


def cost_interval(exits: Array, costs: Sequence, level: float = LEVEL) -> Ends:
    """Return an interval of the mean cost of a cascade, with a coverage of at least `level`.

    If costs are numbers, the mean cost is a sum over stages of cost × share of samples that reach
    the stage. Each share has an exact interval, and all of them hold simultaneously by Bonferroni.
    If costs differ by sample, the result is the :func:`betting_interval` of the costs of the
    samples. It needs the range of possible costs. The least is the smallest cost of the first model
    among these samples. The most is the largest cost of calling all models.

    Parameters
    ----------
    exits : int array of shape (n_samples,)
        Stage at which each sample exits.
    costs : sequence of float or float array of shape (n_samples,)
        Cost of each of n models.
    level : float, default=0.95
        Coverage.

    Returns
    -------
    tuple of float
        (low, high).

    Notes
    -----
    Prices that are rarer than about one in n_samples inputs may be missing from these samples. No
    interval accounts for them.
    """
    if any(np.ndim(c) for c in costs):
        paid = paid_by(exits, costs)
        return betting_interval(paid, np.min(costs[0]), np.max(sum(costs)), level)
    each = 1 - (1 - level) / max(1, len(costs) - 1)
    ends = [
        np.multiply(c, share_interval(exits >= i, each, "exact")) for i, c in enumerate(costs) if i
    ]
    low, high = costs[0] + np.sum([(0, 0), *ends], axis=0)
    return float(low), float(high)


def betting_interval(values: Array, least: float, most: float, level: float = LEVEL) -> Ends:
    """Return (low, high) of the mean of independent values in [least, most].

    The coverage is at least `level` for any number of values.

    Notes
    -----
    Hedged capital with predictable plug-in bets (Waudby-Smith and Ramdas, 2024, *Estimating means
    of bounded random variables by betting*, theorem 3). Each bet depends on the previous values,
    so the values are shuffled, always in the same way.
    """
    if not least < most:
        return float(least), float(most)
    x = np.clip((np.random.default_rng(0).permutation(values) - least) / (most - least), 0, 1)
    low, high = (_lower_mean(side, 2 / (1 - level)) for side in (x, 1 - x))
    return float(least + (most - least) * low), float(most - (most - least) * high)


def plug_in_bets(x: Array, wealth: float, guess: float) -> Array:
    """Return the predictable plug-in bets of Waudby-Smith and Ramdas on values x (k,), float (k,).

    Each bet is computed from the previous values. `wealth` is the factor by which the bets should
    multiply the stake. `guess` is the mean that is assumed before the first value.
    """
    number = np.arange(1, len(x) + 1)
    means = (guess + np.cumsum(x)) / (number + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (number + 1)
    return np.sqrt(2 * np.log(wealth) / (len(x) * np.append(0.25, variances[:-1])))


def _lower_mean(x: Array, wealth: float) -> float:
    """Return the least mean in [0, 1] that bets on the values x (k,) do not refute.

    Bets refute a mean if they multiply the stake by `wealth` after some number of values. The
    result is at most the mean of x, so that an interval contains its estimate.
    """
    bets = plug_in_bets(x, wealth, 0.5)

    def won(mean: float) -> float:
        logs = np.log1p(np.minimum(bets, 0.75 / mean) * (x - mean))
        return np.cumsum(logs).max() - np.log(wealth)

    return min(brentq(won, 1e-12, 1.0), float(x.mean())) if won(1e-12) > 0 else 0.0


def anytime_lower(lost: int, same: int, gained: int, error: float) -> float:
    """Return a lower bound of the mean loss from counts of losses, ties and gains.

    A loss counts as 1, a tie (`same`) as 0 and a gain as −1. The values are independent. With a
    probability of at least 1 − error, the bound holds after every number of values simultaneously.
    The upper bound is ``-anytime_lower(gained, same, lost, error)``.

    Notes
    -----
    Bets of several sizes c test the hypothesis that the mean is m. Each value d multiplies the
    capital of a bet by 1 + c (d − m) / (1 + m). If the hypothesis is true, the mean capital reaches
    1 / error with a probability of at most `error` (Ville, 1939, and Waudby-Smith and Ramdas,
    2024). A larger d never lowers the bound. The bound therefore stays valid if unknown values are
    counted as −1.
    """
    evidence = partial(log_evidence, lost, same, gained, error)
    return brentq(evidence, LEAST, 1.0) if evidence(LEAST) > 0 else -1.0


def log_evidence(lost: int, same: int, gained: int, error: float, mean: float) -> float:
    """Return log(capital × error) of the bets of :func:`anytime_lower` against a `mean` ≥ −1.

    It falls as the mean rises. It is 0 at the lower bound of :func:`anytime_lower`.
    """
    values = np.array([[1], [0], [-1]])
    counts = np.array([[lost], [same], [gained]])
    mean = max(mean, LEAST)
    logs = (counts * np.log1p(BETS * (values - mean) / (1 + mean))).sum(axis=0)
    return float(np.logaddexp.reduce(logs)) + np.log(error / len(BETS))


def paired_difference_interval(first: Array, second: Array, level: float = LEVEL) -> Ends:
    """Return (low, high) of accuracy(second) − accuracy(first) on the same samples.

    Parameters
    ----------
    first, second : bool arrays of shape (n_samples,)
        Correctness, paired by row.
    level : float, default=0.95
        Coverage.

    Raises
    ------
    ValueError
        If an array is not bool, has no sample, or has another length.

    Notes
    -----
    This is Wald's interval of the discordant pairs, with half a sample added to each of the four
    cells (Agresti and Min, 2005). Its coverage is 94 to 99% if there are both losses and gains. It
    is too short if only rare losses occur: 86% for 0.4% losses and no gains among 500 samples. For
    a guarantee on rare losses use :func:`certify`, which is exact.
    """
    first = counted(first, "first")
    second = counted(second, "second")
    if len(first) != len(second):
        raise ValueError(
            f"first has {len(first)} samples, second {len(second)}: a paired interval needs "
            "the same samples"
        )
    k = len(first) + 2
    gained = np.count_nonzero(second & ~first) + 0.5
    lost = np.count_nonzero(first & ~second) + 0.5
    difference = (gained - lost) / k
    half = norm.isf((1 - level) / 2) * np.sqrt((gained + lost) / k - difference**2) / np.sqrt(k)
    return float(max(-1, difference - half)), float(min(1, difference + half))


def difference_interval(first: Array, second: Array, level: float = LEVEL) -> Ends:
    """Return (low, high) of accuracy(second) − accuracy(first) on different samples.

    Parameters
    ----------
    first : bool array of shape (n_first,)
        Correctness on one set of samples.
    second : bool array of shape (n_second,)
        Correctness on the other.
    level : float, default=0.95
        Coverage.

    Raises
    ------
    ValueError
        If an array is not bool, or has no sample.

    References
    ----------
    .. [1] Newcombe, 1998: Interval estimation for the difference between independent proportions,
       method 10, from Wilson's interval of each.
    """
    first = counted(first, "first")
    second = counted(second, "second")
    first_low, first_high = share_interval(first, level)
    second_low, second_high = share_interval(second, level)
    difference = second.mean() - first.mean()
    below = np.hypot(second.mean() - second_low, first_high - first.mean())
    above = np.hypot(second_high - second.mean(), first.mean() - first_low)
    return float(difference - below), float(difference + above)
