"""One threshold for all stages: against a loop over everything, and against separate thresholds."""

import numpy as np
import pytest
from hypothesis import given
from references import last_of, shared_front
from tables_of_scores import NOISY, RELAXED, tables

from cascadelib import ScoreTable, evaluate, search
from tools.claims.shared_threshold import shared_threshold_front


@RELAXED
@given(tables(models=(3, 4), samples=(1, 8)))
def test_one_shared_threshold_equals_a_loop(table):
    correct, levels, cost = table
    cost = 1.0 + np.arange(len(cost)) ** 2
    names = [f"m{number}" for number in range(len(cost))]
    store = ScoreTable(correct, levels, cost, names)
    found = shared_threshold_front(search(store, 3)).table
    expected = shared_front(last_of(correct, levels), cost, 3)
    correct_answers = (found["accuracy"] * correct.shape[1]).round().astype(int)
    assert dict(zip(correct_answers, found["cost"])) == pytest.approx(expected)


def test_a_shared_threshold_is_never_better_than_separate_ones():
    free = search(NOISY, 3)
    shared = shared_threshold_front(free)
    assert (free.cost_at(shared.table["accuracy"]) <= shared.table["cost"]).all()
    point = shared.point(len(shared) // 2)
    assert len(set(point.thresholds)) == 1
    assert evaluate(NOISY, point).accuracy == point.accuracy
