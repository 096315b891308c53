"""What the README says of the bundled data is what is computed from it."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import readme_numbers  # noqa: E402 - a script beside the pages of the site, not a package


@pytest.mark.parametrize("block", readme_numbers.BLOCKS)
def test_the_figures_of_the_readme_are_those_of_the_data(block):
    before = readme_numbers.README.read_text(encoding="utf-8")
    assert readme_numbers.filled(before, [block]) == before, "run: python docs/readme_numbers.py"


def test_a_lost_mark_is_named():
    with pytest.raises(ValueError, match="0 blocks <!-- zoo -->"):
        readme_numbers.filled("no marks", ["zoo"])


def test_a_stale_figure_is_found():
    stale = "<!-- zoo -->\n99 classifiers\n<!-- /zoo -->"
    assert readme_numbers.filled(stale, ["zoo"]) != stale
