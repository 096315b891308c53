"""Rules for the cells of a table in words."""

import pytest

from cascadelib.store.tables.rules import Rule, describe_rules, refuse

CELLS = Rule("empty cells", 1200, ("sample 'a'", "sample 'b'"), "Fill them")
ROWS = Rule("rows that repeat others", 1, ("line 7 repeats line 2",))
STEP = Rule("cells of column 'usd'", 3, ("'$1' is 1",), "", "as numbers")
LABELS = Rule("samples without a label", 1, (), "Fill them")


def test_a_fault_states_its_count_and_first_places():
    assert str(CELLS) == "empty cells: 1,200 (sample 'a'; sample 'b'; and 1,198 more)"
    assert str(ROWS) == "rows that repeat others: 1 (line 7 repeats line 2)"
    assert str(LABELS) == "samples without a label: 1"
    assert str(STEP) == "cells of column 'usd': 3, read as numbers ('$1' is 1; and 2 more)"


def test_a_remedy_is_stated_once():
    lines = describe_rules([CELLS, ROWS, LABELS]).splitlines()
    assert lines == [str(CELLS), f"{LABELS}. Fill them", str(ROWS)]


def test_one_error_lists_all_faults():
    refuse([STEP])
    with pytest.raises(ValueError, match="empty cells: 1,200 .*\n.*label: 1. Fill them\nrows that"):
        refuse([CELLS, ROWS, LABELS])
