"""Fixtures shared by the tests of the notebooks."""

import os
import sys
from contextlib import contextmanager

import pytest


@contextmanager
def unchanged_environment():
    """Restore the environment afterwards: ``run.main`` sets and removes variables of kernels."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture(autouse=True, scope="module")
def environment_of_a_file():
    with unchanged_environment():
        yield


@pytest.fixture(autouse=True)
def environment_of_a_test():
    with unchanged_environment():
        yield


@pytest.fixture
def open_page(browser):
    """Function (address, width, scheme) → a page of the browser at that address."""

    def open_at(address, width=1000, scheme="light", height=900):
        viewport = {"width": width, "height": height}
        page = browser.new_page(viewport=viewport, color_scheme=scheme)
        page.goto(address)
        return page

    return open_at


@pytest.fixture(scope="session")
def shell():
    """An IPython in this process, since the start of a kernel takes seconds."""
    from IPython.core.interactiveshell import InteractiveShell

    main = sys.modules["__main__"]
    shell = InteractiveShell.instance(history_length=0, colors="nocolor")
    yield shell
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main


@pytest.fixture
def run_cells(shell, monkeypatch):
    """Function (path, parameters) → the cells of a notebook with the outputs of a quick run."""
    import nbformat
    from IPython.utils.capture import capture_output
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    def run(path, parameters):
        monkeypatch.setenv("CASCADELIB_QUICK", "1")
        monkeypatch.chdir(path.parent)
        notebook = parameterize_notebook(load_notebook_node(str(path)), parameters)
        shell.reset(new_session=True)
        shell.user_ns["__spec__"] = None  # as a script has it: multiprocessing reads it
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            with capture_output() as captured:
                shell.display_trap.hook = sys.displayhook  # else a cell's value is printed as text
                done = shell.run_cell(cell.source)
            assert done.success, f"cell {number}: {done.error_before_exec or done.error_in_exec!r}"
            cell.outputs = []
            if captured.stdout:
                cell.outputs.append(nbformat.v4.new_output("stream", text=captured.stdout))
            for shown in captured.outputs:
                data = {"data": shown.data, "metadata": shown.metadata or {}}
                cell.outputs.append(nbformat.v4.new_output("display_data", **data))
        return notebook.cells

    return run
