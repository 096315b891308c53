"""Points, their equality, and the arguments that are accepted as cascades."""

import copy
import math
from dataclasses import replace
from functools import cache, partial

import pytest
from tiny_stores import noisy_store, three_scores

from cascadelib import Method, Point, Policy, certify, pick, search
from cascadelib.evaluation import points_of

TABLE = three_scores()


@cache
def a_front():
    return search(TABLE, 2)


def test_points_policies_fronts_certificates_and_lists_are_cascades():
    point = a_front().point(1)
    policy = Policy.from_point(point)
    moved = Policy(replace(point, thresholds=(0.5,)))
    certificate = certify(three_scores(seed=1), a_front(), 0.2, 0.5)
    assert points_of(point) == [point] == points_of((point,)) == points_of(policy)
    assert points_of(moved) == [replace(point, thresholds=(0.5,))]
    assert points_of(a_front()) == [a_front().point(row) for row in range(len(a_front()))]
    assert points_of(certificate) == list(certificate.certified) != []
    assert points_of([point, a_front(), policy]) == [point, *points_of(a_front()), point]


@cache
def nothing_certified():
    return replace(certify(three_scores(seed=1), a_front(), 0.2, 0.5), certified=())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(points_of, "c.json"), r"not str: load the file with cascadelib\.Policy\.load"),
        (partial(points_of, None), r"not NoneType: .*nothing was certified \(print the certifi"),
        (partial(points_of, TABLE), "not ScoreTable: a store comes first, then the cascades"),
        (
            partial(points_of, 3),
            "a Point, Policy, Cascade, Front or Certificate is needed here, or",
        ),
        (lambda: points_of([a_front().point(0), 3]), "not int"),
        (partial(points_of, []), "no cascades"),
        (lambda: points_of(nothing_certified()), "this Certificate .*nothing was certified"),
        (partial(Point, (), ()), "a Point needs one model or more"),
        (partial(Point, ("a", "b"), (0.5,), method="entropi"), "'entropi'; nearest: 'entropy'"),
    ],
)
def test_an_invalid_argument_is_refused_by_name(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_the_saving_is_defined_above_the_best_single_model():
    """The improvement is nan there."""
    store = noisy_store(0, 500, 2, classes=3, ease=None, signal=2, costs=[1, 2])
    front = search(store, 2, "max_softmax_mean_logits")
    point = front.point(len(front) - 1)
    assert point.accuracy > front.baseline.best and math.isnan(point.improvement)
    best = front.singles["accuracy"].idxmax()
    assert point.saving == front.singles.loc[best, "cost"] / point.cost
    assert point.difference == point.accuracy - front.baseline.best
    assert front.table["saving"].notna().all()
    assert "saving" in repr(point) and "improvement" not in repr(point)
    assert pick(front, "max_improvement").saving > 0


def test_a_point_needs_no_measurement():
    point = Point(("a", "b"), (0.5,))
    assert math.isnan(point.accuracy) and point.exit_rates == ()
    assert repr(point) == "<Point: a at 0.5 → b, given confidences>"
    assert replace(point, method="entropy").method == Method("entropy")


@pytest.mark.parametrize("metric", ["max_softmax", "entropy"])
def test_a_cascade_with_one_active_model_has_its_name(metric):
    """A front of pairs has single models, as "small at −inf → large"."""
    always, never = (math.inf, -math.inf) if metric == "entropy" else (-math.inf, math.inf)
    method = Method(metric)
    point = Point(("small", "large"), (always,), method=method)
    assert (point.chain, point.active_models) == ("small", ("small",))
    assert repr(point).startswith("<Point: small, ")
    three = Point(("small", "large", "huge"), (0.5, always), method=method)
    assert (three.chain, three.active_models) == ("small at 0.5 → large", ("small", "large"))
    for threshold in (0.5, never):
        both = Point(("small", "large"), (threshold,), method=method)
        assert both.chain == f"small at {threshold:.4g} → large"


def test_a_point_with_nan_equals_its_copies():
    points = [a_front().point(row) for row in range(len(a_front()))]
    assert any(math.isnan(point.improvement) for point in points)
    points.append(Point(("a", "b"), (0.5,), (math.nan, math.nan)))
    for point in points:
        numbers = {name: float(str(getattr(point, name))) for name in ("accuracy", "improvement")}
        copied = replace(point, **numbers, exit_rates=tuple(map(float, map(str, point.exit_rates))))
        assert copied == point and hash(copied) == hash(point) and {copied} == {point}
    assert points == [copy.deepcopy(point) for point in points]


@pytest.mark.parametrize(
    "change",
    [
        {"models": ("a", "c")},
        {"thresholds": (0.25,)},
        {"exit_rates": (0.25, 0.75)},
        {"accuracy": 0.5},
        {"cost": math.nan},
        {"improvement": 2.0},
        {"method": "entropy"},
        {"score": "top5"},
        {"cost_kind": "seconds"},
    ],
)
def test_points_that_differ_in_one_part_are_not_equal(change):
    point = Point(("a", "b"), (0.5,), cost=2.0)
    assert replace(point, **change) != point != "a at 0.5 → b"
    assert replace(point, chosen_by="by hand", saving=3.0) == point
