"""The package offers the same names to Python and to editors."""

import ast

import pytest

import cascadelib
from cascadelib.files import ROOT


def listed():
    """Return {name: its module} of the block that editors read."""
    tree = ast.parse((ROOT / "cascadelib" / "__init__.py").read_text())
    (block,) = (part for part in tree.body if isinstance(part, ast.If))
    return {alias.name: line.module for line in block.body for alias in line.names}


def test_editors_and_python_see_the_same_names():
    names = listed()
    public = {name for name, module in names.items() if module and not name.startswith("_")}
    assert set(cascadelib.__all__) == public
    assert set(names) <= set(dir(cascadelib))
    for name in ("pareto_front", "ScoreTable", "Front", "Method", "fronts", "__version__"):
        assert getattr(cascadelib, name) is not None and name in names
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        _ = cascadelib.absent
