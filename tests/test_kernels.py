"""Kernels give the same results without a writable cache and with a damaged one."""

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core import config
from numba.core.dispatcher import Dispatcher

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
MERGE = """
from cascadelib.fronts.kernels import state

best, other = state.new_best(2, 2), state.new_best(2, 2)
other.exact[1] = 1.5
state.merge_entries(best, other)
print(state.__file__, best.exact.tolist())
"""
TINY = """
from cascadelib._kernels import kernel

@kernel
def added(a, b):
    return a + b

print(added(1, 2), added(0.5, 1.0), len(added.stats.cache_hits))
"""
READ_ONLY = """
import runpy, sys, tempfile

def refuse(*_, **__):
    raise PermissionError("a read-only disk")

tempfile.TemporaryFile = refuse
runpy.run_path(sys.argv[1])
"""
EDIT = """

@kernel(_nrt=False)
def improves(best, n, cost, cascade, at):
    return n > 5 and comes_first(best, n, cost, cascade, at)
"""
KERNELS_USED = """
import sys
from numba.core.dispatcher import Dispatcher
modules = [m for name, m in sys.modules.items() if name.startswith("cascadelib")]
found = {id(k): k for m in modules for k in vars(m).values() if isinstance(k, Dispatcher)}
missed = {f"{k.__name__}{s}" for k in found.values() for s in k.stats.cache_misses}
hits = {f"{k.__name__}{s}" for k in found.values() for s in k.stats.cache_hits}
used = [k for k in found.values() if k.stats.cache_hits or k.stats.cache_misses]
count = len(used)
for k in used:  # and the kernels that they call
    inside = map(k.py_func.__globals__.get, k.py_func.__code__.co_names)
    used += [one for one in inside if isinstance(one, Dispatcher) and one not in used]
print(*sorted(hits | missed | {k.__name__ for k in used[count:]}), sep="\\n")
print(*sorted(missed), sep="\\n", file=sys.stderr)
"""
WARM = """
import cascadelib as cl
cl.warm()
"""
FIRST_CALLS = """
import sys, numpy as np, cascadelib as cl
rng = np.random.default_rng(0)
correct = rng.random((5, 60)) < [[0.5], [0.6], [0.7], [0.8], [0.9]]
table = cl.ScoreTable(correct, rng.random((5, 60)), [1, 2, 3, 5, 9])
cl.search(table, (2, 3, 4), cost="cost")
scores, confidence, prices = rng.random((3, 3, 300))
priced = cl.ScoreTable(scores, confidence, prices * [[1], [5], [20]])
cl.search(priced, (1, 2, 3), tolerance=0.05)
held = cl.LogitStore(sys.argv[1])
logits = {m: held.logits(m).copy() for m in held.models.index[:4]}
macs = dict(zip(logits, range(1, 5)))
stores = held, held.take(np.arange(200)), cl.LogitStore.from_arrays(held.labels, logits, macs)
for store in stores:
    for method in cl.METHODS:
        front = cl.search(store, (1, 2, 3), method, models=list(store.models.index[:4]))
        cl.evaluate(store, front.point(0))
"""
MESSAGE = """
import cascadelib._kernels
cascadelib._kernels.is_watched = lambda: True
import numpy as np
from cascadelib.fronts.kernels.state import comes_first, improves, merge_entries, new_best
for kernel in (comes_first, improves):
    try:
        print(kernel(new_best(3, 2), 1, 1.0, 0, np.zeros(1, np.int64)))
    except TypeError as error:
        print(error)
merge_entries(new_best(3, 2), new_best(3, 2))
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


def test_kernels_run_without_a_writable_folder(tmp_path):
    """A file with the name of the cache folder also stops root."""
    shutil.copytree(
        ROOT / "cascadelib", tmp_path / "cascadelib", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in [tmp_path / "cascadelib", *(tmp_path / "cascadelib").rglob("*")]:
        if folder.is_dir():
            (folder / "__pycache__").touch()
    printed, warned = run(MERGE, tmp_path, HOME=os.devnull)
    assert printed == f"{tmp_path}/cascadelib/fronts/kernels/state.py [inf, 1.5, inf]\n"
    assert warned.count("Warning") == 1 and "Set NUMBA_CACHE_DIR" in warned


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


DAMAGE = [
    ("index cut short", "nbi", lambda content: content[:-20]),
    ("index foreign", "nbi", lambda content: b"no pickle at all"),
    ("code flipped", "nbc", flip),
    ("code empty", "nbc", lambda content: b""),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Return a script with a kernel, after it filled its cache."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.py"
    path.write_text(TINY)
    cache = {"NUMBA_CACHE_DIR": str(path.parent / "cache")}
    assert [run(path, ROOT, **cache)[0] for _ in range(2)] == ["3 1.5 0\n", "3 1.5 2\n"]
    return path


@pytest.mark.parametrize(
    ("kind", "damaged"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE]
)
def test_a_damaged_cache_is_compiled_again(kind, damaged, tiny):
    cache = {"NUMBA_CACHE_DIR": str(tiny.parent / "cache")}
    files = list(tiny.parent.rglob(f"*.{kind}"))
    assert files
    for file in files:
        file.write_bytes(damaged(file.read_bytes()))
    printed, warned = run(tiny, ROOT, **cache)
    assert (printed, warned) == ("3 1.5 0\n", "")


def test_after_warm_a_copy_of_the_package_compiles_nothing(tmp_path):
    """Every kernel of the first calls is used by warm, or called by such a kernel.

    Other tests may have compiled some kernels before. The kernels of a copy are those of its files'
    content, whatever their time.
    """
    printed, compiled = run(WARM + KERNELS_USED, ROOT)
    if compiled.strip():  # only a process that loads all kernels lists those that they call
        printed, _ = run(WARM + KERNELS_USED, ROOT)
    warmed = set(printed.split("\n"))
    shutil.copytree(ROOT / "cascadelib", tmp_path / "cascadelib")
    for path in (tmp_path / "cascadelib").rglob("*.py"):
        os.utime(path)
    store = str(ROOT / "data" / "fashion-mnist" / "val")
    used, missed = run(FIRST_CALLS + KERNELS_USED, tmp_path, store)
    assert missed.strip() == "" and "sweep_pair(" in used
    unknown = [name for name in used.split("\n") if not {name, name.split("(")[0]} & warmed]
    assert unknown == []


def test_a_process_that_compiles_prints_one_message(tmp_path):
    """A kernel that only kernels call raises a TypeError."""
    printed, message = run(MESSAGE, ROOT, NUMBA_CACHE_DIR=str(tmp_path))
    assert printed == "comes_first is called by kernels only\nTrue\n"
    assert message.count("compiles its kernels") == 1
    assert run(MESSAGE, ROOT, NUMBA_CACHE_DIR=str(tmp_path)) == (printed, "")


def modules_with_kernels():
    """Return the files that import the decorators, relative to the package's folder."""
    folder = ROOT / "cascadelib"
    importing = [path for path in folder.rglob("*.py") if "_kernels import" in path.read_text()]
    return sorted(str(path.relative_to(folder)) for path in importing)


