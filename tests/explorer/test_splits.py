"""The splits that are shown, and what there is to choose from."""

from typing import Any

import numpy as np
import pytest
from explorer_stores import STORE, assert_shows_its_point, made

import cascadelib as cl
from cascadelib.explorer.controls import resized


@pytest.mark.parametrize("k", [1, 2])
def test_few_samples(k: int) -> None:
    explorer = cl.explore(STORE.take(slice(0, k)))
    for value in (0, 1000, 500):
        explorer.sliders[0].share.value = value
    assert_shows_its_point(explorer, STORE.take(slice(0, k)), None)


def test_a_thousand_classes_and_no_second_split() -> None:
    store = made(k=60, classes=1000, models=2)
    explorer = cl.explore(store, images=np.zeros((60, 3, 8, 9), np.float32))
    explorer.sliders[0].share.value = 500
    assert ("top-5 accuracy", "top5") in explorer.chooser.lists[
        "score"
    ].options and "held-out" not in explorer.numbers.value
    assert_shows_its_point(explorer, store, None)


def test_f1_with_two_classes() -> None:
    store = made(k=300, classes=2)
    other = made(1, 200, 2)
    explorer = cl.explore(store, other)
    explorer.chooser.lists["score"].value = "f1"
    explorer.sliders[0].share.value = 300
    point = assert_shows_its_point(explorer, store, other)
    assert point.score == "f1" and ">F1</th>" in explorer.numbers.value
    explorer.goals.buttons["largest improvement (optimistic)"].click()
    point = assert_shows_its_point(explorer, store, other)
    expected = cl.pick(cl.search(store, 2, score="f1"), "max_improvement")
    assert (point.models, point.thresholds, point.accuracy) == (
        expected.models,
        expected.thresholds,
        expected.accuracy,
    )
    explorer.chooser.number.value = 3  # no search of three under F1, but its sliders
    assert "could not be searched" in explorer.message.value
    explorer.sliders[1].share.value = 500
    assert_shows_its_point(explorer, store, other)


@pytest.mark.parametrize("graded", [False, True])
def test_a_score_table_has_its_own_confidences(graded: bool) -> None:
    rng = np.random.default_rng(0)
    correct = rng.random((3, 50)) if graded else rng.random((3, 50)) < 0.7
    table = cl.ScoreTable(correct, rng.integers(0, 9, (3, 50)), [1.0, 3.0, 9.0], ["a", "b", "c"])
    explorer = cl.explore(table, table.take(slice(0, 30)), images=["some text"] * 50)
    explorer.sliders[0].share.value = 400
    explorer.settle()
    result = cl.evaluate(table, explorer.point)
    assert (explorer.point.accuracy, explorer.point.cost) == (result.accuracy, result.cost)
    assert (
        "some text" in explorer.strip.value and explorer.chooser.lists["method"].value == "as given"
    )


def test_models_stay_in_order_of_cost(explorer: Any) -> None:
    for position, name, models in (
        (1, "m4", "m0 m4"),
        (0, "m4", "m0 m4"),
        (1, "m0", "m0 m4"),
        (1, "m2", "m0 m2"),
    ):
        explorer.take(models=["m0", "m4"])
        explorer.replace_model(position, name)
        assert explorer.choice.models == tuple(models.split())
    assert resized("ab", 3, "abcd") == [*"abd"] and resized("ad", 3, "abcd") == [*"adc"]
    assert resized("b", 4, "abcd") == [*"bacd"] and resized("ab", 2, "abcd") == [*"ab"]
    assert resized("abd", 2, "abcd") == [*"ad"] and resized("abd", 1, "abcd") == ["d"]
