"""Views evaluate selected cascades unchanged, on held-out samples and on their resamples."""

import numpy as np
import pytest
from tiny_stores import noisy_store, three_models

from cascadelib import bootstrap, evaluate, search
from tools.claims.evidence import counts_of
from tools.claims.views import (
    Claims,
    distinct_points,
    draw_front,
    draw_runs,
    make_views,
    points_at_accuracies,
)

STORE = three_models(k=300)
OTHER = three_models(1, k=300, noise=1.2)


def test_cascades_are_evaluated_as_they_were_selected():
    front = search(STORE, 2)
    points = points_at_accuracies(front, 20)
    first, *resamples = draw_runs(OTHER, points)
    assert len(resamples) == counts_of(OTHER).shape[1]
    for place, point in enumerate(points):
        run = evaluate(OTHER, point)
        assert first.accuracy[place] == pytest.approx(run.accuracy)
        assert first.cost[place] == pytest.approx(run.cost)
        last = OTHER.models.loc[point.active_models[-1], "top1"]
        assert first.last_accuracy[place] == pytest.approx(last)
        at = min(run.accuracy, run.baseline.best)
        assert first.improvement[place] == pytest.approx(float(run.baseline.cost_at(at)) / run.cost)


def test_points_are_the_cheapest_at_each_accuracy():
    front = search(STORE, 2)
    low = front.baseline.accuracy[front.baseline.front[0]]
    points = points_at_accuracies(front, 7)
    for accuracy, point in zip(np.linspace(low, front.baseline.best, 7), points):
        reaching = np.flatnonzero(front.table["accuracy"] >= accuracy - 1e-12)
        row = reaching[0] if len(reaching) else len(front) - 1
        assert point.cost == front.table["cost"].iloc[row]


def test_equal_entries_are_evaluated_once():
    front = search(STORE, 2)
    one, other = map(front.point, (0, 1))
    distinct, places = distinct_points([one, other, one])
    assert (distinct[0] is one, distinct[1] is other, places) == (True, True, [0, 1, 0])


def test_fronts_are_resampled_as_the_bootstrap_does():
    store = noisy_store(k=200, classes=4)
    front = search(store, 2)
    found = [each.mean_improvement() for each in draw_front(front)]
    drawn = bootstrap(store, front, counts_of(store)).mean_improvement()
    assert found[0] == front.mean_improvement()
    assert found[1:] == pytest.approx(drawn)


def test_a_claim_is_measured_on_the_samples_and_then_on_the_resamples():
    claims = Claims()

    @claims.add()
    def highest_accuracy(view):
        return view.fronts["macs"].table["accuracy"].iloc[-1]

    @claims.add("logits")
    def never(view):
        raise AssertionError

    front = search(STORE, 2)
    views = make_views({"macs": front}, {}, STORE, OTHER)
    found = claims.measure(views, len(OTHER), lambda topic: topic != "logits")
    assert list(found) == ["highest-accuracy"]
    evidence = found["highest-accuracy"]
    best = max(evaluate(OTHER, point).accuracy for point in front.cascades)
    assert evidence.value >= best and evidence.samples == 300 and np.std(evidence.draws) > 0


def test_without_held_out_samples_the_front_itself_is_used():
    front = search(STORE, 2)
    (view, *_) = make_views({"macs": front}, {"one": [front.point(0)]}, STORE, STORE)
    assert view.fronts["macs"] is front and view.chosen["one"] is view.held["one"]
