"""Columns of numbers are read by one locale and one unit for all cells."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.store.tables.numbers import (
    INFINITE,
    NOT_NUMBERS,
    OTHER_SIGN,
    TWO_READINGS,
    read_numbers,
)

NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 2))


def read(cells, role="confidence", **options):
    """Return the numbers of cells, and {rule: rows} of those that cannot be read."""
    column = read_numbers(pd.Series(cells, dtype=object), role, **options)
    faults = {what: rows.tolist() for what, rows in column.faults.items() if len(rows)}
    assert bool(column.steps) <= (not faults)
    return column.values.tolist(), faults


@pytest.mark.parametrize(
    ("cells", "role", "values"),
    [
        (["0.5", " 1e-3 ", "2"], "confidence", [0.5, 1e-3, 2]),
        (["0,93", "0,5", "1"], "confidence", [0.93, 0.5, 1]),
        (["87%", "93 %", "0"], "confidence", [0.87, 0.93, 0]),
        (["$0.0004", "$1", "0"], "cost", [0.0004, 1, 0]),
        (["0,02 €", "1.234,50 €"], "cost", [0.02, 1234.5]),
        (["USD 2", "3 USD"], "cost", [2, 3]),
        (["5¢", "2.5 ¢"], "cost", [0.05, 0.025]),
        (["✓", "✗", "passed"], "correct", [1, 0, 1]),
        (["1,234.5", "2"], "cost", [1234.5, 2]),
        (["1 234,5", "1\u202f234\u202f567"], "cost", [1234.5, 1234567]),
        (["−1", "'"], "cost", None),
        (["yes", "No", "1", "TRUE"], "correct", [1, 0, 1, 1]),
        (["correct", "incorrect"], "correct", [1, 0]),
        ([True, False], "correct", [1, 0]),
        (["yes"], "confidence", None),
        (["5%"], "cost", None),
        (["1_000"], "cost", None),
    ],
)
def test_cells_of_one_form_are_read(cells, role, values):
    found, faults = read(cells, role)
    assert (found == values and not faults) if values else NOT_NUMBERS in faults


@pytest.mark.parametrize("cell", ["", "n/a", " NA ", "null", "None", "#N/A", "-", "nan"])
def test_some_texts_are_empty_cells(cell):
    values, faults = read(["x,5".replace("x", "0"), cell])
    assert values[0] == 0.5 and np.isnan(values[1]) and not faults


def test_a_column_that_two_signs_fit_is_refused_until_one_is_named():
    assert read(["1,234", "2,345"])[1] == {TWO_READINGS: [0, 1]}
    assert read(["1,234", "2,345"], decimal=".") == ([1234, 2345], {})
    assert read(["1,234", "2,345"], decimal=",") == ([1.234, 2.345], {})
    assert read(["1,234", "0,5"]) == ([1.234, 0.5], {})
    assert read(["0,125", "0,250"]) == ([0.125, 0.25], {})
    # A point is a decimal point, unless another column has decimal commas.
    assert read(["1.234", "2.345"]) == ([1.234, 2.345], {})
    assert read(["1.234", "2.345"], by_cell=True)[1] == {TWO_READINGS: [0, 1]}


def test_no_cell_is_guessed():
    assert read(["0.1", "93%", "0.2"])[1] == {OTHER_SIGN: [1]}
    assert read(["$1", "$2", "€3"], "cost")[1] == {OTHER_SIGN: [2]}
    assert read(["0.5", "0,5", "0.6"])[1] == {NOT_NUMBERS: [1]}


def test_infinite_numbers_are_faults():
    assert read(["1e999", "2"])[1] == {INFINITE: [0]}
    assert read([np.inf, 2.0])[1] == {INFINITE: [0]}
    assert read([10**400, 1])[1] == {INFINITE: [0]}


def test_steps_name_the_cells_that_were_read_and_their_number():
    column = pd.Series(["$0.5", "$0.5", "$2", "0"], name="usd")
    (step,) = read_numbers(column, "cost").steps
    assert step.count == 3 and step.examples == ("'$0.5' is 0.5", "'$2' is 2")
    assert str(step) == (
        "cells of column 'usd': 3, read as numbers ('$0.5' is 0.5; '$2' is 2; and 1 more)"
    )


@given(st.lists(NUMBERS, min_size=1, max_size=8))
def test_three_locales_are_read_as_the_same_numbers(numbers):
    numbers = [*numbers, 0.5]  # with decimals, a column has one reading
    english = [f"{number:,.2f}" for number in numbers]
    swap = str.maketrans(",.", ".,")
    german = [text.translate(swap) for text in english]
    french = [text.replace(",", "\u202f").replace(".", ",") for text in english]
    for cells in (english, german, french, [f"{text} €" for text in german]):
        values, faults = read(cells, "cost")
        assert values == [float(f"{number:.2f}") for number in numbers] and not faults
