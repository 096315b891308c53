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


def ridge_logistic(columns: Array, outcomes: Array) -> Array:
    """Return the coefficients (d,) of a logistic regression with a ridge penalty.

    They minimize the negative log-likelihood + PENALTY · (sum of squared coefficients) ÷ 2. The
    first column, a constant, has no penalty. Newton's method halves a step that raises this loss.

    Parameters
    ----------
    columns : float array of shape (k, d)
        Regressors.
    outcomes : array of shape (k,)
        Outcomes, in [0, 1].
    """
    penalty = np.full(columns.shape[1], PENALTY)
    penalty[0] = 0.0

    def loss(coefficients: Array) -> float:
        log_odds = columns @ coefficients
        fit = np.sum(np.logaddexp(0, log_odds) - outcomes * log_odds)
        return float(fit + penalty @ coefficients**2 / 2)

    coefficients = np.zeros(len(penalty))
    for _ in range(50):
        chance = expit(columns @ coefficients)
        slope = (outcomes - chance) @ columns - penalty * coefficients
        variance = chance * (1 - chance) + MIN_VARIANCE
        step = np.linalg.solve((columns.T * variance) @ columns + np.diag(penalty), slope)
        most = loss(coefficients) * (1 + 1e-12)  # rounding must not stop the last steps
        while loss(coefficients + step) > most and abs(step).max() > 1e-9:
            step = step / 2
        coefficients = coefficients + step
        if abs(step).max() < 1e-8:
            break
    return coefficients


def normal_scores(confidence: Array) -> Array:
    """Return the normal scores of the ranks of confidences, float64 (k,).

    Equal confidences share the mean of their ranks.
    """
    _, place, count = np.unique(confidence, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return ndtri(middle / len(place))[place]


def expected_correct(correct: Array, singles: Array, output: Array, last: int) -> Array:
    """Return the probability that the output of a cascade is correct, float64 (k,).

    The mean of the probabilities is that of `correct`.

    Parameters
    ----------
    correct : array of shape (k,)
        Whether the output was correct, bool or in [0, 1].
    singles : float64 array of shape (n_models, k)
        Normal scores of the confidence of each model.
    output : float64 array of shape (k,)
        Normal scores of the confidence of the cascade's output.
    last : int
        Last model of the cascade.
    """
    outcomes = np.asarray(correct, np.float64)
    if outcomes.min() == outcomes.max():
        return outcomes
    parts = [np.ones(len(output)), output, output**2, singles.mean(0), singles.min(0)]
    columns = np.column_stack([*parts, *np.delete(singles, last, axis=0)])
    return expit(columns @ ridge_logistic(columns, outcomes))


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
        output = normal_scores(confidence)
        return expected_correct(correct, singles, output, prefix[-1]), confidence

    return lambda prefix: outcome(prefix[-1:] if last_only else prefix)
