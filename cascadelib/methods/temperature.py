"""Temperature scaling (Guo et al., 2017; paper, eq. 3)."""

import warnings

import numpy as np

from .confidence_metrics import ELEMENTS, over_blocks

BOUNDS = (1e-3, 1e2)  # of a temperature, ÷ the scale of the logits


def some(count):
    """At most 2,000 of so many rows, evenly spread: int64."""
    return np.unique(np.linspace(0, count - 1, 2000).astype(int))


def bounds_of(logits):
    """Logarithms of the least and the largest temperature that are tried: BOUNDS × the scale of logits [k, classes],
    the mean of largest − mean over some samples (cosines of CLIP want a T of 0.002, other logits one near 1)."""
    z = np.asarray(logits[some(len(logits))], np.float64)
    scale = np.mean(z.max(axis=1) - z.mean(axis=1))
    return np.log(BOUNDS) + np.log(scale) if scale > 0 else np.zeros(2)


def slope(logits, labels, log_t):
    """Slope of the mean negative log-likelihood by the inverse temperature b = 1 / T, the mean of E_p[z] − z_label,
    and that slope's own by log T. By b it is the mean variance of z: the slope never falls, and has one root at most.
    """
    k, b = len(labels), np.exp(-log_t)

    def block(rows):
        z = np.asarray(logits[rows], np.float64)
        z = z - z.max(axis=1, keepdims=True)
        e = np.exp(z * b)
        total = e.sum(axis=1)
        e *= z
        mean, square = e.sum(axis=1) / total, np.einsum("ij,ij->i", e, z) / total
        first = np.sum(mean - z[np.arange(len(z)), labels[rows]])
        return first, np.sum(square - mean**2)

    first, second = np.sum(over_blocks(k, max(64, ELEMENTS // logits.shape[1]), block), axis=0) / k
    return first, -b * second


def fit_temperature(logits: np.ndarray, labels: np.ndarray, name: str | None = None) -> float:
    """The temperature that minimises the negative log-likelihood (Guo et al., 2017), between :func:`bounds_of` logits.

    logits [k, classes], labels int [k] of the *fitting* split; name: of the model, for the warning. scipy finds the
    root of the likelihood's slope on log T: Brent's method on at most 2,000 of the samples, from there Newton's on all.
    Where the likelihood grows up to a bound, that is the temperature, with a RuntimeWarning. A model that is never
    wrong there would want T → 0, where all confidences are 1: it keeps T = 1, with a RuntimeWarning.
    """
    from scipy.optimize import root_scalar  # a fifth of what an import of the search takes

    labels, (low, high) = np.asarray(labels), bounds_of(logits)
    if all(
        (logits[i : i + 4096].argmax(axis=1) == labels[i : i + 4096]).all()
        for i in range(0, len(labels), 4096)
    ):
        _warn(
            name,
            " left at 1: it is never wrong on this split, and its likelihood only grows as T falls to 0",
        )
        return 1.0
    few = some(len(labels))
    start = _root(logits[few], labels[few], low, high, 1e-3)
    with warnings.catch_warnings():  # scipy's own, of a slope that is flat: Brent's method follows
        warnings.simplefilter("ignore")
        newton = root_scalar(
            lambda u: slope(logits, labels, np.clip(u, low, high)),
            x0=start,
            fprime=True,
            method="newton",
            maxiter=20,
        )
    root = (
        newton.root
        if newton.converged and low < newton.root < high
        else _root(logits, labels, low, high)
    )
    if root in (low, high):
        _warn(name, f": its likelihood only grows up to this bound, {np.exp(root):.4g}")
    return float(np.exp(root))


def _root(logits, labels, low, high, xtol=1e-9):
    """log T where the slope changes its sign, or the bound up to which the likelihood grows."""
    from scipy.optimize import brentq

    if slope(logits, labels, high)[0] >= 0:
        return high
    if slope(logits, labels, low)[0] <= 0:
        return low
    return brentq(lambda u: slope(logits, labels, u)[0], low, high, xtol=xtol)


def _warn(name, what):
    model = "the model" if name is None else f"model {name!r}"
    warnings.warn(f"temperature of {model}{what}", RuntimeWarning, stacklevel=3)
