"""Bet that live confidences do not have the distribution of reference samples."""

import numpy as np
from numpy import ndarray as Array

from ..evaluation.point import OrderStatistics

# Small bets detect small shifts, but slowly. Large bets detect large shifts fast.
BET_SIZES = (0.05, 0.15, 0.45)
PART = 2**14  # numbers whose bets are computed at a time


def log_capital(reference: OrderStatistics, values: Array) -> Array:
    """Return the log capital of the bets after each of N live numbers, float64 [N].

    Parameters
    ----------
    reference : OrderStatistics
        The :func:`summary` of the k numbers of the reference.
    values : float64 array of shape (N,)

    Notes
    -----
    Theorem: if the k numbers and the live ones are exchangeable, such as independent draws of one
    distribution, the capital ever reaches 1/α stakes with probability at most α. After m live
    numbers, the next one falls into a bin between two order statistics with probability (reference
    and live numbers in the bin) ÷ (k + 1 + m). This is Pólya's urn, which includes the sampling
    error of the reference. A bet gains s(bin): its stake is multiplied by e^s(bin) ÷ the urn's mean
    of e^s. The result is a nonnegative martingale (Ville, 1939; Vovk, Gammerman, Shafer, 2022,
    *Algorithmic learning in a random world*). See docs/monitoring.md.
    """
    # Pairs (value, tie) as complex numbers, which compare in this order.
    edges = np.array(reference.values) + 1j * np.array(reference.ties)
    # Ties are broken at random, with a different seed for each reference.
    ties = np.random.default_rng(edges.view(np.uint32)).random(len(values))
    bins = np.searchsorted(edges, values + 1j * ties)
    urn, gains = bets_of(reference)
    weight = np.exp(gains) @ urn
    logs = np.full(len(gains), -np.inf)  # log capital of each bet
    path = np.empty(len(values))
    for start in range(0, len(values), PART):
        part = slice(start, start + PART)
        gain = gains[:, bins[part]]
        number = start + np.arange(gain.shape[1] + 1)
        # The urn's weight for each bet, with the current number.
        weights = weight[:, None] + np.cumsum(np.exp(gain), axis=1)
        steps = gain - np.log(weights - np.exp(gain)) + np.log(urn.sum() + number[:-1])
        total = np.cumsum(steps, axis=1)
        reserve = 1 / (1 + np.log1p(number))
        # Bets that start at each number: log stakes, less the gains since the first of the part.
        stakes = np.log((reserve[:-1] - reserve[1:]) / len(gains)) - (total - steps)
        grown = np.logaddexp.accumulate(np.column_stack([logs, stakes]), axis=1)[:, 1:] + total
        top = grown.max(axis=0)
        sums = top + np.log(np.exp(grown - top).sum(axis=0))
        path[part] = np.logaddexp(sums, np.log(reserve[1:]))
        logs = grown[:, -1]
        weight = weights[:, -1]
    return path


def bets_of(reference: OrderStatistics) -> tuple[Array, Array]:
    """Return the numbers in each bin of the urn [bins], and what each bet gains there."""
    urn = np.append(np.asarray(reference.counts, np.float64), 1.0)
    middle = (np.cumsum(urn) - urn / 2) / urn.sum()
    directions = ((1, -1), (-1, 1), (1, 1), (-1, -1))
    bets = [(x * size, y * size) for size in BET_SIZES for x, y in directions]
    return urn, np.array(bets) @ np.log([middle, 1 - middle])
