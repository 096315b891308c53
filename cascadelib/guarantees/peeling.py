"""Peeling: which rows of a table may keep a small model's answer, where all labels of one uniform
draw both order the rows and certify what is left of them (docs/guarantees.md has the argument)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit, logit
from scipy.stats import beta, binom, hypergeom, norm

from ..methods.expected import ridge_logistic

STEPS = 200  # about as many fits as a whole table takes
CURIOSITY = 1.0  # standard errors of the log odds that a border's risk is raised by
RIDGE = 2.0  # pulls each predicted class towards the curve of all
MOST_WEIGHT = 500  # of all labels of a fit together, so that many of them do not silence the ridge
COMMON = 0.05  # share of the rows from which on a predicted class has a border of its own
PILOT = 200  # labels that are open from the start, where their number is chosen here
TO_LEAVE = 2.5  # times as many wrong rows as may stay are left before the certifying draw
SPARE = 1.25  # times the labels that the fitted risks call for
DRAWS = np.unique(np.geomspace(60, 8_000, 28).round().astype(int))  # numbers of labels compared
SPENT = 1 / 10  # of δ, on the bound on what share of the source is left before the draw


@dataclass(frozen=True, eq=False)
class Peeled:
    """What :func:`peel_table` found.

    kept: bool [n], rows that keep the small model's answer. classes: those with a border of their
    own; borders: float64 [classes + 1], the last one for all other classes: a new row keeps its
    answer above it. labels: of the certifying draw; allowed: how many of them may be wrong among
    the rows that are left, for the table and for its source (−1: not even none would do).
    """

    kept: Array
    classes: list[str]
    borders: Array
    labels: int
    allowed: tuple[int, int]


class Peel:
    """Rows leave a chunk at a time, the class with the riskiest border first, by ``opened`` labels.

    confidence: float64 [n]; score: float64 [n], as the fit reads it; group: int [n], the predicted
    class; inside: rows that may leave; ties: float64 [n], who leaves first at equal confidence;
    borders: float64 [groups], the scores from which on rows of each class leave.
    """

    def __init__(
        self,
        confidence: Array,
        score: Array,
        group: Array,
        inside: Array,
        ties: Array,
        borders: Array,
    ) -> None:
        order = inside[np.lexsort((ties[inside], confidence[inside]))]
        self.confidence = confidence
        self.score = score
        self.group = group
        self.borders = borders.copy()
        self.queues = [order[group[order] == one] for one in range(len(borders))]
        self.taken = np.zeros(len(borders), int)
        self.chunk = max(1, len(inside) // STEPS)
        self.opened = np.zeros(len(group), bool)
        self.wrong = np.zeros(len(group), bool)  # where it is known
        self.curve = prior_curve(len(borders))
        self.gone = [np.empty(0, int)]

    @property
    def order(self) -> Array:
        """Rows that have left, the first one first."""
        return np.concatenate(self.gone)

    @property
    def left(self) -> Array:
        """Rows that have not left."""
        return np.concatenate([queue[at:] for queue, at in zip(self.queues, self.taken)])

    def log_odds(self, score: Array, group: Array) -> tuple[Array, Array]:
        """Log odds that rows of these scores and classes are wrong, by all labels opened so far,
        and their standard errors: float64 [rows] each."""
        known = np.flatnonzero(self.opened)
        seen = design(self.score[known], self.group[known], len(self.queues))
        self.curve, spread = fitted_curve(seen, self.wrong[known], self.curve)
        columns = design(score, group, len(self.queues))
        return columns @ self.curve, np.sqrt(np.sum(columns @ spread * columns, axis=1))

    def chances(self, rows: Array) -> Array:
        """The chance that each of ``rows`` is wrong, float64 [rows]."""
        return expit(self.log_odds(self.score[rows], self.group[rows])[0])

    def risks(self) -> Array:
        """Log odds at each class's border, float64 [groups], raised where little is known: a class
        that looks safe by few labels would never get others."""
        value, error = self.log_odds(self.borders, np.arange(len(self.borders)))
        return value + CURIOSITY * error

    def take(self) -> Array:
        """The next rows to leave, all of equal confidence together; none where all have left."""
        waiting = self.taken < [len(queue) for queue in self.queues]
        if not waiting.any():
            return self.gone[0]
        group = np.argmax(np.where(waiting, self.risks(), -np.inf))
        queue = self.queues[group]
        start = self.taken[group]
        last = queue[start : start + self.chunk][-1]
        self.taken[group] = np.searchsorted(
            self.confidence[queue], self.confidence[last], side="right"
        )
        self.borders[group] = self.score[last]
        rows = queue[start : self.taken[group]]
        self.gone.append(rows)
        return rows

    def open(self, rows: Array, wrong: Array) -> None:
        """From the next fit on the labels of ``rows`` count."""
        self.opened[rows] = True
        self.wrong[rows] = wrong


def peel_table(
    confidence: Array,
    predictions: Array,
    wrong_at: Callable[[Array], Array],
    epsilon: float,
    delta: float,
    labels: int | None = None,
    seed: int = 0,
) -> Peeled:
    """Peel until at most ε of the rows of a table keep a wrong answer, with probability 1 − δ.

    confidence: float64 [n]; predictions: text [n]; wrong_at: which of some rows are wrong, bool,
    at the price of a label each. labels: so many certify; None: as many as a pilot calls for.
    """
    count = len(confidence)
    may_stay = int(epsilon * count + 1e-9)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(count)
    ties = rng.random(count)
    coin = rng.random()
    size = PILOT if labels is None else labels
    first = shuffled[:size]
    others = shuffled[size:]
    wrong = np.zeros(count, bool)
    wrong[first] = wrong_at(first)

    # Classes and scales come from rows that certify nothing: the order in which the others leave
    # may depend on the rows that have left, and on nothing else.
    outside = others if labels is not None and len(others) else first
    classes, group = common_classes(predictions, outside)
    inside = others if labels is None else shuffled
    score = fitted_scores(confidence, outside)
    lowest = np.full(len(classes) + 1, score[outside].min())
    for one in range(len(classes)):
        lowest[one] = score[outside[group[outside] == one]].min()
    peel = Peel(confidence, score, group, inside, ties, lowest)
    drawn = first
    if labels is None:
        peel.open(first, wrong[first])
        left = peel_openly(peel, wrong_at, TO_LEAVE * may_stay)
        enough = planned_labels(peel.chances(left), may_stay, delta)
        drawn = others[np.isin(others, left)][:enough]
        wrong[drawn] = wrong_at(drawn)
    start = len(peel.order)
    of_table = errors_allowed(len(inside) - start, may_stay, len(drawn), delta)
    of_source = errors_allowed_at_source(len(drawn), epsilon, delta, start, len(inside))
    allowed = (int(np.floor(of_table + coin)), int(np.floor(of_source + coin)))
    certify = np.zeros(count, bool)
    certify[drawn] = True
    kept = ~(certify | peel.opened)
    caught = peel_down(peel, certify, wrong & certify, min(allowed))
    order = peel.order
    ends = [max(start, first_at_most(caught, most)) for most in allowed]
    kept[order[: ends[0]]] = False
    borders = borders_after(order[: ends[1]], peel, confidence)
    return Peeled(kept, classes, borders, len(drawn), allowed)


def peel_openly(peel: Peel, wrong_at: Callable[[Array], Array], most: float) -> Array:
    """Peel, and open the labels of all rows that leave, until at most so many of the rows that are
    left are expected to be wrong; those rows, in random order of no meaning."""
    while True:
        left = peel.left
        if peel.chances(left).sum() <= most:
            return left
        rows = peel.take()
        peel.open(rows, wrong_at(rows))


def peel_down(peel: Peel, certify: Array, wrong: Array, most: int) -> Array:
    """Peel until at most so many ``wrong`` rows, bool [n], are left, opening what ``certify``, bool
    [n], has of the rows that leave; how many were left after 0, 1, … of all rows that ever left."""
    inside = wrong.sum()
    while inside > most and len(rows := peel.take()):
        labelled = rows[certify[rows]]
        peel.open(labelled, wrong[labelled])
        inside -= wrong[rows].sum()
    return wrong.sum() - np.append(0, np.cumsum(wrong[peel.order]))


def first_at_most(falling: Array, most: int) -> int:
    """Where falling counts, int [n + 1], are first at most so many; n where they never are."""
    below = falling <= most
    return int(below.argmax()) if below.any() else len(falling) - 1


def borders_after(gone: Array, peel: Peel, confidence: Array) -> Array:
    """Of each class the confidence of the last row that is gone, float64 [classes]: −inf where none
    is, inf where all are."""
    borders = np.full(len(peel.queues), np.inf)
    counts = np.bincount(peel.group[gone], minlength=len(borders))
    for one, queue in enumerate(peel.queues):
        if 0 < counts[one] < len(queue):
            borders[one] = confidence[queue[counts[one] - 1]]
        elif len(queue) > counts[one]:
            borders[one] = -np.inf
    return borders


def used_up(chances: Array, delta: float) -> float:
    """The largest c so that chances[i] ≤ δ for every i ≤ c, −1 where there is none; else with a
    fraction: the probability with which c + 1 is taken instead, so that all of δ is used."""
    most = int(np.logical_and.accumulate(chances <= delta).sum()) - 1
    if most < 0 or most + 1 == len(chances):
        return float(most)
    return float(most + (delta - chances[most]) / (chances[most + 1] - chances[most]))


def errors_allowed(rows: int, may_stay: int, labels: int, delta: float) -> float:
    """How many of ``labels``, a uniform draw of ``rows``, may be wrong (:func:`used_up`), where i
    may be if a draw has at most i of i + may_stay + 1 wrong rows with probability at most δ; −1
    where not even none may."""
    if labels >= rows:
        return float(labels)
    mean = labels * (may_stay + 1) / (rows - labels)  # no c beyond it does
    wrong = np.arange(min(int(mean) + 2, labels, rows - may_stay))
    return used_up(hypergeom.cdf(wrong, rows, wrong + may_stay + 1, labels), delta)


def errors_allowed_at_source(
    labels: int, epsilon: float, delta: float, gone: int, rows: int
) -> float:
    """The same for the source of ``rows`` independent rows, ``gone`` of which left before the
    draw: i may be if P(Binomial(labels, ε / q) ≤ i) ≤ δ, with q a bound on the share of the source
    that is left."""
    share = 1.0
    chunk = max(1, rows // STEPS)
    counted = gone // chunk * chunk  # a number that was fixed in advance, one of rows // chunk
    if gone:
        level = delta * SPENT * chunk / rows
        share = float(beta.isf(level, rows - counted + 1, counted)) if counted else 1.0
        delta = delta * (1 - SPENT)
    wrong = np.arange(labels)
    return used_up(binom.cdf(wrong, labels, min(1.0, epsilon / share)), delta)


def planned_labels(chances: Array, may_stay: int, delta: float) -> int:
    """How many labels to draw where rows are wrong with these chances, float64 [n], so that they
    and the rows that leave are few."""
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
    return min(rows, round(SPARE * best))


def common_classes(predictions: Array, outside: Array) -> tuple[list[str], Array]:
    """Classes that many of the rows ``outside`` are predicted to be, and the class of each row, int
    [n]: its place among them, or one more."""
    names, counts = np.unique(predictions[outside], return_counts=True)
    names = names[counts >= COMMON * len(outside)]
    group = np.searchsorted(names, predictions)
    elsewhere = ~np.isin(predictions, names)
    return names.tolist(), np.where(elsewhere, len(names), group)


def fitted_scores(confidence: Array, outside: Array) -> Array:
    """What the fit reads, float64 [n]: logits of confidences in [0, 1], normal scores of others, by
    their ranks among the rows ``outside``."""
    finite = confidence[np.isfinite(confidence)]
    if ((finite >= 0) & (finite <= 1)).all():
        return logit(np.clip(confidence, 1e-6, 1 - 1e-6))
    ordered = np.sort(confidence[outside])
    below = np.searchsorted(ordered, confidence)
    rank = (below + np.searchsorted(ordered, confidence, "right") + 1) / 2
    return norm.ppf(rank / (len(ordered) + 1))


def design(score: Array, group: Array, groups: int) -> Array:
    """Columns of the fit, float64 [n, 2 + 2 groups]: a constant and one per class, then the same
    times the score."""
    own = np.column_stack([np.ones(len(score)), group[:, None] == np.arange(groups)])
    return np.hstack([own, own * score[:, None]])


def prior_curve(groups: int) -> Array:
    """Coefficients without labels: the less confident, the riskier; all classes alike."""
    curve = np.zeros((2, groups + 1))
    curve[:, 0] = -2, -1
    return curve.ravel()


def fitted_curve(columns: Array, wrong: Array, curve: Array) -> tuple[Array, Array]:
    """Logistic ridge regression of ``wrong``, bool [m], on ``columns`` of :func:`design`, from
    ``curve``: the constant and the slope of all are nearly free."""
    groups = len(curve) // 2 - 1
    penalties = np.full((2, groups + 1), RIDGE)
    penalties[:, 0] = 1e-3, 0.1
    weight = min(1.0, MOST_WEIGHT / max(1, len(wrong)))
    prior = prior_curve(groups)
    return ridge_logistic(columns, wrong, penalties.ravel(), prior, curve, weight)
