"""Shards in a folder."""

import warnings

import numpy as np
import pytest

from cascadelib.extraction import shards
from cascadelib.extraction.shards import Shards, shard_bounds

EYE = np.eye(2, dtype=np.float32)
SPAN = (0, 2)


@pytest.mark.parametrize(
    ("count", "most", "batch", "expected"),
    [
        (10, 4, 2, [(0, 4), (4, 8), (8, 10)]),
        (10, 5, 2, [(0, 4), (4, 8), (8, 10)]),
        (3, 1, 8, [(0, 3)]),
        (8, 8, 8, [(0, 8)]),
    ],
)
def test_shards_have_full_batches(monkeypatch, count, most, batch, expected):
    monkeypatch.setattr(shards, "SHARD_SAMPLES", most)
    assert shard_bounds(count, batch) == expected


def test_shards_of_other_runs_or_damaged_ones_are_missing(tmp_path):
    ours = Shards(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.write("m/1", {"a": 1}, SPAN, EYE, [0.5])
        for run, span in (({"a": 2}, SPAN), ({"a": 1}, (2, 4))):
            assert ours.read("m/1", run, span) is None and ours.is_missing("m/1", run, span)
        logits, seconds = ours.read("m/1", {"a": 1}, SPAN)
        assert logits.tolist() == EYE.tolist() and seconds == [0.5]
        assert not ours.is_missing("m/1", {"a": 1}, SPAN)
        (path,) = ours.path.glob("m%2F1/*")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        assert ours.read("m/1", {"a": 1}, SPAN) is None
        assert ours.is_missing("m/1", {"a": 1}, SPAN)
