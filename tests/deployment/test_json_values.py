"""Values of JSON from strangers: of the kind that is needed, or refused by name."""

from collections.abc import Callable
from typing import Any

import pytest

from cascadelib.deployment.json_values import (
    LARGEST_FLOAT,
    items_in,
    number_in,
    numbers_in,
    object_in,
    text_in,
    text_or_none,
)

KINDS = {object_in: {"a": 1}, items_in: [1, 2], text_in: "a", number_in: 1.5, numbers_in: [1, 2.5]}


@pytest.mark.parametrize("reader", KINDS, ids=lambda reader: reader.__name__)
def test_only_values_of_the_kind_are_read(reader: Callable) -> None:
    value = KINDS[reader]
    found = reader(value, "'part'")
    assert found == (tuple(value) if reader is numbers_in else value)
    for other in [None, True, *KINDS.values()]:
        if type(other) is not type(value):
            with pytest.raises(ValueError, match="'part'"):
                reader(other, "'part'")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.1])
def test_numbers_are_finite_and_within_their_bounds(value: float) -> None:
    assert [number_in(end, "'rate'", 0, 1) for end in (0, 1)] == [0, 1]
    assert number_in(LARGEST_FLOAT, "'cost'") == LARGEST_FLOAT
    with pytest.raises(ValueError, match="'rate' must be a number from 0 to 1"):
        number_in(value, "'rate'", 0, 1)


def test_a_text_may_be_null_or_left_out() -> None:
    values: dict[str, Any] = {"split": "val", "dataset": None, "ids": 3}
    assert text_or_none(values, "split", "'on'") == "val"
    assert text_or_none(values, "dataset", "'on'") is None
    assert text_or_none(values, "fingerprint", "'on'") is None
    with pytest.raises(ValueError, match="'on': 'ids'"):
        text_or_none(values, "ids", "'on'")
