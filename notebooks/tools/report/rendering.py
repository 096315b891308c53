"""Convert notebooks to HTML pages that read offline, at any width, light and dark.

The report has a home (home.py), and one page per notebook with its contents and links to its
neighbours. All pages share plotly.min.js, report.css and report.js.
`make run` writes the notebooks that it has executed. `make docs` includes the same pages in the
site.
"""

import html
import os
import re
import shutil
from collections.abc import Container, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
import plotly.io as pio
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from plotly.offline import get_plotlyjs

from cascadelib.figures.style import PLOTLY_JSON

from .app import write_page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# A link of a notebook to a notebook or page of this checkout, and its anchor.
LINK = re.compile(r'href="([\w./-]+\.(?:ipynb|md))(?=["#])')
WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE = "live.html"  # the explorer of the bundled images
# The explorer in a page. It sends its height, which the frame then has.
FRAME = """<iframe class="explorer" src="{page}{state}" loading="lazy"
title="The explorer: drag its thresholds"></iframe>
<script>{{
    const frame = document.currentScript.previousElementSibling
    addEventListener("message", ({{data, source}}) => {{
        const isHeight = source === frame.contentWindow && data?.height > 0
        if (isHeight) frame.style.height = `${{data.height}}px`
    }})
}}</script>"""
BUNDLED = (
    'data-validation="fashion-mnist val"',
    'data-held-out="fashion-mnist test"',
    "method=max_softmax&",  # the live page has no other method
)
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}: cascadelib</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="report.css"><script src="plotly.min.js"></script></head>
<body><nav class="top">{top}</nav>
{contents}<main>
{body}
</main>
<script src="report.js"></script></body></html>
"""
CONTENTS = '<details class="contents"><summary>Contents</summary><ul>\n{items}\n</ul></details>\n'
TITLE = {"text/html", "text/plain"}  # of the output before a figure, which is its title


@dataclass(frozen=True)
class Run:
    """One executed notebook: its source, its outputs, seconds, processor seconds and its error."""

    source: Path
    executed: Path
    seconds: float = 0.0
    cpu: float = 0.0
    error: str | None = None

    @cached_property
    def nb(self) -> NotebookNode:
        """The executed notebook, or its source without outputs."""
        if self.executed.exists():
            return nbformat.read(self.executed, as_version=4)
        nb = nbformat.read(self.source, as_version=4)
        for cell in nb.cells:
            cell.pop("outputs", None)
        return nb

    @property
    def number(self) -> str:
        """The first two characters of the notebook's name."""
        return self.source.stem[:2]

    @property
    def page(self) -> str:
        """The name of the notebook's page, without its suffix."""
        return html.escape(self.source.stem)


def question_of(nb: NotebookNode) -> str:
    """Return the heading of the opening cell, without its number and Markdown's marks."""
    heading = nb.cells[0].source.partition("\n")[0] if nb.cells else ""
    return re.sub(r"^# (\d+ · )?|[*_`]", "", heading)


def sentences(paragraph: str) -> list[str]:
    """Return the sentences of a paragraph. A point inside a word or a number ends none."""
    return re.findall(r"[^.?!]*(?:[.!](?=\S)[^.?!]*)*[.?!]", " ".join(paragraph.split()))


def tagged(nb: NotebookNode, *tags: str) -> list[NotebookNode]:
    """Return the cells that have one of these tags."""
    found = []
    for cell in nb.cells:
        own = cell.metadata.get("tags", [])
        if not set(tags).isdisjoint(own):
            found.append(cell)
    return found


def outputs_of(*cells: NotebookNode) -> list[tuple[NotebookNode | None, NotebookNode]]:
    """Return each output of some cells, after the previous output of its cell."""
    pairs: list[tuple[NotebookNode | None, NotebookNode]] = []
    for cell in cells:
        outputs = cell.get("outputs", [])
        pairs += zip([None, *outputs], outputs)
    return pairs


def printed(cell: NotebookNode) -> str:
    """Return the printed output of a cell, on one line."""
    streams = [output for output in cell.get("outputs", []) if output.output_type == "stream"]
    texts = [output.text for output in streams if output.name == "stdout"]
    return " ".join("".join(texts).split())


def answer_of(nb: NotebookNode) -> str:
    """Return the title of the figure in the cell tagged ``answer``, or else its printed text.

    The first line of a title is the finding.
    """
    cells = tagged(nb, "answer")
    for _, output in outputs_of(*cells):
        data = output.get("data", {})
        if data.keys() == TITLE:
            return data["text/plain"]
    text = " ".join(map(printed, cells))
    return "\n".join(sentences(text)) or text


def finding_of(nb: NotebookNode) -> str:
    """Return the first line of a notebook's answer, "" without an answer."""
    return answer_of(nb).partition("\n")[0].strip()


def title_of(figure: dict, before: NotebookNode | None = None) -> str:
    """Return a figure's title as plain text for screen readers.

    before: the previous output of the cell. It has the title of a figure without one.
    """
    title = figure.get("layout", {}).get("title", {}).get("text") or "Figure"
    shown = before.get("data", {}) if before else {}
    if shown.keys() == TITLE:
        return " ".join(shown["text/plain"].split())
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", title).split()))


def live_figure(figure: dict, title: str) -> str:
    """Return a div with the figure, drawn by the page's plotly.min.js, at most at the figure's
    width.

    title: for screen readers.
    """
    config = {"responsive": True, "displaylogo": False} | figure.get("config", {})
    config.pop("plotlyServerURL", None)
    layout = deepcopy(figure.get("layout", {}))
    width = layout.pop("width", None)
    layout["autosize"] = True
    bare = {key: value for key, value in figure.items() if key != "config"}
    bare["layout"] = layout
    div = pio.to_html(bare, config=config, full_html=False, include_plotlyjs=False, validate=False)
    label = html.escape(title, quote=True)
    limit = f' style="max-width: {width}px"' if width else ""
    return f'<div role="figure" aria-label="{label}"{limit}>{div}</div>'


