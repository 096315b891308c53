"""Evidence from cascades that no sample of the evaluated split selected."""

import numpy as np
import pytest
from tiny_stores import three_models

from cascadelib import evaluate, pick, search
from tools import held_out
from tools.claims_elsewhere import of_one_size, shift_claims

STORE = three_models(k=300)
OTHER = three_models(1, k=300, noise=1.2)
SHIFTED = three_models(2, k=200, noise=2.0, dataset="shifted")


def improvement(run):
    """The improvement factor, with the cost of the best single model above its accuracy."""
    at = min(run.accuracy, run.baseline.best)
    return run.baseline.cost_at(at) / run.cost


def test_cascades_are_evaluated_as_they_were_selected():
    front = search(STORE, 2)
    found = held_out.pairs_held_out(front, OTHER)
    best, match, top = evaluate(
        OTHER, [front.reference, pick(front, "near_best", caution=0), front.point(len(front) - 1)]
    )
    assert found["pairs-top"].value == pytest.approx(top.accuracy - best.accuracy)
    hull = match.baseline.hull
    ends = match.baseline.cost[hull], match.baseline.accuracy[hull]
    kept = [match.accuracy - best.accuracy, match.accuracy - np.interp(match.cost, *ends)]
    kept.append(1 - match.cost / best.cost)
    assert found["best-for-less"].value == pytest.approx(kept)
    low = front.baseline.accuracy[front.baseline.front[0]]
    high = front.baseline.best
    factors = []
    for accuracy in np.linspace(low, high, held_out.MOST_POINTS):
        reaching = np.flatnonzero(front.table["accuracy"] >= accuracy - 1e-12)
        row = reaching[0] if len(reaching) else len(front) - 1
        factors.append(improvement(evaluate(OTHER, front.point(int(row)))))
    assert held_out.fixed_factors(front, OTHER)[0] == pytest.approx(factors)
    assert found["pairs-improve"].value == pytest.approx(np.median(factors))
    assert len(found["pairs-improve"].draws) == len(held_out.counts_of(OTHER).T)


@pytest.mark.parametrize("other", [SHIFTED, STORE], ids=["another data set", "the same samples"])
def test_one_half_selects_if_there_is_no_other_split(other):
    front, split = held_out.with_held_out_split(search(STORE, 2), other)
    assert front.store.sample_ids.tolist() == STORE.sample_ids[::2].tolist()
    assert split.sample_ids.tolist() == STORE.sample_ids[1::2].tolist()
    again = search(STORE.take(slice(0, None, 2)), 2)
    assert front.table["accuracy"].tolist() == again.table["accuracy"].tolist()


def test_another_split_of_the_data_set_evaluates():
    front = search(STORE, 2)
    assert held_out.with_held_out_split(front, OTHER) == (front, OTHER)


def test_shifted_and_unshifted_samples_are_as_many():
    parts = of_one_size(OTHER, SHIFTED, paired=False)
    assert [len(part) for part in parts] == [200, 200]
    changed = OTHER.take(slice(50, 90))
    control, shifted = of_one_size(OTHER, changed, paired=True)
    assert control.sample_ids.tolist() == shifted.sample_ids.tolist()


def test_changed_samples_are_compared_with_themselves():
    """Unchanged samples have lost nothing, and every change is 0."""
    front = search(STORE, 2)
    own = {"same": search(OTHER.take(slice(0, 100)), 2)}
    found = shift_claims(front, OTHER, own, paired=True)
    for name in ("shift-lose", "shift-range", "shift-order", "shift-harm", "shift-exits"):
        assert np.ravel(found[name].value) == pytest.approx(np.zeros(np.size(found[name].value)))
        assert np.ravel(found[name].draws) == pytest.approx(np.zeros(np.size(found[name].draws)))
