"""The link to the glossary in a notebook's first cell works in JupyterLab and in the report."""

import shutil

import pytest
from jupyter_pages import PATIENCE, ROOT, serving

pytestmark = pytest.mark.browser
NOTEBOOK = ROOT / "notebooks" / "02_two_model_cascades.ipynb"


@pytest.mark.soak
def test_the_link_works_in_jupyterlab_at_the_root(browser, tmp_path):
    """`make lab` opens the root, and the link leads from notebooks/ to docs/."""
    for folder, path in (("notebooks", NOTEBOOK), ("docs", ROOT / "docs" / "glossary.md")):
        (tmp_path / folder).mkdir()
        shutil.copy(path, tmp_path / folder)
    with serving(tmp_path) as (address, _):
        page = browser.new_page()
        page.goto(f"{address}/lab/tree/notebooks/{NOTEBOOK.name}")
        link = page.locator(".jp-RenderedMarkdown a", has_text="glossary").first
        link.wait_for(timeout=PATIENCE)
        link.dispatch_event("click")  # a dialog about a kernel that is not ready may cover it
        page.locator(".lm-TabBar-tabLabel", has_text="glossary.md").wait_for(timeout=PATIENCE)
        page.close()
