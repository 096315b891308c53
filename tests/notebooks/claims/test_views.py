"""Views evaluate selected cascades unchanged, on held-out samples and on their resamples."""

import numpy as np
import pytest
from tiny_stores import noisy_store, three_models

from cascadelib import bootstrap, search
from tools.claims.evidence import counts_of
from tools.claims.views import (
    Claims,
    draw_front,
    make_views,
)

STORE = three_models(k=300)
OTHER = three_models(1, k=300, noise=1.2)


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
    found = claims.measure(views, len(OTHER), ["highest-accuracy"])
    assert list(found) == ["highest-accuracy"]
    evidence = found["highest-accuracy"]
    assert evidence.value == highest_accuracy(views[0])
    assert evidence.samples == 300 and np.std(evidence.draws) > 0


def test_without_held_out_samples_the_front_itself_is_used():
    front = search(STORE, 2)
    (view, *_) = make_views({"macs": front}, {"one": [front.point(0)]}, STORE, STORE)
    assert view.fronts["macs"] is front and view.chosen["one"] is view.held["one"]
