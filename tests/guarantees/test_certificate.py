"""Certificates: the tested points, their order, the text, and the refusals of certify."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cascadelib import Baseline, LogitStore, ScoreTable, certify, evaluate, search
from cascadelib.guarantees.few_labels import candidates

NAMES = ("s", "m", "l")


def population(k, seed=0):
    """Return correctness and confidences [3, k] of three models of rising accuracy."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    own = rng.normal(size=(3, k))
    margin = np.array([[0.8], [1.3], [1.6]]) + 0.8 * ease + 0.6 * own
    return margin > 0, margin + rng.normal(size=(3, k))


CORRECT, CONFIDENCE = population(16_000)
WHOLE = ScoreTable(CORRECT, CONFIDENCE, [1, 5, 20], NAMES)
CHOSEN = WHOLE.take(slice(0, 8000))
CHECK = WHOLE.take(slice(8000, None))
MASKED = np.ma.masked_array(np.zeros(8000, int), mask=np.arange(8000) == 0)


@cache
def front():
    """The front of CHOSEN, which is searched once."""
    return search(CHOSEN, 2)


@pytest.fixture(scope="module")
def certificate():
    return certify(CHECK, front(), 0.01, reference="l")


def test_the_cheapest_certified_point_is_returned_with_its_loss(certificate):
    table = certificate.table
    assert certificate.samples == 8000 and certificate.reference == "l"
    assert table["certified"].tolist() == (table["p_value"] <= 0.05).tolist()
    assert table["certified"].iloc[:-1].all() and (np.diff(table["cost"]) < 0).all()
    row = table[table["certified"]].iloc[-1]
    assert certificate.point.cost == row["cost"] < 21
    loss = CHECK.models.loc["l", "top1"] - evaluate(CHECK, certificate.point).accuracy
    assert row["accuracy_loss"] == pytest.approx(loss)
    assert row["lost"] - row["gained"] == pytest.approx(loss)


@pytest.mark.parametrize("count", [4, 5])
def test_the_most_accurate_point_within_a_budget_is_returned(count):
    found = certify(CHECK, front(), budget=12)
    first = slice(count - 1, None, -1)  # in any order
    points = found.certified[first]
    fewer = replace(found, certified=points, table=found.table.iloc[first])
    assert len(points) == count and found.table["certified"].iloc[first].all()
    assert fewer.point.accuracy == max(point.accuracy for point in points)


def test_the_text_states_guarantee_cost_and_loss(certificate):
    run = evaluate(CHECK, certificate.point)
    loss = CHECK.models.loc["l", "top1"] - run.accuracy
    text = str(certificate)
    assert text.startswith(f"{certificate.guarantee.claim} It costs {run.cost:.4g} a sample")
    assert text.endswith(certificate.guarantee.assumption)
    expected = f"the reference l alone 20: a saving of {20 / run.cost:.4g}×. Observed loss: "
    assert f"{expected}{100 * loss:.2f} points." in text
    within = str(certify(CHECK, front(), budget=15.0))
    assert "a sample, the reference " in within and "Observed loss" not in within


# The reference, a cascade that costs more, and a cheap one that loses 10 points.
EXPENSIVE = [(("l",), ()), (("s", "l"), (np.inf,)), (("s",), ())]


@pytest.mark.parametrize("cascades", [*([one] for one in EXPENSIVE), EXPENSIVE])
def test_without_a_cheaper_certified_cascade_the_point_is_the_reference(cascades):
    point = front().point(0)
    points = [replace(point, models=models, thresholds=at) for models, at in cascades]
    found = certify(CHECK, points, 0.01, reference="l")
    assert found.point.models == ("l",) and found.point.cost == 20 and found.guarantee is None
    assert str(found).startswith(
        "Nothing cheaper holds: 8000 samples do not show at confidence 95%"
    )
    assert "The point is l alone, for 20 a sample" in str(found)
    assert evaluate(CHECK, found.point).cost == 20


