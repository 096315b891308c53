"""Fixtures shared by all tests: a browser, and a function that writes a small notebook."""

import os
import random
import re
import secrets
import signal
from pathlib import Path

import pytest
from browsers import BROWSERS, find_browser
from durations import Durations
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

ROOT = Path(__file__).resolve().parents[1]
set_hypothesis_home_dir(ROOT / "build" / "caches" / "hypothesis")
# The same examples on every machine. `--hypothesis-profile nightly` draws others, and keeps those
# that fail.
settings.register_profile("tests", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, derandomize=False, print_blob=True)
settings.load_profile("tests")
# Packages of the extras that test files import.
OPTIONAL = set(
    "PIL anywidget bs4 datasets distributed fvcore huggingface_hub ipywidgets "
    "nbconvert nbformat papermill plotly pooch psutil setuptools skimage "
    "sklearn timm torch torchvision transformers yaml".split()
)
# Without background requests, and for root in a container.
BROWSER_FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()

# Messages of other packages on the console of a page, by their source. Any other fails the test.
FOREIGN_MESSAGES = {
    "JupyterLab without a network": r"ERR_(NAME_NOT_RESOLVED|INTERNET|PROXY)",
    "files that the servers of Jupyter lack": r"status of 404 .*http://127\.0\.0\.1",
    "commands that Notebook 7 lacks": "not registered",
    "JupyterLab's debugger on a page that closes": "restore the debugger state",
    "JupyterLab on a widget of an earlier kernel": "widget model not found",
}

# The slowest files start first, so that no worker runs one of them when the others are finished.
SLOWEST = (
    "test_parameters.py 04_metrics_comparison.ipynb test_packaging.py "
    "test_explorer.py 08_deployment.ipynb test_kernels.py test_paper_preset.py test_few_labels.py "
    "test_docs.py 07_calibration.ipynb test_sklearn.py test_extraction.py test_corruptions.py "
    "test_members.py test_notebook_06.py 11_ledger.ipynb 10_paper_figures.ipynb "
    "03_three_model_cascades.ipynb 02_two_model_cascades.ipynb 05_distribution_shift.ipynb "
    "test_cascade.py test_readme.py test_run_notebooks.py test_logit_store.py "
    "test_damage.py test_exact.py test_published.py"
).split()


def pytest_configure(config):
    """Measure each test, do not wait for the disk, and restore Python's handler of SIGINT.

    No test cuts the power. A background job (``make test &``) ignores SIGINT, and some tests
    interrupt themselves or a child.
    """
    config.pluginmanager.register(Durations(config))
    os.fsync = lambda handle: None
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Module(pytest.Module):
    """A test file, skipped if it imports a package of the extras that is not installed."""

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


@pytest.hookimpl(tryfirst=True)  # before tiers are selected
def pytest_collection_modifyitems(items):
    """Sort the slowest files first, let tests in a browser run twice, and mark the paper's
    notebooks, which CI runs in the second tier.

    The order within a file stays.
    """
    places = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        if item.path.suffix == ".ipynb" and item.path.name >= "10":
            item.add_marker(pytest.mark.soak)
        if item.get_closest_marker("browser"):  # a browser or a server may die
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Draw the seeds of each test always alike: a true guarantee fails in a share of draws."""
    secrets.randbits = random.Random(item.nodeid).getrandbits


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium under playwright, or a skipped test.

    One file shares it. In others its event loop would interfere.
    """
    path = find_browser()
    if path is None:
        pytest.skip(
            f"no Chrome or Chromium found ({', '.join(BROWSERS)}; or name one in BROWSER_PATH)"
        )
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        chromium.messages = []
        open_context = chromium.new_context

        def new_context(**options):
            context = open_context(**options)
            context.set_default_timeout(120_000)  # ms; a busy machine draws slowly
            context.on("weberror", lambda error: chromium.messages.append(str(error.error)))
            context.on("console", record)
            return context

        def record(message):
            if message.type == "error":
                chromium.messages.append(f"{message.text} {message.location['url']}")

        chromium.new_context = new_context
        chromium.new_page = lambda **options: new_context(**options).new_page()
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def no_error_on_the_console(request):
    """Fail a test whose pages log an error, and close the pages that it opened."""
    if "browser" not in request.fixturenames:
        yield
        return
    chromium = request.getfixturevalue("browser")
    others = chromium.contexts
    yield
    foreign = "|".join(FOREIGN_MESSAGES.values())
    ours = [text for text in chromium.messages if not re.search(foreign, text)]
    for context in chromium.contexts:
        if context not in others:
            context.close()
    chromium.messages.clear()
    assert ours == []


@pytest.fixture
def page(browser):
    """A fresh page 1200 pixels wide."""
    return browser.new_page(viewport={"width": 1200, "height": 900})


@pytest.fixture(scope="session")
def write_notebook():
    """Function (path, code cells) → path of a notebook with a question, parameters and cells."""
    nbformat = pytest.importorskip("nbformat")

    def write(path, *cells):
        parameters = nbformat.v4.new_code_cell("points = 5", metadata={"tags": ["parameters"]})
        code = [nbformat.v4.new_code_cell(cell) for cell in cells]
        question = nbformat.v4.new_markdown_cell("# A page\n\nIs 0.5% *enough*? The rest explains.")
        nb = nbformat.v4.new_notebook(cells=[question, parameters, *code])
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nb.metadata["kernelspec"] = kernel
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(nb, path)
        return path

    return write


@pytest.fixture
def offline(monkeypatch):
    """A machine without a network: the Hub cannot be reached."""
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
