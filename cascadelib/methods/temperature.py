"""Temperature scaling (Guo et al., 2017; paper, eq. 3)."""

import warnings

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import CHUNK, ELEMENTS, over_blocks

BOUNDS = (1e-3, 1e2)  # of a temperature, ÷ the scale of the logits


def some(count: int) -> Array:
    """At most 2,000 of so many rows, evenly spread: int64."""
    return np.unique(np.linspace(0, count - 1, 2000).astype(int))


def bounds_of(logits: Array) -> Array:
    """Logarithms of the least and the largest temperature that are tried: BOUNDS × the scale of
    logits [k, classes], the mean of largest − mean over some samples (cosines of CLIP want a T of
    0.002, other logits one near 1)."""
    z = np.asarray(logits[some(len(logits))], np.float64)
    scale = np.mean(z.max(axis=1) - z.mean(axis=1))
    return np.log(BOUNDS) + np.log(scale) if scale > 0 else np.zeros(2)


def slope(log_t: float, logits: Array, labels: Array) -> tuple[float, float]:
    """Slope of the mean negative log-likelihood by the inverse temperature b = 1 / T, the mean of
    E_p[z] − z_label, and that slope's own by log T.

    By b it is the mean variance of z: the slope never falls, and has one root at most. logits
    [k, classes]; labels int [k].
    """
    k = len(labels)
    b = np.exp(-log_t)

    def block(rows: slice) -> tuple[float, float]:
        """Sums over some rows of E_p[z] − z_label, and of the variance of z."""
        z = np.asarray(logits[rows], np.float64)
        z = z - z.max(axis=1, keepdims=True)
        e = np.exp(z * b)
        total = e.sum(axis=1)
        e *= z
        mean = e.sum(axis=1) / total
        square = np.einsum("ij,ij->i", e, z) / total
        first = np.sum(mean - z[np.arange(len(z)), labels[rows]])
        return first, np.sum(square - mean**2)

    rows_at_once = max(64, ELEMENTS // logits.shape[1])
    first, second = np.sum(over_blocks(k, rows_at_once, block), axis=0) / k
    return first, -b * second


def fit_temperature(logits: Array, labels: Array, name: str | None = None) -> float:
    """Fit the temperature that minimizes the negative log-likelihood.

    Parameters
    ----------
    logits : array of shape (n_samples, n_classes)
        Logits of one model on the fitting split.
    labels : int array of shape (n_samples,)
        True classes.
    name : str, optional
        Name of the model, for warnings.

    Returns
    -------
    float
        The minimizer, within the bounds that :func:`bounds_of` derives from the logits.

    Warns
    -----
    RuntimeWarning
        If the likelihood still rises at a bound, which is then returned, or if the model is always
        correct. The minimizer of such a model would be 0, at which all confidences are 1. Its
        temperature stays 1.

    See Also
    --------
    Method : Apply temperatures to a cascade.

    Notes
    -----
    The slope of the likelihood on log T is solved by Brent's method on at most 2,000 samples, and
    then by Newton's method on all samples.

    References
    ----------
    .. [1] Guo et al., "On calibration of modern neural networks", ICML 2017.
    .. [2] Lebovitz et al., TMLR 2023, equation 3.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> rng = np.random.default_rng(0)
    >>> labels = rng.integers(3, size=2000)
    >>> logits = 4 * np.eye(3)[labels] + 3 * rng.normal(size=(2000, 3))
    >>> round(cl.fit_temperature(logits, labels), 2)
    2.31
    """
    from scipy.optimize import root_scalar  # a fifth of what an import of the search takes

    labels = np.asarray(labels)
    low, high = bounds_of(logits)
    blocks = (slice(start, start + CHUNK) for start in range(0, len(labels), CHUNK))
    if all(np.array_equal(logits[rows].argmax(axis=1), labels[rows]) for rows in blocks):
        _warn(
            name,
            " left at 1: it is never wrong on this split, and its likelihood only grows as T falls "
            "to 0",
        )
        return 1.0
    few = some(len(labels))
    start = _root(logits[few], labels[few], low, high, 1e-3)
    with warnings.catch_warnings():  # scipy's own, of a slope that is flat: Brent's method follows
        warnings.simplefilter("ignore")
        newton = root_scalar(
            lambda log_t: slope(np.clip(log_t, low, high), logits, labels),
            x0=start,
            fprime=True,
            method="newton",
            maxiter=20,
        )
    if newton.converged and low < newton.root < high:
        root = newton.root
    else:
        root = _root(logits, labels, low, high)
    if root in (low, high):
        _warn(name, f": its likelihood only grows up to this bound, {np.exp(root):.4g}")
    return float(np.exp(root))


def _root(logits: Array, labels: Array, low: float, high: float, xtol: float = 1e-9) -> float:
    """log T where the slope changes its sign, or the bound up to which the likelihood grows."""
    from scipy.optimize import brentq

    if slope(high, logits, labels)[0] >= 0:
        return high
    if slope(low, logits, labels)[0] <= 0:
        return low
    # As arguments: scipy keeps its function in a cycle, and would keep a mapped file with it.
    return brentq(lambda *given: slope(*given)[0], low, high, (logits, labels), xtol)


def _warn(name: str | None, what: str) -> None:
    """A RuntimeWarning about the temperature of a model."""
    model = "the model" if name is None else f"model {name!r}"
    warnings.warn(f"temperature of {model}{what}", RuntimeWarning, stacklevel=3)
