"""Splits that are opened by pattern, and their panels."""

import pandas as pd
import pytest
from paper_stores import write_split

from cascadelib import LogitStore, ScoreTable
from cascadelib.store import ScoreFile
from tools.elsewhere import by_kind, open_split, open_splits


def test_splits_are_opened_by_pattern_and_share_a_panel_by_kind():
    found = open_splits("data/fashion-mnist", ["shift/noise-*", "val"])
    assert list(found) == ["noise-1", "noise-2", "val"]
    with pytest.raises(FileNotFoundError, match="no store 'nothing' in data/fashion-mnist"):
        open_splits("data/fashion-mnist", "nothing")
    grouped = by_kind({"val": 0, "noise-1": 1, "noise-2": 2, "v2": 3}, "val")
    assert grouped == {
        "noise": {"val": 0, "severity 1": 1, "severity 2": 2},
        "v2": {"val": 0, "other split": 3},
    }


def test_a_split_is_a_store_or_a_file_of_scores_or_a_table(tmp_path):
    write_split("toy", "val", 40, 1, path=tmp_path / "val")
    assert isinstance(open_split(f"{tmp_path}/val"), LogitStore)
    LogitStore(tmp_path / "val").to_scores(tmp_path / "scores.parquet")
    assert isinstance(open_split(f"{tmp_path}/scores"), ScoreFile)
    row = {"sample": "a", "confidence": 0.5, "correct": True}
    frame = pd.DataFrame([row | {"model": "m", "cost": 1.0}, row | {"model": "n", "cost": 2.0}])
    frame.to_parquet(tmp_path / "table.parquet")
    assert isinstance(open_split(f"{tmp_path}/table"), ScoreTable)
