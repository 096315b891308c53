"""Packages are loaded when they are needed, and importing changes no settings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import cascadelib

PACKAGE = Path(cascadelib.__file__).parent
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
    if found.name != "cascadelib.__main__":
        importlib.import_module(found.name)
print(json.dumps([loaded, settings() == before]))
"""


@pytest.fixture(scope="module")
def interpreter():
    """What one interpreter reports: the packages loaded after each step, and whether all modules
    leave the settings of plotly and timm."""
    command = [sys.executable, "-c", INTERPRETER]
    options = {"capture_output": True, "text": True, "cwd": PACKAGE.parent}
    ran = subprocess.run(command, check=False, **options)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS)
def test_a_step_loads_no_package_that_it_does_not_need(step, interpreter):
    assert set(interpreter[0][step]) & set(STEPS[step]) == set()


def test_importing_the_package_loads_only_the_standard_library():
    code = "import sys; before = {*sys.modules}; import cascadelib; print(*{*sys.modules} - before)"
    options = {"capture_output": True, "text": True, "cwd": PACKAGE.parent}
    ran = subprocess.run([sys.executable, "-c", code], check=True, **options)
    loaded = {name.split(".")[0] for name in ran.stdout.split()}
    assert loaded - {"cascadelib"} <= set(sys.stdlib_module_names)


@pytest.mark.soak
def test_modules_change_no_settings_of_other_packages(interpreter):
    assert interpreter[1]
