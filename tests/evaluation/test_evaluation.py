"""The evaluation of one fixed cascade on a split."""

from functools import cache, partial

import numpy as np
import pytest
from tables_of_scores import noisy_store

from cascadelib import ScoreTable, evaluate, search

STORE = noisy_store()
OTHER = noisy_store(1)


@cache
def a_front():
    return search(STORE, 2)


@pytest.mark.parametrize(
    "method",
    ["max_softmax", "entropy", "max_softmax_mean_logits_ts", "softmax_margin_most_confident_ts"],
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_evaluating_a_point_of_a_front_reproduces_its_values(method, n):
    check_points(STORE, search(STORE, n, method))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_tied_and_infinite_confidences_exit_by_the_rule_of_the_evaluator(n):
    rng = np.random.default_rng(0)
    confidence = rng.choice([-np.inf, -1.0, 0.0, 0.25, 0.5, 1.0, np.inf], (4, 40))
    table = ScoreTable(rng.random((4, 40)) < 0.7, confidence, [1.0, 2.0, 4.0, 8.0])
    check_points(table, search(table, n))


def check_points(store, front):
    """Evaluate about 25 points of a front on the store of its search."""
    for row in range(0, len(front), max(1, len(front) // 25)):
        point = front.point(row)
        result = evaluate(store, point)
        assert (result.accuracy, result.cost) == (point.accuracy, point.cost)
        assert result.exit_rates == pytest.approx(point.exit_rates)
        assert result.improvement == pytest.approx(point.improvement, nan_ok=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate(OTHER.select(["m0"]), a_front().point(-1)), "unknown model"),
        (partial(search, "folder"), r"LogitStore\(path\)"),
        (lambda: evaluate(a_front().point(0), STORE), "not Point: the store comes first"),
        (partial(evaluate, STORE, 3), "a Point, Policy, Cascade, Front or Certificate is needed"),
        (partial(search, STORE, "entropy"), "n_models .*from 1 to 4, not 'entropy'"),
        (partial(search, STORE, score="top6"), "only 5 classes"),
    ],
)
def test_an_invalid_argument_is_refused_by_name(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