def last_of_each_line(text: str) -> str:
    """Return a terminal's text after carriage returns: the last state of a progress bar."""
    lines = [line.rstrip("\r") for line in text.split("\n")]
    return "\n".join(line.rpartition("\r")[2] for line in lines)


def folded(cell: NotebookNode) -> NotebookNode:
    """Return a cell with code as one that is opened by a click."""
    opened = f"<details><summary>Parameters</summary>\n\n```python\n{cell.source}\n```"
    return nbformat.v4.new_markdown_cell(f"{opened}\n\n</details>")


def readable_copy(nb: NotebookNode) -> NotebookNode:
    """Return a copy of the notebook for reading.

    The parameters are folded. Figures are HTML, and the explorer of the bundled images is live. Any
    other explorer is its sentence and its figure.
    """
    nb = deepcopy(nb)
    for place, cell in enumerate(nb.cells):
        if "parameters" in cell.metadata.get("tags", []):
            nb.cells[place] = folded(cell)
        for before, output in outputs_of(cell):
            data = output.get("data", {})
            if PLOTLY_JSON in data:
                figure = live_figure(data[PLOTLY_JSON], title_of(data[PLOTLY_JSON], before))
                shows_live = before and LIVE in before.get("data", {}).get("text/html", "")
                output.data = {"text/html": "" if shows_live else figure}
            else:
                make_readable(output)
    nb.metadata.pop("widgets", None)
    return nb


def make_readable(output: NotebookNode) -> None:
    """Make one output without a figure readable, in place. Widgets need a kernel: none is shown."""
    data = output.get("data", {})
    if is_of_bundled_images(data.get("text/html", "")):
        (state,) = re.findall('data-state="([^"]*)"', data["text/html"])
        output.data = {"text/html": FRAME.format(page=LIVE, state=f"#{state}")}
    elif WIDGET in data:
        output.data = {"text/html": ""}
    elif "text" in output:
        output.text = last_of_each_line(output.text)


def is_of_bundled_images(picture: str) -> bool:
    """Return whether the HTML of an explorer without scripts is that of the bundled images."""
    return all(part in picture for part in BUNDLED)


def contents_of(body: str) -> str:
    """Return the headings of a page as a list of links, "" if there are fewer than two."""
    found = re.findall(r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"', body, flags=re.DOTALL)
    items = [
        f'<li class="h{level}"><a href="#{anchor}">{heading}</a></li>'
        for level, anchor, heading in found
    ]
    return CONTENTS.format(items="\n".join(items)) if len(items) > 1 else ""


def top_of(pages: Sequence[tuple[str, str]], place: int, home: str) -> str:
    """Return the links at the top of a page: the site, the index, previous and next page.

    pages: the address and the question of each notebook. place: of the page.
    """
    links = ['<a href="index.html">All notebooks</a>']
    if home:
        links.insert(0, f'<a href="{home}">cascadelib</a>')
    if place > 0:
        address, question = pages[place - 1]
        links.append(f'<a rel="prev" href="{address}">← {question}</a>')
    if place + 1 < len(pages):
        address, question = pages[place + 1]
        links.append(f'<a rel="next" href="{address}">{question} →</a>')
    return "\n".join(links)


def target_of(link: str, names: Container[str], out: Path, home: str) -> str:
    """Return where a link of a notebook to a file of the checkout leads from a page in ``out``.

    It is the other page of the report, or the page of the site, or else the file. names: the pages
    of the report. home: as for :func:`write`.
    """
    path = Path(link)
    if path.suffix == ".ipynb" and path.stem in names:
        return f"{path.stem}.html"
    is_of_docs = link.startswith("../docs/")
    if home and is_of_docs:
        return f"../{path.stem}.html"
    page = ROOT / "build" / "docs" / f"{path.stem}.html"
    file = page if is_of_docs and page.is_file() else ROOT / "notebooks" / link
    return Path(os.path.relpath(file, out)).as_posix()


def copy_shared(out: Path) -> None:
    """Write the files that all pages load into ``out``."""
    (out / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    for path in (HERE / "report.css", HERE / "report.js"):
        shutil.copyfile(path, out / path.name)


def write(runs: Iterable[Run], out: Path, home: str = "") -> None:
    """Write executed notebooks as pages in ``out``.

    Parameters
    ----------
    runs : iterable of Run
        The notebooks in their order.
    out : Path
        An existing folder. It gets one page per run and the files that they share. It gets
        ``live.html``, the explorer, if a page shows that of the bundled images.
    home : str
        The address of the site's first page, relative to ``out``. All pages link to it.
    """
    runs = list(runs)
    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    copy_shared(out)
    pages = [(f"{run.page}.html", html.escape(question_of(run.nb))) for run in runs]
    names = {run.page for run in runs}
    has_explorer = False
    for place, run in enumerate(runs):
        body, _ = exporter.from_notebook_node(readable_copy(run.nb))
        body = LINK.sub(lambda m: f'href="{target_of(m[1], names, out, home)}', body)
        if f'src="{LIVE}#' in body and not has_explorer:
            write_page(out / LIVE)
            has_explorer = True
        top = top_of(pages, place, home)
        contents = contents_of(body)
        body += f'<nav class="bottom">{top}</nav>'
        _, question = pages[place]
        page = PAGE.format(title=question, top=top, contents=contents, body=body)
        (out / f"{run.source.stem}.html").write_text(page, encoding="utf-8")
