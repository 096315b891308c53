"""Peeling for recall and precision: decide which rows are answered yes or no without a call.

Rows are ordered from the most confident no to the most confident yes, and a cut divides them into
two queues. Rows below the cut are answered no, rows above it yes. Each queue is peeled from the cut
outwards (:mod:`cascadelib.guarantees.peeling`). docs/guarantees.md has the proofs.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit
from scipy.stats import binom, hypergeom

from ..methods.expected import ridge_logistic
from .p_values import share_above, share_below
from .peeling import (
    OPEN_UNTIL,
    PILOT,
    STEPS,
    Peel,
    Peeled,
    errors_allowed,
    first_at_most,
    fitted_scores,
    largest_allowed,
    planned_labels,
)

BOUND = 0.05  # share of δ for each confidence bound on a number or a share of rows
TEST = 0.45  # share of δ for the test of one queue of the table
TEST_OF_SOURCE = 0.4  # share of δ for the test of one queue of the source
# The cut is midway between two borders. Beyond each border, the expected number of errors is this
# fraction of the allowed number.
ERRORS_AT_CUT = 0.9
# Draws are planned for fewer positive rows than expected, by this factor.
SPARE = 0.96


@dataclass(frozen=True, eq=False)
class Queue:
    """The rows on one side of the cut that remain after the open phase.

    Parameters
    ----------
    rows : int array of shape (m,)
        The rows, the riskiest one first.
    drawn, wrong : bool arrays of shape (m,)
        Whether a row is in the certifying draw, and whether it is in the draw and on the wrong side
        of the cut.
    """

    rows: Array
    drawn: Array
    wrong: Array

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> int:
        """The number of drawn rows."""
        return int(self.drawn.sum())

    @property
    def errors(self) -> int:
        """The number of drawn rows on the wrong side."""
        return int(self.wrong.sum())

    def removed(self, allowed: float, coin: float) -> int:
        """Return the number of rows to remove, so that at most ``allowed`` wrong drawn ones remain.

        ``coin`` in [0, 1) rounds ``allowed`` up or down.
        """
        falling = self.errors - np.append(0, np.cumsum(self.wrong))
        return first_at_most(falling, int(np.floor(allowed + coin)))


def peel_positives(
    confidence: Array,
    predictions: Array,
    wrong_at: Callable[[Array], Array],
    positive: str,
    recall: float,
    precision: float,
    delta: float,
    seed: int = 0,
) -> tuple[Peeled, Array]:
    """Remove rows until recall and precision reach their targets, with probability 1 − δ.

    Parameters
    ----------
    confidence : float64 array of shape (n,)
    predictions : str array of shape (n,)
    wrong_at : callable
        Function from rows to bool: whether exactly one of small model and reference answers
        ``positive``. A call costs a label per row.
    positive : str
    recall, precision, delta : float
    seed : int, default=0

    Returns
    -------
    (Peeled, str array of shape (n,))
        The result, with borders of the positive class and of all others, and the answers of kept
        rows.
    """

    def wanted_at(rows: Array) -> Array:
        return is_yes[rows] != wrong_at(rows)

    is_yes = predictions == positive
    count = len(confidence)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(count)
    ties = rng.random(count)
    coins = rng.random((2, 2))
    first = shuffled[:PILOT]
    others = shuffled[PILOT:]
    may_miss = (1 - recall, recall * (1 - precision) / precision)  # errors per positive row
    wanted = np.zeros(count, bool)  # whether the reference answers ``positive``, if it is labelled
    wanted[first] = wanted_at(first)

    side = np.where(is_yes, 1.0, -1.0)
    place = np.unique(np.column_stack([side, side * confidence]), axis=0, return_inverse=True)[1]
    score = fitted_scores(confidence, first)
    score = side * np.maximum(score - score[first].min(), 0)
    # A fit of the pilot places two borders so that nearly the allowed number of errors is beyond
    # each. The cut is midway between them.
    order = first[np.argsort(place[first])]
    columns = np.column_stack([np.ones(count), score])
    prior = np.array([0.0, 1.0])
    penalty = np.array([0.01, 0.01])
    curve, _ = ridge_logistic(columns[first], wanted[first], penalty, prior, prior)
    chance = expit(columns[order] @ curve)
    most = ERRORS_AT_CUT * chance.sum() * np.array(may_miss)
    low = np.searchsorted(np.cumsum(chance), most[0])
    high = len(order) - np.searchsorted(np.cumsum(1 - chance[::-1]), most[1])
    cut = int(place[order[min(len(order) - 1, (low + high) // 2)]])
    above = place >= cut
    outwards = np.where(above, 1, -1)
    group = above.astype(int)
    peel = Peel(outwards * place, outwards * score, group, others, ties, first, np.zeros(2))
    peel.open_labels(first, wanted[first] != above[first])
    # Rows next to the cut are removed and their labels opened, until few remaining rows are
    # expected on the wrong side.
    while True:
        risks = [peel.remaining_risks(number) for number in (0, 1)]
        expected = float(wanted[peel.is_open].sum() + risks[0].sum() + (1 - risks[1]).sum())
        allowed = [OPEN_UNTIL * share * expected for share in may_miss]
        risky = [number for number in (0, 1) if risks[number].sum() > allowed[number]]
        if not risky:
            break
        for number in risky:
            rows = peel.remove_next(number)
            wanted[rows] = wanted_at(rows)
            peel.open_labels(rows, wanted[rows] != number)
    queues = []
    for number, share in enumerate(may_miss):
        rows = peel.remaining(number)
        may_stay = int(SPARE * share * expected)
        labels = planned_labels(peel.remaining_risks(number), may_stay, TEST * delta)
        drawn = np.isin(rows, others[np.isin(others, rows)][:labels])
        wanted[rows[drawn]] = wanted_at(rows[drawn])
        queues.append(Queue(rows, drawn, drawn & (wanted[rows] != number)))

    lower, upper = queues
    positives = int(wanted[peel.is_open].sum()) + fewest_positives(lower, upper, BOUND * delta)
    share_of_source = share_below(positives, count, BOUND * delta)
    kept = np.zeros(count, bool)
    borders = []
    for number, queue in enumerate(queues):
        may_stay = int(may_miss[number] * positives + 1e-9)
        of_table = errors_allowed(len(queue), may_stay, queue.labels, TEST * delta)
        if len(queue) <= may_stay:
            of_table = queue.labels
        most_of_source = may_miss[number] * share_of_source
        of_source = errors_allowed_beyond(queue, most_of_source, len(others), delta)
        kept[queue.rows[queue.removed(of_table, coins[0, number]) :]] = True
        kept[queue.rows[queue.drawn]] = False
        removed = peel.counts[number] + queue.removed(of_source, coins[1, number])
        # A border is the confidence up to which a policy calls the reference.
        border = np.inf
        full_queue = peel.queues[number]
        if removed < len(full_queue):
            last = place[full_queue[removed - 1]] if removed else cut
            called = place <= max(last, cut) if number else place >= min(last, cut)
            border = float(confidence[called & (is_yes == number)].max(initial=-np.inf))
        borders.append(border)
    labels = sum(queue.labels for queue in queues)
    negatives = np.unique(predictions[~is_yes])
    negative = negatives[0] if len(negatives) == 1 else f"not {positive}"
    answers = np.where(above, positive, np.where(is_yes, negative, predictions))
    return Peeled(kept, [positive], np.array(borders[::-1]), labels), answers


def most_wrong(rows: int, errors: int, labels: int, delta: float) -> int:
    """Return an upper confidence bound on the number of wrong rows, at level δ.

    ``errors`` rows are wrong in a uniform draw of ``labels`` from ``rows``.
    """
    numbers = range(errors, rows - labels + errors + 1)
    accepted = bisect_left(
        numbers, True, key=lambda wrong: hypergeom.cdf(errors, rows, wrong, labels) <= delta
    )
    return errors + accepted - 1


def fewest_positives(below: Queue, above: Queue, delta: float) -> int:
    """Return a lower bound on the number of positive rows in two queues.

    It combines two bounds at level δ each.
    """
    negatives = most_wrong(len(below), below.labels - below.errors, below.labels, delta)
    wrong = most_wrong(len(above), above.errors, above.labels, delta)
    return len(below) - negatives + len(above) - wrong


def errors_allowed_beyond(queue: Queue, share: float, rows: int, delta: float) -> float:
    """Return the number of errors in a queue's draw that are allowed for the source.

    At most ``share`` of the source may be wrong beyond the border. The probability of the queue's
    region is below an order statistic of ``rows`` independent rows. A beta quantile bounds it.
    """
    chunk = max(1, rows // STEPS)
    # Round up to one of rows // chunk ranks, so that a union bound applies.
    rank = -(-(len(queue) + 1) // chunk) * chunk
    ranks = max(1, 2 * (rows // chunk))  # possible ranks of both queues
    region = share_above(rank - 1, rows, BOUND * delta / ranks)
    chances = binom.cdf(np.arange(queue.labels), queue.labels, min(1.0, share / region))
    return largest_allowed(chances, TEST_OF_SOURCE * delta)
