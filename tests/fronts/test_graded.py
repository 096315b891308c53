"""Graded correctness and a price for every sample: exact fronts against a loop over everything."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import ScoreTable, evaluate, pareto_front, search
from cascadelib.fronts.graded import check_steps


def every_cascade(gain, sure, cost, lengths):
    """(cost, accuracy) of every cascade at every threshold, sample by sample."""
    mean, points = cost.mean(axis=1), []
    for n in lengths:
        for models in permutations(range(len(gain)), n):
            if any(mean[a] > mean[b] for a, b in zip(models, models[1:], strict=False)):
                continue
            for limits in product(*([*np.unique(sure[m]), np.inf] for m in models[:-1])):
                paid, got = 0.0, 0.0
                for j in range(gain.shape[1]):
                    for i, m in enumerate(models):
                        paid += cost[m, j]
                        if i == n - 1 or sure[m, j] >= limits[i]:
                            got += gain[m, j]
                            break
                points.append((paid / gain.shape[1], got / gain.shape[1]))
    return np.array(points).T


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from([1, 2, 3, (1, 2), (2, 3), (1, 2, 3)]))
def test_the_front_equals_a_loop_over_everything(seed, k, lengths):
    rng = np.random.default_rng(seed)
    gain, sure = rng.integers(0, 5, (3, k)) / 4, rng.integers(0, 4, (3, k)) / 4
    cost = np.array([[1.0], [3.0], [8.0]]) * rng.uniform(0.5, 1.5, (3, k))
    table = search(ScoreTable(gain, sure, cost), lengths).table
    c, a = every_cascade(gain, sure, cost, (lengths,) if isinstance(lengths, int) else lengths)
    for accuracy in np.unique(a):
        reached = table["cost"][table["accuracy"] >= accuracy - 1e-9]
        assert reached.min() == pytest.approx(c[a >= accuracy - 1e-9].min())
    assert len(pareto_front(table["cost"], table["accuracy"])) == len(table)


def test_its_points_are_the_evaluators():
    rng = np.random.default_rng(0)
    scores = ScoreTable(rng.random((3, 60)), rng.random((3, 60)), rng.uniform(1, 9, (3, 60)) * [[1], [5], [30]])
    front = search(scores, (1, 2, 3))
    for row in range(len(front)):
        point, result = front.point(row), evaluate(scores, front.point(row))
        assert (result.accuracy, result.cost) == (point.accuracy, point.cost)
        assert result.exit_rates == pytest.approx(point.exit_rates)
    assert any(len(models) == 3 for models in front.table["models"])


def test_infinite_confidences_tie():
    scores = ScoreTable([[0.2, 0.9, 0.4], [1.0, 0.5, 1.0]], [[np.inf, np.inf, -np.inf], [0, 0, 0]], [1, 5])
    assert search(scores, 2).table["exit_rates"].map(lambda r: round(3 * r[0])).isin([0, 2, 3]).all()


@pytest.mark.parametrize(
    ("lengths", "models", "samples", "message"),
    [
        ((3,), 20, 20_000, "fewer models"),
        ((4,), 4, 10_000, "n_models=2"),
    ],
)
def test_too_much_is_refused(lengths, models, samples, message):
    with pytest.raises(ValueError, match=message):
        check_steps(np.arange(1.0, models + 1), lengths, samples)


@pytest.mark.parametrize(("lengths", "message"), [((3,), "to 2, not 3"), ((0,), "to 2, not 0"), ((), "empty")])
def test_lengths_that_there_are_not_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        search(ScoreTable(np.full((2, 10), 0.5), np.zeros((2, 10)), [1, 2]), lengths)
