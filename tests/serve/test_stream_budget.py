"""A budget over a stream holds whatever comes: the bound for adversarial inputs, and confidences
that drift."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import (
    Cascade,
    LogitStore,
    Policy,
    ScoreTable,
    datasets,
    evaluate,
    pick,
    search,
)
from cascadelib.methods.thresholds import exit_stages
from cascadelib.serve import StreamBudget

RNG = np.random.default_rng(0)
CONFIDENCE = RNG.normal(size=(3, 800))
TABLE = ScoreTable(
    CONFIDENCE + RNG.normal(size=(3, 800)) > -1, CONFIDENCE, [1, 4, 10], ["s", "m", "l"]
)
POINT = pick(search(TABLE, 3), "max_improvement")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=60),
    st.floats(1.5, 14.5),
    st.floats(0.001, 0.5),
)
def test_the_bound_holds_for_any_exit_stages(batches, budget, rate):
    """An adversary picks every exit stage between the ends of the thresholds."""
    held = StreamBudget(TABLE, POINT, budget, rate)
    for batch in batches:
        ends = {-np.inf: 0, np.inf: 2}
        forced = ends.get(held.thresholds[0])
        held.update([forced] * len(batch) if forced is not None else batch)
        assert abs(held.mean_cost - budget) <= held.bound() * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 3000), st.integers(0, 2**32 - 1)), min_size=1, max_size=25),
    st.floats(1.5, 14.5),
    st.floats(0.0005, 0.9),
    st.booleans(),
)
def test_the_bound_holds_for_infinite_confidences_and_batches_of_any_size(
    batches, budget, rate, opposing
):
    """An adversary picks confidences, ±inf among them, and the sizes of batches; the store has
    infinite ones too."""
    table = ScoreTable(
        TABLE.correct,
        np.where(abs(CONFIDENCE) > 1.5, np.sign(CONFIDENCE) * np.inf, CONFIDENCE),
        TABLE.cost,
        TABLE.names,
    )
    held = StreamBudget(table, POINT, budget, rate)
    for size, seed in batches:
        confidence = np.random.default_rng(seed).choice(
            [-np.inf, -1.0, 0.0, 1.0, np.inf], (2, size)
        )
        if opposing:  # spend where too much has been spent already
            confidence[:] = np.inf if held.samples and held.mean_cost < budget else -np.inf
        held.update(exit_stages(list(confidence), held.thresholds))
        assert abs(held.mean_cost - budget) <= held.bound() * (1 + 1e-9)


@pytest.mark.parametrize("confidence", [-np.inf, np.inf])
def test_the_bound_is_nearly_reached_and_infinite_confidences_obey_the_ends(confidence):
    """All samples unsure, or all sure, for good, after one large batch: they follow no threshold
    between the ends."""
    held = StreamBudget(TABLE, POINT, 8.0, rate=0.01)
    ends = []
    for size in (500, *[20] * 2000):
        held.update(exit_stages([np.full(size, confidence)] * 2, held.thresholds))
        assert abs(held.mean_cost - 8.0) <= held.bound() * (1 + 1e-9)
        ends.append(abs(held.mean_cost - 8.0) / held.bound())
    assert max(ends) > 0.4 and abs(held.mean_cost - 8.0) < 1.5


@pytest.mark.parametrize("batch", [1, 7, 64, 512, 1024, 4096])
def test_accuracy_equals_that_of_static_thresholds_without_drift(batch):
    rng = np.random.default_rng(2)
    confidence = rng.normal(size=(3, 40_000))
    table = ScoreTable(
        confidence + rng.normal(size=confidence.shape) > [[-0.8], [-1.2], [-1.6]],
        confidence,
        TABLE.cost,
        TABLE.names,
    )
    known = table.take(slice(0, 10_000))
    fresh = table.take(slice(10_000, 40_000))
    point = pick(search(known, 2), budget=6, caution=0)
    held = StreamBudget(known, point, point.cost)
    correct = []
    fixed = evaluate(fresh, point)
    rows = [fresh.row(name) for name in point.models]
    for start in range(0, len(fresh), batch):
        part = slice(start, start + batch)
        stages = exit_stages([fresh.confidence[rows[0], part]], held.thresholds)
        correct.append(np.choose(stages, fresh.correct[rows, part]))
        held.update(stages)
    assert np.concatenate(correct).mean() == pytest.approx(fixed.accuracy, abs=0.002)
    assert held.mean_cost == pytest.approx(fixed.cost, rel=0.02)


@pytest.mark.parametrize("budget", [2.5, 5.0, 9.0])
def test_the_mean_cost_stays_at_the_budget_while_confidence_drifts(budget):
    rng = np.random.default_rng(1)
    held = StreamBudget(TABLE, POINT, budget)
    fixed = []
    drifting = np.linspace(0, -1.5, 600)
    start = held.thresholds
    for shift in drifting:
        confidence = rng.normal(size=(3, 32)) + shift
        held.update(exit_stages(list(confidence[:2]), held.thresholds))
        fixed.append(np.cumsum([1, 4, 10])[exit_stages(list(confidence[:2]), start)].mean())
    assert abs(held.mean_cost - budget) <= held.bound() < 0.2
    assert np.mean(fixed) > budget * 1.2  # fixed thresholds overspend
    assert held.samples == 600 * 32


def test_it_starts_near_the_budget_and_passes_through_the_point():
    at_point = StreamBudget(TABLE, POINT, evaluate(TABLE, POINT).cost)
    for start, t, confidence in zip(
        at_point.thresholds, POINT.thresholds, CONFIDENCE, strict=False
    ):
        np.testing.assert_array_equal(confidence >= start, confidence >= t)
    costs = []
    for budget in (2, 4, 8, 12):
        stages = exit_stages(list(CONFIDENCE[:2]), StreamBudget(TABLE, POINT, budget).thresholds)
        costs.append(np.cumsum([1, 4, 10])[stages].mean())
    assert costs == sorted(costs)


def test_a_stage_that_never_exits_and_infinite_confidences_stay_so_at_the_point():
    confidence = np.where(
        CONFIDENCE > 0.5, np.inf, np.where(CONFIDENCE < -0.5, -np.inf, CONFIDENCE)
    )
    table = ScoreTable(TABLE.correct, confidence, TABLE.cost, TABLE.names)
    for thresholds in ((0.2, np.inf), (np.inf, 0.2), (0.7, -0.1), (1e300, 0.0), (-1e300, np.inf)):
        point = replace(POINT, thresholds=thresholds)
        start = StreamBudget(table, point, evaluate(table, point).cost).thresholds
        np.testing.assert_array_equal(
            exit_stages(list(confidence[:2]), start), evaluate(table, point).exit_stage
        )


def test_a_large_batch_is_split_and_its_bound_is_that_of_small_ones():
    """As in a loop over parts; a bound for whole batches says next to nothing."""
    store = LogitStore("data/fashion-mnist/val")
    images = datasets.fashion_mnist("test").batch(0, 1000)
    point = pick(search(store, 2, models=["mlp@28", "lenet@28"]), "max_improvement")
    cascade = Cascade.from_point(point)
    budget = StreamBudget(store, point, 2.5e5, rate=0.02)
    decisions = budget.run(cascade, images)
    assert cascade.thresholds == point.thresholds

    by_hand = StreamBudget(store, point, 2.5e5, rate=0.02)
    stages = []
    for start in range(0, 1000, 7):  # 0.15 ÷ 0.02
        cascade.thresholds = by_hand.thresholds
        stages.append(cascade(images[start : start + 7]).exit_stage)
        by_hand.update(stages[-1])
    np.testing.assert_array_equal(decisions.exit_stage, np.concatenate(stages))
    assert (len(decisions), budget.samples) == (1000, 1000)
    assert budget.thresholds == by_hand.thresholds
    assert abs(budget.mean_cost - 2.5e5) <= budget.bound()

    whole = StreamBudget(store, point, 2.5e5, rate=0.02)
    whole.update(decisions.exit_stage)
    assert budget.bound() < whole.bound() / 50


def priced(seed, count):
    """(confidence, prices [3, count]) of queries: long ones are expensive and hard."""
    rng = np.random.default_rng(seed)
    length = rng.lognormal(0.0, 1.0, count)
    confidence = rng.normal(size=(3, count)) - 0.5 * np.log(length)
    return confidence, length * np.array([[1.0], [4.0], [10.0]])


def paid(prices, stages):
    """Return the cost of each input, [count]."""
    return np.cumsum(prices, axis=0)[stages, np.arange(len(stages))]


def priced_point(seed=0):
    """(table with prices per query, a point of it)"""
    confidence, prices = priced(seed, 800)
    table = ScoreTable(confidence > -1, confidence, prices, ["s", "m", "l"])
    return table, replace(POINT, thresholds=(0.0, 0.0), selected_on=None, expected=None)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_prices_per_query_stay_at_a_budget_near_the_ends_of_the_range(share):
    """Six streams of 10,000 queries, whose confidences drift; the budget is next to the first
    model's mean price, in the middle, and next to that of all models."""
    table, point = priced_point()
    ends = evaluate(table, replace(point, thresholds=(-np.inf, np.inf))).cost
    most = evaluate(table, replace(point, thresholds=(np.inf, np.inf))).cost
    budget = ends + share * (most - ends)
    for seed in range(1, 7):
        held = StreamBudget(table, point, budget, rate=0.02)
        confidence, prices = priced(seed, 10_000)
        drift = np.linspace(0, 2, 10_000)
        for start in range(0, 10_000, 20):
            batch = slice(start, start + 20)
            stages = exit_stages(list(confidence[:2, batch] - drift[batch]), held.thresholds)
            held.update(stages, paid(prices[:, batch], stages))
            assert abs(held.mean_cost - budget) <= held.bound() * (1 + 1e-9)
        assert held.mean_cost == pytest.approx(budget, rel=0.06)


def test_the_bound_widens_if_no_threshold_can_hold_the_budget():
    """Queries whose first answer costs twice the budget."""
    table, point = priced_point()
    held = StreamBudget(table, point, 5.0, rate=0.01)
    for _ in range(500):
        held.update(np.zeros(10, int), np.full(10, 10.0))
    assert held.mean_cost == 10.0 and held.bound() >= 5.0 * (1 - 1e-9)
    assert held.thresholds == (-np.inf, -np.inf)  # all exit at the first stage


def test_the_costs_of_a_policy_run_are_valid_for_update():
    """The calls say what they cost."""
    table, point = priced_point()
    held = StreamBudget(table, point, 8.0, rate=0.02)
    confidence, prices = priced(1, 4000)
    calls = [lambda rows, m=m: (rows, confidence[m, rows], prices[m, rows]) for m in range(3)]
    for start in range(0, 4000, 20):
        policy = Policy(point, held.thresholds)
        decisions = policy.run(calls, range(start, start + 20))
        held.update(decisions.exit_stage, np.nansum(decisions.costs, axis=1))
    assert held.mean_cost == pytest.approx(8.0, rel=0.1)
    assert abs(held.mean_cost - 8.0) <= held.bound()
