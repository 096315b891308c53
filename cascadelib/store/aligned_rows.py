"""Test whether row k of every model belongs to the same sample.

If so, the correctness of different models correlates, because they find the same samples difficult.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.optimize import brentq
from scipy.sparse.csgraph import connected_components
from scipy.special import logsumexp

from ..checks import brief
from .protocol import answered_by_models

LEVEL = 0.01  # largest bound on the probability of a smaller correlation than LEAST_SHARE
LINK = 4.0  # standard errors of a correlation that connects two models
ERRORS = 5.0  # standard errors by which accuracies or shifted rows must differ
LEAST_PHI = 0.2  # expected correlation if no two models are connected
LEAST_SHARE = 0.55  # share of the expected correlation, and of the largest possible one
LEAST_ANSWERED = 0.5  # share of the samples that a tested model must have answered
NEAR_CHANCE = 0.1  # accuracy above chance, as a share of the possible one, that is too low
UNKNOWN_CHANCE = 0.5  # accuracy by chance, if it is unknown: that of two classes
CONSTANT = 0.99  # share of equal answers above which the order of rows has hardly any effect
STEEPEST = 100.0  # largest slope of an exponential tilt
OFFSETS = (1, -1, 2, -2, 3, -3)  # rows by which a model may be shifted
PARTS = 4  # number of parts of a file, each of which may have another offset
FEWEST_ROWS = 100  # smallest number of rows of a part
MOST_SEARCHED = 5000  # largest number of rows that a search compares


@dataclass(frozen=True)
class Alignment:
    """The result of :func:`aligned_rows`.

    Parameters
    ----------
    status : {"verified", "violated", "not verifiable"}
    evidence : str
    misaligned : tuple of str
        The models whose rows belong to other samples than those of the largest group.
    """

    status: str
    evidence: str
    misaligned: tuple[str, ...] = ()


def aligned_rows(correct: Any, names: Iterable[str] = (), chance: Any = None) -> Alignment:
    """Test whether the models' rows belong to the same samples, by the correlation of correctness.

    Models whose correctness correlates form groups. A model outside the largest group is misaligned
    if its correctness hardly correlates with that of the group.

    Parameters
    ----------
    correct : array of shape (n_models, n_samples)
        Whether each model is correct (bool), or a graded score in [0, 1].
    names : iterable of str, optional
        Names of the models. By default, "model 0", "model 1" …
    chance : array of shape (n_models,), optional
        The accuracy of each model by chance. A model at chance need not correlate with others.

    Returns
    -------
    Alignment
        It is *verified* if significant correlations connect all models. It is *violated* if a model
        correlates with the largest group by hardly half of the expected correlation, or if it
        correlates more after its rows are moved by 1 to 3. Otherwise it is *not verifiable*.

    See Also
    --------
    cascadelib.certify : Its premise "rows aligned".

    Notes
    -----
    Let d be the mean error of the k models of the largest group, standardized. If another model has
    their mean correlation φ with each of them, it has the correlation √k φ ÷ √(1 + (k − 1) φ) with
    d, and a certain mean of d over its errors. The null hypothesis is 0.55 of this mean. Its
    p-value is Chernoff's bound for as many draws as the model has errors, from the values of d,
    weighted exponentially so that they have this mean.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> difficulty = rng.normal(size=5000)
    >>> correct = rng.normal(size=(3, 5000)) + 1 > difficulty
    >>> aligned_rows(correct).status
    'verified'
    >>> correct[2] = np.roll(correct[2], 1)
    >>> aligned_rows(correct, ["small", "medium", "large"]).misaligned
    ('large',)
    """
    scores = np.atleast_2d(np.asarray(correct, np.float64))
    names = np.array(list(names) or [f"model {row}" for row in range(len(scores))], object)
    if chance is None:
        chance = np.full(len(scores), UNKNOWN_CHANCE if np.asarray(correct).dtype == bool else 0.0)
    varies = np.ptp(scores, axis=1) > 0 if scores.size else np.zeros(len(scores), bool)
    if np.count_nonzero(varies) < 2:
        return Alignment("not verifiable", "the test needs two models that are not constant")
    return align_varying(scores[varies], names[varies], np.asarray(chance)[varies])


def align_varying(scores: Array, names: Array, chance: Array) -> Alignment:
    """Return the result of :func:`aligned_rows` for models that are not constant."""
    samples = scores.shape[1]
    standard = (scores - scores.mean(axis=1, keepdims=True)) / scores.std(axis=1, keepdims=True)
    phi = standard @ standard.T / samples
    groups = connected_components(phi * np.sqrt(samples) > LINK)[1]
    above = scores.mean(axis=1) - chance
    is_useful = above > ERRORS * scores.std(axis=1) / np.sqrt(samples)
    wrong = names[find_misaligned(scores, standard, groups, is_useful)].tolist()
    if wrong:
        evidence = f"correctness of {brief(wrong)} does not correlate with that of other models"
        return Alignment("violated", f"rows are not aligned: {evidence}", tuple(wrong))
    if shifts := find_offsets(scores):
        moved = [str(names[model]) for model in shifts]
        offsets = ", ".join(f"{offset:+d}" for offset in shifts.values())
        evidence = f"rows are not aligned: those of {brief(moved)} fit better moved by {offsets}"
        return Alignment("violated", evidence, tuple(moved))
    lone = names[groups != np.bincount(groups).argmax()].tolist()
    if lone:
        few = f"no significant correlation of {brief(lone)} with the other models"
        return Alignment("not verifiable", few)
    least = np.where(np.eye(len(names)), -1, phi).max(axis=1).min()
    evidence = f"each model correlates with another by {least:.3f} or more, on {samples:,} samples"
    return Alignment("verified", evidence)


def find_misaligned(scores: Array, standard: Array, groups: Array, is_useful: Array) -> Array:
    """Return the models that hardly correlate with the largest group, bool [M].

    Models at chance are left out. If several groups are the largest, they are all included.
    """
    sizes = np.bincount(groups)
    largest = groups == sizes.argmax()
    is_wrong = np.zeros(len(groups), bool)
    for model in np.flatnonzero(~largest):
        if sizes[groups[model]] > 1 or is_useful[model]:
            is_wrong[model] = weaker_than_expected(scores[model], standard[largest]) <= LEVEL
    if is_wrong.any() and np.count_nonzero(sizes == sizes.max()) > 1:
        is_wrong |= sizes[groups] == sizes.max()
    return is_wrong


def weaker_than_expected(score: Array, standard: Array) -> float:
    """Return the p-value of "a model [n] has LEAST_SHARE of its correlation with a group [k, n]".

    The expected correlation is that of the group's models with each other (:func:`aligned_rows`).
    """
    models = len(standard)
    common = standard.sum(axis=0)
    phi = LEAST_PHI
    if models > 1:
        phi = max(0.0, (common.var() - models) / (models * (models - 1)))
    expected = phi * np.sqrt(models / (1 + (models - 1) * phi))
    weight = 1 - score
    if weight.mean() > 0.5:  # the rarer outcome states more
        weight = score
        common = -common
    difficulty = -common / common.std()
    count = weight.sum() ** 2 / np.sum(weight**2)
    largest = np.sort(difficulty)[-int(np.ceil(count)) :].mean()
    mean = LEAST_SHARE * min(expected * weight.std() / weight.mean(), largest)
    return chance_of_less(difficulty, float(count), weight @ difficulty / weight.sum(), mean)


def chance_of_less(values: Array, count: float, found: float, mean: float) -> float:
    """Bound the probability that the mean of ``count`` draws from values is at most ``found``.

    The draws are weighted exponentially, so that their expectation is ``mean``. The bound is that
    of Chernoff. It does not fall any more where ``found`` is below the mean of all values.
    """
    found = max(float(values.mean()), found)
    if found >= mean:
        return 1.0
    slopes = [slope_for_mean(values, target) for target in (found, mean)]
    exponents = [
        slope * found - float(logsumexp(slope * values) - np.log(len(values))) for slope in slopes
    ]
    return float(np.exp(count * (exponents[1] - exponents[0])))


def slope_for_mean(values: Array, mean: float) -> float:
    """Return the slope of exponential weights with which values have a mean."""

    def excess(slope: float) -> float:
        weights = np.exp(slope * values - logsumexp(slope * values))
        return float(weights @ values) - mean

    return brentq(excess, 0.0, STEEPEST, xtol=1e-6) if excess(0.0) < 0 else 0.0


def find_offsets(scores: Array) -> dict[int, int]:
    """Return {model: offset} of rows that fit the other models significantly better if moved.

    In files that are sorted by class, neighbouring rows correlate. A model with moved rows then
    correlates with the others, but less than after the opposite move.
    """
    parts = [scores]
    if scores.shape[1] >= PARTS * FEWEST_ROWS:
        parts += np.array_split(scores, PARTS, axis=1)
    best: dict[int, tuple[float, int]] = {}
    for part in parts:
        others = part.sum(axis=0) - part
        centred = part - part.mean(axis=1, keepdims=True)
        spread = 2 * part.var(axis=1) * others.var(axis=1) * part.shape[1]
        for offset in OFFSETS:
            gains = np.sum(centred * (np.roll(others, offset, axis=1) - others), axis=1)
            fit = gains / np.sqrt(np.maximum(spread, 1))
            for model in np.flatnonzero(fit > ERRORS).tolist():
                best[model] = max(best.get(model, (0.0, 0)), (float(fit[model]), -offset))
    strongest = max(best.values(), default=(0.0, 0))[0]
    return {model: offset for model, (fit, offset) in best.items() if fit >= strongest / 2}


def check_alignment(store: Any, names: Iterable[str] | None = None) -> Alignment:
    """Test the models of a store on the samples that all of them answered.

    Models that answered less than half of the samples are not tested.
    """
    models = list(store.models.index if names is None else names)
    labels: Any = getattr(store, "labels", None)
    knows_answers = labels is not None and store.has_predictions
    given: Any = getattr(store, "correct", None)
    if given is not None:
        correct = given[[store.row(name) for name in models]]
    elif knows_answers:
        correct = np.array([store.predicted(name) == labels for name in models])
    else:
        return Alignment("not verifiable", "which answers are correct is unknown")
    answered = answered_by_models(store, models)
    is_compared = answered.mean(axis=1) >= LEAST_ANSWERED
    models = np.array(models, object)[is_compared].tolist()
    rows = answered[is_compared].all(axis=0)
    correct = correct[is_compared][:, rows]
    if not knows_answers or correct.dtype != bool:
        return aligned_rows(correct, models)
    return aligned_answers(correct, models, labels[rows], lambda name: store.predicted(name)[rows])


def warn_of_misaligned(store: Any, names: Sequence[str]) -> None:
    """Warn of the models of a search whose rows are of other samples than those of the others."""
    step = -(-len(store) // MOST_SEARCHED)
    found = check_alignment(store.take(slice(0, None, step)), names)
    if found.misaligned:
        others = [name for name in names if name not in found.misaligned]
        remedy = f", or search models={others}" if others else ""
        text = (
            f"{found.evidence}. Their cascades look better than they are, and certify refuses "
            f"them. Check the join by sample id{remedy}"
        )
        warnings.warn(text, stacklevel=3)


def aligned_answers(
    correct: Array, models: list[str], labels: Array, answers_of: Callable[[str], Array]
) -> Alignment:
    """Return the result of :func:`aligned_rows`, or the models that agree with labels by chance."""
    pairs = [agreement_by_chance(labels, answers_of(name)) for name in models]
    chance, largest = np.array(pairs).reshape(-1, 2).T
    error = ERRORS * correct.std(axis=1) / np.sqrt(max(1, correct.shape[1]))
    is_low = correct.mean(axis=1) + error < chance + NEAR_CHANCE * (1 - chance)
    at_chance = np.array(models, object)[is_low & (largest < CONSTANT)].tolist()
    if not at_chance:
        return aligned_rows(correct, models, chance)
    evidence = (
        f"the answers of {brief(at_chance)} agree with the labels as often as by chance: their "
        "rows, or the labels, may belong to other samples"
    )
    return Alignment("violated", evidence, tuple(at_chance))


def agreement_by_chance(labels: Array, answers: Array) -> tuple[float, float]:
    """Return the accuracy of answers that are independent of labels, and its largest value.

    The latter is the share of the most frequent answer.
    """
    codes, values = pd.factorize(np.concatenate([labels, answers]))
    counts = [np.bincount(part, minlength=len(values)) for part in np.split(codes, 2)]
    of_labels, of_answers = np.array(counts) / len(labels)
    return float(of_labels @ of_answers), float(of_answers.max(initial=0))
