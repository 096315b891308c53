"""Test whether two splits share samples that have different ids and slightly different values."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray as Array
from scipy.spatial import cKDTree
from scipy.stats import binom

from ..origin import MOST_COLUMNS, MOST_CONTENTS, Origin, Origins, models_compared, parts_of
from .repeats import LEVEL, equal_contents

LEAST_FINITE = 0.9  # share of the samples for which a compared model has a confidence
FEWEST_PAIRS = 16  # size of the smallest tested prefix of the pairs
# Share of the second split that is planted in the first, to see whether the test finds it.
PLANTED_SHARE = 0.25
PLANTED_NOISE = 1e-4  # standard deviation, relative to the range of the values (1 if within [0, 1])
LARGEST_GROUP = 20  # largest tested number of samples that differ only by noise
CLOSE = 0.1  # largest distance within a group ÷ distance to the next sample outside the group
FACTOR = 2.0  # uneven density may make close samples more frequent by this factor
CERTAIN = 1e-8  # level at which the test must find the planted samples
COMMON = 2  # number of values, such as 0 and 1, that may repeat in a continuous column
# Least share of distinct values in a continuous column, without its COMMON most frequent values.
LEAST_DISTINCT = 0.9
SPACING = 0.25  # quantile of the gaps between distinct values that estimates a grid's spacing
MOST_DIGITS = 6  # decimals that are tried; float32 has hardly more


@dataclass(frozen=True)
class Likeness:
    """The result of :func:`likeness`.

    Parameters
    ----------
    status : {"verified", "violated", "not verifiable"}
    evidence : str
        One sentence.
    shared : int
        The estimated number of samples of the second split that are in the first.
    """

    status: str
    evidence: str
    shared: int = 0


def likeness(seen: Any, here: Any, seen_count: int | None = None) -> Likeness:
    """Test whether two splits share samples, by the confidences of the same models.

    Parameters
    ----------
    seen : array of shape (n_models, n_seen)
        Confidences on the selection split, or on random samples of it.
    here : array of shape (n_models, n_here)
        Confidences of these models, in the same order, on the certification split.
    seen_count : int, optional
        The number of samples of the selection split. Default: n_seen.

    Returns
    -------
    Likeness
        The status is *violated* if the test finds shared samples, at a level of 1e-6. Otherwise the
        test is repeated after copies of a quarter of the second split were planted in the first
        one, with noise of 1e-4. The status is *verified* if the test finds the planted samples, and
        *not verifiable* if it does not. With a single model and many samples, it is mostly *not
        verifiable*.

    See Also
    --------
    cascadelib.certify : Its premise "likeness".

    Notes
    -----
    The values of both splits are pooled. The null hypothesis is that all N samples are independent
    draws from one distribution. Then each subset of n_seen of the N pooled values is equally likely
    to be the first split. The test forms all pairs of values that are each other's nearest
    neighbour. These pairs are disjoint. They are sorted by their distance, relative to the distance
    to the second neighbour. Neither the pairs nor their order depend on the split. A sample that is
    in both splits forms a pair across the splits, which comes early in this order.

    The statistic is the number of pairs across the splits among the first m pairs. Suppose that
    each value belonged to the first split independently, with probability ρ = n_seen / N. Then the
    statistic would be binomial (m, 2 ρ (1 − ρ)). In fact the size of the first split is fixed. This
    condition multiplies the probability of any event by at most 1 / P(binomial (N, ρ) = n_seen).
    The p-value for m is the binomial tail times this factor. The smallest p-value over m = 16, 23,
    32, 45, …, all is multiplied by the number of these m.

    Before this, each model's values are rounded to the digits of the coarser split. Samples with
    equal values for all models are tested separately, by their numbers of occurrences in both
    splits (:func:`equal_contents`). Equal samples and repeats within a split are then removed from
    the pooled values, unless the values of all models are on a grid. The values of a model may be
    on a grid, such as multiples of 0.01. Then uniform noise of the grid's spacing is added to all
    of its values, because values on different grids are not exchangeable. If the splits come from
    different distributions, neighbours are more often within a split. The p-value is then too
    large, so the test is conservative. The test uses at most four models and at most 4,096 random
    samples of the first split.

    References
    ----------
    Rosenbaum (2005), *An exact distribution-free test comparing two multivariate distributions
    based on adjacency*, Journal of the Royal Statistical Society B 67.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> seen, here = rng.random((2, 3, 1000))
    >>> likeness(seen, here).status
    'verified'
    >>> here[:, :300] = np.round(seen[:, 500:800], 4)
    >>> likeness(seen, here).shared in range(280, 320)
    True
    """
    one, other = comparable(np.asarray(seen, np.float64), np.asarray(here, np.float64))
    total = one.shape[1] if seen_count is None else seen_count
    rng = np.random.default_rng(0)
    if one.shape[1] > MOST_CONTENTS:
        one = one[:, rng.choice(one.shape[1], MOST_CONTENTS, replace=False)]
    if not one.size or not other.size:
        return Likeness("not verifiable", "no comparable confidences on both splits")
    columns = f"{len(one)} column{'s' if len(one) > 1 else ''}"
    repeated = count_repeated(one, other, LEVEL)
    if repeated:
        shared = min(round(repeated * total / one.shape[1]), other.shape[1])
        evidence = (
            f"about {shared:,} of the {other.shape[1]:,} samples are in the selection split under "
            f"other ids, since the confidences of {columns} are closer than by chance"
        )
        return Likeness("violated", evidence, shared)
    planted = round(one.shape[1] * min(1.0, PLANTED_SHARE * other.shape[1] / total))
    copies = other[:, rng.choice(other.shape[1], min(planted, other.shape[1]), replace=False)]
    is_share = (other.min(axis=1) >= 0) & (other.max(axis=1) <= 1)
    noise = PLANTED_NOISE * np.where(is_share, 1.0, np.ptp(other, axis=1))
    copies = copies + noise[:, None] * rng.normal(size=copies.shape)
    if not count_repeated(np.hstack([copies, one[:, copies.shape[1] :]]), other, CERTAIN):
        evidence = f"the confidences of {columns} are not enough to detect samples in both splits"
        return Likeness("not verifiable", evidence)
    evidence = (
        f"no sign of shared samples in the confidences of {columns}, although the test detects a "
        f"quarter of the samples, repeated with noise of {PLANTED_NOISE:g}"
    )
    return Likeness("verified", evidence)


def likeness_of(origin: Origins, here: Origin, models: Collection[str]) -> Likeness:
    """Test whether a split shares samples with those on which cascades were selected or fitted.

    ``here`` is compared with each part of ``origin`` by outputs of the models: confidences, or the
    outputs for several classes. The worst of the results is returned.
    """
    found = []
    for part in parts_of(origin):
        result = Likeness("not verifiable", "no model outputs on both splits are available")
        if part is not None:
            names = models_compared(part, here, models)
            seen = part.confidences(names)
            there = here.columns(names)
            if seen is not None and there is not None and len(seen) == len(there):
                result = likeness(seen, there, len(part))
        found.append(result)
    order = {"violated": 0, "not verifiable": 1, "verified": 2}
    return min(found, key=lambda result: (order[result.status], -result.shared))


def near_groups(columns: Any) -> int:
    """Return the size of groups of samples that differ only by noise, or 0 if none are found.

    Parameters
    ----------
    columns : array of shape (n_models, n_samples)
        Confidences on one split. Samples that are equal in all columns count once, since
        :func:`equal_rows` finds them.

    Notes
    -----
    Let d(j) be the distance of a sample to its j-th neighbour. A sample is *close* to its j
    neighbours if d(j) ≤ 0.1 d(j + 1). If the density around the sample is even, in D ≥ 1
    dimensions, then (d(j) / d(j + 1))ᴰ has a beta (j, 1) distribution. So the sample is close with
    a probability of at most 0.1ʲ. In a group of j + 1 noisy copies, all samples are close. The test
    divides the number of close samples by j + 1, so that a group counts once. It allows a
    probability of 2 × 0.1ʲ, since densities are uneven. The level is 1e-6 for all sizes j + 1
    together. In bundled data, the share of close samples is below 0.12 for j = 1 and below 0.02 for
    j = 2.
    """
    values, _ = comparable(np.asarray(columns, np.float64), np.asarray(columns, np.float64))
    if not values.size:
        return 0
    points: Array = np.unique(values.astype(np.float32), axis=1).T
    sizes = np.arange(2, LARGEST_GROUP + 1)
    if len(points) <= 2 * LARGEST_GROUP:
        return 0
    points = points / np.ptp(points, axis=0)
    distance, _ = cKDTree(points).query(points, LARGEST_GROUP + 1)
    is_close = distance[:, 1:-1] <= CLOSE * distance[:, 2:]
    groups = np.count_nonzero(is_close, axis=0) // sizes
    chance = FACTOR * CLOSE ** (sizes - 1.0)
    tails = binom.sf(groups - 1, len(points) // sizes, chance)
    return int(sizes[tails.argmin()]) if tails.min() <= LEVEL / len(sizes) else 0


def comparable(one: Array, other: Array) -> tuple[Array, Array]:
    """Select at most MOST_COLUMNS models by which two splits can be compared.

    These are the models with the most distinct values. Samples with a value that is not finite are
    dropped. `one` and `other` are arrays [n_models, k] with any number k of samples.
    """
    size = min(MOST_CONTENTS, one.shape[1], other.shape[1])
    distinct = np.zeros(len(one))
    for column in range(len(one) if size else 0):
        first_values = one[column, :size], other[column, :size]
        if min(np.isfinite(column_values).mean() for column_values in first_values) >= LEAST_FINITE:
            distinct[column] = min(len(np.unique(column_values)) for column_values in first_values)
    chosen = np.argsort(-distinct, kind="stable")[:MOST_COLUMNS]
    chosen = chosen[distinct[chosen] > 1]
    first, second = (
        values[chosen][:, np.isfinite(values[chosen]).all(axis=0)] for values in (one, other)
    )
    return first, second


def count_repeated(one: Array, other: Array, level: float) -> int:
    """Return the estimated number of samples of ``one`` that are in ``other``.

    Both arrays are finite confidences [n_models, k]. The result is 0 if the test does not reject
    that the splits are independent, at this level.
    """
    points = np.array([rounded_alike(*pair) for pair in zip(one, other, strict=True)]).T
    is_seen = np.arange(len(points)) < one.shape[1]
    distinct, row = np.unique(points, axis=0, return_inverse=True)
    row = row.ravel()
    equal = equal_contents(row[is_seen], row[~is_seen], level / 2)
    sides = [np.bincount(row[side], minlength=len(distinct)) > 0 for side in (is_seen, ~is_seen)]
    parts = [distinct[side] for side in sides]
    if len(one) == 1:
        parts = [points[is_seen], points[~is_seen]]
    spacing = np.max([[grid_spacing(column) for column in part.T] for part in parts], axis=0)
    if not spacing.all():
        is_in_one_split = sides[0] != sides[1]
        points = distinct[is_in_one_split]
        is_seen = sides[0][is_in_one_split]
    rng = np.random.default_rng(0)
    points = points + spacing * (rng.random(points.shape) - 0.5)
    return max(equal, pairs_across(points, is_seen, level / 2))


def grid_spacing(values: Array) -> float:
    """Return the spacing of the grid on which values [k] lie, or 0 if they are continuous."""
    distinct, counts = np.unique(values, return_counts=True)
    others = np.sort(counts)[:-COMMON]
    if len(others) >= LEAST_DISTINCT * others.sum():
        return 0.0
    return float(np.quantile(np.diff(distinct), SPACING))


def rounded_alike(one: Array, other: Array) -> Array:
    """Round two columns to the digits of the coarser one, and return them concatenated.

    If both have more than MOST_DIGITS decimals, they are rounded to float32.
    """
    for digits in range(MOST_DIGITS + 1):
        coarse = [np.round(values, digits).astype(np.float32) for values in (one, other)]
        if any((a == b.astype(np.float32)).all() for a, b in zip(coarse, (one, other))):
            return np.concatenate(coarse)
    return np.concatenate([one, other]).astype(np.float32)


def pairs_across(points: Array, is_seen: Array, level: float) -> int:
    """Return the estimated number of samples that are in both splits, see :func:`likeness`.

    `points`, [n_points, n_models], are distinct. `is_seen`, bool [n_points], is True for points of
    the first split. The result is 0 if pairs across the splits are not significantly more frequent
    than by chance, at this level.
    """
    count = len(points)
    seen = np.count_nonzero(is_seen)
    if count < 2 * FEWEST_PAIRS or seen in (0, count):
        return 0
    # Permute the points: a choice among equally distant neighbours must not depend on the split.
    order = np.random.default_rng(0).permutation(count)
    points = points[order] / np.maximum(np.ptp(points, axis=0), np.finfo(np.float32).tiny)
    is_seen = is_seen[order]
    distance, neighbour = cKDTree(points).query(points, k=3)
    nearest = neighbour[:, 1]
    first = np.flatnonzero((nearest[nearest] == np.arange(count)) & (nearest > np.arange(count)))
    second = nearest[first]
    ratio = distance[first, 1] / np.minimum(distance[first, 2], distance[second, 2])
    is_across = (is_seen[first] != is_seen[second])[np.argsort(ratio, kind="stable")]
    share = seen / count
    chance = 2 * share * (1 - share)
    sizes = np.unique(np.round(FEWEST_PAIRS * 2 ** (np.arange(64) / 2)).astype(np.int64))
    sizes = np.append(sizes[sizes < len(is_across)], len(is_across))
    across = np.append(0, np.cumsum(is_across))[sizes]
    tails = binom.logsf(across - 1, sizes, chance) - binom.logpmf(seen, count, share)
    if tails.min() > np.log(level / len(sizes)):
        return 0
    excess = across - chance * sizes
    best = np.argmax(excess - 2 * np.sqrt(chance * (1 - chance) * sizes))
    return round(excess[best] / (1 - chance))
