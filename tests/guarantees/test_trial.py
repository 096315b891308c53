"""Each point is tested at its share of δ, in sequence or by the method of Holm."""

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.guarantees import trial

ACCEPTED = ("confidences", "independent", "rows aligned")


def nested_table(k=200):
    """Three models, each correct wherever the cheaper one is, of rising confidence."""
    rng = np.random.default_rng(0)
    ease = rng.random(k)
    correct = ease > np.array([[0.3], [0.2], [0.1]])
    return cl.ScoreTable(correct, np.tile(ease, (3, 1)), [1, 4, 9], "abc")


@pytest.mark.parametrize(("simultaneous", "level"), [(True, 0.06 / 4), (False, 0.06)])
def test_a_certificate_tests_each_point_at_its_share_of_delta(simultaneous, level, capture):
    """Loss and cost: both must hold, so neither level is halved."""
    of_loss = capture(trial, "loss_p_value", 0.001)
    of_cost = capture(trial, "cost_p_value", 0.001)
    points = [cl.Point(("a", "c"), (t,), cost_kind="cost") for t in (0.9, 0.7, 0.5, 0.3)]
    found = cl.certify(
        nested_table(), points, 0.1, 0.06, reference="c", budget=8.0, simultaneous=simultaneous,
        accept=ACCEPTED,
    )  # fmt: skip
    assert [call[4:6] for call in of_loss] == [(0.1, level)] * 4
    assert [call[2:4] for call in of_cost] == [(8.0, level)] * 4
    assert len(found.certified) == 4


def test_points_in_order_are_tested_until_one_exceeds_delta(capture):
    """A p-value of δ itself still certifies."""
    for p_value, tested in ((0.06, 3), (0.06 + 1e-12, 1)):
        calls = capture(trial, "loss_p_value", p_value)
        points = [cl.Point(("a", "c"), (t,), cost_kind="cost") for t in (0.9, 0.7, 0.5)]
        found = cl.certify(nested_table(), points, 0.1, 0.06, reference="c", accept=ACCEPTED)
        assert len(calls) == tested and len(found.certified) == tested * (tested > 1)


@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_simultaneous_points_are_rejected_by_the_method_of_holm(delta):
    """The smallest of m p-values must be at most δ / m, the next δ / (m − 1), the last δ."""
    at_the_boundary = pd.Series([delta, delta / 3, delta / 2])
    assert trial.rejected(at_the_boundary, delta, True).sort_index().tolist() == [True] * 3
    for place, certified in ((1, []), (2, [1]), (0, [1, 2])):
        above = at_the_boundary.copy()
        above[place] *= 1 + 1e-9
        found = trial.rejected(above, delta, True)
        assert sorted(found.index[found]) == certified
    in_order = trial.rejected(pd.Series([delta, delta]), delta, False)
    assert in_order.tolist() == [True, True]
    assert not trial.rejected(pd.Series([delta * (1 + 1e-9)]), delta, False).any()
