"""The cascades of a search: their numbers, and how many there are."""

from functools import partial

import numpy as np
import pytest
from tables_of_scores import NOISY

from cascadelib import search
from cascadelib.fronts.cascades import Cascades, extensions, number_of_cascades
from cascadelib.fronts.exact import search_arrays


def test_numbering_and_counting_agree() -> None:
    cost = np.array([3.0, 1.0, 1.0, 2.0, 3.0, 3.0])
    for n in (1, 2, 3, 4):
        listed = list(extensions(cost, (), n))
        cascades = Cascades(cost, n, 7)
        assert len(listed) == number_of_cascades(cost, n) == cascades.end - 7
        assert [cascades.cascade(7 + i) for i in range(len(listed))] == listed


def test_too_much_work_is_refused_with_an_estimate() -> None:
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
