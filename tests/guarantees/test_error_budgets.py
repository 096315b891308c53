"""Each share of an error budget is exact: the level that a bound passes on, and its value at the
boundary. A simulation cannot see a factor of 4."""

import inspect

import numpy as np
import pytest
from scipy.stats import beta, binom, hypergeom

import cascadelib as cl
from cascadelib.guarantees import peeling
from cascadelib.guarantees.p_values import f1_p_value
from cascadelib.sklearn import CascadeClassifier


@pytest.mark.parametrize(
    ("delta", "allowed"), [(0.01, -1), (0.05, 0), (0.1, 1), (0.29, 1), (0.3, 2), (0.9, 2)]
)
def test_the_number_of_allowed_errors_is_rounded_down(delta, allowed):
    assert peeling.largest_allowed(np.array([0.05, 0.1, 0.3]), delta) == allowed


@pytest.mark.parametrize(("rows", "may_stay", "labels"), [(200, 20, 80), (50, 0, 5), (300, 3, 40)])
def test_errors_in_a_draw_of_a_table_spend_at_most_delta(rows, may_stay, labels):
    """i labels may be wrong if P(at most i of i + may_stay + 1 wrong rows are drawn) ≤ δ."""
    delta = 0.13
    allowed = 0
    while hypergeom.cdf(allowed, rows, allowed + may_stay + 1, labels) <= delta:
        allowed += 1
    assert peeling.errors_allowed(rows, may_stay, labels, delta) == allowed - 1 < labels


@pytest.mark.parametrize(
    ("removed", "counted", "spent"), [(437, 420, 0.1), (420, 420, 0.1), (7, 0, 0.1), (0, 0, 0.0)]
)
def test_a_tenth_of_delta_bounds_the_remaining_share_of_the_source(
    removed, counted, spent, capture
):
    """It is divided evenly by the possible numbers of removed rows: 200 chunks of 20 rows."""
    delta = 0.2
    calls = capture(peeling, "largest_allowed", 3)
    assert peeling.errors_allowed_at_source(50, 0.1, delta, removed, 4000) == 3
    share = beta.isf(delta / 10 * 20 / 4000, 4000 - counted + 1, counted) if counted else 1.0
    ((chances, level),) = calls
    assert level == pytest.approx(delta * (1 - spent), rel=1e-12)
    np.testing.assert_allclose(chances, binom.cdf(np.arange(50), 50, 0.1 / share), rtol=1e-9)


def test_all_errors_are_allowed_if_less_than_epsilon_of_the_source_remains():
    assert peeling.errors_allowed_at_source(50, 0.9, 0.2, 3990, 4000) == 49


@pytest.mark.parametrize(
    "call",
    [cl.certify, cl.answer_table, cl.analysis.guarantee_table, CascadeClassifier, f1_p_value],
)
def test_an_error_budget_is_5_percent_by_default(call):
    parameters = inspect.signature(call).parameters
    assert (parameters.get("delta") or parameters["level"]).default == 0.05
