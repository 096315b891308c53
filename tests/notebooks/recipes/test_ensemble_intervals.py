"""Ensembles that stop by intervals, against a loop with the intervals themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipe_stores import assert_front_equals, assert_replay_equals, make_store
from scipy import stats

from cascadelib.methods.confidence_metrics import BLOCK_ELEMENTS, softmax
from tools import recipes
from tools.recipes.ensemble_intervals import DOUBTS, doubt_of, interval_outcomes, least_ratio


def slow_exit(probabilities, labels, costs, doubt):
    """Accuracy and cost of an ensemble, sample by sample, at the level 1 − doubt."""
    correct = 0
    cost = 0.0
    for j, label in enumerate(labels):
        for n in range(1, len(costs) + 1):
            p = np.array([each[j] for each in probabilities[:n]])
            mean = p.mean(axis=0)
            cost += costs[n - 1]
            if n == 1:
                continue
            half = stats.t.ppf(1 - doubt / 2, n - 1) * p.std(axis=0, ddof=1) / np.sqrt(n)
            top = int(mean.argmax())
            others = [mean[c] + half[c] for c in range(len(mean)) if c != top]
            if mean[top] - half[top] > max(others):
                break
        correct += mean.argmax() == label
    return correct / len(labels), cost / len(labels)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_exits_by_intervals_equal_a_loop(seed, models, n_models):
    store = make_store(seed, 12, models, 0.01)
    names = list(store.models.index)
    costs = store.costs("macs")
    p = [softmax(store.logits(name)) for name in names]
    slow = [
        slow_exit(p[start:end], store.labels, costs[start:end], doubt)
        for start in range(models)
        for end in range(start + 1, min(start + n_models, models) + 1)
        for doubt in DOUBTS
    ]
    table = recipes.inoue_2019(store, n_models)
    assert_front_equals(table, slow)
    assert_replay_equals(store, table, interval_outcomes)


def test_doubt_of_equal_and_of_certain_members():
    mean = np.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.6, 0.3, 0.1]])
    error = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.1, 0.1, 0.0], [0.0, 0.01, 0.5]])
    ratios = np.array([least_ratio(*row, 2) for row in zip(mean, 2 * error**2)])
    doubt = doubt_of(ratios, np.array(2))
    assert doubt[0] == 1
    assert doubt[1] == 0
    assert doubt[2] == pytest.approx(2 * stats.t.sf(0.2 / 0.2, 1))
    assert doubt[3] == pytest.approx(2 * stats.t.sf(0.5 / 0.5, 1))  # the last one's is the widest


def test_blocks_of_samples_are_one_split():
    rows = BLOCK_ELEMENTS // make_store(0, 5, 1, 0.01).logits("m0").shape[1]
    whole = make_store(0, rows + 3, 3, 0.01)
    ends = whole.take(slice(rows - 2, None))
    names = list(whole.models.index)
    for here, there in zip(
        interval_outcomes(whole, names, "top1"), interval_outcomes(ends, names, "top1")
    ):
        np.testing.assert_array_equal(here[0][rows - 2 :], there[0])
        np.testing.assert_array_equal(here[1][rows - 2 :], there[1])


def test_two_best_classes_count_as_correct_on_request():
    store = make_store(0, 40, 1, 0.01)
    one, two = (
        recipes.inoue_2019(store, score=score)["accuracy"].max() for score in ("top1", "top2")
    )
    assert one < two
