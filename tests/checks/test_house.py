"""The house keeps its rules: small rooms and files, a face that loads nothing, a core without
torch."""

import ast
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import house
import pytest

import cascadelib

PACKAGE = Path(cascadelib.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
FOLDERS = "cascadelib notebooks benchmarks docs data examples tests .github".split()
CODE = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_LINES = 420  # of a file, docstrings apart
MOST_MODULES = 13  # of a subpackage
# Stage functions join stores and methods, which do not import each other: the ground has them.
MOST_MODULES_ON_THE_GROUND = 17
MOST_TOKENS = 181_000  # the present number; the target is 156,000
MOST_TOKENS_A_LINE = 9.7  # what it is; the target is 9
MOST_NAMES = 40
MOST_NESTED_COMPREHENSIONS = 10
READS = ("a, b = b, a", "a if b else c", "[a for a in b]", "correct = confidence > bright")
STUMBLES = (
    "a, b = f(x), []",
    "a if b else c if d else e",
    "[[a for a in b] for b in c]",
    "is_right = x.sure(rights)",
)
HEAVY = "torch torchvision timm transformers fvcore PIL plotly ipywidgets anywidget".split()


def test_no_folder_has_too_many_modules():
    modules = Counter(path.parent for path in MODULES)
    assert modules.pop(PACKAGE) <= MOST_MODULES_ON_THE_GROUND
    assert {folder.name: n for folder, n in modules.items() if n > MOST_MODULES} == {}


def lines_with(find, paths):
    """file:line of all that ``find`` finds in the syntax trees of these files."""
    found = []
    for path in paths:
        found += [f"{path.relative_to(ROOT)}:{line}" for line in find(house.parsed(path))]
    return found


def test_a_file_is_one_idea():
    """Docstrings apart, since numpydoc takes a line per type."""
    lines = {
        path: path.read_text(encoding="utf-8").count("\n")
        - len(house.docstring_lines(house.parsed(path)))
        for path in MODULES
    }
    long = {str(path.relative_to(PACKAGE)): n for path, n in lines.items() if n > MOST_LINES}
    assert long == {}


def test_the_package_is_thin():
    """Counted in tokens of code, which layout, docstrings and comments leave as they are."""
    counted = [house.code_tokens(path.read_text(encoding="utf-8")) for path in MODULES]
    tokens = sum(tokens for tokens, _ in counted)
    lines = sum(lines for _, lines in counted)
    assert tokens <= MOST_TOKENS
    assert tokens / lines <= MOST_TOKENS_A_LINE


def test_the_face_has_few_names():
    assert len(cascadelib.__all__) <= MOST_NAMES


@pytest.mark.parametrize("find", [house.unrelated_assignments, house.nested_conditionals])
def test_a_statement_says_one_thing(find):
    assert lines_with(find, CODE) == []


def test_comprehensions_are_seldom_nested():
    assert len(lines_with(house.nested_comprehensions, MODULES)) <= MOST_NESTED_COMPREHENSIONS


def test_confidence_and_correct_are_called_so():
    assert lines_with(house.vague_names, CODE) == []


def test_the_counters_find_what_they_count():
    counters = [house.unrelated_assignments, house.nested_conditionals]
    counters += [house.nested_comprehensions, house.vague_names]
    reads = [find(ast.parse(code)) for find, code in zip(counters, READS)]
    stumbles = [find(ast.parse(code)) for find, code in zip(counters, STUMBLES)]
    assert reads == [[], [], [], []]
    assert stumbles == [[1], [1], [1], [1, 1, 1]]


def test_tokens_are_counted_without_docstrings_and_comments():
    bare = "def f(x: int) -> int:\n    return x + 1\n"
    said = 'def f(x: int) -> int:\n    """x + 1.\n\n    Twice."""\n    # why\n\n    return x + 1\n'
    assert house.code_tokens(bare) == house.code_tokens(said) == (14, 2)


def test_each_module_has_tests_of_its_name():
    missing = []
    for path in MODULES:
        name = path.stem.strip("_")
        tests = ROOT / "tests" / path.parent.relative_to(PACKAGE) / f"test_{name}.py"
        if path.name != "__init__.py" and not tests.is_file():
            missing.append(str(tests.relative_to(ROOT)))
    assert missing == []


@pytest.mark.parametrize("room", [PACKAGE, *ROOMS], ids=lambda path: path.name)
def test_what_a_room_lists_is_there_and_no_file_shadows_it(room):
    name = ".".join(room.relative_to(PACKAGE.parent).parts)
    module = __import__(name, fromlist=["__all__"])
    public = getattr(module, "__all__", [])
    for each in public:
        assert getattr(module, each) is not None
    files = {path.stem for path in room.glob("*.py")} | {
        path.parent.name for path in room.glob("*/__init__.py")
    }
    assert files & {n for n in public if not isinstance(getattr(module, n), type(sys))} == set()


def test_public_functions_have_names_of_their_own():
    defined = {}
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                defined.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: paths for name, paths in defined.items() if len(paths) > 1} == {}
    assert defined.keys() & {"found", "shown", "kept", "named", "measured", "described"} == set()


# What a fresh interpreter does, step by step, and what it must not have loaded by then.
ROOMS_OF_THE_CORE = "store methods evaluation fronts guarantees analysis".split()
STEPS = {
    "import cascadelib as cl": [*HEAVY, "numpy", "pandas", "numba", "scipy"],
    "cl.LogitStore, cl.ScoreTable": [*HEAVY, "numba", "scipy"],
    "cl.published.models()": HEAVY,
    **{
        f"import cascadelib.{room} as room; [getattr(room, n) for n in room.__all__]": HEAVY
        for room in ROOMS_OF_THE_CORE
    },
    "cl.Cascade": ["timm", "transformers", "plotly", "fvcore"],  # of modules of one's own
}


@pytest.fixture(scope="module")
def loaded():
    """{step: top-level names of all modules that are loaded after it}, by one interpreter."""
    code = (
        "import json, sys\nbefore = set(sys.modules)\nfound = {}\n"
        f"for step in {list(STEPS)}:\n"
        "    exec(step)\n"
        "    found[step] = list({name.split('.')[0] for name in set(sys.modules) - before})\n"
        "print(json.dumps(found))"
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(out.stdout)


@pytest.mark.parametrize("step", STEPS)
def test_what_the_core_does_without_is_not_loaded(step, loaded):
    assert set(loaded[step]) & set(STEPS[step]) == set()


def test_the_face_loads_the_standard_library_only(loaded):
    assert set(loaded["import cascadelib as cl"]) - {"cascadelib"} <= set(sys.stdlib_module_names)


def test_imports_change_no_settings_of_other_packages():
    code = (
        "import plotly.io as pio, timm; settings = lambda: (pio.renderers.default, "
        "{*pio.templates}, timm.list_models()); was = settings(); import cascadelib as cl; "
        "cl.figures.front_figure, cl.zoo.load_bundled; assert settings() == was"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
