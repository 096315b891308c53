"""The explorer of a lesson is live: a drag in a running kernel changes what it states."""

import time
from itertools import cycle

import nbformat
import pytest
from jupyter_pages import PATIENCE, ROOT, drag, serving

pytestmark = [pytest.mark.browser, pytest.mark.nightly]
LIVE = ["02", "03", "05", "06", "07"]
STATED = ".cl-sentence:not(.cl-longest)"


def run_all(page):
    """Run all cells, again and again until the kernel has started, and wait for the last one."""
    prompts = page.locator(".jp-CodeCell .jp-InputPrompt")
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        texts = prompts.all_inner_texts()
        if any("*" in text for text in texts):
            page.wait_for_timeout(1000)
        elif page.locator(".cl-slider").count():
            return
        else:
            page.keyboard.press("Escape")  # a dialog about a kernel that is not ready
            page.evaluate("() => { jupyterapp.commands.execute('runmenu:run-all') }")
            page.wait_for_timeout(3000)
    raise TimeoutError(f"the cells have not run: {texts}")


def without_outputs(path, folder):
    """Copy a notebook without its outputs."""
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell |= {"outputs": [], "execution_count": None}
    nbformat.write(nb, folder / path.name)


@pytest.mark.parametrize("number", LIVE)
def test_the_explorer_of_a_lesson_follows_a_drag(browser, tmp_path, monkeypatch, number):
    monkeypatch.setenv("CASCADELIB_QUICK", "1")
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    without_outputs(path, tmp_path)
    with serving(tmp_path) as (address, _):
        page = browser.new_page(viewport={"width": 1440, "height": 8000})
        page.goto(f"{address}/doc/tree/{path.name}")
        page.locator(".jp-CodeCell .cm-content").first.wait_for(timeout=PATIENCE)
        run_all(page)
        stated = page.locator(STATED)
        before = stated.inner_text()
        end = time.monotonic() + PATIENCE / 1000
        for share in cycle((0.2, 0.8)):  # figures that are drawn late move the slider
            drag(page, 0, share)
            page.wait_for_timeout(1000)
            if stated.inner_text() != before:
                break
            assert time.monotonic() < end, f"a drag does not change {before!r}"
        assert "ended" not in page.locator(".cl-reason").inner_text()  # the kernel is alive
        page.close()
