"""Test whether a split repeats another one under other ids and with slightly other confidences."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy import ndarray as Array
from scipy.spatial import cKDTree
from scipy.stats import binom

from ..origin import MOST_COLUMNS, MOST_CONTENTS, Origin, Origins, models_compared, parts_of
from .repeats import LEVEL, equal_contents

LEAST_FINITE = 0.9  # share of the samples for which a compared model has a confidence
FEWEST_PAIRS = 16
PLANTED_SHARE = 0.25  # of the samples: an overlap that the test must find to be evidence
PLANTED_NOISE = 1e-4  # of confidences in [0, 1], else of the range
LARGEST_GROUP = 20  # samples that differ by noise alone
CLOSE = 0.1  # distance inside of such a group, relative to the nearest sample outside of it
FACTOR = 2.0  # by which samples of uneven density may be close more often than those of an even one
CERTAIN = 1e-8  # level at which a powerful test finds the planted overlap
COMMON = 2  # values that many samples of a continuous column may share, such as 0 and 1
LEAST_DISTINCT = 0.9  # share of the other values of a continuous column that are distinct
SPACING = 0.25  # quantile of the gaps between distinct values that estimates a grid's spacing
MOST_DIGITS = 6


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
        *violated* if the splits share samples at a level of 1e-6, *verified* if they do not and the
        same test finds a planted overlap (a quarter of the samples, with noise of 1e-4), else *not
        verifiable*. With a single model and many samples, the result mostly is *not verifiable*.

    See Also
    --------
    cascadelib.certify : Its premise "likeness".

    Notes
    -----
    Independent samples of one distribution are exchangeable: given the pooled values, each choice
    of n_seen of the N values is equally likely to be the first split. Mutual nearest neighbours of
    the pooled values are disjoint pairs that do not depend on this choice. Neither does their
    order, by the distance of the pair relative to the second neighbour. If each value belonged to
    the first split with probability ρ = n_seen / N independently, then the number of pairs across
    the splits among the first m would be binomial (m, 2 ρ (1 − ρ)). Given n_seen, no event is more
    than 1 / P(binomial (N, ρ) = n_seen) times as likely. The p-value is this bound, times the
    number of prefixes m (16, 23, 32, 45, …, all). A sample of both splits makes a pair across that
    comes early in this order.

    Samples that are equal in all models are compared by how often each of them occurs in both
    splits (:func:`equal_contents`). They leave the pooled values, as do repeats within a split.
    Both splits are first rounded to the digits of the coarser one. If the values of a model lie on
    a grid, all of its values get uniform noise of the grid's spacing and equal samples stay, since
    values on different grids are not exchangeable. If the splits come from different distributions,
    neighbours are more often within a split, so the p-value is too large. At most 4,096 random
    samples of the first split and four models are used.

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
            f"other ids, since the confidences of {columns} are closer than independent ones"
        )
        return Likeness("violated", evidence, shared)
    planted = round(one.shape[1] * min(1.0, PLANTED_SHARE * other.shape[1] / total))
    copies = other[:, rng.choice(other.shape[1], min(planted, other.shape[1]), replace=False)]
    is_share = (other.min(axis=1) >= 0) & (other.max(axis=1) <= 1)
    noise = PLANTED_NOISE * np.where(is_share, 1.0, np.ptp(other, axis=1))
    copies = copies + noise[:, None] * rng.normal(size=copies.shape)
    if not count_repeated(np.hstack([copies, one[:, copies.shape[1] :]]), other, CERTAIN):
        evidence = f"the confidences of {columns} would not show that samples are in both splits"
        return Likeness("not verifiable", evidence)
    evidence = (
        f"no sign of shared samples in the confidences of {columns}, which would show a quarter of "
        f"the samples repeated with noise of {PLANTED_NOISE:g}"
    )
    return Likeness("verified", evidence)


def likeness_of(origin: Origins, here: Origin, models: Iterable[str]) -> Likeness:
    """Test whether samples are in the sets of samples that selected or fitted cascades.

    The test compares outputs of the models on both: confidences, or outputs for several classes.
    """
    names = set(models)
    found = [_compare_part(part, here, names) for part in parts_of(origin)]
    order = {"violated": 0, "not verifiable": 1, "verified": 2}
    return min(found, key=lambda each: (order[each.status], -each.shared))


def _compare_part(part: Origin | None, here: Origin, names: set[str]) -> Likeness:
    """Test whether samples are in one set of samples."""
    if part is not None:
        names = models_compared(part, here, names)
        seen = part.confidences(names)
        there = here.columns(names)
        if seen is not None and there is not None and len(seen) == len(there):
            return likeness(seen, there, len(part))
    return Likeness("not verifiable", "no model outputs on both splits are available")


def near_groups(columns: Any) -> int:
    """Return the size of groups of samples that differ by noise alone, or 0 if none are found.

    Parameters
    ----------
    columns : array of shape (n_models, n_samples)
        Confidences on one split. Samples that are equal in all columns count once, since
        :func:`equal_rows` finds them.

    Notes
    -----
    Let d(j) be the distance of a sample to its j-th neighbour. If the density is even around it, in
    D ≥ 1 dimensions, then (d(j) / d(j + 1))ᴰ is beta (j, 1), so d(j) ≤ 0.1 d(j + 1) has a
    probability of at most 0.1ʲ. In groups of j + 1 copies it is true of all samples. They are
    counted once per j + 1 samples, and twice that probability is allowed. The level is 1e-6 for all
    sizes together. The share of close samples in bundled data is below 0.12 for j = 1 and below
    0.02 for j = 2.
    """
    values, _ = comparable(np.asarray(columns, np.float64), np.asarray(columns, np.float64))
    if not values.size:
        return 0
    points = np.unique(values.astype(np.float32), axis=1).T
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
    """Return at most MOST_COLUMNS columns of two splits, on the samples with finite values.

    These are the columns with most distinct values.
    """
    size = min(MOST_CONTENTS, one.shape[1], other.shape[1])
    distinct = np.zeros(len(one))
    for column in range(len(one) if size else 0):
        heads = one[column, :size], other[column, :size]
        if min(np.isfinite(head).mean() for head in heads) >= LEAST_FINITE:
            distinct[column] = min(len(np.unique(head)) for head in heads)
    chosen = np.argsort(-distinct, kind="stable")[:MOST_COLUMNS]
    chosen = chosen[distinct[chosen] > 1]
    first, second = (
        values[chosen][:, np.isfinite(values[chosen]).all(axis=0)] for values in (one, other)
    )
    return first, second


def count_repeated(one: Array, other: Array, level: float) -> int:
    """Return the estimated number of samples of ``one`` that are in ``other``.

    Both are finite confidences, [M, k]. 0 if the splits could be independent at this level.
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
        is_alone = sides[0] != sides[1]
        points = distinct[is_alone]
        is_seen = sides[0][is_alone]
    rng = np.random.default_rng(0)
    points = points + spacing * (rng.random(points.shape) - 0.5)
    return max(equal, pairs_across(points, is_seen, level / 2))


