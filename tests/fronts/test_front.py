"""A front and its points."""

import numpy as np
import pytest
from tables_of_scores import noisy_store

from cascadelib import LogitStore, ScoreTable, evaluate, pick, search

STORE = noisy_store()
OTHER = noisy_store(1)


def test_a_point_prints_plain_numbers_and_says_which_cost():
    scores = ScoreTable(np.eye(2, 9) > 0, np.random.default_rng(0).random((2, 9)), [1.0, 2.0])
    point = search(scores, 2).point(0)
    assert "np." not in repr(point)
    assert point.cost_kind == "cost"


def test_one_model_and_one_sample():
    store = LogitStore.from_arrays([0], {"a": np.array([[1.0, 0.0]])}, macs={"a": 5})
    front = search(store, 1)
    assert front.table[["accuracy", "cost"]].to_numpy().tolist() == [[1.0, 5.0]]
    assert front.point(0).thresholds == ()
    assert evaluate(store, front.point(0)).accuracy == 1.0
    with pytest.raises(ValueError, match="n_models .* from 1 to 1"):
        search(store, 2)


def test_near_best_and_labelled_points():
    front = search(STORE, 2)
    near = pick(front, "near_best", caution=0)
    reached = front.table["accuracy"].iloc[-1] >= front.baseline.best
    assert near == (
        pick(front, "match_best", caution=0) if reached else front.point(len(front) - 1)
    )
    low = search(STORE, 2, models=list(STORE.models.index[:2]))
    assert pick(low, "near_best", caution=0) == low.point(len(low) - 1)
