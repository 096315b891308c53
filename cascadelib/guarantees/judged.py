"""Compute a p-value for a loss from the labels of a judge, of which some are audited."""

import numpy as np
from numpy import ndarray as Array

from .p_values import DRAW, paired_p_value, share_above, share_below

JUDGED = 1 / 10  # share of the level for the bounds on the mean loss by the judge's labels


def judged_p_value(
    losses: Array,
    judged: Array,
    is_audited: Array,
    samples: int,
    epsilon: float,
    level: float = 0.05,
) -> float:
    """Return the p-value of the hypothesis "the loss is ε or more" from a judge's labels.

    Parameters
    ----------
    losses, judged : int arrays of shape (d,)
        The loss, −1, 0 or 1, of each sample on which the cascade and the reference disagree.
        `losses` are computed from the true labels, and `judged` from the labels of the judge. Only
        the `losses` of audited samples are used.
    is_audited : bool array of shape (d,)
        Whether the true label of each sample is known. Audited samples must be a uniform random
        draw of the disagreements.
    samples : int
        The number of independent draws.
    epsilon : float
    level : float, default=0.05

    Notes
    -----
    The loss is P(disagree) × (mean loss by the judge + mean error of the judge's loss). Clopper and
    Pearson's bounds on P(disagree) and on the mean loss by the judge together use a fifth of the
    level. :func:`paired_p_value` uses the rest of the level. Its hypothesis is that the mean error
    is at least ε ÷ P(disagree) − mean loss by the judge. For this test, an error of ±1 is rounded
    to 0 or ±2, each with probability ½. The p-value is valid for any judge.
    """
    disagreements = len(judged)
    share = share_above(disagreements, samples, level * DRAW)
    if share < epsilon:
        return level * DRAW
    if not is_audited.any():
        return 1.0
    gamma = level * JUDGED / 2
    most_lost = share_above(int(np.sum(judged > 0)), disagreements, gamma)
    least_gained = share_below(int(np.sum(judged < 0)), disagreements, gamma)
    spent = level * (DRAW + JUDGED)
    may_err = (epsilon / share - (most_lost - least_gained)) / 2
    if may_err <= 0:
        return 1.0
    errors = (losses - judged)[is_audited]
    coins = np.random.default_rng(0).integers(0, 2, len(errors))
    errors = np.fix((errors + coins * np.sign(errors)) / 2)  # −1, 0 or 1
    more = int(np.count_nonzero(errors > 0))
    fewer = int(np.count_nonzero(errors < 0))
    return min(1.0, spent + paired_p_value(more, fewer, len(errors), may_err, level - spent))
