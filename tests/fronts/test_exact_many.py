"""Four models and more, certificates and threads, against loops over all cascades."""

import numpy as np
import pytest
from tables_of_scores import (
    COMPILED,
    LARGE,
    NOISY,
    assert_certified,
    assert_equal_points,
    bound_at,
    exact_front,
    synthetic,
)

from cascadelib import search
from cascadelib.fronts import parallel
from cascadelib.fronts.exact import search_arrays
from cascadelib.fronts.kernels.state import improves, new_best, record


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize("tolerance", [0.001, 0.02, 0.3])
def test_the_gap_is_within_the_tolerance(n, tolerance):
    points = search_arrays(*LARGE, n, tolerance=tolerance)
    assert_certified(points, exact_front(n), tolerance)


@pytest.mark.parametrize("time_limit", [1e-6, 0.05, 0.3])
def test_a_time_limit_leaves_a_valid_certificate(time_limit):
    assert_certified(search_arrays(*LARGE, 4, time_limit=time_limit), exact_front(4), np.inf)


def test_once_time_is_up_no_cascade_is_opened(monkeypatch):
    opened = []
    exact_front(4)  # before kernels are compiled, pairs are searched without them
    monkeypatch.setattr(parallel, "open_prefix", lambda *arguments: opened.append(arguments))
    points = search_arrays(*LARGE, 4, time_limit=1e-9)
    assert not opened and points.floor is not None
    table = search(NOISY, 4, time_limit=1e-9).table
    assert len(table) and (table["thresholds"] == (-np.inf,) * 3).all()


def test_enough_time_is_exact():
    points = search_arrays(*LARGE, 3, time_limit=600)
    assert points.floor is None
    assert points.gap.max() == 0
    np.testing.assert_array_equal(points.cost, exact_front(3).cost)


def test_equal_inputs_give_equal_fronts_whatever_the_threads(monkeypatch):
    correct, confidence, cost = synthetic(6, 300, seed=8, digits=1)
    table = np.repeat(correct, 2, 0), np.repeat(confidence, 2, 0), np.repeat(np.rint(cost[:6]), 2)
    once = search_arrays(*table, 3)
    for threads in (1, 2, 5):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        assert_equal_points(search_arrays(*table, 3), once)


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


@pytest.mark.parametrize("threads", [2, 8])
@pytest.mark.parametrize(
    ("n", "m", "k", "runs"),
    [(2, 18, 10_000, 40), (3, 6, 3000, 8), (4, 6, 400, 8)] if COMPILED else [(3, 5, 60, 2)],
)
def test_the_number_of_threads_does_not_change_the_front(monkeypatch, threads, n, m, k, runs):
    table = stressed(m, k, seed=n)
    if n > 2:
        table = (
            table[0],
            np.round(table[1], 2),
            np.rint(table[2] / 10) + 1,
        )  # tied costs and confidences
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    alone = search_arrays(*table, n)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    for _ in range(runs):
        assert_equal_points(search_arrays(*table, n), alone)


@pytest.mark.parametrize("limit", [{"tolerance": 0.05}, {"time_limit": 0.05}])
def test_certificates_of_several_threads_are_valid(monkeypatch, limit):
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for _ in range(5):
        assert_certified(
            search_arrays(*LARGE, 3, **limit), exact_front(3), limit.get("tolerance", np.inf)
        )


def test_a_front_has_a_gap_and_a_lower_bound():
    front = search(NOISY, 3)
    loose = search(NOISY, 3, tolerance=0.5)
    assert (front.gap == 0).all()
    assert bound_at(front.points, 0.7) == front.cost_at(0.7)
    assert loose.gap.max() <= 0.5
    assert (bound_at(loose.points, front.table["accuracy"]) <= front.table["cost"]).all()
