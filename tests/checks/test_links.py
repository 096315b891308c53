"""Every relative link of the pages, the site and the report leads to a file and an anchor."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from tools.report import rendering

ROOT = Path(__file__).resolve().parents[2]
MARKDOWN = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "data").glob("*/README.md"),
]


@cache
def anchors(path):
    """Return the anchors of an HTML page, or those of the headings of a Markdown page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        return {tag["id"] for tag in BeautifulSoup(text, "html.parser").find_all(id=True)}
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


def leads_nowhere(page, link):
    """Return whether a relative link of a page has no target. A live page keeps its state in its
    fragment."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return False
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.exists():
        return True
    has_anchors = target.suffix in (".html", ".md") and target.name != rendering.LIVE
    names = {parts.fragment, unquote(parts.fragment)}
    return bool(parts.fragment) and has_anchors and not names & anchors(target)


def dead_links(folder):
    """Return the relative links of the HTML pages in a folder that lead nowhere."""
    found = []
    for page in sorted(folder.rglob("*.html")):
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        tags = soup.find_all(href=True) + soup.find_all(src=True)
        links = {tag.get("href", tag.get("src")) for tag in tags}
        found += [f"{page.name}: {link}" for link in sorted(links) if leads_nowhere(page, link)]
    return found


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_a_markdown_page_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert [link for link in links if leads_nowhere(page, link)] == []


@pytest.mark.soak
def test_links_of_the_site_lead_somewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stderr[-2000:]
    assert dead_links(tmp_path) == []
