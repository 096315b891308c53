"""The oracle against every exit of every sample, and its refusals."""

from itertools import product

import numpy as np
import pytest
from recipe_stores import assert_front_equals, rising_chains

from cascadelib import ScoreTable
from tools import recipes


def test_the_oracle_refuses_graded_scores():
    """0.25 and 0.5 were right answers to it: accuracy 1 at cost 1."""
    with pytest.raises(ValueError, match="graded"):
        recipes.oracle(ScoreTable([[0.25, 0.5], [0.5, 1.0]], np.zeros((2, 2)), [1, 4]))
    ones = recipes.oracle(ScoreTable([[0.0, 1.0], [1.0, 1.0]], np.zeros((2, 2)), [1, 4]))
    assert ones["accuracy"].tolist() == [0.5, 1.0] and ones["cost"].tolist() == [1, 3]


def test_oracle_equals_trying_every_exit_of_every_sample():
    rng = np.random.default_rng(5)
    for costs in ([1, 4, 9], [2, 2, 5]):
        correct = rng.random((3, 6)) < [[0.4], [0.5], [0.7]]
        points = []
        for chain in rising_chains(costs, 3):
            for exits in product(range(len(chain)), repeat=6):
                n = sum(correct[chain[e]][j] for j, e in enumerate(exits))
                points.append((n / 6, sum(costs[m] for e in exits for m in chain[: e + 1]) / 6))
        table = recipes.oracle(ScoreTable(correct, np.zeros((3, 6)), costs))
        assert_front_equals(table, points)
