"""Batches in all forms, compared with lists of their samples."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.zoo.batches import (
    count_inputs,
    count_samples,
    is_tuple_of_batches,
    take_rows,
)

LEAVES = st.sampled_from(["tensor", "array", "texts", "pairs"])
FORMS = st.recursive(
    LEAVES,
    lambda form: st.one_of(
        st.dictionaries(st.sampled_from("abc"), form, min_size=1, max_size=2),
        st.lists(form, min_size=1, max_size=2).map(tuple),
    ),
    max_leaves=4,
)


def batch_of(form, values):
    """Build a batch of a form from numbers."""
    if isinstance(form, dict):
        return {key: batch_of(part, values) for key, part in form.items()}
    if isinstance(form, tuple):
        return tuple(batch_of(part, values) for part in form)
    if form == "tensor":
        return torch.tensor(values).reshape(-1, 1) * torch.tensor([1, 10])
    if form == "array":
        return np.array(values, np.int64)
    if form == "texts":
        return [f"text {value}" for value in values]
    return [(f"first {value}", f"second {value}") for value in values]


def samples_of(batch):
    """Convert a batch to a list of samples in plain Python (slow reference)."""
    if isinstance(batch, dict):
        parts = [samples_of(part) for part in batch.values()]
        return [dict(zip(batch, sample)) for sample in zip(*parts)]
    if isinstance(batch, tuple):
        return list(zip(*(samples_of(part) for part in batch)))
    return batch if isinstance(batch, list) else batch.tolist()


@given(FORMS, st.lists(st.integers(0, 9), min_size=1, max_size=5), st.data())
def test_batches_have_their_samples_in_order(form, values, data):
    batch = batch_of(form, values)
    samples = samples_of(batch)
    assert count_samples(batch) == len(samples) == len(values)
    rows = data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=6))
    picked = take_rows(batch, np.array(rows))
    assert samples_of(picked) == [samples[row] for row in rows]
    assert samples_of(take_rows(batch, slice(1, 3))) == samples[1:3]


def test_a_tuple_contains_samples_or_batches():
    assert is_tuple_of_batches((torch.ones(2), np.ones(2))) and is_tuple_of_batches(
        ({"a": [1]}, (["b"],))
    )
    mixed = ("a text", ["a", "list"])
    pairs = (("of a", "pair"), ("and", "one"))
    for samples in (("a text", "another"), mixed, pairs, (), [torch.ones(2)]):
        assert not is_tuple_of_batches(samples)
    assert count_samples(("a text", "another")) == 2 and count_samples((("of a", "pair"),)) == 1


@pytest.mark.parametrize(
    "batch, error",
    [
        ("one text", "a batch is needed, not 'one text'"),
        (b"bytes", "a batch is needed"),
        (3, "a batch is needed, not 3"),
        (torch.tensor(1.0), "a batch is needed"),
        ({"a": torch.ones(2), "b": torch.ones(3)}, r"the same number of samples, not \[2, 3\]"),
        ((np.ones(2), {"a": np.ones(1)}), r"the same number of samples, not \[1, 2\]"),
        (np.ma.masked_equal([1, 2], 2), "a batch: 1 values are masked"),
    ],
)
def test_a_value_that_is_not_a_batch_is_refused(batch, error):
    with pytest.raises(ValueError, match=error):
        count_samples(batch)


def test_parts_that_all_samples_share_are_not_cut():
    """Such parts are allowed in a module's input, not in a batch."""
    shared = torch.arange(3)
    inputs = {"x": torch.arange(8).reshape(4, 2), "positions": shared}
    assert (
        count_inputs(inputs)
        == count_inputs(tuple(inputs.values()))
        == count_inputs(inputs["x"])
        == 4
    )
    piece = take_rows(inputs, slice(1, 3), samples=4)
    assert torch.equal(piece["x"], inputs["x"][1:3]) and piece["positions"] is shared
    first = take_rows(inputs["x"], np.array([3, 0]), samples=4)
    assert first.tolist() == [[6, 7], [0, 1]]
