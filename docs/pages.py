"""Pages of the site that are generated when MkDocs reads its files (a hook).

They are the API reference from docstrings, a page per subpackage, and the notebooks as pages of the
report (notebooks/tools/report). Notebooks are those that ``make run`` has executed, or else the
committed ones. CONTRIBUTING.md, SECURITY.md, CHANGELOG.md and the benchmarks follow. The first page
gets a gallery of the committed figures.
"""

import importlib
import inspect
import re
import sys
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT), str(ROOT / "notebooks")]
from rooms import listed, markdown, paths, rooms  # noqa: E402

import setup  # noqa: E402 - the script of the package
from tools.report import home, rendering  # noqa: E402
from tools.report.app import write_page  # noqa: E402

LIVE = f"notebooks/{rendering.LIVE}"
COMMITTED = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
ELSEWHERE = re.compile(r"\]\(\.\./([\w./-]+)")
TOP = {name: name.lower() for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}
TOP["benchmarks/results.md"] = "benchmarks.md"
ON_THE_SITE = TOP | {
    "cascadelib/__init__.py": "reference/index.md",
    "notebooks": "notebooks/index.html",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Use the repository's address in pyproject.toml, if it has one, for links to it."""
    repository = setup.about()["repository"]
    config.repo_url = repository or None
    config.site_url = setup.urls(repository).get("Documentation")
    return config


def on_post_build(config: MkDocsConfig) -> None:
    """Write 404.html without links if the address of the site is unknown.

    A server shows it at any depth, so a relative link leads nowhere.
    """
    if not config.site_url:
        Path(config.site_dir, "404.html").write_text(NOT_FOUND, encoding="utf-8")


NOT_FOUND = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Page not found: cascadelib</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"></head>
<body><h1>This page does not exist</h1>
<p>Go back, or shorten the address to that of the documentation.</p></body></html>
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, those of the reference also to the navigation."""
    pages = reference()
    for entry in config.nav or []:
        if "API reference" in entry:
            entry["API reference"] = list(pages)
    for path, content in (pages | notebooks() | top_level()).items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Add the live explorer and the gallery. Point links out of docs/ to the site's pages."""
    markdown = markdown.replace("<!--explorer-->", rendering.FRAME.format(page=LIVE, state=""))
    if "<!--gallery-->" in markdown:
        markdown = markdown.replace("<!--gallery-->", gallery())
    return ELSEWHERE.sub(lambda m: f"]({target_of(m[1])}", markdown)


def target_of(path: str) -> str:
    """Return the site's page of a file of the repository. Other paths stay, and a strict build
    refuses them."""
    return ON_THE_SITE.get(path) or re.sub(r"^(notebooks/\w+)\.ipynb$", r"\1.html", path)


def summary(value: Any) -> str:
    """Return the first sentence of a docstring on one line, for a cell of a table."""
    text = inspect.getdoc(value) if callable(value) or inspect.ismodule(value) else ""
    paragraph = " ".join((text or "").split("\n\n")[0].split())
    return markdown(re.split(r"(?<=[.:]) (?=[A-Z(])", paragraph)[0]).replace("|", "\\|")


def reference() -> dict[str, Any]:
    """Return {path: Markdown}: ``reference/index.md``, then a page per subpackage."""
    import cascadelib

    pages = {}
    index = []
    for room in rooms():
        module = importlib.import_module(f"cascadelib.{room}")
        index.append(f"| [`cl.{room}`]({room}.md) | {summary(module)} |")
        rows = [f"| [`{n}`][{paths()[n]}] | {summary(getattr(module, n))} |" for n in listed(room)]
        entries = [f"::: {paths()[name]}" for name in listed(room)]
        parts = [f"# {room}", markdown(module.__doc__ or ""), table(rows), *entries]
        pages[f"reference/{room}.md"] = "\n\n".join(parts)
    modules = {name: f"cascadelib.{name}" for name in ("monitoring", "published", "sklearn")}
    own = {
        name: paths().get(name, f"cascadelib.{home}.{name}") for name, home in listed("").items()
    }
    rows = [f"| [`cl.{n}`][{own[n]}] | {summary(getattr(cascadelib, n))} |" for n in own]
    head = "# API reference\n\nThe names of `import cascadelib as cl`, and its subpackages."
    entries = [f"::: {path}" for path in modules.values()]
    return {"reference/index.md": "\n\n".join([head, table(rows + index), *entries])} | pages


def table(rows: list[str]) -> str:
    """Return rows of Markdown as a table."""
    return "\n".join(["| name | summary |", "|---|---|", *rows])


def gallery() -> str:
    """Return the key figures of the committed notebooks in small, each with a link and a claim."""
    cards = []
    for path in COMMITTED:
        run = rendering.Run(path, path)
        claim = escape(rendering.finding_of(run.nb) or rendering.question_of(run.nb))
        address = f"notebooks/{run.page}.html"
        cards.append(f'<a href="{address}">{home.picture_of(run)}<span>{claim}</span></a>')
    return "\n".join(['<div class="gallery">', *cards, "</div>"])


def notebooks() -> dict[str, Any]:
    """Return {path: content} of the report's pages, live if ``make run`` has run the notebook."""
    copies = [(path, ROOT / "build" / "report" / path.name) for path in COMMITTED]
    runs = [rendering.Run(path, copy if copy.is_file() else path) for path, copy in copies]
    about = (
        "The figures of notebooks that were run before this site was built are live: hover over a "
        "point to read it."
    )
    with TemporaryDirectory() as folder:
        home.write_report(runs, Path(folder), about, site="../index.html")
        if not Path(folder, rendering.LIVE).exists():  # the home page shows it
            write_page(Path(folder, rendering.LIVE))
        return {f"notebooks/{path.name}": path.read_bytes() for path in Path(folder).iterdir()}


def top_level() -> dict[str, Any]:
    """Return {path: Markdown} of the pages from the repository's root."""
    here = re.compile(rf"\]\((docs/|(?=(?:{'|'.join(TOP)})\)))(.*?)\)")
    texts = {page: (ROOT / name).read_text(encoding="utf-8") for name, page in TOP.items()}
    return {
        page: here.sub(lambda m: f"]({TOP.get(m[2], m[2])})", text) for page, text in texts.items()
    }
