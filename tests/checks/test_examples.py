"""Examples in docstrings run and print the shown output."""

import doctest
import importlib
from pathlib import Path

import pytest

import cascadelib

ROOT = Path(cascadelib.__file__).parent


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
