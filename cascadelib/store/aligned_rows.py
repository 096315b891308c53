"""Test whether row k of every model belongs to the same sample.

If so, the correctness of different models correlates, because they find the same samples difficult.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, xlogy

from ..checks import brief

LEVEL = 1e-3  # probability that at least one interval of a table misses the true correlation
LEAST_PHI = 0.1  # mean correlation below which rows belong to different samples
LEAST_SHARE = 0.25  # the same bound, as a share of the attainable correlation
ABOVE_CHANCE = 3.0  # standard errors by which a tested model must be above chance
LEAST_ANSWERED = 0.5  # share of the samples that a tested model must have answered
MOST_LABELS = 20_000  # largest number of labels from which the agreement by chance is estimated
CONSTANT = 0.99  # share of equal predictions above which the order of rows has hardly any effect
STEEPEST = 15.0  # largest slope of the logistic model, per additional correct model
STEPS = 24  # steps of a bisection, for slopes to within 2e-6
TOLERANCE = 1e-6  # largest error of an expected number of samples
OFFSETS = (1, -1, 2, -2, 3, -3)  # rows by which a model may be shifted
PARTS = 4  # number of parts of a file, each of which may have another offset
FEWEST_ROWS = 100  # smallest number of rows of a part
OFFSET_ERRORS = 5.0  # standard errors by which shifted rows must fit better


@dataclass(frozen=True)
class Alignment:
    """The result of :func:`aligned_rows`: status, one sentence of evidence, a row per model."""

    status: str
    evidence: str
    table: pd.DataFrame = field(repr=False)


def aligned_rows(correct: Any, names: Iterable[str] = (), chance: Any = 0.0) -> Alignment:
    """Test whether the models' rows belong to the same samples, by the correlation of correctness.

    Models find the same samples difficult, so their correctness correlates. If the rows of the
    models belong to different samples, correctness is independent. Cascades of such models then
    seem far more accurate than they are.

    Parameters
    ----------
    correct : array of shape (n_models, n_samples)
        Whether each model is correct (bool), or a graded score. A score counts as correct if it is
        above the mean score of the model.
    names : iterable of str, optional
        Names of the models. By default, "model 0", "model 1" …
    chance : float or array of shape (n_models,), default=0.0
        The accuracy that each model would have by chance. A model is not tested if its accuracy is
        not significantly above this, or if its correctness is constant. Such correctness need not
        correlate.

    Returns
    -------
    Alignment
        ``table`` has a row per tested model. ``phi`` is the mean correlation φ of its correctness
        with that of the other models, weighted by their standard deviations. ``lower`` and
        ``upper`` are the ends of its confidence interval. ``attainable`` is the largest φ that is
        possible at these accuracies.

        A correlation is low if its upper end is below 0.1, or below a quarter of the attainable φ
        if that is smaller. ``status`` is *violated* in three cases. A model's φ is low. Or the
        models form two groups such that the correlation of every pair across the groups is low. Or
        a model correlates significantly more after its rows are moved by 1 to 3, in all samples or
        in a quarter of them. ``status`` is *verified* if every lower end is above 0, and if the
        pairs whose lower end is above 0 connect all models. Otherwise it is *not verifiable*.

    See Also
    --------
    cascadelib.certify : Its premise "rows aligned".

    Notes
    -----
    Let s be the number of other models that are correct on a sample. A logistic regression of a
    model's correctness on s has one parameter, its slope, if the model's accuracy is fixed at the
    observed value. φ increases with the slope. The interval contains the φ of all slopes whose
    log-likelihood is within log(4 N / 0.001) of the largest one. The factor 4 N is Bonferroni's
    correction for N intervals with two ends, and for two sets of intervals: one per model, and one
    per pair of models. For two models both sets are the same interval, and the factor is 2. By the
    Chernoff bound of an exponential family, a one-sided log-likelihood ratio exceeds c with a
    probability of about exp(−c) at most. This bound is about 10 times the normal approximation. It
    also holds if there are few joint errors, where the normal approximation fails. The test suite
    checks it against exact sums of probabilities for two models. Shuffled rows correspond to a
    slope of 0. Samples are assumed to be independent. Repeated samples make the interval too short.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> difficulty = rng.normal(size=5000)
    >>> correct = rng.normal(size=(3, 5000)) + 1 > difficulty
    >>> aligned_rows(correct).status
    'verified'
    >>> shifted = correct.copy()
    >>> shifted[2] = np.roll(correct[2], 1)
    >>> print(aligned_rows(shifted, ["small", "medium", "large"]).evidence)
    the rows of model 'large' are not aligned with those of the others: ...
    """
    scores = np.atleast_2d(np.asarray(correct))
    is_graded = scores.dtype.kind == "f"
    is_correct = scores > scores.mean(axis=1, keepdims=True) if is_graded else scores.astype(bool)
    samples = max(is_correct.shape[1], 1)
    accuracy = is_correct.sum(axis=1) / samples
    error = np.sqrt(accuracy * (1 - accuracy) / samples)
    lower = accuracy - ABOVE_CHANCE * error
    is_tested = (lower > (0 if is_graded else chance)) & (error > 0)
    names = list(names) or [f"model {row}" for row in range(len(is_correct))]
    tested = [name for name, keep in zip(names, is_tested, strict=True) if keep]
    missing = [name for name in names if name not in tested]
    not_tested = f" (not tested, as constant or at chance: {brief(missing)})" if missing else ""
    if len(tested) < 2:
        reason = "the test needs two models that are neither constant nor at chance"
        return Alignment("not verifiable", reason + not_tested, pd.DataFrame({"model": tested}))
    is_correct = is_correct[is_tested].astype(np.float32)  # a sum of samples is exact up to 2^24
    accuracy = accuracy[is_tested]
    spread = np.sqrt(accuracy * (1 - accuracy))
    one, other = np.triu_indices(len(tested), 1)
    # Two models have a single correlation: one interval with two ends.
    ends = 2 if len(tested) == 2 else 4 * len(tested)
    table = correlation_intervals(
        count_by_others(is_correct), spread * (spread.sum() - spread), LEVEL / ends
    )
    table.insert(0, "model", tested)
    ends = 2 if len(tested) == 2 else 4 * len(one)
    pairs = correlation_intervals(
        count_by_pairs(is_correct)[one, other], spread[one] * spread[other], LEVEL / ends
    )
    groups = []  # by model. Models that are linked by pairs share a group
    for is_linked in (~pairs["is_low"], pairs["lower"] > 0):
        links = np.zeros((len(tested), len(tested)), bool)
        links[one, other] = is_linked
        groups.append(connected_components(links, directed=False)[1])
    blocks, linked = groups
    status, evidence = _verdict(table, blocks, linked, samples)
    if status != "violated" and (shift := find_best_offset(is_correct)):
        model, offset, start, stop = shift
        status = "violated"
        evidence = (
            f"the rows of model {tested[model]!r} are not aligned: from row {start:,} to {stop:,} "
            f"they fit those of the others better after a shift by {offset:+d}"
        )
    return Alignment(status, evidence + not_tested, table)


def check_alignment(store: Any, names: Iterable[str] | None = None) -> Alignment:
    """Test the models of a store on the samples that all of them answered.

    Models that answered less than half of the samples are not tested.
    """
    models = list(store.models.index if names is None else names)
    correct = getattr(store, "correct", None)
    labels = getattr(store, "labels", None)
    if correct is not None:
        correct = correct[[store.row(name) for name in models]]
    elif labels is not None and store.has_predictions:
        correct = np.array([store.predicted(name) == labels for name in models])
    else:
        return Alignment("not verifiable", "which answers are correct is unknown", pd.DataFrame())
    answered = np.ones(correct.shape, bool)
    if getattr(store, "answered", None) is not None:
        answered = store.answered[[store.row(name) for name in models]]
    is_compared = answered.mean(axis=1) >= LEAST_ANSWERED
    models = np.array(models, object)[is_compared].tolist()
    correct = correct[is_compared][:, answered[is_compared].all(axis=0)]
    chance, evidence = agreement_by_chance(store, models, correct)
    if evidence:
        return Alignment("violated", evidence, pd.DataFrame({"model": models}))
    return aligned_rows(correct, models, chance)


def agreement_by_chance(store: Any, names: list[str], correct: Array) -> tuple[Array, str]:
    """Return the accuracy of models by chance [M], and a sentence if a model is clearly at chance.

    The accuracy by chance is that of predictions which are independent of the labels (as in Cohen's
    κ). A model whose predictions are almost all equal is not reported: it is at chance in any order
    of its rows.
    """
    chance = np.zeros(len(names))
    labels = getattr(store, "labels", None)
    if labels is None or not store.has_predictions:
        return chance, ""
    samples = max(1, correct.shape[1])
    accuracy = correct.sum(axis=1) / samples
    rows = slice(None, None, -(-len(store) // MOST_LABELS))
    share = pd.Series(labels[rows]).value_counts(normalize=True)
    error = ABOVE_CHANCE * np.sqrt(accuracy * (1 - accuracy) / samples)
    for row in np.flatnonzero(accuracy - error <= LEAST_PHI + (1 - LEAST_PHI) * share.max()):
        predictions = pd.Series(store.predicted(names[row])[rows])
        chance[row] = predictions.map(share).fillna(0).mean()
        above = accuracy[row] + 2 * error[row] - chance[row]
        if (
            above < LEAST_PHI * (1 - chance[row])
            and predictions.value_counts(normalize=True).max() < CONSTANT
        ):
            return chance, (
                f"the predictions of model {names[row]!r} agree with the labels on "
                f"{accuracy[row]:.1%} of {samples:,} samples, and would on {chance[row]:.1%} by "
                "chance: its rows, or the labels, may belong to other samples"
            )
    return chance, ""


def find_best_offset(is_correct: Array) -> tuple[int, int, int, int] | None:
    """Return (model, offset, start, stop) of rows that fit significantly better if shifted.

    In files that are sorted by class or subject, neighbouring rows correlate. A model with shifted
    rows may then correlate with the others, but less than after the opposite shift.
    """
    samples = is_correct.shape[1]
    count = PARTS if samples >= PARTS * FEWEST_ROWS else 1
    edges = np.linspace(0, samples, count + 1).astype(int).tolist()
    best = OFFSET_ERRORS
    found = None
    for start, stop in {(0, samples), *pairwise(edges)}:
        part = is_correct[:, start:stop]
        share = part.mean(axis=1)
        total = part.sum(axis=0)
        spread = 2 * share * (1 - share) * (total - part).var(axis=1) * (stop - start)
        for offset in OFFSETS:
            fit = covariance_gains(part, total, share, offset) / np.sqrt(np.maximum(spread, 1))
            if fit.max() > best:
                best = fit.max()
                found = int(fit.argmax()), offset, start, stop
    return found


def covariance_gains(part: Array, total: Array, share: Array, offset: int) -> Array:
    """Compute by how much each model's covariance with the others rises if its rows are shifted.

    Covariances are sums over samples, not means. Returns an array [M].
    """
    rows = slice(None, -offset) if offset > 0 else slice(-offset, None)
    shifted = slice(offset, None) if offset > 0 else slice(None, offset)
    rise = total[shifted] - total[rows]
    # The total includes the model itself. Its contribution to the rise is subtracted.
    itself = np.einsum("mk,mk->m", part[:, rows], part[:, shifted]) - part[:, rows].sum(axis=1)
    ends = rise.sum() - (part[:, shifted].sum(axis=1) - part[:, rows].sum(axis=1))
    return part[:, rows] @ rise - itself - share * ends


def count_by_others(is_correct: Array) -> Array:
    """Count samples by model, number s of other correct models, and correctness x, [M, s, x]."""
    others = is_correct.sum(axis=0) - is_correct
    codes = (2 * others + is_correct).astype(np.int64)
    size = 2 * len(is_correct)
    return np.array([np.bincount(row, minlength=size) for row in codes]).reshape(
        -1, len(is_correct), 2
    )


def count_by_pairs(is_correct: Array) -> Array:
    """Count samples by pair of models and correctness (x: first, s: second), [M, M, s, x]."""
    both = is_correct @ is_correct.T
    one = np.broadcast_to(is_correct.sum(axis=1)[:, None], both.shape)
    neither = is_correct.shape[1] - one - one.T + both
    return np.stack([neither, one - both, one.T - both, both], axis=-1).reshape(*both.shape, 2, 2)


def correlation_intervals(counts: Array, scale: Array, level: float) -> pd.DataFrame:
    """Compute the interval of each correlation: columns phi, lower, upper, attainable, is_low.

    counts: array [N, s, x], numbers of samples by s and by x (0 or 1). scale: array [N] that
    divides covariances, to make them correlations. level: probability with which one end of one
    interval may miss the true value.
    """
    counts = counts.astype(np.float64)
    by_s = counts.sum(axis=2)
    samples = by_s.sum(axis=1)
    positive = counts[:, :, 1]
    number = np.arange(counts.shape[1])

    def phi(positive: Array) -> Array:
        product = positive.sum(axis=-1) / samples * (by_s @ number / samples)
        return (positive @ number / samples - product) / scale

    def shares(slope: Array) -> Array:
        return logistic_shares(by_s, positive.sum(axis=1), slope)

    def likelihood(slope: Array) -> Array:
        share = shares(slope)
        return (xlogy(positive, share) + xlogy(by_s - positive, 1 - share)).sum(axis=-1)

    measured = phi(positive)
    edge = np.full(len(counts), STEEPEST)
    best = find_roots(lambda slope: phi(by_s * shares(slope)) - measured, -edge, edge)
    least = likelihood(best) + np.log(level)
    lower = find_roots(lambda slope: likelihood(slope) - least, -edge, best)
    upper = find_roots(lambda slope: least - likelihood(slope), best, edge)
    slopes = {"lower": lower, "upper": upper, "attainable": edge}
    ends = {name: phi(by_s * shares(slope)) for name, slope in slopes.items()}
    table = pd.DataFrame({"phi": measured} | ends)
    bound = np.minimum(LEAST_PHI, LEAST_SHARE * table["attainable"])
    return table.assign(is_low=table["upper"] < bound)


def logistic_shares(by_s: Array, positive: Array, slope: Array) -> Array:
    """Return the probability that x is 1 for each s, [N, s], in logistic models with slopes [N].

    The intercepts make the expected number of positives equal to the observed one.
    """
    steps = slope[:, None] * np.arange(by_s.shape[1])
    base = np.log(positive / (by_s.sum(axis=1) - positive))
    low = base - steps.max(axis=1)
    high = base - steps.min(axis=1)
    middle = base - slope * (by_s @ np.arange(by_s.shape[1]) / by_s.sum(axis=1))
    for _ in range(STEPS):
        share = expit(middle[:, None] + steps)
        error = (by_s * share).sum(axis=1) - positive
        if np.abs(error).max() < TOLERANCE:
            break
        low = np.where(error < 0, middle, low)
        high = np.where(error < 0, high, middle)
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = middle - error / (by_s * share * (1 - share)).sum(axis=1)
        middle = np.where((low <= newton) & (newton <= high), newton, (low + high) / 2)
    return share


def find_roots(rising: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Find the zero, or else the nearest end, of each of N rising functions by bisection."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        is_below = rising(middle) < 0
        low = np.where(is_below, middle, low)
        high = np.where(is_below, high, middle)
    return (low + high) / 2


def _verdict(table: pd.DataFrame, blocks: Array, linked: Array, samples: int) -> tuple[str, str]:
    """Return the status and its evidence."""
    low = table[table["is_low"]]
    candidates = low if len(low) else table
    worst = candidates.loc[candidates["phi"].idxmin()]
    name = f"model {worst['model']!r}" if len(table) > 2 else "both models"
    evidence = (
        f"{name}: correctness has a mean correlation of {worst['phi']:.3f} with the other "
        f"{'models' if len(table) > 2 else 'model'} (interval {worst['lower']:.3f} to "
        f"{worst['upper']:.3f}, {samples:,} samples)"
    )
    if len(low):
        claim = f"the rows of {name} are not aligned with those of the others: "
        return "violated", claim + evidence
    if blocks.any():
        part = table["model"][blocks == np.bincount(blocks).argmin()].tolist()
        return "violated", f"the rows of models {brief(part)} are not aligned with the others"
    if (table["lower"] > 0).all() and not linked.any():
        return "verified", "the least correlated is " + evidence
    return "not verifiable", "too few samples to decide: " + evidence
