"""The house keeps its rules: small rooms and files, a face that loads nothing, a core without torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cascadelib

PACKAGE = Path(cascadelib.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
HEAVY = "torch torchvision timm transformers fvcore PIL plotly ipywidgets anywidget".split()


def loaded_by(code):
    """Top-level names of the modules that a fresh interpreter has after ``code``, beyond those it starts with."""
    line = f"import sys; before = set(sys.modules); {code}; print(*{{m.split('.')[0] for m in set(sys.modules) - before}})"
    out = subprocess.run(
        [sys.executable, "-c", line], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(out.stdout.split())


def test_no_folder_has_more_than_twelve_modules():
    folders = {
        folder: len(list(folder.glob("*.py"))) for folder in {path.parent for path in MODULES}
    }
    assert {folder.name: n for folder, n in folders.items() if n > 12} == {}


def test_no_module_has_more_than_400_lines_and_there_are_at_most_90():
    lines = {
        path.relative_to(PACKAGE): path.read_text(encoding="utf-8").count("\n") for path in MODULES
    }
    assert {str(path): n for path, n in lines.items() if n > 400} == {}
    assert len([path for path in MODULES if path.name != "__init__.py"]) <= 90
    assert sum(lines.values()) <= 13_500


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


def test_the_face_loads_the_standard_library_only():
    assert loaded_by("import cascadelib") - {"cascadelib"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("room", "store methods evaluation fronts analysis".split())
def test_the_core_does_without_torch_and_plotly(room):
    every = f"import cascadelib.{room} as room; [getattr(room, name) for name in room.__all__]"
    assert loaded_by(every) & set(HEAVY) == set()


@pytest.mark.parametrize(
    "code", ["cl.published.models()", "cl.recipes.oracle", "cl.ScoreTable", "cl.LogitStore"]
)
def test_published_figures_and_stores_do_too(code):
    assert loaded_by(f"import cascadelib as cl; {code}") & set(HEAVY) == set()


def test_stores_load_no_compiler():
    assert (
        loaded_by("import cascadelib as cl; cl.LogitStore, cl.ScoreTable") & {"numba", "scipy"}
        == set()
    )


def test_a_cascade_of_own_modules_loads_no_zoo():
    assert (
        loaded_by("import cascadelib as cl; cl.Cascade")
        & {"timm", "transformers", "plotly", "fvcore"}
        == set()
    )


def test_imports_change_no_settings_of_other_packages():
    code = (
        "import plotly.io as pio, timm; "
        "settings = lambda: (pio.renderers.default, {*pio.templates}, timm.list_models()); "
        "was = settings(); import cascadelib as cl; cl.figures.front_figure, cl.zoo.load_bundled; "
        "assert settings() == was"
    )
    loaded_by(code)
