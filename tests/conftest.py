"""Fixtures that several test files share: a browser, and a small notebook of the kind that
``notebooks/`` holds."""

import re
import signal
from pathlib import Path

import pytest
from browsers import BROWSERS, find_browser
from hypothesis.configuration import set_hypothesis_home_dir

ROOT = Path(__file__).resolve().parents[1]
set_hypothesis_home_dir(ROOT / "build" / "caches" / "hypothesis")
# Packages of the extras that test files import.
OPTIONAL = set(
    "PIL anywidget bs4 datasets distributed fastapi fvcore httpx huggingface_hub ipywidgets "
    "nbconvert nbformat papermill plotly pooch prometheus_client psutil setuptools skimage "
    "sklearn timm torch torchmetrics torchvision transformers uvicorn yaml".split()
)
# Quiet on the network, and able to run as root in a container.
BROWSER_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

# What pages say on the console that is not ours, by whose it is; anything else fails the test.
NOT_OURS = {
    "what JupyterLab looks for on a network that is not there": (
        r"ERR_(NAME_NOT_RESOLVED|INTERNET|PROXY)"
    ),
    "files that the servers of Jupyter do without": r"status of 404 .*http://127\.0\.0\.1",
    "commands that Notebook 7 looks for in vain": "not registered",
    "JupyterLab, whose debugger is asked while a page closes": "restore the debugger state",
}


# The files that take longest, the longest first: they are begun first, so that none of them is what
# one worker still runs while the others have nothing left.
LONGEST = (
    "test_kernels.py",
    "test_parameters.py",
    "test_packaging.py",
    "test_paper_preset.py",
    "test_explorer.py",
    "test_run_notebooks.py",
    "test_extraction_kill.py",
    "test_extraction.py",
    "test_docs.py",
    "test_p_values.py",
    "test_uncertainty.py",
    "04_metrics_comparison.ipynb",
)


def pytest_configure():
    """A shell's background job (``make test &``) ignores Ctrl-C and hands that down: tests that
    interrupt themselves or a child need Python's handler."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Module(pytest.Module):
    """A test file, skipped if a package that it imports is not installed: the core needs few."""

    def _getobj(self):
        try:
            return super()._getobj()
        except self.CollectError as error:
            missing = getattr(error.__cause__, "name", None)
            if isinstance(error.__cause__, ModuleNotFoundError) and missing in OPTIONAL:
                pytest.skip(f"{missing} is not installed", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path, parent):
    return Module.from_parent(parent, path=module_path)


def pytest_collection_modifyitems(items):
    """Files in the order in which they are best begun; the tests of a file stay as they are."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium under playwright, for one file of tests: its event loop would be in the
    way of others. The test is skipped where there is none."""
    path = find_browser()
    if path is None:
        pytest.skip(
            f"no Chrome or Chromium found ({', '.join(BROWSERS)}; or name one in BROWSER_PATH)"
        )
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        chromium.heard = []
        open_context = chromium.new_context

        def new_context(**options):
            context = open_context(**options)
            context.on("weberror", lambda error: chromium.heard.append(str(error.error)))
            context.on("console", lambda said: hear(said) if said.type == "error" else None)
            return context

        def hear(said):
            chromium.heard.append(f"{said.text} {said.location['url']}")

        chromium.new_context = new_context
        chromium.new_page = lambda **options: new_context(**options).new_page()
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def no_error_on_the_console(request):
    """In whatever a test does in a browser."""
    yield
    if "browser" in request.fixturenames:
        chromium = request.getfixturevalue("browser")
        said = [t for t in chromium.heard if not re.search("|".join(NOT_OURS.values()), t)]
        chromium.heard[:] = []
        assert said == []


@pytest.fixture
def page(browser):
    """A fresh page 1200 pixels wide."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    yield page
    page.close()


@pytest.fixture
def write_notebook():
    """Function (path, code cells) → path: a notebook with a question, a parameters cell and these
    cells."""

    nbformat = pytest.importorskip("nbformat")

    def write(path, *cells):
        parameters = nbformat.v4.new_code_cell("points = 5", metadata={"tags": ["parameters"]})
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        question = nbformat.v4.new_markdown_cell("# A page\n\nIs 0.5% *enough*? The rest explains.")
        nb = nbformat.v4.new_notebook(cells=[question, parameters, *code])
        nb.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, path)
        return path

    return write


@pytest.fixture
def offline(monkeypatch):
    """No Hub, as where there is no network."""
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
