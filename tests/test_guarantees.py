"""The tables of docs/guarantees.md equal those that docs/guarantees.py computes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "docs"))
import guarantees  # noqa: E402 - a script, no package


def test_a_table_is_current():
    """The others take minutes."""
    before = guarantees.PAGE.read_text(encoding="utf-8")
    assert guarantees.filled(before, ["ideal"]) == before, "run: python docs/guarantees.py"


def test_a_table_that_the_page_lacks_is_named():
    with pytest.raises(ValueError, match="has 0 blocks <!-- ideal -->"):
        guarantees.filled("no marks", ["ideal"])
