"""docs/: code runs, links lead to files, public names have docstrings."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *TOP]


@pytest.fixture
def reference():
    """docs/rooms.py, which lists the public names of each subpackage."""
    return load_script("docs/rooms.py")


@pytest.mark.parametrize("page", ["architecture.md", "few-labels.md", "running.md"])
def test_code_on_the_page_runs(page):
    failed, tried = doctest.testfile(str(ROOT / "docs" / page), module_relative=False)
    assert tried > 3 and failed == 0


CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which names removed files


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    """``make docs`` checks links. This checks paths in the text."""
    folders = "cascadelib|tests|benchmarks|notebooks|data|docs"
    named = re.findall(rf"(?<![\w/(])(?:{folders})/[\w./-]*\w", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")) if page in TOP else []
    assert [name for name in named + links if not (ROOT / name).exists()] == []


def test_every_public_name_has_a_docstring(reference):
    assert reference.undocumented() == []


def test_the_reference_lists_all_public_names(reference):
    for name in reference.rooms():
        exported = importlib.import_module(f"cascadelib.{name}").__all__
        assert set(reference.public(name)) >= set(exported), name


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stderr[-2000:]
    return folder


@pytest.mark.soak
def test_the_site_has_reference_pages_and_notebooks(site):
    assert "calibration_table" in (site / "reference/analysis.html").read_text(encoding="utf-8")
    assert 'href="notebooks/05_distribution_shift.html"' in (site / "shift.html").read_text(
        encoding="utf-8"
    )
    assert 'href="benchmarks.html"' in (site / "speed.html").read_text(encoding="utf-8")
    notebook = (site / "notebooks" / "02_two_model_cascades.html").read_text(encoding="utf-8")
    assert 'href="../glossary.html"' in notebook and 'class="contents"' in notebook
    assert len(list(site.rglob("plotly.min.js"))) == 1


@pytest.mark.parametrize(
    ("metadata", "is_shown"),
    [
        ({}, False),
        ({"papermill": {"parameters": {}, "exception": None}}, True),
        ({"papermill": {"parameters": {"split": "test"}}}, False),
        ({"papermill": {"parameters": {}, "exception": True}}, False),
    ],
)
def test_the_site_shows_complete_runs_with_default_parameters(
    tmp_path, write_notebook, monkeypatch, metadata, is_shown
):
    pages = load_script("docs/pages.py")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    source = write_notebook(tmp_path / "notebooks" / "01_a.ipynb")
    copy = tmp_path / "build" / "report" / "01_a.ipynb"
    assert pages.executed(source) == source
    nb = nbformat.read(write_notebook(copy), as_version=4)
    nb.metadata.update(metadata)
    nbformat.write(nb, copy)
    assert pages.executed(source) == (copy if is_shown else source)
