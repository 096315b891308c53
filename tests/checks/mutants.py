"""Change one operator of the package at a time and report which changes no test notices.

    python tests/checks/mutants.py --seed 42 --count 100
    python tests/checks/mutants.py --at cascadelib/evaluation/pareto.py:33

A mutant is a copy of one module with one change: a comparison, an arithmetic sign, a constant, a
guard, a call. It is killed when a test fails, and survives if its tests do not end in time (of the
processor, so other processes do not matter). Kernels run uncompiled. The tests of a mutant are
those named after its module, then those that import it, then its subpackage's.
build/mutants.jsonl keeps the test that killed each one: a test that fails without any mutant kills
nothing, so run those tests once more on the unchanged tree.
"""

import argparse
import ast
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import pytest

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutants" / str(os.getpid())  # several may run
LINKED = ("data", ".venv")  # read by tests, never changed
MOST_SECONDS = 600  # of processor time, for the tests of one mutant
SETTINGS = {
    "PYTHONPATH": str(COPY),
    "CASCADELIB_QUICK": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
FORK = multiprocessing.get_context("fork")
# Packages that tests import, loaded once: each mutant is tested in a fork of this process.
PRELOADED = "hypothesis nbformat pandas pyarrow scipy.stats sklearn.base torch".split()
COMPARED = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
ARITHMETIC = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "/",
    ast.Mod: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
FUNCTIONS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "maximum": "minimum",
    "minimum": "maximum",
    "argmax": "argmin",
    "argmin": "argmax",
    "floor": "ceil",
    "ceil": "floor",
    "nanmax": "nanmin",
    "cumsum": "cumprod",
}
SIDES = {"left": "right", "right": "left"}
ORDERLESS = {"isinstance", "getattr", "hasattr", "print", *FUNCTIONS}


class Source:
    """The text of a module, and the places of its nodes in it."""

    def __init__(self, text):
        self.raw = text.encode()
        self.starts = [0]
        for line in text.splitlines(True):
            self.starts.append(self.starts[-1] + len(line.encode()))

    def span(self, node):
        return (
            self.starts[node.lineno - 1] + node.col_offset,
            self.starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def text(self, node):
        start, end = self.span(node)
        return self.raw[start:end].decode()


def skipped_nodes(tree):
    """Nodes that change no result: annotations, decorators, imports, messages of errors."""
    skipped = set()
    for node in ast.walk(tree):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        parts += getattr(node, "decorator_list", [])
        if isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom):
            parts.append(node)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            parts.append(node)
        for part in filter(None, parts):
            skipped |= {id(inner) for inner in ast.walk(part)}
    return skipped


def changes_of_call(node, source):
    """(kind, new text, start, end) of changes of a call: another function, a swap."""
    name = getattr(node.func, "id", getattr(node.func, "attr", None))
    end = source.span(node.func)[1]
    if name in FUNCTIONS:
        yield "function", FUNCTIONS[name], end - len(name), end
    first_two = node.args[:2]
    is_starred = any(isinstance(part, ast.Starred) for part in first_two)
    if len(first_two) == 2 and not is_starred and name not in ORDERLESS:
        one, other = map(source.text, first_two)
        if one != other:
            swapped = f"{other}, {one}"
            yield "swap", swapped, source.span(first_two[0])[0], source.span(first_two[1])[1]


def changed_constant(value):
    """(kind, new text) of another constant, or None."""
    if type(value) is bool:
        return "constant", str(not value)
    if type(value) is int:
        return "constant", str(value + 1)
    if type(value) is float:
        return "constant", repr(value * 1.1 + (value == 0))
    if isinstance(value, str) and value in SIDES:
        return "side", repr(SIDES[value])
    return None


def change_of_operator(node, source):
    """(kind, new text) of a comparison, a sum, an "and", a "not" or a branch; or None."""
    text = source.text
    match node:
        case ast.Compare(left=one, ops=[op], comparators=[other]) if type(op) in COMPARED:
            return "compare", f"({text(one)}) {COMPARED[type(op)]} ({text(other)})"
        case ast.BinOp(left=ast.Constant(value=str())):
            return None
        case ast.BinOp(left=one, op=op, right=other) if type(op) in ARITHMETIC:
            return "arithmetic", f"({text(one)} {ARITHMETIC[type(op)]} ({text(other)}))"
        case ast.BoolOp(op=op, values=values):
            other = " or " if isinstance(op, ast.And) else " and "
            return "boolean", "(" + other.join(f"({text(value)})" for value in values) + ")"
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            return "negation", f"({text(operand)})"
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return "branches", f"({text(orelse)} if {text(test)} else {text(body)})"
        case ast.Expr(value=ast.Call()):
            return "dropped call", "pass"
        case ast.Constant(value=value):
            return changed_constant(value)
    return None


def mutants(text):
    """[(line, kind, old, new, text of the module)] of all mutants of a module's text."""
    tree = ast.parse(text)
    source = Source(text)
    skipped = skipped_nodes(tree)
    found = []

    def add(line, kind, new, start, end):
        changed = (source.raw[:start] + new.encode() + source.raw[end:]).decode()
        try:
            ast.parse(changed)
        except SyntaxError:
            return
        found.append((line, kind, source.raw[start:end].decode(), new, changed))

    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if change := change_of_operator(node, source):
            add(node.lineno, *change, *source.span(node))
        elif isinstance(node, ast.Call):
            for kind, new, start, end in changes_of_call(node, source):
                add(node.lineno, kind, new, start, end)
        elif isinstance(node, ast.If) and not node.orelse and isinstance(node.body[0], ast.Raise):
            add(node.test.lineno, "guard", "False", *source.span(node.test))
    return found


