"""Temperature scaling (Guo et al., 2017; paper, eq. 3)."""

import warnings

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

BOUNDS = (0.02, 50.0)


def negative_log_likelihood(logits, labels, temperature=1.0):
    """Mean negative log-likelihood in nats of labels int [k] under softmax(logits [k, classes] / temperature)."""
    z = np.asarray(logits, np.float64) / temperature
    return float(np.mean(logsumexp(z, axis=1) - z[np.arange(len(z)), labels]))


def fit_temperature(logits, labels):
    """The temperature in [0.02, 50] that minimises the negative log-likelihood, found by scipy on log T.

    logits [k, classes], labels int [k] of the *fitting* split. A model that is never wrong there would want T → 0:
    it keeps T = 1, with a RuntimeWarning, as does one whose likelihood only falls towards a bound.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if (logits.argmax(axis=1) == labels).all():
        warnings.warn("temperature left at 1: the model is never wrong on this split", RuntimeWarning, stacklevel=2)
        return 1.0
    low, high = np.log(BOUNDS)
    best = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, np.exp(log_t)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-7},
    ).x
    if min(best - low, high - best) < 1e-3:
        warnings.warn(
            f"temperature left at 1: the likelihood only grows towards T = {np.exp(best):.3g}, at the bound",
            RuntimeWarning,
            stacklevel=2,
        )
        return 1.0
    return float(np.exp(best))
