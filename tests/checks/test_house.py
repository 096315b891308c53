"""The structure of the package: sizes and names."""

import ast
import sys
from collections import Counter
from pathlib import Path

import house
import pytest

import cascadelib

PACKAGE = Path(cascadelib.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
SUBPACKAGES = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
FOLDERS = "cascadelib notebooks benchmarks docs data examples tests .github".split()
CODE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_LINES = 420  # of a file without its docstrings
MOST_MODULES = 13  # of a subpackage
# The base modules include those that join stores and methods, which do not import each other.
MOST_BASE_MODULES = 17
# Tokens of code, and tokens per line with code. Lower them to the current numbers: they only fall.
MOST_TOKENS = {
    "cascadelib": (181_800, 9.5),
    "notebooks/tools": (39_000, 10.5),
    "benchmarks": (50_100, 10.8),
    "tests": (293_300, 11.5),
}
MOST_WORDS = 37_300  # of docs/*.md
MOST_COMPLEX = 12
# {function above it: the issue that rewrites it}
COMPLEX: dict[str, str] = {}
MOST_PUBLIC_NAMES = 40
MOST_NESTED_COMPREHENSIONS = 10
ACCEPTED = ("a, b = b, a", "a if b else c", "[a for a in b]")
REFUSED = (
    "a, b = f(x), []",
    "a if b else c if d else e",
    "[[a for a in b] for b in c]",
)


def test_subpackages_have_few_modules():
    modules = Counter(path.parent for path in MODULES)
    assert modules.pop(PACKAGE) <= MOST_BASE_MODULES
    assert {folder.name: n for folder, n in modules.items() if n > MOST_MODULES} == {}


@pytest.fixture(scope="module")
def lines_of_code():
    """{rule: "file:line" of each line of the code that it finds}. Each file is parsed once."""
    rules = [house.unrelated_assignments, house.nested_conditionals]
    found = {find: [] for find in rules}
    for path in CODE:
        tree = house.parsed(path)
        for find, lines in found.items():
            lines += [f"{path.relative_to(ROOT)}:{line}" for line in find(tree)]
    return found


def test_modules_are_short():
    """Docstrings are not counted, since numpydoc takes a line per type."""
    lines = {
        path: path.read_text(encoding="utf-8").count("\n")
        - len(house.docstring_lines(house.parsed(path)))
        for path in MODULES
    }
    long = {str(path.relative_to(PACKAGE)): n for path, n in lines.items() if n > MOST_LINES}
    assert long == {}


@pytest.mark.parametrize("folder", MOST_TOKENS)
def test_a_folder_has_few_tokens_and_few_per_line(folder):
    """Tokens of code do not depend on layout, docstrings and comments."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    counted = [house.code_tokens(path.read_text(encoding="utf-8")) for path in paths]
    tokens = sum(tokens for tokens, _ in counted)
    most, most_per_line = MOST_TOKENS[folder]
    assert tokens <= most
    assert tokens / sum(lines for _, lines in counted) <= most_per_line


def test_the_pages_have_few_words():
    pages = (ROOT / "docs").glob("*.md")
    assert sum(len(page.read_text(encoding="utf-8").split()) for page in pages) <= MOST_WORDS


def test_functions_are_simple_except_those_that_an_issue_rewrites():
    found = {}
    for path in MODULES:
        for function in house.functions(house.parsed(path)):
            name = f"{path.relative_to(PACKAGE).as_posix()}:{function.name}"
            found[name] = max(house.complexity(function), found.get(name, 0))
    assert {name for name, count in found.items() if count > MOST_COMPLEX} <= COMPLEX.keys()


def test_complexity_counts_branches_loops_and_conditions():
    code = """
def f(a):
    if a and a[0] or not a:
        return [b for b in a if b]
    while a:
        assert a.pop() if a else a
    def inner():
        try:
            pass
        except ValueError:
            for _ in a:
                pass
"""
    outer, inner = house.functions(ast.parse(code))
    assert (house.complexity(outer), house.complexity(inner)) == (10, 3)


def test_the_public_api_has_few_names():
    assert len(cascadelib.__all__) <= MOST_PUBLIC_NAMES


@pytest.mark.parametrize("find", [house.unrelated_assignments, house.nested_conditionals])
def test_a_statement_does_one_thing(find, lines_of_code):
    assert lines_of_code[find] == []


def test_few_comprehensions_are_nested():
    nested = [line for path in MODULES for line in house.nested_comprehensions(house.parsed(path))]
    assert len(nested) <= MOST_NESTED_COMPREHENSIONS


def test_each_rule_accepts_and_refuses_its_example():
    rules = [house.unrelated_assignments, house.nested_conditionals, house.nested_comprehensions]
    accepted = [find(ast.parse(code)) for find, code in zip(rules, ACCEPTED)]
    refused = [find(ast.parse(code)) for find, code in zip(rules, REFUSED)]
    assert accepted == [[], [], []]
    assert refused == [[1], [1], [1]]


def test_docstrings_and_comments_have_no_tokens():
    bare = "def f(x: int) -> int:\n    return x + 1\n"
    documented = (
        'def f(x: int) -> int:\n    """x + 1.\n\n    Twice."""\n    # why\n\n    return x + 1\n'
    )
    assert house.code_tokens(bare) == house.code_tokens(documented) == (14, 2)


def test_an_f_string_is_one_token():
    assert house.code_tokens("text = f'{a:{b}} {f(c)}' + f\"{d['e']}\"\n") == (5, 1)


def test_each_module_has_a_test_file_of_its_name():
    missing = []
    for path in MODULES:
        name = path.stem.strip("_")
        tests = ROOT / "tests" / path.parent.relative_to(PACKAGE) / f"test_{name}.py"
        if path.name != "__init__.py" and not tests.is_file():
            missing.append(str(tests.relative_to(ROOT)))
    assert missing == []


@pytest.mark.parametrize("folder", [PACKAGE, *SUBPACKAGES], ids=lambda path: path.name)
def test_public_names_exist_and_no_module_shadows_them(folder):
    name = ".".join(folder.relative_to(PACKAGE.parent).parts)
    module = __import__(name, fromlist=["__all__"])
    public = getattr(module, "__all__", [])
    for each in public:
        assert getattr(module, each) is not None
    files = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert files & {n for n in public if not isinstance(getattr(module, n), type(sys))} == set()


def test_no_two_modules_define_the_same_public_name():
    defined = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}
    assert defined.keys() & {"found", "shown", "kept", "named", "measured", "described"} == set()
