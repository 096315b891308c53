"""Splits of one kind share a panel."""

from tools.elsewhere import by_kind


def test_splits_share_a_panel_by_kind():
    grouped = by_kind({"val": 0, "noise-1": 1, "noise-2": 2, "v2": 3}, "val")
    assert grouped == {
        "noise": {"val": 0, "severity 1": 1, "severity 2": 2},
        "v2": {"val": 0, "other split": 3},
    }