@pytest.mark.parametrize("seed", range(5))
def test_the_point_is_never_more_expensive_than_the_reference(seed):
    """A point that was cheap on the selection split may cost more on the certification split."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(WHOLE))
    small, check = map(WHOLE.take, (rows[:150], rows[150:1500]))
    found = certify(check, search(small, (1, 2)), 0.2, reference="l")
    assert evaluate(check, found.point).cost <= 20
    costs = [evaluate(check, point).cost for point in found.certified]
    assert evaluate(check, found.point).cost == min([20, *costs])


@pytest.mark.parametrize("options", [{}, {"groups": [1, 1, 2, 2, 2]}])
def test_the_reference_loses_exactly_nothing(options):
    few = CHECK.take(slice(0, 5))
    found = certify(few, front().reference, 0.0, reference="l", **options)
    assert found.table["p_value"].tolist() == [0.0] and found.certified != ()
    assert certify(few, front().reference, 0.0, budget=19.0, reference="l").certified == ()
    assert certify(few, front().reference, 0.0, reference="m").table["p_value"][0] > 0


def test_a_larger_epsilon_or_delta_is_never_more_expensive():
    costs = [
        certify(CHECK, front(), epsilon, delta).point.cost
        for epsilon, delta in ((0.008, 0.05), (0.015, 0.05), ("1.5%", "30%"))
    ]
    assert costs == sorted(costs, reverse=True)


def test_the_most_accurate_points_of_a_front_are_tested_first():
    points = candidates(front(), "l", 0.02)
    accuracies = [point.accuracy for point in points]
    assert accuracies == sorted(accuracies, reverse=True) and len(points) <= 100
    assert accuracies[0] == front().table["accuracy"].max()
    assert accuracies[-1] >= front().singles.loc["l", "accuracy"] - 0.02


def test_the_guarantee_names_its_score(certificate):
    store = LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28"])
    top5 = search(store.take(slice(0, 500)), 2, score="top5")
    graded = ScoreTable(CORRECT * 0.5 + 0.25, CONFIDENCE, [1, 5, 20], NAMES)
    means = search(graded.take(slice(0, 4000)), 2)
    found = certify(graded.take(slice(4000, 12_000)), means, 0.02, reference="l")
    assert "of mean score against" in found.promise and found.point.cost < 21
    assert "of accuracy against" in certificate.promise
    found = certify(store.take(slice(500, 1000)), top5, 0.3)
    assert "of top-5 accuracy against" in found.promise


def test_a_notebook_shows_the_text_as_a_paragraph_without_html_and_tex_of_names():
    named = ScoreTable(CORRECT, CONFIDENCE, [1, 5, 20], ["<b>s</b>", "$m", "l$"])
    found = certify(named.take(slice(4000, 12_000)), search(named.take(slice(0, 4000)), 2), 0.02)
    shown = found._repr_mimebundle_()
    assert shown["text/plain"] == str(found)
    assert "<b>" not in shown["text/html"] and "l<span>$</span>" in shown["text/html"]


def below_the_reference():
    """A front whose points all lose more than 0.1 relative to its reference."""
    singles = front().singles
    better = Baseline(singles["cost"], singles["accuracy"] + 0.1, tuple(singles.index))
    return replace(search(CHOSEN.select(["s", "m"]), 2), baseline=better)


def of_two_scores():
    point = front().point(0)
    return [point, replace(point, score="f1")]


REFUSED = [
    ({"epsilon": -0.1}, r"epsilon must be in \[0, 1\), got -0.1"),
    ({"epsilon": 3}, "epsilon must be in .* For 3% write 0.03 or '3%'"),
    ({"epsilon": None}, "give epsilon=, the maximum loss, or budget="),
    ({"delta": 0.0}, "delta must be above 0"),
    *(({name: value}, f"{name} must be") for name in ("epsilon", "budget", "delta")
      for value in (float("nan"), "5", [1])),
    ({"reference": "xl"}, "unknown model 'xl'"),
    ({"reference": ["l"]}, r"unknown model \['l'\]"),
    ({"store": CHOSEN}, "8000 of the 8000 samples took part"),
    ({"groups": [None, *range(7999)]}, "groups: 1 samples have none .* Give each sample"),
    ({"cascades": below_the_reference, "reference": "l"}, "even on the selection split"),
    ({"budget": 0.5}, "budget=0.5, even on the selection split"),
    ({"cascades": lambda: front().point(0), "reference": ["l"]}, "must be the name of a model"),
    ({"cascades": of_two_scores, "reference": "l"}, "differ in score or kind of cost"),
    ({"labels": [0, 1]}, "labels must be {sample id: label}, not"),
    ({"labels": {"stranger": 1}}, "1 ids are not in the store, the first is 'stranger'"),
    ({"groups": [0, 1]}, r"groups must be \[8000\], the group of each sample, not \[2\]"),
    ({"groups": "label"}, "the group of each sample"),
    ({"groups": np.array([1, "a"] * 4000, object)}, "groups must be all text or all numbers"),
    ({"groups": MASKED}, "groups: 1 values are masked"),
    ({"groups": [None, *range(7999)]}, "1 samples have none .* first is '8000'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_certify_refuses(change, message):
    options = {"cascades": front, "store": CHECK, "epsilon": 0.01} | change
    called = {name: value() if callable(value) else value for name, value in options.items()}
    with pytest.raises(ValueError, match=message):
        certify(**called)
