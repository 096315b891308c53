"""Four models and more, certificates and threads, against loops over all cascades."""

import numpy as np
import pytest
from tables_of_scores import (
    COMPILED,
    LARGE,
    assert_certified,
    assert_equal_points,
    exact_front,
)

from cascadelib.fronts import workers
from cascadelib.fronts.exact import search_arrays
from cascadelib.fronts.kernels.state import improves, new_best, record


@pytest.fixture(params=[1, 8])
def threads(request, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: request.param)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("tolerance", [0.001, 0.02, 0.3])
def test_the_gap_is_within_the_tolerance(n, tolerance):
    points = search_arrays(*LARGE, n, tolerance=tolerance)
    assert_certified(points, exact_front(n), tolerance)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("time_limit", [1e-6, 0.05, 0.3])
def test_a_time_limit_leaves_a_valid_certificate(time_limit):
    assert_certified(search_arrays(*LARGE, 4, time_limit=time_limit), exact_front(4), np.inf)


def test_once_time_is_up_no_cascade_is_opened(monkeypatch):
    opened = []
    for n in (2, 4):  # before kernels are compiled, pairs are searched without them
        exact_front(n)
    monkeypatch.setattr(workers, "open_prefix", lambda *arguments: opened.append(arguments))
    points = search_arrays(*LARGE, 4, time_limit=1e-9)
    assert not opened and points.floor is not None
    assert len(points.cost) and (points.thresholds == -np.inf).all()


def test_a_stale_reach_admits_no_more_expensive_cascade():
    """A late write of another thread has raised ``reach`` above the recorded cost."""
    best = new_best(4, 2)
    none = np.zeros(1, np.int64)
    record(best, 2, 3.0, 7, none, none)
    best[0][:3] = 5.0
    assert not improves(best, 2, 4.0, 1, none)
    assert not improves(best, 2, 3.0, 8, none) and improves(best, 2, 3.0, 6, none)


def stressed(m, k, seed):
    """Return scores without ties of similar models: many points, found in many orders."""
    rng = np.random.default_rng(seed)
    correct = rng.random((m, k)) < np.linspace(0.5, 0.9, m)[:, None]
    return correct, rng.random((m, k)), np.sort(rng.uniform(1, 100, m))


@pytest.mark.parametrize("several", [2, 8])
@pytest.mark.parametrize(
    ("n", "m", "k", "runs"),
    [(2, 18, 10_000, 40), (3, 6, 3000, 8), (4, 6, 400, 8)] if COMPILED else [(3, 5, 60, 2)],
)
def test_the_number_of_threads_does_not_change_the_front(monkeypatch, several, n, m, k, runs):
    table = stressed(m, k, seed=n)
    if n > 2:
        # tied confidences and costs
        table = table[0], np.round(table[1], 2), np.rint(table[2] / 10) + 1
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    alone = search_arrays(*table, n)
    monkeypatch.setattr("os.cpu_count", lambda: several)
    for _ in range(runs):
        assert_equal_points(search_arrays(*table, n), alone)
