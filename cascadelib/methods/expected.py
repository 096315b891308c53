"""Expected outcomes: how likely each sample is answered correctly, fitted on what all models are
confident of. A threshold that is chosen by them cannot follow single lucky answers."""

from functools import lru_cache

import numpy as np
from numpy import ndarray as Array
from scipy.special import expit, ndtri

from ..stages import Outcome, StageFunction

PENALTY = 2.0  # of the squared weights, halved, of all columns but the constant
LEAST_SPREAD = 1e-12  # keeps the curvature of what is known for certain from being singular
KEPT = 512  # outcomes of prefixes that are held at once


def ridge_logistic(
    columns: Array,
    outcomes: Array,
    penalty: Array,
    prior: Array,
    start: Array,
    weight: float = 1.0,
) -> tuple[Array, Array]:
    """Logistic regression with a ridge penalty, by Newton's method.

    Parameters
    ----------
    columns : float64 array [k, d]
    outcomes : array [k]
        Of bool, or in [0, 1].
    penalty, prior : float64 arrays [d]
        penalty · (coefficients − prior)² ÷ 2 is added to the negative log-likelihood.
    start : float64 array [d]
    weight : float
        Of every sample.

    Returns
    -------
    (float64 [d], float64 [d, d])
        Coefficients and their covariance.
    """

    def loss(curve: Array) -> float:
        log_odds = columns @ curve
        fit = np.sum(np.logaddexp(0, log_odds) - outcomes * log_odds)
        return float(weight * fit + penalty @ (curve - prior) ** 2 / 2)

    curve = start
    for _ in range(50):
        chance = expit(columns @ curve)
        slope = weight * ((outcomes - chance) @ columns) - penalty * (curve - prior)
        spread = weight * chance * (1 - chance) + LEAST_SPREAD
        curvature = (columns.T * spread) @ columns + np.diag(penalty)
        step = np.linalg.solve(curvature, slope)
        before = loss(curve)  # up to rounding, which would stop the last steps
        while loss(curve + step) > before * (1 + 1e-12) and abs(step).max() > 1e-9:
            step = step / 2
        curve = curve + step
        if abs(step).max() < 1e-8:
            break
    return curve, np.linalg.inv(curvature)


def normal_scores(confidence: Array) -> Array:
    """Normal scores of the ranks of confidences [k], float64 [k]: equal ones share the mean of
    their ranks, and what is missing (nan) ranks as −inf."""
    there = np.where(np.isnan(confidence), -np.inf, confidence)
    _, place, count = np.unique(there, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - count / 2
    return ndtri(middle / len(place))[place]


def expected_correct(correct: Array, scores: Array, last: int) -> Array:
    """How likely the output after the model ``last`` is correct, float64 [k].

    correct [k]: whether it was; scores float64 [M + 1, k]: normal scores of all models, and of the
    output itself. The mean over the samples is that of ``correct``.
    """
    outcomes = np.asarray(correct, np.float64)
    if outcomes.min() == outcomes.max():
        return outcomes  # there is nothing to tell apart
    own = scores[-1]
    alone = scores[:-1]
    parts = [np.ones(len(own)), own, own**2, alone.mean(0), alone.min(0)]
    columns = np.column_stack([*parts, *np.delete(alone, last, axis=0)])
    penalty = np.full(columns.shape[1], PENALTY)
    penalty[0] = 0.0
    zeros = np.zeros(len(penalty))
    curve, _ = ridge_logistic(columns, outcomes, penalty, zeros, zeros)
    return expit(columns @ curve)


def expected_outcomes(stage: StageFunction, models: int, last_only: bool) -> StageFunction:
    """A stage function with expected outcomes in the place of those of M models.

    Parameters
    ----------
    stage : callable
        Prefix → (correct [k], confidence [k]).
    models : int
        M: the prefixes consist of 0 … M − 1.
    last_only : bool
        Whether outcomes depend on the last model of a prefix alone.

    Returns
    -------
    callable
        Prefix → (float64 [k]: the probability that the output is correct, by a ridge logistic
        regression on normal scores; confidence [k], as it was).
    """
    alone = np.stack([normal_scores(stage((model,))[1]) for model in range(models)])

    @lru_cache(KEPT)
    def outcome(prefix: tuple[int, ...]) -> Outcome:
        correct, confidence = stage(prefix)
        scores = np.vstack([alone, normal_scores(confidence)])
        return expected_correct(correct, scores, prefix[-1]), confidence

    return lambda prefix: outcome(prefix[-1:] if last_only else prefix)
