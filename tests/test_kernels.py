"""Kernels give the same results without a writable cache, and never run from a stale one."""

import ast
import inspect
import os
import shutil
import subprocess
import sys

import numba
import numpy as np
import pytest

from cascadelib import _kernels
from cascadelib.files import ROOT

SWEEP = """
import numpy as np
from cascadelib.fronts.kernels import grid, state

order = np.arange(6, dtype=np.uint32)
groups = np.array([0, 1, 1, 2, 3, 4], np.int32)
first = np.array([1, 1, 1, 0, 1, 0], np.uint8)
second = np.array([1, 0, 1, 1, 1, 1], np.uint8)
best = state.new_best(6, 2)
grid.sweep_pair(order, groups, first, second, 1.0, 3.0, 0, best)
print(grid.__file__, best.exact.tolist())
"""
SWEPT = "[inf, inf, inf, inf, 1.0, 1.5, 2.5]"
# A kernel that sweep_pair inlines.
EDIT = """

@kernel
def improves(best, n, cost, cascade, at):
    return n > 5 and comes_first(best, n, cost, cascade, at)
"""
TINY = """
from cascadelib._kernels import kernel

@kernel
def added(a, b):
    return a + b

print(added(1, 2), added(0.5, 1.0), len(added.stats.cache_hits))
"""
READ_ONLY = """
import os, runpy, sys
is_allowed = os.access
os.access = lambda path, mode: mode != os.W_OK and is_allowed(path, mode)
runpy.run_path(sys.argv[1])
"""


def run(code, path, *arguments, **environment):
    """Run Python code with the package at ``path`` and return stdout and stderr.

    The only cache is that of ``environment``.
    """
    others = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_", "PYTHON"))}
    others |= {"PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, *(["-c", code] if "\n" in str(code) else [code]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=others, cwd=path)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def package(tmp_path):
    """Return the folder of a copy of the package, without a cache."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cascadelib", tmp_path / "cascadelib", ignore=ignored)
    return tmp_path


@pytest.mark.soak
def test_kernels_run_without_a_writable_folder(package):
    """A file with the name of a folder also stops root."""
    for folder in [package / "cascadelib", *(package / "cascadelib").rglob("*")]:
        if folder.is_dir():
            (folder / "__pycache__").touch()
    for cache in ({}, {"NUMBA_CACHE_DIR": os.devnull}):
        printed, warned = run(TINY, package, HOME=os.devnull, **cache)
        assert printed == "3 1.5 0\n"
        assert warned.count("Warning") == 1 and "Set NUMBA_CACHE_DIR" in warned


@pytest.mark.soak
def test_a_folder_that_cannot_be_written_is_replaced_by_that_of_the_user(package):
    (package / "cascadelib" / "__pycache__").touch()
    for hits in (0, 2):
        path = package / "tiny.py"
        path.write_text(TINY)
        assert run(path, package, HOME=str(package)) == (f"3 1.5 {hits}\n", "")


@pytest.mark.soak
def test_kernels_of_a_read_only_installation_are_read(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(TINY)
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(path, ROOT, **cache) == ("3 1.5 0\n", "")
    before = sorted(tmp_path.rglob("*"))
    assert run(READ_ONLY, ROOT, str(path), **cache) == ("3 1.5 2\n", "")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.soak
def test_an_edited_kernel_is_compiled_again_in_files_that_inline_it(package):
    cache = {"NUMBA_CACHE_DIR": str(package / "kept")}
    assert run(SWEEP, package, **cache)[0].endswith(f" {SWEPT}\n")
    with open(package / "cascadelib" / "fronts" / "kernels" / "state.py", "a") as file:
        file.write(EDIT)
    assert run(SWEEP, package, **cache)[0].endswith(" [inf, inf, inf, inf, inf, inf, 2.5]\n")


def compiles(path):
    """Return whether a file imports a function of _kernels that takes a function to compile it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith("_kernels"):
            for name in node.names:
                if "function" in inspect.signature(getattr(_kernels, name.name)).parameters:
                    return True
    return False


def test_files_of_kernels_have_a_name_that_the_stamp_covers():
    folder = ROOT / "cascadelib"
    files = [path for path in folder.rglob("*.py") if compiles(path)]
    assert {"grid.py", "kernels.py"} <= {path.name for path in files}
    for path in files:
        assert path.parent.name == "kernels" or path.name.endswith("kernels.py"), path


@pytest.mark.parametrize("name", ["_kernels.py", "methods/kernels.py", "fronts/kernels/grid.py"])
def test_editing_a_file_of_kernels_changes_the_stamp(name, package, monkeypatch):
    monkeypatch.setattr(_kernels, "FOLDER", package / "cascadelib")
    stamp = _kernels.stamp.__wrapped__
    before = stamp()
    assert before == _kernels.stamp()
    with open(package / "cascadelib" / name, "a") as file:
        file.write("# edited\n")
    assert stamp() != before


@pytest.mark.parametrize("form", [_kernels.entry, _kernels.inner])
def test_a_kernel_that_allocates_is_refused_where_numba_counts_no_references(form):
    with pytest.raises(numba.core.errors.NumbaError, match="NRT required"):
        form(lambda count: np.empty(count)).compile((numba.int64,))
