"""Imports beyond the contracts in pyproject.toml: the core is synchronous, offline, works without
the service, and loads a package only when it is needed."""

import ast
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import cascadelib

PACKAGE = Path(cascadelib.__file__).parent
WITHOUT_SERVE = PACKAGE.parent / "tests" / "notebooks" / "without_serve"
HTTP = {"http", "urllib.request", "requests", "httpx", "aiohttp", "fastapi", "uvicorn", "starlette"}
HEAVY = "torch torchvision timm transformers fvcore PIL plotly ipywidgets anywidget".split()
# Steps of a new interpreter, and the packages that it must not have loaded after each.
CORE_SUBPACKAGES = "store methods evaluation fronts guarantees analysis".split()
STEPS = {
    "import cascadelib as cl": [*HEAVY, "numpy", "pandas", "numba", "scipy"],
    "cl.LogitStore, cl.ScoreTable": [*HEAVY, "numba", "scipy"],
    "cl.published.models()": HEAVY,
    **{
        f"import cascadelib.{name} as part; [getattr(part, n) for n in part.__all__]": HEAVY
        for name in CORE_SUBPACKAGES
    },
    "cl.Cascade": ["timm", "transformers", "plotly", "fvcore"],  # it runs any torch modules
}
BLOCKED = ["import cascadelib.serve", "import cascadelib; cascadelib.serve"]
INTERPRETER = f"""
import json, sys
before = set(sys.modules)
loaded = {{}}
for step in {list(STEPS)}:
    exec(step)
    loaded[step] = list({{name.split(".")[0] for name in set(sys.modules) - before}})

import importlib, pkgutil, plotly.io as pio, timm, cascadelib
settings = lambda: (pio.renderers.default, {{*pio.templates}}, timm.list_models())
before = settings()
for found in pkgutil.walk_packages(cascadelib.__path__, "cascadelib."):
    if not found.name.startswith(("cascadelib.serve", "cascadelib.__main__")):
        importlib.import_module(found.name)

errors = []
for code in {BLOCKED}:
    try:
        exec(code)
    except ImportError as error:
        errors.append(str(error))
print(json.dumps([loaded, settings() == before, errors]))
"""


def imported_by(path):
    """Return the modules that a file imports from outside the package, with all their parents."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = [name.split(".") for name in names]
    return {".".join(each[:end]) for each in parts for end in range(1, len(each) + 1)}


def importers(modules):
    """Return the files of the core that import any of these modules."""
    core = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "serve"]
    return {path.name for path in core if imported_by(path) & set(modules)}


def test_only_the_explorer_imports_asyncio():
    assert importers({"asyncio"}) == {"explorer.py"}


def test_only_hub_imports_an_http_library():
    assert importers(HTTP) == {"hub.py"}


@pytest.fixture(scope="module")
def interpreter():
    """What one interpreter without the service reports: the packages loaded after each step,
    whether all modules leave the settings of plotly and timm, and the errors of the service."""
    environment = os.environ | {"PYTHONPATH": str(WITHOUT_SERVE)}
    command = [sys.executable, "-c", INTERPRETER]
    options = {"env": environment, "capture_output": True, "text": True, "cwd": PACKAGE.parent}
    ran = subprocess.run(command, check=False, **options)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("step", STEPS)
def test_a_step_loads_no_package_that_it_does_not_need(step, interpreter):
    assert set(interpreter[0][step]) & set(STEPS[step]) == set()


def test_importing_the_package_loads_only_the_standard_library(interpreter):
    loaded = set(interpreter[0]["import cascadelib as cl"])
    assert loaded - {"cascadelib"} <= set(sys.stdlib_module_names)


def test_modules_of_the_core_need_no_service_and_change_no_settings_of_other_packages(interpreter):
    _, settings_are_equal, errors = interpreter
    assert settings_are_equal
    assert len(errors) == len(BLOCKED)
    assert all("cascadelib.serve is blocked here" in error for error in errors)


@pytest.mark.parametrize(("notebook", "blocked"), [("01_extraction", True), ("08_serve", False)])
def test_the_service_is_blocked_only_while_a_kernel_starts(monkeypatch, notebook, blocked):
    monkeypatch.setenv("PYTHONPATH", "mine")
    hook = runpy.run_path(str(PACKAGE.parent / "notebooks" / "conftest.py"))["pytest_runtest_setup"]
    during = hook(SimpleNamespace(path=Path(f"{notebook}.ipynb")))
    next(during)
    assert (os.environ["PYTHONPATH"] == str(WITHOUT_SERVE)) == blocked
    assert next(during, None) is None and os.environ["PYTHONPATH"] == "mine"
