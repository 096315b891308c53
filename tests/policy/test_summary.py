"""The summary of a policy has its rule in one sentence, its figures, and the limits."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_stores import three_scores

from cascadelib import Method, Point, ScoreTable, evaluate, pick, search
from cascadelib.policy.summary import NO_GUARANTEE, summarize

NAMES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("point", "rule"),
    [
        (Point(("a",), ()), "a answers every query."),
        (Point(NAMES, (-np.inf, 0.5)), "a answers every query."),
        (
            Point(NAMES, (0.5, 0.25)),
            "a receives each query first, and defers it to b if its confidence is below 0.5, which "
            "defers it to c if its confidence is below 0.25.",
        ),
        (
            Point(("a", "b"), (0.5,), method=Method("entropy")),
            "a receives each query first, and defers it to b if its entropy is above 0.5.",
        ),
        (Point(("a", "b"), (np.inf,)), "a receives each query first, and defers it to b always."),
    ],
)
def test_the_rule_is_one_sentence(point, rule):
    assert summarize(point).rule == rule


def test_figures_of_a_table_are_those_of_evaluate():
    table = three_scores()
    point = pick(search(table, 2), "match_best", caution=0)
    other = three_scores(seed=1)
    run = evaluate(other, point)
    saving, accuracy, cost, month = summarize(point, table=other, per_month=1000).figures
    assert saving.value == f"{run.saving:.4g} ×" and "most accurate single model" in saving.note
    assert accuracy.value == f"{run.accuracy:.2%}" and cost.value == f"{run.cost:.4g}"
    best = other.models["top1"].max()
    wrong = 1000 * (best - run.accuracy)
    assert f"with {abs(wrong):,.0f} {'more' if wrong >= 0 else 'fewer'} wrong answers" in month.note
    assert month.value.endswith(f"→ {1000 * run.cost:,.0f}")


def test_unknown_figures_are_left_out():
    summary = summarize(Point(("a", "b"), (0.5,)))
    assert summary.figures == () and summary.exit_rates == ()
    assert (summary.guarantee, summary.premises, summary.limits) == (NO_GUARANTEE, (), ())


def test_limits_name_unverified_premises_and_what_the_guarantee_leaves_out():
    premises = [
        {"name": name, "status": status, "evidence": ""}
        for name, status in (("overlap", "verified"), ("independent", "not verifiable"))
    ]
    point = Point(("a", "b"), (0.5,), premises=premises, guarantee="It loses little.")
    limits = " ".join(summarize(point).limits)
    assert "The cost" in limits and "one customer" in limits
    assert "one of these premises is violated: independent." in limits
    stated = "It loses little in each of 3 groups and costs at most 4 a sample."
    limits = " ".join(summarize(replace(point, guarantee=stated)).limits)
    assert "The cost" not in limits and "one customer" not in limits


def test_examples_are_spread_over_the_confidences_of_deferred_samples():
    table = three_scores()
    table = ScoreTable(
        table.correct,
        table.confidence,
        [1, 3, 9],
        NAMES,
        predictions=np.where(table.correct, "right", "wrong"),
    )
    point = Point(NAMES, (0.7, 0.7), cost_kind="cost")
    run = evaluate(table, point)
    examples = summarize(point, table=table).examples
    columns = dict(zip(examples[0], zip(*examples[1:])))
    assert len(examples) == 1 + 6
    confidence = list(map(float, columns["confidence of a"]))
    deferred = table.confidence[0][run.exit_stage > 0]
    assert confidence == sorted(confidence, reverse=True)
    assert [confidence[0], confidence[-1]] == pytest.approx([deferred.max(), deferred.min()], 1e-3)
    for row, answer in zip(columns["query"], columns["final answer"]):
        assert answer == ("right" if run.correct[int(row)] else "wrong")
