"""Fit expected outcomes: the probability of a correct answer, from the confidences of all models.

Expected outcomes are smooth in the confidences, unlike the observed outcomes (0 or 1). Thresholds
that are selected by expected outcomes therefore overfit less.
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

    Parameters
    ----------
    columns : float array of shape (k, d)
        Regressors.
    outcomes : array of shape (k,)
        Outcomes, bool or in [0, 1].
    penalty, prior : float arrays of shape (d,)
        The term penalty · (coefficients − prior)² ÷ 2 is added to the negative log-likelihood.
    start : float array of shape (d,)
        Coefficients of the first step.
    weight : float, default=1.0
        Weight of every sample.

    Returns
    -------
    coefficients : float array of shape (d,)
    covariance : float array of shape (d, d)
        Covariance of the coefficients.
    """

    def loss(coefficients: Array) -> float:
        log_odds = columns @ coefficients
        fit = np.sum(np.logaddexp(0, log_odds) - outcomes * log_odds)
        return float(weight * fit + penalty @ (coefficients - prior) ** 2 / 2)

    coefficients = start
    for _ in range(50):
        chance = expit(columns @ coefficients)
        slope = weight * ((outcomes - chance) @ columns) - penalty * (coefficients - prior)
        variance = weight * chance * (1 - chance) + MIN_VARIANCE
        curvature = (columns.T * variance) @ columns + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        most = loss(coefficients) * (1 + 1e-12)  # rounding must not stop the last steps
        while loss(coefficients + step) > most and abs(step).max() > 1e-9:
            step = step / 2
        coefficients = coefficients + step
        if abs(step).max() < 1e-8:
            break
    return coefficients, np.linalg.inv(curvature)


def normal_scores(confidence: Array) -> Array:
    """Return the normal scores of the ranks of confidences, float64 (k,).

    Equal confidences share the mean of their ranks. A missing confidence (nan) ranks as −inf.
    """
    filled = np.where(np.isnan(confidence), -np.inf, confidence)
    _, place, count = np.unique(filled, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return ndtri(middle / len(place))[place]


def expected_correct(correct: Array, scores: Array, last: int) -> Array:
    """Return the probability that the output of a cascade is correct, float64 (k,).

    The mean of the probabilities is that of `correct`.

    Parameters
    ----------
    correct : array of shape (k,)
        Whether the output was correct, bool or in [0, 1].
    scores : float64 array of shape (n_models + 1, k)
        Normal scores of the confidence of each model. The last row has the normal scores of the
        confidence of the cascade's output.
    last : int
        Last model of the cascade.
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
    coefficients, _ = ridge_logistic(columns, outcomes, penalty, zeros, zeros)
    return expit(columns @ coefficients)


def expected_outcomes(stage: StageFunction, models: int, last_only: bool) -> StageFunction:
    """Return a stage function that replaces correctness by the expected correctness.

    The expected correctness is computed by :func:`expected_correct`. Confidences are not changed.
    `models` is the number of models. If `last_only` is true, the outcome of `stage` depends only
    on the last model of a prefix.
    """
    singles = np.stack([normal_scores(stage((model,))[1]) for model in range(models)])

    @lru_cache(CACHED_PREFIXES)
    def outcome(prefix: tuple[int, ...]) -> Outcome:
        correct, confidence = stage(prefix)
        scores = np.vstack([singles, normal_scores(confidence)])
        return expected_correct(correct, scores, prefix[-1]), confidence

    return lambda prefix: outcome(prefix[-1:] if last_only else prefix)
