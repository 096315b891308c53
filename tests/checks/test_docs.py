"""docs/: worked examples are computed again, links lead to files, public names have docstrings."""

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
from itertools import product
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image
from scripts import load_script

import cascadelib as cl

ROOT = Path(__file__).resolve().parents[2]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *TOP]
ARCHITECTURE = ROOT / "docs" / "architecture.md"


@pytest.fixture
def reference():
    """docs/rooms.py, which lists the public names of each subpackage."""
    return load_script("docs/rooms.py")


def tables(path):
    """Return the tables of a Markdown page as rows of stripped cells. The header comes first."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
    rows = [[cells(line) for line in table.splitlines()] for table in found]
    return [[header, *body] for header, _, *body in rows]


def cells(line):
    """Return the stripped cells of a line of a table."""
    return [cell.strip() for cell in line.split("|")[1:-1]]


def integers(cell):
    """Return the integers in a cell. The minus sign may be a typographic one."""
    return [int(number) for number in re.findall(r"-?\d+", cell.replace("−", "-"))]


class Example:
    """The worked example of the page by brute force on its table of samples."""

    cost = (1, 3, 8)

    def __init__(self):
        (samples,) = [t for t in tables(ARCHITECTURE) if t[0][0] == "sample"]
        columns = np.array(samples[1:], float).T
        self.confidence = columns[[1, 3]]
        self.correct = columns[[2, 4, 5]].astype(int)
        self.k = len(self.correct[0])
        self.rank = [
            (self.k - 1 - values.argsort().argsort()).tolist() for values in self.confidence
        ]

    def exits(self, sample, ranges):
        """Return the stages at which a sample may exit, with each boundary in its (low, high)."""
        stages = []
        for stage, (low, high) in enumerate(ranges):
            if self.rank[stage][sample] < high:
                stages.append(stage)
            if self.rank[stage][sample] < low:
                return stages
        return [*stages, len(ranges)]

    def cost_until(self, stage):
        return sum(self.cost[: stage + 1])

    def bounds(self, ranges):
        """Return the most correct samples and the least cost of a box of boundaries.

        For the first, each sample exits where it is correct. For the second, where it is cheapest.
        """
        exits = [self.exits(s, ranges) for s in range(self.k)]
        most = 0
        for s, stages in enumerate(exits):
            most += max(self.correct[stage][s] for stage in stages)
        return most, sum(self.cost_until(min(stages)) for stages in exits)

    def least_costs(self, boundaries):
        """Return {n: least cost with at least n correct} over pairs of boundaries.

        The cost is inf if no pair has as many correct.
        """
        found = [self.bounds([(a, a), (b, b)]) for a, b in boundaries]
        least = {}
        for n in range(self.k + 1):
            least[n] = min([cost for m, cost in found if m >= n], default=np.inf)
        return least


def test_bounds_of_the_worked_example_are_those_of_brute_force():
    example = Example()
    edges = (0, 3, 6)
    corners, boxes, prices = tables(ARCHITECTURE)[-3:]
    for a, row in zip(edges, corners[1:], strict=True):
        for b, cell in zip(edges, row[1:], strict=True):
            assert integers(cell) == list(example.bounds([(a, a), (b, b)])), (a, b)
    sides = ((0, 3), (3, 6))
    for a, row in zip(sides, boxes[1:], strict=True):
        assert integers(row[0]) == list(a)
        for b, cell in zip(sides, row[1:], strict=True):
            assert integers(cell) == list(example.bounds([a, b])), (a, b)


def test_the_search_finds_the_points_of_the_worked_example():
    example = Example()
    confidence = np.vstack([example.confidence, np.zeros(example.k)])
    points = cl.search_arrays(
        example.correct.astype(bool), confidence, list(example.cost), n_models=3
    )
    least = example.least_costs(product(range(example.k + 1), repeat=2))
    front = {n: cost for n, cost in least.items() if n == example.k or least[n + 1] > cost}
    correct = (points.accuracy * example.k).round().astype(int).tolist()
    found = dict(zip(correct, (points.cost * example.k).tolist()))
    assert found == pytest.approx(front)


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


def test_sources_cite_no_document_outside_the_checkout():
    patterns = ("cascadelib/**/*.py", "benchmarks/*.py", "data/*/*.py")
    sources = [path for pattern in patterns for path in ROOT.glob(pattern)]
    cited = re.compile(r"\b(?:DESIGN|HOUSE)\b")
    assert [p.name for p in sources if cited.search(p.read_text(encoding="utf-8"))] == []


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
