"""Alarms of streams, as notebook 08 counts them."""

from functools import partial

import pytest
from tiny_stores import three_models

from cascadelib import pick, search
from tools.monitored import alarm_share, alarm_table

make_store = partial(three_models, ids=False, classes=5)
STORE = make_store()
OTHER = make_store(1, noise=1.5)


def test_windows_alarm_on_shifted_data_and_rarely_on_unchanged():
    point = pick(search(STORE, 2), "match_best", caution=0)
    assert (
        alarm_share(STORE, make_store(2, 2000, noise=3.0), point, 300, 20, false_alarm_rate=0.01)
        > 0.8
    )
    unchanged = make_store(3, 2000)
    assert alarm_share(unchanged, unchanged, point, 200, 100) <= 0.06
    with pytest.raises(ValueError, match="longer than the 600"):
        alarm_share(STORE, OTHER, point, 601)


def test_alarm_tables_have_a_row_per_split_and_a_column_per_window_that_fits():
    point = pick(search(STORE, 2), "match_best", caution=0)
    worse = make_store(2, 2000, noise=3.0)
    table = alarm_table(point, STORE, OTHER, {"other": OTHER, "worse": worse}, (100, 300, 301), 5)
    assert list(table) == ["share of alarms, 100 inputs", "share of alarms, 300 inputs"]
    assert table.index.tolist() == ["unchanged", "other", "worse"]
    assert table.iloc[2, 1] == alarm_share(STORE, worse, point, 300, 5)
    assert table.iloc[0, 1] == alarm_share(OTHER, OTHER, point, 300, 20)
