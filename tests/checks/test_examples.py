"""Docstrings: examples run and print the shown output, public names follow numpydoc."""

import doctest
import importlib
from pathlib import Path

import pytest

import cascadelib

ROOT = Path(cascadelib.__file__).parent
PUBLIC = sorted(name for name in cascadelib.__all__ if callable(getattr(cascadelib, name)))
# numpydoc's rules on the text (GL), the summary (SS), parameters (PR) and returned values (RT),
# without those of layout: text next to the quotes, blank lines, and entries such as "a, b".
RULES = ("GL", "SS", "PR", "RT")
EXCEPT = {"GL01", "GL02", "GL03", "GL08", "PR01", "PR02"}


def modules_with_examples():
    """Return the names of all modules whose source has an example."""
    paths = [p for p in sorted(ROOT.rglob("*.py")) if ">>> " in p.read_text("utf-8")]
    return [".".join(p.relative_to(ROOT.parent).with_suffix("").parts) for p in paths]


@pytest.mark.parametrize("name", modules_with_examples())
@pytest.mark.filterwarnings("ignore")
def test_examples_print_the_shown_output(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_docstring_has_an_example_and_follows_numpydoc(name):
    validate = pytest.importorskip("numpydoc.validate").validate
    errors = validate(f"cascadelib.{name}")["errors"]
    assert [e for e in errors if e[0][:2] in RULES and e[0] not in EXCEPT] == []
    text = getattr(cascadelib, name).__doc__
    assert ">>> " in text and "See Also\n" in text
