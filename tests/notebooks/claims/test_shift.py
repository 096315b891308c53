"""Claims on shift compare as many unshifted samples, and find nothing where nothing changed."""

import numpy as np
import pytest
from tiny_stores import three_models

from cascadelib import search
from tools.claims.shift import of_changes, of_one_size

STORE = three_models(k=300)
OTHER = three_models(1, k=300, noise=1.2)
SHIFTED = three_models(2, k=200, noise=2.0, dataset="shifted")


def test_shifted_and_unshifted_samples_are_as_many():
    other = SHIFTED.take(slice(0, 100))
    changed = OTHER.take(slice(50, 90))
    control, shifted = of_one_size(OTHER, changed)
    assert control.sample_ids.tolist() == shifted.sample_ids.tolist()
    ids = three_models(3, k=200, ids=False)
    assert [len(part) for part in of_one_size(ids, other)] == [100, 100]


def test_unshifted_samples_are_evenly_spaced():
    """A folder of images is in the order of classes, so its first samples have few of them."""
    whole = three_models(0, k=600, ids=False)
    ordered = whole.take(np.argsort(whole.labels, kind="stable"))
    control, shifted = of_one_size(ordered, three_models(1, k=100, dataset="other"))
    assert len(control) == len(shifted) == 100
    assert len(np.unique(control.labels)) == len(np.unique(whole.labels))


def test_changed_samples_are_compared_with_themselves():
    """Unchanged samples have lost nothing, and every change is 0."""
    found = of_changes(search(STORE, 2), OTHER, [OTHER.take(slice(0, 100))])
    names = ("shift-lose", "shift-range", "shift-order", "shift-harm")
    for name in names:
        assert np.ravel(found[name].value) == pytest.approx(np.zeros(np.size(found[name].value)))
        assert np.ravel(found[name].draws) == pytest.approx(np.zeros(np.size(found[name].draws)))
