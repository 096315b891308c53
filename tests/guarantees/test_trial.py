"""Points are tested in sequence, each at level δ."""

import numpy as np

import cascadelib as cl
from cascadelib.guarantees import trial


def nested_table(k=200):
    """Three models, each correct wherever the cheaper one is, of rising confidence."""
    rng = np.random.default_rng(0)
    ease = rng.random(k)
    correct = ease > np.array([[0.3], [0.2], [0.1]])
    return cl.ScoreTable(correct, np.tile(ease, (3, 1)), [1, 4, 9], "abc")


def test_a_certificate_tests_each_point_at_delta(capture):
    """Loss and cost: both must hold, so the level is not halved."""
    of_loss = capture(trial, "loss_p_value", 0.001)
    of_cost = capture(trial, "cost_p_value", 0.001)
    points = [cl.Point(("a", "c"), (t,), cost_kind="cost") for t in (0.9, 0.7, 0.5, 0.3)]
    found = cl.certify(nested_table(), points, 0.1, 0.06, reference="c", budget=8.0)
    assert [call[3:5] for call in of_loss] == [(0.1, 0.06)] * 4
    assert [call[2:4] for call in of_cost] == [(8.0, 0.06)] * 4
    assert len(found.certified) == 4


def test_points_in_order_are_tested_until_one_exceeds_delta(capture):
    """A p-value of δ itself still certifies."""
    for p_value, tested in ((0.06, 3), (0.06 + 1e-12, 1)):
        calls = capture(trial, "loss_p_value", p_value)
        points = [cl.Point(("a", "c"), (t,), cost_kind="cost") for t in (0.9, 0.7, 0.5)]
        found = cl.certify(nested_table(), points, 0.1, 0.06, reference="c")
        assert len(calls) == tested and len(found.certified) == tested * (tested > 1)
