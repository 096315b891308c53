"""Intervals without resampling: a share, a cost, the difference of two accuracies on the same samples or on others.

For improvement factors and fronts see :mod:`cascadelib.bootstrap`.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

LEVEL = 0.95


def _counted(correct, name):
    """correct as bool [k], or ValueError: these intervals count samples."""
    correct = np.asarray(correct)
    if correct.ndim != 1 or not correct.size:
        raise ValueError(f"{name} must be [samples] with at least one, not {correct.shape}")
    if correct.dtype != bool and not np.isin(correct, (0, 1)).all():
        raise ValueError(f"{name} must be bool: these intervals count samples; for graded scores use the bootstrap")
    return correct.astype(bool)


def share_interval(correct, level=LEVEL, kind="wilson"):
    """(low, high) of the share of true entries of bool [k], by scipy.

    "wilson" (1927) covers as promised on average over shares; "exact" (Clopper and Pearson, 1934) covers at least so
    for every share, also where one sample in thousands counts.
    """
    correct = _counted(correct, "correct")
    found = binomtest(int(correct.sum()), len(correct)).proportion_ci(level, kind)
    return float(found.low), float(found.high)


def cost_interval(exits, costs, level=LEVEL):
    """(low, high) of a cascade's mean cost from exit stages int [k] and the n costs of its stages, at least ``level``.

    Costs that are numbers: the cost is a sum over the n − 1 later stages of cost × share of samples that reach it, each
    with its exact interval, all at once by Bonferroni. Costs float [k]: :func:`betting_interval` of what each sample
    paid, taken to lie between the least first cost and the dearest run through all stages that the k samples show.
    (A price that occurs in fewer than one of k inputs is seen by no interval.)
    """
    if any(np.ndim(c) for c in costs):
        paid = np.sum([c * (exits >= i) for i, c in enumerate(costs)], axis=0)
        return betting_interval(paid, np.min(costs[0]), np.max(sum(costs)), level)
    each = 1 - (1 - level) / max(1, len(costs) - 1)
    ends = [np.multiply(c, share_interval(exits >= i, each, "exact")) for i, c in enumerate(costs) if i]
    low, high = costs[0] + np.sum(ends, axis=0) if ends else (costs[0], costs[0])
    return float(low), float(high)


def betting_interval(values, least, most, level=LEVEL):
    """(low, high) of the mean of independent values [k] in [least, most]: covers at least ``level``, for any k.

    Hedged capital with predictable plug-in bets (Waudby-Smith and Ramdas, 2024, *Estimating means of bounded random
    variables by betting*, theorem 3). Bets follow one another, so the values are shuffled, the same way every time.
    """
    if not least < most:
        return float(least), float(most)
    x = np.clip((np.random.default_rng(0).permutation(values) - least) / (most - least), 0, 1)
    low, high = (_lower_mean(side, 2 / (1 - level)) for side in (x, 1 - x))
    return float(least + (most - least) * low), float(most - (most - least) * high)


def _lower_mean(x, wealth):
    """The least mean in [0, 1] against which bets on values x [k] above it never reach ``wealth`` times their stake."""
    number = np.arange(1, len(x) + 1)
    means = (0.5 + np.cumsum(x)) / (number + 1)
    variances = (0.25 + np.cumsum((x - means) ** 2)) / (number + 1)
    bets = np.sqrt(2 * np.log(wealth) / (len(x) * np.append(0.25, variances[:-1])))

    def won(mean):
        return np.cumsum(np.log1p(np.minimum(bets, 0.75 / mean) * (x - mean))).max() - np.log(wealth)

    return brentq(won, 1e-12, 1.0) if won(1e-12) > 0 else 0.0


def holm(p_values):
    """p-values adjusted for their number (Holm, 1979): those at most α are jointly wrong with probability at most α."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def paired_difference_interval(first, second, level=LEVEL):
    """(low, high) of accuracy(second) − accuracy(first) on the same samples: bool [k] each, paired by row.

    Wald's interval of the discordant pairs with half a sample added to each of the four cells (Agresti and Min,
    2005), which covers as promised where few samples or none are discordant.
    """
    first, second = _counted(first, "first"), _counted(second, "second")
    if len(first) != len(second):
        raise ValueError(f"first has {len(first)} samples, second {len(second)}: a paired interval needs the same")
    k = len(first) + 2
    gained, lost = np.count_nonzero(second & ~first) + 0.5, np.count_nonzero(first & ~second) + 0.5
    difference = (gained - lost) / k
    half = norm.isf((1 - level) / 2) * np.sqrt((gained + lost) / k - difference**2) / np.sqrt(k)
    return float(max(-1, difference - half)), float(min(1, difference + half))


def difference_interval(first, second, level=LEVEL):
    """(low, high) of accuracy(second) − accuracy(first) on different samples: bool [k1] and bool [k2].

    From the two Wilson intervals (Newcombe, 1998, *Interval estimation for the difference between independent
    proportions*, method 10).
    """
    first, second = _counted(first, "first"), _counted(second, "second")
    (low_1, high_1), (low_2, high_2) = share_interval(first, level), share_interval(second, level)
    a, b = first.mean(), second.mean()
    return float(b - a - np.hypot(b - low_2, high_1 - a)), float(b - a + np.hypot(high_2 - b, a - low_1))
