"""Peeling: decide which rows of a table keep the answer of a small model.

Rows are removed, those with the largest risk of a wrong answer first. Rows that remain keep their
answers. One uniform draw of labels serves two purposes. The labels of removed rows are *open*: the
fit of the risks uses them. The labels of remaining rows stay hidden, and only the number of wrong
ones decides when the removal ends. docs/guarantees.md has the proof.

The *border* of a predicted class is the confidence up to which its rows are removed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit, logit
from scipy.stats import binom, hypergeom, norm

from ..methods.expected import ridge_logistic
from .p_values import share_above

STEPS = 200  # approximate number of fits until a full table is removed
RISK_MARGIN = 1.0  # standard errors that are added to the log odds at a border
RIDGE = 2.0  # penalty on the difference between the curve of a predicted class and the common curve
MOST_WEIGHT = 500  # largest total weight of the labels of a fit, so that the ridge has influence
LEAST_COMMON = 0.05  # least share of the rows of a predicted class that has its own border
# The pilot is a first draw of labels. It estimates how many certifying labels are needed.
PILOT = 200  # labels of the pilot
# Certifying labels are drawn when (expected wrong rows) ÷ (allowed wrong rows) falls to this ratio.
OPEN_UNTIL = 2.5
# More labels are drawn than the number that minimizes the expected calls, by this factor.
SPARE = 1.25
DRAWS = np.unique(np.geomspace(60, 8_000, 28).round().astype(int))  # numbers of labels compared
# The source is the distribution of the rows. This fraction of δ is spent on the bound on the
# probability that a row of the source remains.
REMAINDER = 1 / 10


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
    allowed : (int, int)
        The allowed numbers of wrong labels among the remaining rows. The first number is for the
        rows of the table, the second for new rows of its source. −1 means that no row can remain.
    """

    kept: Array
    classes: list[str]
    borders: Array
    labels: int
    allowed: tuple[int, int]


