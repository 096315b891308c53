"""Splits of a study are opened by path or by pattern, whatever their format."""

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.store import ScoreFile, open_split, open_splits


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with a store, its file of scores, a table, and three shifted splits."""
    folder = tmp_path_factory.mktemp("study")
    logits = np.random.default_rng(0).standard_normal((8, 3))
    for name in ("val", "shift/noise-1", "shift/noise-2", "shift/v2"):
        store = cl.LogitStore.create(folder / name, [0, 1, 2, 0, 1, 2, 0, 1])
        store.add("m", logits, macs=1)
    store.to_scores(folder / "scores.parquet")
    row = {"sample": "a", "confidence": 0.5, "correct": True}
    rows = [row | {"model": "m", "cost": 1.0}, row | {"model": "n", "cost": 2.0}]
    pd.DataFrame(rows).to_parquet(folder / "table.parquet")
    return folder


@pytest.mark.parametrize(
    ("name", "kind"), [("val", cl.LogitStore), ("scores", ScoreFile), ("table", cl.ScoreTable)]
)
def test_a_split_is_a_store_or_a_file_of_scores_or_a_table(study, name, kind):
    assert isinstance(open_split(study / name), kind)
    assert isinstance(open_split(f"{study}/{name}"), kind)


def test_splits_are_opened_by_patterns_in_their_order(study):
    assert list(open_splits(study, "shift/noise-*")) == ["noise-1", "noise-2"]
    assert list(open_splits(study, ["shift/v2", "shift/noise-1"])) == ["v2", "noise-1"]
    assert isinstance(open_splits(study, "sco*")["scores"], ScoreFile)
    assert list(open_splits("data/fashion-mnist", "shift/noise-*")) == ["noise-1", "noise-2"]


@pytest.mark.parametrize("pattern", ["nothing", ["val", "blur-*"]])
def test_a_pattern_without_a_split_is_refused(study, pattern):
    with pytest.raises(FileNotFoundError, match=r"no store '(nothing|blur-\*)' in .*study"):
        open_splits(study, pattern)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_split(study / "nowhere")
