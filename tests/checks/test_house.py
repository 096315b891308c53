"""The size and the public names of the package.

ruff, mypy and import-linter check the rest.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest

import cascadelib

PACKAGE = Path(cascadelib.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
SUBPACKAGES = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
MOST_LINES = 420  # of a file without its docstrings
MOST_MODULES = 13  # of a subpackage
MOST_BASE_MODULES = 17
MOST_PUBLIC_NAMES = 40
# Tokens of code, and tokens per line with code. Lower them to the current numbers: they only fall.
MOST_TOKENS = {
    "cascadelib": (143_500, 9.5),
    "notebooks/tools": (30_000, 10.5),
    "benchmarks": (28_000, 10.8),
    "tests": (235_000, 11.5),
}
MOST_WORDS = 24_000  # of docs/*.md
LAYOUT = "NEWLINE NL COMMENT INDENT DEDENT ENDMARKER".split()
DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def docstring_lines(source):
    """Return the numbers of the lines that docstrings take."""
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DEFINITIONS) and ast.get_docstring(node, clean=False) is not None:
            lines.update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def code_tokens(source):
    """Return the numbers of tokens and of lines with code. Docstrings and comments have none.

    An f-string is one token, also for Python 3.12 and later, which divide it.
    """
    free = docstring_lines(source)
    lines = []
    f_strings = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        f_strings -= kind == "FSTRING_END"
        is_code = not f_strings and kind not in (*LAYOUT, "FSTRING_END")
        f_strings += kind == "FSTRING_START"
        if is_code and token.start[0] not in free:
            lines.append(token.start[0])
    return len(lines), len(set(lines))


def test_subpackages_have_few_modules_and_modules_few_lines():
    modules = Counter(path.parent for path in MODULES)
    assert modules.pop(PACKAGE) <= MOST_BASE_MODULES
    assert {folder.name: n for folder, n in modules.items() if n > MOST_MODULES} == {}
    sources = {path.name: path.read_text(encoding="utf-8") for path in MODULES}
    lines = {name: text.count("\n") - len(docstring_lines(text)) for name, text in sources.items()}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


@pytest.mark.parametrize("folder", MOST_TOKENS)
def test_a_folder_has_few_tokens_and_few_per_line(folder):
    """Tokens of code do not depend on layout, docstrings and comments."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / folder).rglob("*.py")]
    tokens, lines = map(sum, zip(*map(code_tokens, sources)))
    most, most_per_line = MOST_TOKENS[folder]
    assert tokens <= most and tokens / lines <= most_per_line


def test_the_pages_have_few_words():
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs").glob("*.md")]
    assert sum(len(text.split()) for text in pages) <= MOST_WORDS


@pytest.mark.parametrize("folder", [PACKAGE, *SUBPACKAGES], ids=lambda path: path.name)
def test_public_names_exist_and_no_module_shadows_them(folder):
    name = ".".join(folder.relative_to(PACKAGE.parent).parts)
    module = __import__(name, fromlist=["__all__"])
    public = {each: getattr(module, each) for each in getattr(module, "__all__", [])}
    assert None not in public.values()
    files = {path.stem for path in folder.iterdir() if path.suffix in ("", ".py")}
    assert files & {each for each in public if not isinstance(public[each], type(sys))} == set()


def test_public_names_are_few_and_defined_once():
    assert len(cascadelib.__all__) <= MOST_PUBLIC_NAMES
    defined = Counter()
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                defined[node.name] += 1
    assert {name: n for name, n in defined.items() if n > 1} == {}
