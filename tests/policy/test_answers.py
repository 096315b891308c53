"""The goal of answer_table is checked, and its results state the guarantee and the calls."""

import pytest
from answered_tables import Reference, filtered, made

import cascadelib as cl

RECALL = {"epsilon": None, "recall": 0.9, "precision": 0.9, "positive": "1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 1}, "epsilon must be a number from 0 to below 1"),
        ({"delta": 0}, "delta must be a number between 0 and 1"),
        ({"epsilon": None}, "give epsilon=, or both recall= and precision="),
        ({"recall": 0.9}, "give epsilon=, or both recall= and precision="),
        ({"positive": "1"}, "give epsilon=, or both recall= and precision="),
        ({"epsilon": None, "recall": 0.9}, "reached by equal answers to all rows"),
        (RECALL | {"positive": None}, "the class that they refer to: one of .'0', '1', '2'"),
        (RECALL | {"positive": "3"}, "unknown positive class '3'; nearest: '0'"),
        (RECALL | {"recall": 1}, "recall must be a number between 0 and 1, not 1"),
        (RECALL | {"precision": 90}, "precision must be a number between 0 and 1, not 90"),
        (RECALL | {"guarantee": "mean"}, "guarantee='mean' needs epsilon="),
        (RECALL | {"labels": 100}, "labels= needs epsilon="),
        ({"guarantee": "expected"}, "unknown guarantee 'expected'"),
    ],
)
def test_goals_that_state_no_guarantee_are_refused(change, message):
    table, truth = made(300)
    with pytest.raises(ValueError, match=message):
        cl.answer_table(table, Reference(truth, table.sample_ids), **{"epsilon": 0.1} | change)


def test_a_guarantee_in_the_mean_needs_fewer_calls_and_states_its_limit():
    table, truth = made()
    ask = Reference(truth, table.sample_ids)
    usual = cl.answer_table(table, ask, 0.05, bought=(bought := {}))
    mean = cl.answer_table(table, ask, 0.05, guarantee="mean", bought=bought)
    assert mean.asked.sum() < usual.asked.sum()
    assert "In the mean over the draw of the labels, at most 0.05 of the 3,000 answers" in str(mean)
    assert "About half of the draws have a larger share" in str(mean)
    few = cl.answer_table(table, ask, 0.05, guarantee="mean", labels=40, bought=bought)
    assert few.labels == 40


@pytest.mark.parametrize(
    "goal",
    [
        {"epsilon": 0.05},
        {"epsilon": 0.05, "guarantee": "mean"},
        {"recall": 0.9, "precision": 0.85, "positive": "yes"},
    ],
)
def test_a_plan_buys_the_pilot_only_and_predicts_the_calls(goal):
    table, truth = filtered()
    ask = Reference(truth, table.sample_ids)
    bought = {}
    plan = cl.answer_table(table, ask, **goal, plan=True, price=2, bought=bought)
    assert len(ask.asked) == plan.bought == 200
    assert plan.low <= plan.calls <= plan.high and plan.cost == 4_000 * 0.25 + 2 * plan.calls
    assert f"{plan.calls:,} of 4,000 rows" in str(plan)
    result = cl.answer_table(table, ask, **goal, bought=bought)
    assert len(set(ask.asked)) == len(ask.asked) == result.asked.sum()
    assert 0.5 * plan.calls < result.asked.sum() < 2 * plan.calls
