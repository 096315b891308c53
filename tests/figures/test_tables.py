"""Readable tables and figures show the measured numbers."""

import numpy as np
import pandas as pd
import pytest
from tiny_stores import noisy_store

from cascadelib import search
from cascadelib.figures.tables import (
    digits,
    fraction,
    in_words,
    number,
    readable,
    seconds,
    select_evenly,
)


@pytest.fixture(scope="module")
def store():
    return noisy_store(k=400)


def test_numbers_have_four_significant_digits():
    assert [number(v) for v in (14.391e9, 735.21e6, 1234.5, 0.71123, 2.6e-5, np.nan)] == [
        "14.39G", "735.2M", "1.234k", "0.7112", "26µ", "–",
    ]  # fmt: skip
    assert digits((0.45512, np.inf)) == "0.4551, inf"
    assert fraction(0.87321) == "87.32%"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("macs", "MACs per sample"),
        ("top10", "top-10 accuracy"),
        ("logits_margin_most_confident_ts", "logits margin, most confident, scaled"),
        ("method of the front", "method of the front"),
    ],
)
def test_keys_are_displayed_in_words(key, words):
    assert in_words(key) == words


def test_readable_formats_columns_by_name_and_keeps_the_ends(store):
    front = search(store, 2)
    shown = readable(front.table, 5)
    assert len(shown) == 5
    assert shown.index[0] == 0
    assert shown.index[-1] == len(front) - 1
    assert shown["models"].iloc[0] == " → ".join(front.table["models"].iloc[0])
    assert shown["accuracy"].iloc[0] == f"{front.table['accuracy'].iloc[0]:.2%}"


def test_large_tables_are_decimated_with_their_ends():
    table = pd.DataFrame({"x": range(100_000)})
    shown = select_evenly(table, 100)
    assert len(shown) == 100
    assert shown["x"].iloc[[0, -1]].tolist() == [0, 99_999]


def test_seconds_have_a_unit_and_other_numbers_no_exponent():
    assert [seconds(v) for v in (2.739e-5, 0.0015, 2, 0, np.nan)] == [
        "27.39 µs",
        "1.5 ms",
        "2 s",
        "0 s",
        "–",
    ]
    table = pd.DataFrame(
        {"seconds": [7.16e-7], "cost": [5e-4], "cost_ratio": [2.5], "cost_dominance": [7.8e-5]}
    )
    assert readable(table).iloc[0].tolist() == ["716 ns", "500µ", "2.5", "0.01%"]
    assert readable(table, cost="seconds").iloc[0].tolist() == ["716 ns", "500 µs", "2.5", "0.01%"]


def test_factors_and_excess_costs_have_one_format():
    table = pd.DataFrame(
        {
            "improvement": [645e-6, 0.0],
            "relative_to_spread": [3e-6, np.nan],
            "excess_cost": -0.00751,
        }
    )
    shown = [list(row) for row in readable(table.assign(largest_gap=[1.9e-5, 2.0])).to_numpy()]
    assert shown == [["< 0.001", "< 0.001", "-0.75%", "< 0.001"], ["0", "–", "-0.75%", "2"]]


def test_a_page_shows_ticks_and_all_rows():
    table = pd.DataFrame(
        {"on_macs": [True, False] * 50, "holds": [True, None] * 50, "text": "x" * 200}
    )
    shown = readable(table)
    assert shown["on macs"].tolist()[:2] == ["✓", ""] and shown["holds"].tolist()[:2] == ["✓", "–"]
    for page in (shown, shown.T):
        assert page._repr_html_().count("x" * 200) == 100
