"""A front and its points."""

import numpy as np

from cascadelib import LogitStore, ScoreTable, evaluate, search


def test_a_point_prints_plain_numbers_and_has_its_kind_of_cost():
    scores = ScoreTable(np.eye(2, 9) > 0, np.random.default_rng(0).random((2, 9)), [1.0, 2.0])
    point = search(scores, 2).point(0)
    assert "np." not in repr(point)
    assert point.cost_kind == "cost"


def test_a_front_of_one_model_on_one_sample():
    store = LogitStore.from_arrays([0], {"a": np.array([[1.0, 0.0]])}, macs={"a": 5})
    front = search(store, 1)
    assert front.table[["accuracy", "cost"]].to_numpy().tolist() == [[1.0, 5.0]]
    assert front.point(0).thresholds == ()
    assert evaluate(store, front.point(0)).accuracy == 1.0
