"""Peeling: decide which rows of a table keep the answer of a small model.

Rows are removed, those with the largest risk of a wrong answer first. Rows that remain keep their
answers. One uniform draw of labels serves two purposes. The labels of removed rows are *open*: they
estimate the risks. The labels of remaining rows stay hidden, and only the number of wrong ones
decides when the removal ends. docs/guarantees.md has the proof.
"""

from bisect import bisect_left, bisect_right

import numpy as np
from numpy import ndarray as Array
from scipy.stats import binom, hypergeom

RECENT = 60  # open labels, the last ones of a class, that estimate its risk
PRIOR = 20  # weight of the risk by rank, in labels
LEAST_COMMON = 0.05  # least share of the rows of a predicted class that has its own border
ENOUGH_ERRORS = 3  # that a default number of labels allows


def peel_table(
    confidence: Array,
    predictions: Array,
    is_drawn: Array,
    wrong: Array,
    ties: Array,
    epsilon: float,
    delta: float,
) -> tuple[Array, dict[str | None, float]]:
    """Remove rows until at most ε of a table's rows keep a wrong answer, with probability 1 − δ.

    Rows are sorted twice, since two things are unknown about a remaining row: for the table whether
    it is drawn, for the source of the table the confidence and prediction of a drawn row. Classes
    and ranks come from all rows for the table, and from rows that are not drawn for the source.

    Parameters
    ----------
    confidence : float64 array of shape (n,)
    predictions : str array of shape (n,)
    is_drawn : bool array of shape (n,)
        A uniform draw of rows.
    wrong : bool array of shape (n,)
        Whether the small model's answer to a drawn row is wrong. False for other rows.
    ties : float64 array of shape (n,)
        Random numbers, the order of removal at equal confidence.
    epsilon, delta : float

    Returns
    -------
    kept : bool array of shape (n,)
        Rows that keep the small model's answer.
    borders : dict of {str or None: float}
        A new row keeps its answer above the border of its predicted class. None is the key of all
        classes without their own border.
    """
    allowed = errors_allowed(len(wrong), is_drawn.sum(), epsilon, delta)
    remaining = []
    for known, most in zip((np.ones_like(is_drawn), ~is_drawn), allowed):
        classes, group = common_classes(predictions[known], predictions)
        last_first = removal_order(confidence, group, known, is_drawn, wrong, ties)[::-1]
        stays = np.empty_like(is_drawn)
        stays[last_first] = np.cumsum(wrong[last_first]) <= most
        remaining.append(stays)
    in_table, at_source = remaining
    borders = {
        name: confidence[at_source & (group == number)].min(initial=np.inf).item()
        for number, name in enumerate(classes)
    }
    return in_table & ~is_drawn, borders


def common_classes(known: Array, predictions: Array) -> tuple[list[str | None], Array]:
    """Return None, then the classes that are common among the known predictions.

    The second result, int [n], is the position of the class of each prediction, 0 for all others.
    """
    names, counts = np.unique(known, return_counts=True)
    names = names[counts >= LEAST_COMMON * len(known)]
    is_common = np.isin(predictions, names)
    return [None, *names.tolist()], is_common * (np.searchsorted(names, predictions) + 1)


def removal_order(
    confidence: Array, group: Array, known: Array, is_drawn: Array, wrong: Array, ties: Array
) -> Array:
    """Return the rows in the order of removal: always from the group of largest risk.

    Of a group, the least confident row is removed. Its risk is the share of wrong ones among the
    last RECENT open labels of the group and PRIOR labels at the risk ½ (1 − rank)².
    """
    ranks = np.searchsorted(np.sort(confidence[known]), confidence) / (known.sum() + 1)
    order = np.lexsort((ties, confidence, group))
    risk = np.empty(len(order))
    for number in np.unique(group):
        rows = order[group[order] == number]
        risk[rows] = lowest_risks(wrong[rows], is_drawn[rows], (1 - ranks[rows]) ** 2 / 2)
    return np.lexsort((ties, confidence, group, -risk))


def lowest_risks(wrong: Array, is_drawn: Array, prior: Array) -> Array:
    """Return the lowest risk of a group up to each of its rows, float64 [m], in their order.

    If the risk of a group rises, its rows are removed until it is below its lowest risk again. So
    the rows of all groups, by decreasing lowest risk, are in the order of removal.
    """
    opened = np.cumsum(is_drawn) - is_drawn  # before each row
    recent = np.minimum(opened, RECENT)
    errors = np.append(0, np.cumsum(wrong[is_drawn]))
    risk = (errors[opened] - errors[opened - recent] + PRIOR * prior) / (recent + PRIOR)
    return np.minimum.accumulate(risk)


def errors_allowed(rows: int, labels: int, epsilon: float, delta: float) -> list[int]:
    """Return how many labels of remaining rows may be wrong, for the table and for its source.

    Suppose that i + k + 1 of the rows are wrong, k = ⌊ε rows⌋. If a draw of labels then has at most
    i of these with probability at most δ, i errors are allowed for the table. For the source, they
    are allowed if P(Binomial(labels, ε) ≤ i) ≤ δ. Both probabilities rise with i, so that all
    smaller numbers are allowed, too. −1 means that no row may remain.
    """
    may_stay = int(epsilon * rows + 1e-9)
    chances_of = (
        lambda i: hypergeom.cdf(i, rows, min(rows, i + may_stay + 1), labels),
        lambda i: binom.cdf(i, labels, epsilon),
    )
    return [bisect_right(range(labels), delta, key=each) - 1 for each in chances_of]


def usual_labels(rows: int, epsilon: float, delta: float) -> int:
    """Return a number of labels that needs few calls.

    It is 1.5 rows^⅔, or the least number that allows ENOUGH_ERRORS for the table, or all rows.
    """
    usual = min(rows, round(1.5 * rows ** (2 / 3)))
    return usual + bisect_left(
        range(usual, rows),
        ENOUGH_ERRORS,
        key=lambda labels: errors_allowed(rows, labels, epsilon, delta)[0],
    )
