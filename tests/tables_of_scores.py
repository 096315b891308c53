"""Tables of scores with ties for tests of the search, and comparisons of fronts."""

from functools import cache
from types import FunctionType

import numba
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from references import as_dict, brute_front, last_of
from tiny_stores import noisy_store

from cascadelib import search_arrays

# NUMBA_DISABLE_JIT=1 shows the lines of kernels to coverage and mutants. Tests are smaller then.
COMPILED = not numba.config.DISABLE_JIT
RELAXED = settings(
    max_examples=60 if COMPILED else 10, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def tables(draw, models=(2, 4), samples=(1, 9), levels=4):
    """Draw correctness, confidences with many ties, and costs of which some are equal."""
    m = draw(st.integers(*models))
    k = draw(st.integers(*samples))
    correct = draw(
        st.lists(st.lists(st.booleans(), min_size=k, max_size=k), min_size=m, max_size=m)
    )
    confidence = draw(
        st.lists(
            st.lists(st.integers(0, levels - 1), min_size=k, max_size=k), min_size=m, max_size=m
        )
    )
    cost = draw(st.lists(st.sampled_from([0.0, 1.0, 2.0, 2.5, 7.0, 40.0]), min_size=m, max_size=m))
    return np.array(correct), np.array(confidence) / 3, np.array(cost)


def synthetic(m, k, seed, digits=2):
    rng = np.random.default_rng(seed)
    skill = np.sort(rng.normal(1, 0.5, m))
    ease = rng.normal(size=k)
    margin = skill[:, None] + ease + rng.normal(0, 0.7, (m, k))
    confidence = 1 / (1 + np.exp(-np.abs(margin) - rng.normal(0, 0.5, (m, k))))
    return margin > 0.3, np.round(confidence, digits), np.sort(rng.uniform(1, 100, m))


def uncompiled(kernel):
    """Return the Python function of a kernel. It calls no compiled kernel.

    Kernels that only kernels call have no Python wrapper, so a call of one from Python crashes.
    """
    function = getattr(kernel, "py_func", kernel)
    names = function.__globals__
    called = [name for name in function.__code__.co_names if hasattr(names.get(name), "py_func")]
    return FunctionType(
        function.__code__, names | {name: uncompiled(names[name]) for name in called}
    )


NOISY = noisy_store()
LARGE = synthetic(*((6, 3000) if COMPILED else (5, 40)), seed=5, digits=4)


@cache
def exact_front(n):
    """Return the exact front of cascades of n of the models of LARGE."""
    return search_arrays(*LARGE, n)


def assert_same_front(points, expected, k):
    assert list(as_dict(points, k)) == list(expected)
    np.testing.assert_allclose(points.cost, list(expected.values()), rtol=1e-12)


def assert_front_of_all(table, n_models):
    """Assert that the search finds the front of all cascades and thresholds."""
    correct, confidence, cost = table
    lengths = (n_models,) if isinstance(n_models, int) else n_models
    expected = brute_front(last_of(correct, confidence), cost, lengths)
    assert_same_front(
        search_arrays(correct, confidence, cost, n_models), expected, correct.shape[1]
    )


def slow_f1(predicted, labels):
    """Return F1 of class 1 from precision and recall, or 0 without a true positive."""
    hits = sum(1 for p, y in zip(predicted, labels, strict=True) if p == y == 1)
    if not hits:
        return 0.0
    precision = hits / sum(p == 1 for p in predicted)
    recall = hits / sum(y == 1 for y in labels)
    return 2 * precision * recall / (precision + recall)


def binary_table(draw_seed, models, k, levels, positive_share):
    rng = np.random.default_rng(draw_seed)
    labels = (rng.random(k) < positive_share).astype(int)
    predicted = rng.integers(0, 2, (models, k))
    confidence = rng.integers(0, levels, (models, k)) / levels
    cost = rng.integers(1, 4, models).astype(float)  # equal costs happen
    return predicted, confidence, labels, cost


def bound_at(points, accuracy):
    """Return a lower bound on the cost of all cascades with at least this accuracy."""
    found = np.append(points.cost, np.inf)[np.searchsorted(points.accuracy, accuracy)]
    return np.minimum(found, points.floor_above(np.asarray(accuracy) - 1e-12))


def assert_certified(points, exact, gap):
    """Assert that the lower bound and the gap hold for the exact front at every accuracy."""
    at = np.union1d(points.accuracy, exact.accuracy)
    truth = np.append(exact.cost, np.inf)[np.searchsorted(exact.accuracy, at)]
    bound = bound_at(points, at)
    assert (bound <= truth).all()
    assert points.gap.max() <= gap + 1e-12
    found = np.append(points.cost, np.inf)[np.searchsorted(points.accuracy, at)]
    claimed = np.append(points.gap, np.inf)[np.searchsorted(points.accuracy, at)]
    assert (found <= truth * (1 + claimed) * (1 + 1e-12)).all()


def assert_equal_points(points, others):
    for field in ("accuracy", "cost", "models", "thresholds", "exit_rates"):
        np.testing.assert_array_equal(getattr(points, field), getattr(others, field))
