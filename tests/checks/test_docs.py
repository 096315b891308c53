"""docs/: code runs, and named files exist."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *TOP]


@pytest.mark.parametrize("page", [p for p in PAGES if ">>> " in p.read_text("utf-8")], ids=str)
def test_code_on_the_page_runs(page):
    assert doctest.testfile(str(page), module_relative=False).failed == 0


CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names removed files


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    """``make docs`` checks links. This checks paths in the text."""
    folders = "cascadelib|tests|benchmarks|notebooks|data|docs"
    named = re.findall(rf"(?<![\w/(])(?:{folders})/[\w./-]*\w", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")) if page in TOP else []
    assert [name for name in named + links if not (ROOT / name).exists()] == []
