"""Splits that are opened by pattern, and their panels."""

import pytest

from tools.elsewhere import by_kind, open_splits


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
