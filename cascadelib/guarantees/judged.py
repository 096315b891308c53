"""Compute a p-value for a loss from the labels of a judge, of which some are audited."""

import numpy as np
from numpy import ndarray as Array

from .p_values import DRAW, paired_p_value, share_above, share_below

JUDGED = 1 / 10  # share of the level for the bounds on the mean judged loss


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
        The number of independent samples, with and without a disagreement.
    epsilon : float
    level : float, default=0.05

    Notes
    -----
    The error of a disagreement is its loss minus its judged loss. The loss is P(disagree) × (mean
    judged loss + mean error), where both means are over the disagreements. P(disagree) and the mean
    judged loss have Clopper and Pearson's bounds, which together use a fifth of the level.

    The rest of the level is used by :func:`paired_p_value` on the audited errors. It tests the
    hypothesis "the mean error is ε ÷ P(disagree) − mean judged loss, or more". This test needs
    three outcomes, but errors range from −2 to 2. Therefore errors are halved. An error of ±1
    becomes 0 or ±1, each with probability ½, so that its mean is half the error. The p-value is
    valid for any judge.
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
