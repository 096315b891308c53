"""Imports beyond the contracts in pyproject.toml: the core is synchronous, offline, and works
without the service."""

import ast
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
EVERY_MODULE = """
import importlib, pkgutil, plotly.io as pio, timm, cascadelib
settings = lambda: (pio.renderers.default, {*pio.templates}, timm.list_models())
before = settings()
for found in pkgutil.walk_packages(cascadelib.__path__, "cascadelib."):
    if not found.name.startswith(("cascadelib.serve", "cascadelib.__main__")):
        importlib.import_module(found.name)
assert settings() == before, "an import changed the settings of plotly or timm"
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


def run_without_serve(code):
    environment = os.environ | {"PYTHONPATH": str(WITHOUT_SERVE)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_modules_of_the_core_need_no_service_and_change_no_settings_of_other_packages():
    ran = run_without_serve(EVERY_MODULE)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("code", ["import cascadelib.serve", "import cascadelib; cascadelib.serve"])
def test_the_service_cannot_be_imported_there(code):
    assert "cascadelib.serve is blocked here" in run_without_serve(code).stderr


@pytest.mark.parametrize(("notebook", "blocked"), [("01_extraction", True), ("08_serve", False)])
def test_the_service_is_blocked_only_while_a_kernel_starts(monkeypatch, notebook, blocked):
    monkeypatch.setenv("PYTHONPATH", "mine")
    hook = runpy.run_path(str(PACKAGE.parent / "notebooks" / "conftest.py"))["pytest_runtest_setup"]
    during = hook(SimpleNamespace(path=Path(f"{notebook}.ipynb")))
    next(during)
    assert (os.environ["PYTHONPATH"] == str(WITHOUT_SERVE)) == blocked
    assert next(during, None) is None and os.environ["PYTHONPATH"] == "mine"