def test_the_sources_are_all_files_that_define_kernels():
    defining = modules_with_kernels()
    assert set(_kernels.SOURCES) == {"_kernels.py", *defining}
    for name in defining:
        path = ROOT / "cascadelib" / name
        module = importlib.import_module("cascadelib." + name[:-3].replace("/", "."))
        inside = {
            alias.asname or alias.name: importlib.import_module(
                "." * line.level + (line.module or ""), module.__package__
            )
            for line in ast.walk(ast.parse(path.read_text()))
            if isinstance(line, ast.ImportFrom) and line.level
            for alias in line.names
        }
        for found in vars(module).values():
            if isinstance(found, Dispatcher):  # the kernels and constants that it uses
                for used in set(found.py_func.__code__.co_names) & set(inside):
                    source = Path(inside[used].__file__).relative_to(ROOT / "cascadelib")
                    assert str(source) in _kernels.SOURCES, (name, found, used)


@pytest.mark.parametrize("name", _kernels.SOURCES)
def test_editing_a_file_of_kernels_changes_the_stamp(name, tmp_path):
    for source in _kernels.SOURCES:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "cascadelib" / source, tmp_path / source)
    before = _kernels.stamp(tmp_path)
    assert before == _kernels.stamp(tmp_path) == _kernels.stamp()
    with open(tmp_path / name, "a") as file:
        file.write("# edited\n")
    assert _kernels.stamp(tmp_path) not in (before, _kernels.stamp())


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (_kernels.numba, "__version__", "0.0"),
        (_kernels.llvmlite, "__version__", "0.0"),
        (config, "BOUNDSCHECK", 1),
        (config, "SLP_VECTORIZE", 1),
    ],
)
def test_another_compiler_has_another_stamp(module, name, value, monkeypatch):
    before = _kernels.stamp()
    _kernels.digest_of_sources.cache_clear()
    monkeypatch.setattr(module, name, value)
    assert _kernels.stamp() != before
    _kernels.digest_of_sources.cache_clear()


def test_an_edited_kernel_is_compiled_again_in_files_that_inline_it(tmp_path):
    package = shutil.copytree(
        ROOT / "cascadelib",
        tmp_path / "cascadelib",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    assert run(SWEEP, tmp_path, **cache)[0].endswith(f" {SWEPT}\n")
    with open(package / "fronts" / "kernels" / "state.py", "a") as file:
        file.write(EDIT)
    assert run(SWEEP, tmp_path, **cache)[0].endswith(" [inf, inf, inf, inf, inf, inf, 2.5]\n")


def test_a_named_folder_that_cannot_be_written_is_named_once(tmp_path):
    script = tmp_path / "tiny.py"
    blocked = tmp_path / "blocked"
    script.write_text(TINY + TINY.replace("added", "summed"))
    blocked.touch()  # a file where the folder would be stops even root
    for hits in (0, 2):
        printed, warned = run(script, ROOT, NUMBA_CACHE_DIR=str(blocked / "cache"))
        assert printed == f"3 1.5 {hits}\n" * 2
        assert warned.count("Warning") == 1 and str(blocked / "cache") in warned


def test_kernels_are_read_from_a_folder_that_cannot_be_written(tiny):
    cache = {"NUMBA_CACHE_DIR": str(tiny.parent / "cache")}
    assert run(tiny, ROOT, **cache) == ("3 1.5 2\n", "")  # stored again after the last damage
    assert run(READ_ONLY, ROOT, str(tiny), **cache) == ("3 1.5 2\n", "")
