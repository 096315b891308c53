"""Prose uses the words of the field: at most so many hits of ``dialect.py`` per 1,000 words."""

from pathlib import Path

import dialect
import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_HITS = {"cascadelib": 0.7, "docs": 1.5, "README.md": 0.5, "tests": 2.5, "notebooks": 0.3}


@pytest.mark.parametrize("place", MOST_HITS)
def test_dialect_does_not_increase(place):
    hits = dialect.rate(ROOT / place)
    assert hits <= MOST_HITS[place], f"list them: python tests/checks/dialect.py {place}"


def test_hits_are_counted_in_prose_and_not_in_code(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("The twin stands here: `twin`.\n\n```python\ntwin = 'judged anew'\n```\n")
    assert dialect.rate(path) == 1000 * 2 / 5
    path = path.with_suffix(".py")
    path.write_text('"""Return the twin of it."""\n\ntwin = "anew"  # judged\n')
    assert dialect.rate(path) == 1000 * 2 / 6
