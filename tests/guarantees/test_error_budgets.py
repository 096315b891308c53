"""Each share of an error budget is exact: the level that a bound passes on, and its value at the
boundary. A simulation cannot see a factor of 4."""

import inspect

import numpy as np
import pytest
from scipy.stats import binom, hypergeom

import cascadelib as cl
from cascadelib.guarantees.p_values import f1_p_value
from cascadelib.guarantees.peeling import errors_allowed
from cascadelib.sklearn import CascadeClassifier


@pytest.mark.parametrize(
    ("rows", "labels", "epsilon"), [(200, 80, 0.1), (50, 5, 0), (300, 40, 0.01)]
)
def test_errors_in_a_draw_of_a_table_spend_at_most_delta(rows, labels, epsilon):
    """i labels may be wrong if P(at most i of i + k + 1 wrong rows are drawn) ≤ δ, k = ε rows."""
    delta = 0.13
    may_stay = int(epsilon * rows)
    chances = [hypergeom.cdf(i, rows, i + may_stay + 1, labels) for i in range(labels)]
    of_source = binom.cdf(np.arange(labels), labels, epsilon)
    for found, chance in zip(errors_allowed(rows, labels, epsilon, delta), (chances, of_source)):
        assert found == next(i for i in range(labels + 1) if chance[i] > delta) - 1 < labels


@pytest.mark.parametrize(
    "call",
    [cl.certify, cl.answer_table, cl.analysis.guarantee_table, CascadeClassifier, f1_p_value],
)
def test_an_error_budget_is_5_percent_by_default(call):
    parameters = inspect.signature(call).parameters
    assert (parameters.get("delta") or parameters["level"]).default == 0.05
