"""Expected outcomes: the probability of a correct answer, fitted on the confidences of all models.

A threshold that is selected by expected outcomes cannot follow single lucky answers.
"""

from functools import lru_cache

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit, ndtri

from ..stages import Outcome, StageFunction

PENALTY = 2.0  # ridge penalty of all columns except the constant
MIN_VARIANCE = 1e-12  # of a predicted outcome, so that the curvature is never singular
CACHED_PREFIXES = 512


def ridge_logistic(
    columns: Array,
    outcomes: Array,
    penalty: Array,
    prior: Array,
    start: Array,
    weight: float = 1.0,
) -> tuple[Array, Array]:
    """Fit a logistic regression with a ridge penalty by Newton's method.

    columns: [k, d]. outcomes: [k], bool or in [0, 1]. penalty, prior: [d], which add
    penalty · (coefficients − prior)² ÷ 2 to the negative log-likelihood. start: first coefficients
    [d]. weight: weight of every sample. Returns (coefficients [d], their covariance [d, d]).
    """

    def loss(curve: Array) -> float:
        log_odds = columns @ curve
        fit = np.sum(np.logaddexp(0, log_odds) - outcomes * log_odds)
        return float(weight * fit + penalty @ (curve - prior) ** 2 / 2)

    curve = start
    for _ in range(50):
        chance = expit(columns @ curve)
        slope = weight * ((outcomes - chance) @ columns) - penalty * (curve - prior)
        spread = weight * chance * (1 - chance) + MIN_VARIANCE
        curvature = (columns.T * spread) @ columns + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        most = loss(curve) * (1 + 1e-12)  # rounding must not stop the last steps
        while loss(curve + step) > most and abs(step).max() > 1e-9:
            step = step / 2
        curve = curve + step
        if abs(step).max() < 1e-8:
            break
    return curve, np.linalg.inv(curvature)


def normal_scores(confidence: Array) -> Array:
    """Return the normal scores of the ranks of confidences, float64 [k].

    Equal confidences share the mean of their ranks. A missing one (nan) ranks as −inf.
    """
    filled = np.where(np.isnan(confidence), -np.inf, confidence)
    _, place, count = np.unique(filled, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return ndtri(middle / len(place))[place]


def expected_correct(correct: Array, scores: Array, last: int) -> Array:
    """Return the probability that the output after the model ``last`` is correct, float64 [k].

    correct: [k], whether it was. scores: float64 [M + 1, k], normal scores of all models and, last,
    of the output. The mean over the samples is that of ``correct``.
    """
    outcomes = np.asarray(correct, np.float64)
    if outcomes.min() == outcomes.max():
        return outcomes
    singles = scores[:-1]
    output = scores[-1]
    parts = [np.ones(len(output)), output, output**2, singles.mean(0), singles.min(0)]
    columns = np.column_stack([*parts, *np.delete(singles, last, axis=0)])
    penalty = np.full(columns.shape[1], PENALTY)
    penalty[0] = 0.0
    zeros = np.zeros(len(penalty))
    curve, _ = ridge_logistic(columns, outcomes, penalty, zeros, zeros)
    return expit(columns @ curve)


def expected_outcomes(stage: StageFunction, models: int, last_only: bool) -> StageFunction:
    """Return a stage function whose correctness is a probability, fitted by ridge regression.

    stage: stage function of prefixes of the models 0 … ``models`` − 1. last_only: whether only the
    last model of a prefix counts. Confidences are not changed.
    """
    singles = np.stack([normal_scores(stage((model,))[1]) for model in range(models)])

    @lru_cache(CACHED_PREFIXES)
    def outcome(prefix: tuple[int, ...]) -> Outcome:
        correct, confidence = stage(prefix)
        scores = np.vstack([singles, normal_scores(confidence)])
        return expected_correct(correct, scores, prefix[-1]), confidence

    return lambda prefix: outcome(prefix[-1:] if last_only else prefix)