def grid_spacing(values: Array) -> float:
    """Return the spacing of the grid that values [k] are rounded to, 0 if they are continuous."""
    distinct, counts = np.unique(values, return_counts=True)
    others = np.sort(counts)[:-COMMON]
    if len(others) >= LEAST_DISTINCT * others.sum():
        return 0.0
    return float(np.quantile(np.diff(distinct), SPACING))


def rounded_alike(one: Array, other: Array) -> Array:
    """Return two columns, concatenated and rounded to the digits of the coarser one.

    If both have more than MOST_DIGITS digits, they are rounded to float32.
    """
    for digits in range(MOST_DIGITS + 1):
        coarse = [np.round(values, digits).astype(np.float32) for values in (one, other)]
        if any((a == b.astype(np.float32)).all() for a, b in zip(coarse, (one, other))):
            return np.concatenate(coarse)
    return np.concatenate([one, other]).astype(np.float32)


def pairs_across(points: Array, is_seen: Array, level: float) -> int:
    """Return the estimated number of samples that are in both splits, among distinct points [N, M].

    is_seen, bool [N], is True for points of the first split. 0 if pairs across the splits are not
    more frequent than by chance at this level.
    """
    count = len(points)
    seen = np.count_nonzero(is_seen)
    if count < 2 * FEWEST_PAIRS or seen in (0, count):
        return 0
    # Neighbours at equal distance must not be chosen by the order in which the splits are pooled.
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