def drawn(seed, count, folder):
    """[(file, mutant)]: a uniform draw of all mutants of a folder of the package."""
    files = sorted((ROOT / folder).rglob("*.py"))
    every = [(file, m) for file in files for m in mutants(file.read_text("utf-8"))]
    return random.Random(seed).sample(every, count)


def at_line(place):
    """[(file, mutant)] of one line, given as FILE:LINE."""
    name, line = place.rsplit(":", 1)
    file = (ROOT / name).resolve()
    return [(file, m) for m in mutants(file.read_text("utf-8")) if m[0] == int(line)]


def tests_of(file):
    """Lists of test files, the closest to a module first."""
    is_of_notebooks = file.is_relative_to(ROOT / "notebooks")
    inside = file.relative_to(ROOT / "notebooks" if is_of_notebooks else ROOT)  # as it is imported
    dotted = ".".join(inside.with_suffix("").parts)
    subpackage, _, module = dotted.rpartition(".")
    pattern = re.compile(
        rf"{re.escape(dotted)}\b|from {re.escape(subpackage)} import [^\n]*\b{module}\b"
    )
    folder = ROOT / "tests" / ("notebooks" if is_of_notebooks else inside.parts[1])
    tests = sorted((folder if is_of_notebooks else ROOT / "tests").rglob("test_*.py"))
    quick = [t for t in tests if t.relative_to(ROOT / "tests").parts[0] not in ("browser",)]
    near = [t for t in quick if t.stem == f"test_{inside.stem.strip('_')}"]
    importing = [t for t in quick if pattern.search(t.read_text("utf-8"))]
    same = [t for t in quick if folder in t.parents]
    rounds = [near, importing, same]
    seen = set()
    for number, batch in enumerate(rounds):
        rounds[number] = [t for t in batch if t not in seen]
        seen |= set(batch)
    return [batch for batch in rounds if batch]


def copy_tree():
    """A copy of the repository's tracked files."""
    shutil.rmtree(COPY, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if name.split("/")[0] not in LINKED and (ROOT / name).exists():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    for name in LINKED:
        (COPY / name).symlink_to(ROOT / name)


def run_tests(tests, is_kernel, log):
    """In a child process: run tests in the copy; the exit status is pytest's."""
    for output in (1, 2):
        os.dup2(log.fileno(), output)
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    os.chdir(COPY)
    os.environ.update(SETTINGS | {"NUMBA_DISABLE_JIT": str(int(is_kernel))})
    numba.config.reload_config()
    sys.path.insert(0, str(COPY))
    sys.exit(int(pytest.main(["-q", "-x", "-o", "timeout=0", "-p", "no:cacheprovider", *tests])))


def killer(tests, is_kernel):
    """The first of these tests that fails in the copy, or None."""
    log_path = COPY / "build" / "log"
    log_path.parent.mkdir(exist_ok=True)
    names = [t.relative_to(ROOT).as_posix() for t in tests]
    with log_path.open("w") as log:
        process = FORK.Process(target=run_tests, args=(names, is_kernel, log))
        process.start()
        process.join(10 * MOST_SECONDS)  # a deadlock takes no processor time
        process.kill()
        process.join()
    if process.exitcode in (0, 5, -signal.SIGKILL):  # passed, no tests, out of time
        return None
    text = log_path.read_text(errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - |$)", text, re.M)
    return failed[1] if failed else text[-1000:]


def first_killer(file, mutant, batches):
    """The first test that notices a mutant, or None."""
    target = COPY / file.relative_to(ROOT)
    original = target.read_bytes()
    target.write_text(mutant[-1], "utf-8")
    try:
        # structs.py has what only the compiler calls
        is_kernel = file.parent.name == "kernels" and file.stem != "structs"
        return next(filter(None, (killer(batch, is_kernel) for batch in batches)), None)
    finally:
        target.write_bytes(original)


def described(file, mutant):
    """The place and the change of a mutant, in one line."""
    line, kind, old, new, _ = mutant
    return f"{file.relative_to(ROOT)}:{line} {kind}: {old!r} -> {new!r}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--folder", default="cascadelib", help="of the drawn mutants")
    parser.add_argument("--at", action="append", default=[], metavar="FILE:LINE")
    parser.add_argument("--tests", nargs="+", type=Path, help="instead of the module's")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--accepted", type=int, default=0, help="survivors that are no failure")
    chosen = parser.parse_args(arguments)
    found = [one for place in chosen.at for one in at_line(place)]
    found = found if chosen.at else drawn(chosen.seed, chosen.count, chosen.folder)
    copy_tree()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    survivors = 0
    for number, (file, mutant) in enumerate(found):
        _, kind, old, new, _ = mutant
        begun = time.monotonic()
        batches = [[t.resolve() for t in chosen.tests]] if chosen.tests else tests_of(file)
        killed_by = first_killer(file, mutant, batches)
        survivors += killed_by is None
        outcome = "SURVIVES" if killed_by is None else "killed"
        print(f"{outcome} {number} {described(file, mutant)}", flush=True)
        row = {"place": f"{file.relative_to(ROOT)}:{mutant[0]}", "kind": kind}
        row |= {"old": old, "new": new, "killed_by": killed_by}
        chosen.out.parent.mkdir(exist_ok=True)
        with chosen.out.open("a") as rows:
            rows.write(json.dumps(row | {"seconds": round(time.monotonic() - begun, 1)}) + "\n")
    print(f"{survivors} of {len(found)} mutants survive")
    return survivors > chosen.accepted


if __name__ == "__main__":
    sys.exit(main())
