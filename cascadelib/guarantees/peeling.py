"""Peeling: choose the rows of a table that may keep a small model's answer.

The labels of one uniform draw both order the rows and certify the remaining ones. The proof is in
docs/guarantees.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit, logit
from scipy.stats import beta, binom, hypergeom, norm

from ..methods.expected import ridge_logistic

STEPS = 200  # approximate number of fits for a full table
CURIOSITY = 1.0  # standard errors of the log odds that are added to a border's risk
RIDGE = 2.0  # penalty on the difference of each predicted class from the common curve
MOST_WEIGHT = 500  # total weight of the labels of a fit, so that the ridge keeps its influence
COMMON = 0.05  # least share of the rows for a predicted class with its own border
PILOT = 200  # labels that are open from the start if the number of labels is chosen here
TO_LEAVE = 2.5  # wrong rows before the certifying draw, relative to the allowed number
SPARE = 1.25  # labels relative to the number that the fitted risks require
SPARE_IN_MEAN = 2.5  # the same without δ: half the spread for the same number of calls
DRAWS = np.unique(np.geomspace(60, 8_000, 28).round().astype(int))  # numbers of labels compared
SPENT = 1 / 10  # share of δ for the bound on the share of the source that remains before the draw


@dataclass(frozen=True, eq=False)
class Peeled:
    """The result of :func:`peel_table`.

    Parameters
    ----------
    kept : bool array of shape (n,)
        Rows that keep the small model's answer.
    classes : list of str
        Predicted classes with their own border.
    borders : float64 array of shape (n_classes + 1,)
        A new row keeps its answer above the border of its class. The last border is that of all
        other classes.
    labels : int
        The number of labels of the certifying draw.
    allowed : (int, int) or None
        The number of these labels that may be wrong among the remaining rows, for the table and for
        its source. −1: the certificate would fail even without errors.
    """

    kept: Array
    classes: list[str]
    borders: Array
    labels: int
    allowed: tuple[int, int] | None = None


class Peel:
    """The state of peeling: rows are removed in chunks, from the class with the riskiest border.

    Parameters
    ----------
    confidence, score : float64 arrays of shape (n,)
        The confidence, and its transform that the fit reads.
    group : int array of shape (n,)
        The predicted class.
    inside : int array
        Rows that may be removed.
    ties : float64 array of shape (n,)
        The order of removal at equal confidence.
    pilot : int array
        Rows that are neither removed nor drawn. They estimate the risk of the remaining rows.
    borders : float64 array of shape (n_groups,)
        The score at which the removal of each class starts.
    """

    def __init__(
        self,
        confidence: Array,
        score: Array,
        group: Array,
        inside: Array,
        ties: Array,
        pilot: Array,
        borders: Array,
    ) -> None:
        order = inside[np.lexsort((ties[inside], confidence[inside]))]
        self.confidence = confidence
        self.score = score
        self.group = group
        self.pilot = pilot
        self.borders = borders.copy()
        self.removed_up_to = np.full(len(borders), np.nan)  # in confidence
        self.queues = [order[group[order] == one] for one in range(len(borders))]
        self.taken = np.zeros(len(borders), int)
        self.chunk = max(1, len(inside) // STEPS)
        self.opened = np.zeros(len(group), bool)
        self.wrong = np.zeros(len(group), bool)  # False if the label is not open
        self.curve = prior_curve(len(borders))
        self.gone = [np.empty(0, int)]

    @property
    def order(self) -> Array:
        """The removed rows, in the order of removal."""
        return np.concatenate(self.gone)

    def left(self, group: int) -> Array:
        """The remaining rows of one class, in the order of removal."""
        return self.queues[group][self.taken[group] :]

    def log_odds(self, score: Array, group: Array) -> tuple[Array, Array]:
        """Return the log odds that rows of these scores and classes are wrong, and their errors.

        The fit uses all open labels. Both results are float64 [rows]. The errors are standard
        errors.
        """
        known = np.flatnonzero(self.opened)
        seen = design(self.score[known], self.group[known], len(self.queues))
        self.curve, spread = fitted_curve(seen, self.wrong[known], self.curve)
        columns = design(score, group, len(self.queues))
        return columns @ self.curve, np.sqrt(np.sum(columns @ spread * columns, axis=1))

    def risks_left(self, *groups: int) -> Array:
        """Return risks of the remaining rows of all or some classes: those of the pilot there.

        The confidences of the remaining rows must not decide when the certifying labels are drawn,
        or how many.
        """
        groups = groups or tuple(range(len(self.queues)))
        left = sum(len(self.left(group)) for group in groups)
        removed = self.confidence[self.pilot] <= self.removed_up_to[self.group[self.pilot]]
        rows = self.pilot[~removed & np.isin(self.group[self.pilot], groups)]
        if not len(rows):
            return np.ones(left)
        risks = expit(self.log_odds(self.score[rows], self.group[rows])[0])
        return risks[np.arange(left) * len(rows) // max(1, left)]

    def risks(self) -> Array:
        """Return upper bounds on the log odds at the border of each class, float64 [groups].

        With estimates, a class that seems safe by few labels would never get further labels.
        """
        value, error = self.log_odds(self.borders, np.arange(len(self.borders)))
        return value + CURIOSITY * error

    def take(self, group: int | None = None) -> Array:
        """Remove and return the next rows, all of equal confidence together, or none at the end.

        They come from the queue of ``group``, or from the one with the riskiest border.
        """
        waiting = self.taken < [len(queue) for queue in self.queues]
        if not waiting.any():
            return self.gone[0]
        if group is None:
            group = int(np.argmax(np.where(waiting, self.risks(), -np.inf)))
        queue = self.queues[group]
        start = self.taken[group]
        last = queue[start : start + self.chunk][-1]
        self.taken[group] = np.searchsorted(
            self.confidence[queue], self.confidence[last], side="right"
        )
        self.borders[group] = self.score[last]
        self.removed_up_to[group] = self.confidence[last]
        rows = queue[start : self.taken[group]]
        self.gone.append(rows)
        return rows

    def open(self, rows: Array, wrong: Array) -> None:
        """Add the labels of ``rows`` to the next fit."""
        self.opened[rows] = True
        self.wrong[rows] = wrong


def peel_table(
    confidence: Array,
    predictions: Array,
    wrong_at: Callable[[Array], Array],
    epsilon: float,
    delta: float | None,
    labels: int | None = None,
    seed: int = 0,
) -> Peeled:
    """Remove rows until at most ε of a table's rows keep a wrong answer.

    Parameters
    ----------
    confidence : float64 array of shape (n,)
    predictions : str array of shape (n,)
    wrong_at : callable
        Function from rows to bool: which of them are wrong. It costs a label per row.
    epsilon : float
    delta : float or None
        The share holds with probability 1 − δ. None: its mean over the draws of labels is at most
        ε.
    labels : int, optional
        The number of labels that certify. By default it is estimated from a pilot, which the mean
        always has.
    seed : int, default=0
    """
    count = len(confidence)
    may_stay = epsilon * count
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(count)
    ties = rng.random(count)
    coin = rng.random()
    has_pilot = labels is None or delta is None
    size = PILOT if has_pilot else labels
    first = shuffled[:size]
    others = shuffled[size:]
    wrong = np.zeros(count, bool)
    wrong[first] = wrong_at(first)
    inside = others if has_pilot else shuffled
    outside = first if has_pilot or not len(others) else others
    classes, peel = start_of(confidence, predictions, inside, outside, ties)
    drawn = first
    if has_pilot:
        peel.open(first, wrong[first])
        if labels is None:
            peel_openly(peel, wrong_at, TO_LEAVE * may_stay)
            labels = planned_labels(peel.risks_left(), may_stay, delta)
        drawn = others[~peel.opened[others]][:labels]
        wrong[drawn] = wrong_at(drawn)
    start = len(peel.order)
    of_table = errors_allowed(len(inside) - start, may_stay, len(drawn), delta)
    of_source = errors_allowed_at_source(len(drawn), epsilon, delta, start, len(inside))
    allowed = (int(np.floor(of_table + coin)), int(np.floor(of_source + coin)))
    certify = np.zeros(count, bool)
    certify[drawn] = True
    kept = ~(certify | peel.opened)
    caught = peel_down(peel, certify, wrong & certify, min(allowed), delta is not None)
    order = peel.order
    ends = [max(start, first_at_most(caught, most)) for most in allowed]
    kept[order[: ends[0]]] = False
    borders = borders_after(order[: ends[1]], peel, confidence)
    return Peeled(kept, classes, borders, len(drawn), allowed)


def start_of(
    confidence: Array, predictions: Array, inside: Array, outside: Array, ties: Array
) -> tuple[list[str], Peel]:
    """Return the common classes, and the state before any of the rows ``inside`` is removed.

    Classes and scales come from rows that do not certify, ``outside``: the order in which other
    rows are removed may depend on removed rows only.
    """
    classes, group = common_classes(predictions, outside)
    score = fitted_scores(confidence, outside)
    lowest = np.full(len(classes) + 1, score[outside].min())
    for one in range(len(classes)):
        lowest[one] = score[outside[group[outside] == one]].min()
    return classes, Peel(confidence, score, group, inside, ties, outside, lowest)


def peel_openly(peel: Peel, wrong_at: Callable[[Array], Array], most: float) -> None:
    """Remove rows and open their labels until at most ``most`` others are expected wrong."""
    while peel.risks_left().sum() > most:
        rows = peel.take()
        peel.open(rows, wrong_at(rows))


def peel_down(peel: Peel, certify: Array, wrong: Array, most: int, opens: bool) -> Array:
    """Remove rows until at most ``most`` of the ``wrong`` rows, bool [n], remain.

    If ``opens``, the labels of removed rows in ``certify``, bool [n], are opened. Return the number
    of remaining wrong rows after 0, 1, … removals.
    """
    inside = wrong.sum()
    while inside > most and len(rows := peel.take()):
        labelled = rows[certify[rows] & opens]
        peel.open(labelled, wrong[labelled])
        inside -= wrong[rows].sum()
    return wrong.sum() - np.append(0, np.cumsum(wrong[peel.order]))


def first_at_most(falling: Array, most: int) -> int:
    """Return the first position at which falling counts, int [n + 1], are ≤ most, or n."""
    below = falling <= most
    return int(below.argmax()) if below.any() else len(falling) - 1


def borders_after(gone: Array, peel: Peel, confidence: Array) -> Array:
    """Return the confidence of the last removed row of each class, float64 [classes].

    −inf if no row of the class is removed, inf if all rows are removed.
    """
    borders = np.full(len(peel.queues), np.inf)
    counts = np.bincount(peel.group[gone], minlength=len(borders))
    for one, queue in enumerate(peel.queues):
        if 0 < counts[one] < len(queue):
            borders[one] = confidence[queue[counts[one] - 1]]
        elif len(queue) > counts[one]:
            borders[one] = -np.inf
    return borders


def used_up(chances: Array, delta: float) -> float:
    """Return the largest c with chances[i] ≤ δ for every i ≤ c, or −1 if there is none.

    A fraction is added to c: the probability with which c + 1 is used instead, so that all of δ is
    spent.
    """
    most = int(np.logical_and.accumulate(chances <= delta).sum()) - 1
    if most < 0 or most + 1 == len(chances):
        return float(most)
    return float(most + (delta - chances[most]) / (chances[most + 1] - chances[most]))


def used_up_in_mean(share: float, labels: int) -> float:
    """Return the c with (c + 1) ÷ (labels + 1) = share, or −1 if it is negative.

    That is the mean share of wrong rows above the (c + 1)-th wrong one of the draw from the top.
    """
    most = share * (labels + 1) - 1
    return most if most >= 0 else -1.0


def errors_allowed(rows: int, may_stay: float, labels: int, delta: float | None) -> float:
    """Return the number of ``labels``, a uniform draw of ``rows``, that may be wrong.

    i errors are allowed if a draw from rows with i + may_stay + 1 wrong ones has at most i of them
    with probability at most δ. The result has the form of :func:`used_up`. Without δ the mean
    number of wrong rows that stay is at most may_stay.
    """
    if labels >= rows:
        return float(labels)
    if delta is None:
        return used_up_in_mean(may_stay / (rows - labels), labels)
    may_stay = int(may_stay + 1e-9)
    mean = labels * (may_stay + 1) / (rows - labels)  # an upper bound on the result
    wrong = np.arange(min(int(mean) + 2, labels, rows - may_stay))
    return used_up(hypergeom.cdf(wrong, rows, wrong + may_stay + 1, labels), delta)


def errors_allowed_at_source(
    labels: int, epsilon: float, delta: float | None, gone: int, rows: int
) -> float:
    """Return the number of errors allowed for the source of ``rows`` independent rows.

    ``gone`` rows were removed before the draw. i errors are allowed if
    P(Binomial(labels, ε / q) ≤ i) ≤ δ, with q a bound on the share of the source that remains.
    Without δ, q is its mean.
    """
    if delta is None:
        return used_up_in_mean(epsilon * (rows + 1) / (rows - gone + 1), labels)
    share = 1.0
    chunk = max(1, rows // STEPS)
    counted = gone // chunk * chunk  # a number that was fixed in advance, one of rows // chunk
    if gone:
        level = delta * SPENT * chunk / rows
        share = float(beta.isf(level, rows - counted + 1, counted)) if counted else 1.0
        delta = delta * (1 - SPENT)
    wrong = np.arange(labels)
    return used_up(binom.cdf(wrong, labels, min(1.0, epsilon / share)), delta)


def planned_labels(chances: Array, may_stay: float, delta: float | None) -> int:
    """Return the number of labels that minimizes labels plus removed rows.

    ``chances``, float64 [n], are the probabilities that rows are wrong.
    """
    rows = len(chances)
    leave = np.append(0, np.cumsum(np.sort(chances)[::-1]))
    left = leave[-1] - leave
    fewest = np.inf
    best = 0
    for labels in DRAWS[DRAWS < rows].tolist():
        allowed = errors_allowed(rows, may_stay, labels, delta)
        gone = rows
        if allowed >= 0:
            gone = first_at_most(left, (allowed + 0.5) * rows / labels)
        calls = gone + labels * (rows - gone) / rows
        if calls < fewest:
            fewest = calls
            best = labels
    return min(rows, round((SPARE_IN_MEAN if delta is None else SPARE) * best))


def common_classes(predictions: Array, outside: Array) -> tuple[list[str], Array]:
    """Return the common predicted classes of the rows ``outside``, and the group of each row.

    The group, int [n], is the position of the class, or the number of classes for other ones.
    """
    names, counts = np.unique(predictions[outside], return_counts=True)
    names = names[counts >= COMMON * len(outside)]
    group = np.searchsorted(names, predictions)
    elsewhere = ~np.isin(predictions, names)
    return names.tolist(), np.where(elsewhere, len(names), group)


def fitted_scores(confidence: Array, outside: Array) -> Array:
    """Return the transform of the confidences that the fit reads, float64 [n].

    Confidences in [0, 1] become logits. Other confidences become normal scores of their ranks among
    the rows ``outside``.
    """
    finite = confidence[np.isfinite(confidence)]
    if ((finite >= 0) & (finite <= 1)).all():
        return logit(np.clip(confidence, 1e-6, 1 - 1e-6))
    ordered = np.sort(confidence[outside])
    below = np.searchsorted(ordered, confidence)
    rank = (below + np.searchsorted(ordered, confidence, "right") + 1) / 2
    return norm.ppf(rank / (len(ordered) + 1))


def design(score: Array, group: Array, groups: int) -> Array:
    """Return the columns of the fit, float64 [n, 2 + 2 groups].

    These are a constant and an indicator per class, then the same columns times the score.
    """
    constants = np.column_stack([np.ones(len(score)), group[:, None] == np.arange(groups)])
    return np.hstack([constants, constants * score[:, None]])


def prior_curve(groups: int) -> Array:
    """Return coefficients without labels: risk falls with confidence, equally for all classes."""
    curve = np.zeros((2, groups + 1))
    curve[:, 0] = -2, -1
    return curve.ravel()


def fitted_curve(columns: Array, wrong: Array, curve: Array) -> tuple[Array, Array]:
    """Return the logistic ridge regression of ``wrong``, bool [m], on columns of :func:`design`.

    It starts from ``curve``. The common constant and slope have almost no penalty.
    """
    groups = len(curve) // 2 - 1
    penalties = np.full((2, groups + 1), RIDGE)
    penalties[:, 0] = 1e-3, 0.1
    weight = min(1.0, MOST_WEIGHT / max(1, len(wrong)))
    prior = prior_curve(groups)
    return ridge_logistic(columns, wrong, penalties.ravel(), prior, curve, weight)
