"""Subpackages offer the same names to Python and to editors, also from compiled files."""

import ast
import compileall
import os
import shutil
import subprocess
import sys

import pytest

import cascadelib
from cascadelib.files import ROOT

SHOWN = """
import cascadelib, cascadelib.fronts
front = cascadelib.pareto_front([1], [1])
print(cascadelib.__file__, cascadelib.__all__, dir(cascadelib.fronts), front)
print(cascadelib.ScoreTable.__name__, cascadelib.fronts.Front.__name__, cascadelib.figures.__name__)
"""


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


def test_a_package_of_compiled_files_has_the_same_names(tmp_path):
    package = tmp_path / "cascadelib"
    skipped = shutil.ignore_patterns("__pycache__", "*.nbi")
    shutil.copytree(ROOT / "cascadelib", package, ignore=skipped)
    compileall.compile_dir(package, legacy=True, quiet=1, stripdir=tmp_path)
    for source in package.rglob("*.py"):
        source.unlink()
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", SHOWN]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{package}{os.sep}__init__.pyc")
    assert str(cascadelib.__all__) in done.stdout
    assert done.stdout.endswith("ScoreTable Front cascadelib.figures\n")
