"""The cascades of a search: their numbers, and how many there are."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import NOISY

from cascadelib import search
from cascadelib.fronts.cascades import Cascades, extensions, number_of_cascades, root_of
from cascadelib.fronts.exact import search_arrays


def test_numbering_and_counting_agree():
    cost = np.array([3.0, 1.0, 1.0, 2.0, 3.0, 3.0])
    for n in (1, 2, 3, 4):
        listed = list(extensions(cost, (), n))
        cascades = Cascades(cost, n, 7)
        assert len(listed) == number_of_cascades(cost, n) == cascades.end - 7
        assert [cascades.cascade(7 + i) for i in range(len(listed))] == listed


def test_too_much_work_is_refused_with_an_estimate():
    table = np.ones((60, 2), bool), np.ones((60, 2)), np.arange(1.0, 61)
    with pytest.raises(ValueError, match="5,461,512 cascades of 5.*time_limit"):
        search_arrays(*table, 5)
    with pytest.raises(ValueError, match="from 1 to 8, not 9"):
        search_arrays(*table, 9)
    for call in (
        partial(search_arrays, *table, 2),
        partial(search, NOISY),
        partial(search, NOISY, 2, score="f1"),
    ):
        for name, values in (
            ("tolerance", (-1, np.nan, np.inf, True, "0.1")),
            ("time_limit", (0, np.nan, True, "9")),
        ):
            for value in values:
                with pytest.raises(ValueError, match=f"{name} must be .*, not {value!r}"):
                    call(**{name: value})


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30), st.data())
def test_the_root_of_a_stage_puts_samples_between_edges(samples, data):
    """Slots follow from the edges, and no boundary is left out before a group with an error."""
    confidence, outcomes = np.array(samples).T
    group = np.unique(confidence, return_inverse=True)[1].astype(np.int32)
    correct = outcomes.astype(np.uint8)
    bins = data.draw(st.integers(1, 8))
    root = root_of(group, correct, bins)
    errors = sorted({g for g, c in zip(group.tolist(), correct) if not c})
    assert root.boundaries.tolist() == [*errors, group.max() + 1]
    top = len(errors)
    assert (root.edges[0], root.edges[-1]) == (0, top)
    assert len(root.edges) == 2 or (np.diff(root.edges) > 0).all()
    assert 2 <= len(root.edges) <= bins + 1
    for s in range(len(group)):
        number = sum(g <= group[s] for g in errors) - 1
        slot = sum(edge <= number for edge in root.edges)
        assert root.number[s] == number
        assert root.code[s] == 2 * slot + correct[s]
