"""The cascades of a search: their numbers, and the root of a stage."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.fronts.cascades import Cascades, root_of

COST = np.array([3.0, 1.0, 1.0, 2.0, 3.0, 3.0])


def test_cascades_of_each_length_are_numbered_in_their_order():
    cascades = Cascades(COST)
    numbers = []
    for n in (1, 2, 3, 4):
        listed = list(cascades.extensions((), n))
        slow = [c for c in permutations(range(6), n) if list(COST[[*c]]) == sorted(COST[[*c]])]
        assert sorted(listed) == sorted(slow)
        numbers += [cascades.number(cascade) for cascade in listed]
        assert [cascades.cascade(number) for number in numbers[-len(listed) :]] == listed
    assert numbers == sorted(set(numbers)) and numbers[0] == 1


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30), st.data())
def test_the_root_of_a_stage_places_samples_between_edges(samples, data):
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
