"""Temperature scaling (Guo et al., 2017; paper, eq. 3)."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy import ndarray as Array

from .confidence_metrics import BLOCK_ELEMENTS, BLOCK_ROWS, map_blocks

BOUNDS = (1e-3, 1e2)  # range of temperatures, relative to the scale of the logits


def spread_rows(count: int) -> Array:
    """Return at most 2,000 evenly spaced indices of `count` rows, int64."""
    return np.unique(np.linspace(0, count - 1, 2000).astype(int))


def bounds_of(logits: Array) -> Array:
    """Return the logarithms of the least and the largest temperature of a fit, float64 (2,).

    Both temperatures are proportional to the scale of the logits (k, n_classes). The scale is the
    largest logit of a sample minus the mean of its logits, averaged over some samples. CLIP returns
    cosines, which need a temperature of about 0.002. Other logits need a temperature near 1.
    """
    z = np.asarray(logits[spread_rows(len(logits))], np.float64)
    scale = np.mean(z.max(axis=1) - z.mean(axis=1))
    return np.log(BOUNDS) + np.log(scale) if scale > 0 else np.zeros(2)


def slope(log_t: float, logits: Array, labels: Array) -> tuple[float, float]:
    """Return the slope of the mean negative log-likelihood in b = 1 / T, and d slope / d log T.

    Let z be the logits of a sample and p their softmax at temperature T. The slope in b is the mean
    of E_p[z] − z_label over the samples. The derivative of the slope with respect to b is the mean
    variance of z under p. It is not negative, so the slope has at most one root.

    Parameters
    ----------
    log_t : float
        Logarithm of the temperature.
    logits : array of shape (k, n_classes)
        Logits of one model.
    labels : int array of shape (k,)
        True classes.
    """
    k = len(labels)
    b = np.exp(-log_t)
    logits = np.asarray(logits)  # indexing a memmap is slow

    def block(rows: slice) -> tuple[float, float]:
        """Return the sums of E_p[z] − z_label and of the variance of z over some rows."""
        z = np.asarray(logits[rows], np.float64)
        z = z - z.max(axis=1, keepdims=True)
        e = np.exp(z * b)
        total = e.sum(axis=1)
        e *= z
        mean = e.sum(axis=1) / total
        square = np.einsum("ij,ij->i", e, z) / total
        first = np.sum(mean - z[np.arange(len(z)), labels[rows]])
        return first, np.sum(square - mean**2)

    rows_at_once = max(64, BLOCK_ELEMENTS // logits.shape[1])
    first, second = np.sum(map_blocks(k, rows_at_once, block), axis=0) / k
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
        If the likelihood is largest at a bound. The bound is then returned. Also if the model is
        always correct. 1 is then returned, since the likelihood has no maximum: it increases as T
        decreases to 0.

    See Also
    --------
    Method : Apply temperatures to a cascade.

    Notes
    -----
    The root of the slope of the likelihood is found by :func:`find_root`.

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
    labels = np.asarray(labels)
    low, high = bounds_of(logits)
    blocks = (slice(start, start + BLOCK_ROWS) for start in range(0, len(labels), BLOCK_ROWS))
    if all(np.array_equal(logits[rows].argmax(axis=1), labels[rows]) for rows in blocks):
        _warn(
            name,
            " stays 1: the model is correct on all samples of this split, so the likelihood grows "
            "until T = 0",
        )
        return 1.0
    root = find_root(slope, logits, labels, low, high)
    if root in (low, high):
        _warn(
            name,
            f" is at its bound, {np.exp(root):.4g}: no temperature between the bounds has a higher "
            "likelihood",
        )
    return float(np.exp(root))


def find_root(function: Callable, logits: Array, labels: Array, low: float, high: float) -> float:
    """Return the log T at which a falling function changes sign, or a bound if it does not.

    Brent's method finds the root for at most 2,000 samples. Newton's method on all samples starts
    there. If it fails or leaves the bounds, Brent's method is used on all samples.

    Parameters
    ----------
    function : callable
        Function of log T, the logits and the labels of samples. It returns its value and its
        derivative with respect to log T.
    logits : array of shape (k, n_classes)
        Logits of one model.
    labels : array of shape (k,)
        What the function needs of each sample.
    low, high : float
        Bounds of log T.
    """
    from scipy.optimize import root_scalar  # its import takes time that a search does not need

    rows = spread_rows(len(labels))
    start = _root(function, logits[rows], labels[rows], low, high, 1e-3)
    # Newton's method warns if the function is flat.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        newton = root_scalar(
            lambda log_t: function(np.clip(log_t, low, high), logits, labels),
            x0=start,
            fprime=True,
            method="newton",
            maxiter=20,
        )
    if newton.converged and low < newton.root < high:
        return newton.root
    return _root(function, logits, labels, low, high)


def _root(
    function: Callable, logits: Array, labels: Array, low: float, high: float, xtol: float = 1e-9
) -> float:
    """Return :func:`find_root` by Brent's method alone."""
    from scipy.optimize import brentq

    if function(high, logits, labels)[0] >= 0:
        return high
    if function(low, logits, labels)[0] <= 0:
        return low
    # SciPy keeps the function in a reference cycle, so the function must not hold mapped arrays.
    return brentq(lambda *arguments: function(*arguments)[0], low, high, (logits, labels), xtol)


def _warn(name: str | None, text: str) -> None:
    """Warn about the temperature of a model."""
    model = "the model" if name is None else f"model {name!r}"
    warnings.warn(f"temperature of {model}{text}", RuntimeWarning, stacklevel=3)
