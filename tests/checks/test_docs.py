"""docs/: code runs, links lead to files, public names have docstrings."""

import base64
import doctest
import functools
import http.server
import importlib
import io
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *TOP]


@pytest.fixture
def reference():
    """docs/rooms.py, which lists the public names of each subpackage."""
    return load_script("docs/rooms.py")


def test_the_picture_of_imports_is_current():
    drawn = (ROOT / "docs" / "imports.svg").read_text(encoding="utf-8")
    assert drawn == load_script("docs/imports_picture.py").picture(), (
        "run python docs/imports_picture.py"
    )


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
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", TOP, ids=lambda page: page.name)
def test_links_of_top_level_pages_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_every_public_name_has_a_docstring(reference):
    assert reference.undocumented() == []


def test_a_public_name_without_a_docstring_is_found(reference, tmp_path):
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden" / "shed.py").write_text(
        "LIMIT = 3\nWORD = 'a'\n'A word.'\ndef dig():\n    pass\n"
    )
    (tmp_path / "garden" / "__init__.py").write_text(
        "_ = attach(__name__, shed='LIMIT WORD dig')\n"
    )
    (tmp_path / "__init__.py").write_text(
        "if TYPE_CHECKING:\n    from .garden import dig as dig\n_ = attach(__name__)\n"
    )
    reference.PACKAGE = tmp_path
    assert reference.undocumented() == ["garden.LIMIT", "garden.dig"]


def test_the_reference_lists_all_public_names(reference):
    for name in reference.rooms():
        exported = importlib.import_module(f"cascadelib.{name}").__all__
        assert set(reference.public(name)) >= set(exported), name


def test_docstrings_become_markdown(reference):
    text = (
        "See :func:`cascadelib.fronts.exact.search`, :attr:`Front.gap` and :func:`sweep_pair`; "
        "``a<b>``, top<k>."
    )
    assert reference.markdown(text) == (
        "See [`search`][cascadelib.fronts.search], [`Front.gap`][cascadelib.fronts.Front.gap] and "
        "`sweep_pair`; ``a<b>``, top&lt;k>."
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stderr[-2000:]
    return folder


@pytest.fixture
def address(site):
    """The address of a server of the site."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.soak
@pytest.mark.browser
def test_a_notebook_links_to_the_glossary(address, page):
    page.goto(f"{address}/notebooks/02_two_model_cascades.html")
    page.get_by_role("link", name="glossary", exact=True).first.click()
    assert page.url == f"{address}/glossary.html"
    assert page.get_by_role("heading", level=1).inner_text().startswith("Glossary")


@pytest.mark.soak
def test_the_site_has_reference_pages_and_notebooks(site):
    assert "calibration_table" in (site / "reference/analysis.html").read_text(encoding="utf-8")
    assert 'href="notebooks/05_distribution_shift.html"' in (site / "shift.html").read_text(
        encoding="utf-8"
    )
    assert 'href="benchmarks.html"' in (site / "speed.html").read_text(encoding="utf-8")
    notebook = (site / "notebooks" / "02_two_model_cascades.html").read_text(encoding="utf-8")
    assert 'href="../index.html"' in notebook and 'class="contents"' in notebook
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


def test_the_gallery_has_a_readable_picture_of_each_notebook_with_figures():
    cards = re.findall(
        '<a href="notebooks/(.*?).html">(.*?)</a>', load_script("docs/pages.py").gallery()
    )
    assert [stem for stem, _ in cards] == sorted(
        p.stem for p in (ROOT / "notebooks").glob("*.ipynb")
    )
    for stem, card in cards:
        (data,) = re.findall('<img src="data:image/png;base64,(.*?)"', card)
        width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
        assert width >= 450 and 1.2 < width / height < 3.5, stem  # four rows are 900 × 268 pixels
