"""One fixed cascade on a split."""

import numpy as np
import pytest
from tables_of_scores import noisy_store

from cascadelib import evaluate, pick, search

STORE = noisy_store()
OTHER = noisy_store(1)


@pytest.mark.parametrize(
    "method",
    ["max_softmax", "entropy", "max_softmax_mean_logits_ts", "softmax_margin_most_confident_ts"],
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_front_point_evaluated_again_gives_its_own_numbers_exactly(method, n):
    front = search(STORE, n, method)
    for row in range(0, len(front), max(1, len(front) // 25)):
        point = front.point(row)
        result = evaluate(STORE, point)
        assert (result.accuracy, result.cost) == (point.accuracy, point.cost)
        assert result.exit_rates == pytest.approx(point.exit_rates)
        assert result.improvement == pytest.approx(point.improvement, nan_ok=True)


def test_evaluate_elsewhere_equals_a_loop():
    point = pick(search(STORE, 2, "entropy"), "max_improvement")
    result = evaluate(OTHER, point)
    first, second = (OTHER.logits(m).astype(float) for m in point.models)
    p = np.exp(first) / np.exp(first).sum(1, keepdims=True)
    exits = -(p * np.log(p)).sum(1) <= point.thresholds[0]
    correct = np.where(exits, first.argmax(1), second.argmax(1)) == OTHER.labels
    np.testing.assert_array_equal(result.correct, correct)
    np.testing.assert_array_equal(result.exit_stage, np.where(exits, 0, 1))
    costs = OTHER.models["macs"]
    assert result.cost == pytest.approx(
        costs[point.models[0]] + costs[point.models[1]] * (~exits).mean()
    )


def test_evaluate_names_a_missing_model():
    point = pick(search(STORE, 2), "max_improvement")
    with pytest.raises(ValueError, match="unknown model"):
        evaluate(OTHER.select([m for m in OTHER.models.index if m != point.models[1]]), point)


def test_what_is_no_store_and_no_point_is_named(tmp_path):
    store = noisy_store()
    front = search(store)
    with pytest.raises(TypeError, match="LogitStore\\(path\\)"):
        search(str(tmp_path))
    with pytest.raises(TypeError, match="not Point"):
        evaluate(front.point(0), store)
    with pytest.raises(TypeError, match="a Point, Policy, Cascade, Front or Certificate is needed"):
        evaluate(store, 3)
    with pytest.raises(ValueError, match="n_models .*from 1 to 4, not 'entropy'"):
        search(store, "entropy")
    with pytest.raises(ValueError, match="only 5 classes"):
        search(store, score="top6")
