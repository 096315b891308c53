"""A budget over a stream holds whatever comes: the bound for adversarial inputs, and confidences that drift."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import Cascade, LogitStore, ScoreTable, StreamBudget, datasets, evaluate, pick, search
from cascadelib.evaluation import exit_stages

RNG = np.random.default_rng(0)
SURE = RNG.normal(size=(3, 800))
TABLE = ScoreTable(SURE + RNG.normal(size=(3, 800)) > -1, SURE, [1, 4, 10], ["s", "m", "l"])
POINT = pick(search(TABLE, 3), "max_improvement")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=60),
    st.floats(1.5, 14.5),
    st.floats(0.001, 0.5),
)
def test_the_bound_holds_for_any_stages_that_obey_the_ends(batches, budget, rate):
    """An adversary picks every exit stage, but at "always" samples leave at once and at "never" at the last model."""
    held = StreamBudget(POINT, TABLE, budget, rate)
    for batch in batches:
        ends = {-np.inf: 0, np.inf: 2}
        forced = ends.get(held.thresholds[0])
        held.update([forced] * len(batch) if forced is not None else batch)
        assert abs(held.mean_cost - budget) <= held.bound() * (1 + 1e-9)


@pytest.mark.parametrize("budget", [2.5, 5.0, 9.0])
def test_cost_is_held_while_confidence_drifts(budget):
    rng = np.random.default_rng(1)
    held, fixed, drifting = StreamBudget(POINT, TABLE, budget), [], np.linspace(0, -1.5, 600)
    start = held.thresholds
    for shift in drifting:
        sure = rng.normal(size=(3, 32)) + shift
        held.update(exit_stages(list(sure[:2]), held.thresholds))
        fixed.append(np.cumsum([1, 4, 10])[exit_stages(list(sure[:2]), start)].mean())
    assert abs(held.mean_cost - budget) <= held.bound() < 0.2
    assert np.mean(fixed) > budget * 1.2  # thresholds left alone overspend
    assert held.samples == 600 * 32


def test_it_starts_near_the_budget_and_passes_through_the_point():
    at_point = StreamBudget(POINT, TABLE, evaluate(TABLE, POINT).cost)
    for start, t, sure in zip(at_point.thresholds, POINT.thresholds, SURE, strict=False):
        assert np.mean((sure >= start) != (sure >= t)) <= 2 / 800
    costs = []
    for budget in (2, 4, 8, 12):
        stages = exit_stages(list(SURE[:2]), StreamBudget(POINT, TABLE, budget).thresholds)
        costs.append(np.cumsum([1, 4, 10])[stages].mean())
    assert costs == sorted(costs)


@pytest.mark.parametrize("method", ["max_softmax", "entropy"])
def test_with_a_running_cascade(method):
    store, images = LogitStore("data/fashion-mnist/val"), datasets.fashion_mnist("test")
    point = pick(search(store, 2, method, models=["mlp@28", "lenet@28"]), "max_improvement")
    cascade, held = Cascade.from_point(point), StreamBudget(point, store, 2.5e5, rate=0.02)
    for start in range(0, 1280, 64):
        cascade.thresholds = held.thresholds
        held.update(cascade(images.batch(start, start + 64)).exit_stage)
    assert abs(held.mean_cost - 2.5e5) <= min(held.bound(), 4e4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 1.0}, "between 1 and 15, not 1"),
        ({"budget": 15.0}, "between 1 and 15"),
        ({"budget": np.nan}, "not nan"),
        ({"rate": 0.0}, "rate must lie"),
        ({"point": search(TABLE, 1).point(0)}, "two models or more"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message):
        StreamBudget(**({"point": POINT, "store": TABLE, "budget": 5.0} | change))