@dataclass(eq=False)
class Peel:
    """The state of peeling. Rows are removed in chunks, from the class with the riskiest border.

    Parameters
    ----------
    confidence, score : float64 arrays of shape (n,)
        The confidence, and the transform of it that the fit uses.
    group : int array of shape (n,)
        The number of the predicted class.
    inside : int array
        Rows that may be removed.
    ties : float64 array of shape (n,)
        The order of removal at equal confidence.
    pilot : int array
        Rows that are neither removed nor drawn. They estimate the risks of the remaining rows.
    borders : float64 array of shape (n_groups,)
        The score at which the removal of each class starts.
    """

    confidence: Array
    score: Array
    group: Array
    inside: Array
    ties: Array
    pilot: Array
    borders: Array

    def __post_init__(self) -> None:
        order = self.inside[np.lexsort((self.ties[self.inside], self.confidence[self.inside]))]
        groups = range(len(self.borders))
        self.borders = self.borders.copy()
        self.last_removed = np.full(len(groups), np.nan)  # the confidence of each class's last row
        self.queues = [order[self.group[order] == number] for number in groups]
        self.counts = np.zeros(len(groups), int)  # removed rows of each class
        self.chunk = max(1, len(order) // STEPS)
        self.is_open = np.zeros(len(self.group), bool)
        self.wrong = self.is_open.copy()  # False if the label is not open
        self.curve = prior_curve(len(groups))
        self.chunks = [np.empty(0, int)]

    @property
    def removed(self) -> Array:
        """The removed rows, in the order of removal."""
        return np.concatenate(self.chunks)

    def log_odds(self, score: Array, group: Array) -> tuple[Array, Array]:
        """Fit the open labels, and return log odds of a wrong answer with their standard errors.

        Both results are float64 [rows], for rows with these scores and classes.
        """
        known = np.flatnonzero(self.is_open)
        seen = design(self.score[known], self.group[known], len(self.queues))
        self.curve, spread = fitted_curve(seen, self.wrong[known], self.curve)
        columns = design(score, group, len(self.queues))
        return columns @ self.curve, np.sqrt(np.sum(columns @ spread * columns, axis=1))

    def remaining_risks(self) -> Array:
        """Return estimated risks of the remaining rows.

        Labels must not be drawn according to the confidences of the remaining rows. So the risks
        are those of pilot rows, with a confidence above that of the last removed row.
        """
        count = len(self.inside) - len(self.removed)
        is_removed = self.confidence[self.pilot] <= self.last_removed[self.group[self.pilot]]
        rows = self.pilot[~is_removed]
        if not len(rows):
            return np.ones(count)
        risks = expit(self.log_odds(self.score[rows], self.group[rows])[0])
        return risks[np.arange(count) * len(rows) // max(1, count)]

    def border_risks(self) -> Array:
        """Return upper bounds on the log odds at the border of each class, float64 [n_groups].

        The bound is the estimate plus RISK_MARGIN standard errors. Without this margin, a class
        that seems safe by few labels would never get further labels.
        """
        value, error = self.log_odds(self.borders, np.arange(len(self.borders)))
        return value + RISK_MARGIN * error

    def remove_next(self) -> Array:
        """Remove and return the next chunk of rows, or no row if none remains.

        It comes from the queue with the riskiest border. Rows of equal confidence are removed
        together.
        """
        has_rows = self.counts < [len(queue) for queue in self.queues]
        if not has_rows.any():
            return self.chunks[0]
        group = int(np.argmax(np.where(has_rows, self.border_risks(), -np.inf)))
        queue = self.queues[group]
        start = self.counts[group]
        last = queue[start : start + self.chunk][-1]
        self.counts[group] = np.searchsorted(
            self.confidence[queue], self.confidence[last], side="right"
        )
        self.borders[group] = self.score[last]
        self.last_removed[group] = self.confidence[last]
        rows = queue[start : self.counts[group]]
        self.chunks.append(rows)
        return rows

    def borders_after(self, removed: int) -> Array:
        """Return the confidence of the last row of each class among the first ``removed`` rows.

        It is −inf if no row of the class is removed, and inf if all rows are.
        """
        borders = np.full(len(self.queues), np.inf)
        counts = np.bincount(self.group[self.removed[:removed]], minlength=len(borders))
        for number, queue in enumerate(self.queues):
            if 0 < counts[number] < len(queue):
                borders[number] = self.confidence[queue[counts[number] - 1]]
            elif len(queue) > counts[number]:
                borders[number] = -np.inf
        return borders

    def open_labels(self, rows: Array, wrong: Array) -> None:
        """Use the labels of ``rows`` in later fits."""
        self.is_open[rows] = True
        self.wrong[rows] = wrong


def peel_table(
    confidence: Array,
    predictions: Array,
    wrong_at: Callable[[Array], Array],
    epsilon: float,
    delta: float,
    labels: int | None = None,
    *,
    seed: int,
) -> Peeled:
    """Remove rows until at most ε of a table's rows keep a wrong answer, with probability 1 − δ.

    Parameters
    ----------
    confidence : float64 array of shape (n,)
    predictions : str array of shape (n,)
    wrong_at : callable
        Function from rows to bool: whether the small model's answers are wrong. It costs a label
        per row.
    epsilon, delta : float
    labels : int, optional
        The number of labels that certify. By default it is estimated from a pilot.
    seed : int
        Seed of the draw of the labels, and of the order of rows of equal confidence.
    """
    count = len(confidence)
    may_stay = epsilon * count
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(count)
    ties = rng.random(count)
    first = shuffled[: PILOT if labels is None else labels]
    others = shuffled[len(first) :]
    wrong = np.zeros(count, bool)
    wrong[first] = wrong_at(first)
    if labels is None:
        classes, peel = start_peeling(confidence, predictions, others, first, ties)
        peel.open_labels(first, wrong[first])
        drawn = draw_certifying_labels(peel, wrong_at, may_stay, delta)
        wrong[drawn] = wrong_at(drawn)
    else:
        outside = others if len(others) else first
        classes, peel = start_peeling(confidence, predictions, shuffled, outside, ties)
        drawn = first
    start = len(peel.removed)
    rows = len(peel.inside)
    allowed = (
        errors_allowed(rows - start, may_stay, len(drawn), delta),
        errors_allowed_at_source(len(drawn), epsilon, delta, start, rows),
    )
    is_drawn = np.isin(np.arange(count), drawn)
    kept = ~(is_drawn | peel.is_open)
    hidden = wrong & is_drawn
    ends = [max(start, end) for end in remove_until(peel, is_drawn, hidden, allowed)]
    kept[peel.removed[: ends[0]]] = False
    return Peeled(kept, classes, peel.borders_after(ends[1]), len(drawn), allowed)


def draw_certifying_labels(
    peel: Peel, wrong_at: Callable[[Array], Array], may_stay: float, delta: float
) -> Array:
    """Remove and label rows until few wrong ones are expected, and draw rows that certify.

    They are the first ones of ``peel.inside``, which is in random order, that are not removed.
    """
    while peel.remaining_risks().sum() > OPEN_UNTIL * may_stay:
        rows = peel.remove_next()
        peel.open_labels(rows, wrong_at(rows))
    labels = planned_labels(peel.remaining_risks(), may_stay, delta)
    return peel.inside[~peel.is_open[peel.inside]][:labels]


def remove_until(peel: Peel, is_drawn: Array, hidden: Array, allowed: tuple[int, int]) -> list[int]:
    """Remove rows until at most each number of ``allowed`` hidden errors remains.

    ``hidden``, bool [n], are the wrong ones of the drawn rows. Their labels are opened when they
    are removed. Returns the numbers of removed rows at which each limit is reached.
    """
    remaining = hidden.sum()
    while remaining > min(allowed) and len(rows := peel.remove_next()):
        drawn = rows[is_drawn[rows]]
        peel.open_labels(drawn, hidden[drawn])
        remaining -= hidden[rows].sum()
    falling = hidden.sum() - np.append(0, np.cumsum(hidden[peel.removed]))
    return [first_at_most(falling, most) for most in allowed]


def start_peeling(
    confidence: Array, predictions: Array, inside: Array, outside: Array, ties: Array
) -> tuple[list[str], Peel]:
    """Return the common classes, and the state before any of the rows ``inside`` is removed.

    The order of removal must not depend on the remaining rows. Classes and scales are therefore
    computed from the rows ``outside``, which do not certify.
    """
    classes, group = common_classes(predictions, outside)
    score = fitted_scores(confidence, outside)
    lowest = np.full(len(classes) + 1, score[outside].min())
    for number in range(len(classes)):
        lowest[number] = score[outside[group[outside] == number]].min()
    return classes, Peel(confidence, score, group, inside, ties, outside, lowest)


def first_at_most(falling: Array, most: int) -> int:
    """Return the first position at which falling counts, int [n + 1], are ≤ ``most``, or n."""
    below = falling <= most
    return int(below.argmax()) if below.any() else len(falling) - 1


def largest_allowed(chances: Array, delta: float) -> int:
    """Return the largest c with chances[i] ≤ δ for every i ≤ c, or −1 if there is none."""
    return int(np.logical_and.accumulate(chances <= delta).sum()) - 1


def errors_allowed(rows: int, may_stay: float, labels: int, delta: float) -> int:
    """Return how many of ``labels``, a uniform draw from ``rows``, may be wrong.

    ``may_stay`` is the allowed number of wrong rows outside the draw. Suppose that i + may_stay + 1
    rows are wrong. If a draw then contains at most i of these with probability at most δ, i errors
    are allowed. −1 means that no row can remain.
    """
    if labels >= rows:
        return labels
    may_stay = int(may_stay + 1e-9)
    mean = labels * (may_stay + 1) / (rows - labels)  # an upper bound on the result
    wrong = np.arange(min(int(mean) + 2, labels, rows - may_stay))
    return largest_allowed(hypergeom.cdf(wrong, rows, wrong + may_stay + 1, labels), delta)


def errors_allowed_at_source(
    labels: int, epsilon: float, delta: float, removed: int, rows: int
) -> int:
    """Return the number of errors that are allowed for the source of ``rows`` independent rows.

    ``removed`` of these rows were removed before the draw. Let q be an upper bound on the share of
    the source that remains. Then i errors are allowed if P(Binomial(labels, ε / q) ≤ i) ≤ δ.
    """
    share = 1.0
    chunk = max(1, rows // STEPS)
    # Round to one of rows // chunk numbers fixed in advance, so that a union bound applies.
    counted = removed // chunk * chunk
    if removed:
        level = delta * REMAINDER * chunk / rows
        share = share_above(rows - counted, rows, level)
        delta = delta * (1 - REMAINDER)
    wrong = np.arange(labels)
    return largest_allowed(binom.cdf(wrong, labels, min(1.0, epsilon / share)), delta)


def planned_labels(chances: Array, may_stay: float, delta: float) -> int:
    """Return the number of labels that minimizes the expected number of calls, with some to spare.

    ``chances``, float64 [n], are the probabilities that rows are wrong.
    """
    rows = len(chances)
    caught = np.append(0, np.cumsum(np.sort(chances)[::-1]))
    wrong_left = caught[-1] - caught
    fewest = np.inf
    best = 0
    for labels in DRAWS[DRAWS < rows].tolist():
        allowed = errors_allowed(rows, may_stay, labels, delta)
        removed = rows
        if allowed >= 0:
            removed = first_at_most(wrong_left, (allowed + 0.5) * rows / labels)
        calls = removed + labels * (rows - removed) / rows
        if calls < fewest:
            fewest = calls
            best = labels
    return min(rows, round(SPARE * best))


def common_classes(predictions: Array, outside: Array) -> tuple[list[str], Array]:
    """Return the common predicted classes of the rows ``outside``, and the group of each row.

    The group, int [n], is the position of the class. All other classes form the last group.
    """
    names, counts = np.unique(predictions[outside], return_counts=True)
    names = names[counts >= LEAST_COMMON * len(outside)]
    group = np.searchsorted(names, predictions)
    is_rare = ~np.isin(predictions, names)
    return names.tolist(), np.where(is_rare, len(names), group)


def fitted_scores(confidence: Array, outside: Array) -> Array:
    """Return the transform of the confidences that the fit uses, float64 [n].

    Confidences in [0, 1] become logits. Other confidences become the normal scores of their ranks
    among the rows ``outside``.
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
    """Return the coefficients before any label is known: the risk falls with the confidence."""
    curve = np.zeros((2, groups + 1))
    curve[:, 0] = -2, -1
    return curve.ravel()


def fitted_curve(columns: Array, wrong: Array, curve: Array) -> tuple[Array, Array]:
    """Return the logistic ridge regression of ``wrong``, bool [m], on columns of :func:`design`.

    The iteration starts at ``curve``. The common constant and slope have almost no penalty. The
    results are the coefficients and their covariance.
    """
    groups = len(curve) // 2 - 1
    penalties = np.full((2, groups + 1), RIDGE)
    penalties[:, 0] = 1e-3, 0.1
    weight = min(1.0, MOST_WEIGHT / max(1, len(wrong)))
    prior = prior_curve(groups)
    return ridge_logistic(columns, wrong, penalties.ravel(), prior, curve, weight)
