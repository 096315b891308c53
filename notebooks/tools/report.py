"""Notebooks → HTML pages that read offline, at any width, light and dark: an index with the answers, a page a notebook
with its contents and its neighbours, the ledger; one plotly.min.js, report.css and report.js beside them all.

`make run` lays out what it has executed; `make docs` takes the same pages into the site.
"""

import datetime
import html
import os
import re
import shutil
from copy import deepcopy
from pathlib import Path

import nbformat
import plotly.io as pio
from nbconvert import HTMLExporter
from plotly.offline import get_plotlyjs

from cascadelib.figures.style import PLOTLY_JSON

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EXPLORER = ROOT / ".github" / "explorer.png"
WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE_ONLY = "<p><em>Sliders: live in JupyterLab (make lab); the table and the figure below show the same.</em></p>"
STILL = """<figure><img src="explorer.png" alt="The explorer: sliders, numbers on two splits, and charts">
<figcaption>A picture of the explorer on the bundled images. To drag its thresholds: <code>make lab</code>, and run this
notebook; or <code>make app</code>.</figcaption></figure>"""
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
ENTRY = """<section><h2><a href="{stem}.html">{stem}</a></h2>
<p>{question}{answer}{failure}</p><p class="small">{about}</p></section>"""
ANSWER = '<br><span class="answer">{answer}</span>'
FAILURE = '<br><span class="failed">failed in <code>{error}</code></span>'
LEDGER = "The paper's claims beside what these runs show"
CLAIMS = f'<section><h2><a href="ledger.html">ledger</a></h2><p>{LEDGER}, of all notebooks.</p></section>'


def question_of(nb) -> str:
    """The first sentence of the opening cell that ends in a question mark, without its number and Markdown's marks."""
    lines = [line.lstrip("# ") for line in nb.cells[0].source.splitlines()] if nb.cells else []
    for paragraph in "\n".join(lines).split("\n\n") + lines:
        for sentence in re.findall(
            r"[^.?!]*(?:[.!](?=\S)[^.?!]*)*[.?!]", " ".join(paragraph.split())
        ):
            if sentence.endswith("?"):
                return re.sub(r"[*_`]|^\d+ · ", "", sentence.strip())
    return lines[0] if lines else ""


def printed(cell) -> str:
    """What a cell printed, on one line."""
    texts = [
        out.text
        for out in cell.get("outputs", [])
        if out.output_type == "stream" and out.name == "stdout"
    ]
    return " ".join("".join(texts).split())


def answer_of(nb) -> str:
    """The computed sentence with which a notebook ends: what the cell tagged ``answer`` printed; "" without one."""
    return " ".join(printed(cell) for cell in nb.cells if "answer" in cell.metadata.get("tags", []))


def title_of(figure: dict) -> str:
    """A figure's title as plain text, for readers who do not see it; its axis titles where it has no title."""
    layout = figure.get("layout", {})
    titles = [layout.get(part, {}).get("title", {}).get("text") for part in ("yaxis", "xaxis")]
    text = layout.get("title", {}).get("text") or " against ".join(filter(None, titles)) or "Figure"
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", text).split()))


def live_figure(figure: dict) -> str:
    """A div with the figure, drawn by the page's plotly.min.js: as wide as the page lets it be, at most as it says."""
    config = {"responsive": True, "displaylogo": False} | figure.get("config", {})
    config.pop("plotlyServerURL", None)
    layout = deepcopy(figure.get("layout", {}))
    widths = [
        part.pop("width", None) for part in (layout, layout.get("template", {}).get("layout", {}))
    ]
    bare = {
        **{key: value for key, value in figure.items() if key != "config"},
        "layout": layout | {"autosize": True},
    }
    div = pio.to_html(bare, config=config, full_html=False, include_plotlyjs=False, validate=False)
    label, most = html.escape(title_of(figure), quote=True), next(filter(None, widths), 900)
    return f'<div role="figure" aria-label="{label}" style="max-width: {most}px">{div}</div>'


def last_of_each_line(text: str) -> str:
    """What a terminal shows after carriage returns: a progress bar's last state."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def for_page(nb):
    """A copy of the notebook whose figures are HTML, whose sliders are a remark, whose explorer is a picture, and whose
    progress bars are done."""
    nb = deepcopy(nb)
    for output in [output for cell in nb.cells for output in cell.get("outputs", [])]:
        data = output.get("data", {})
        if PLOTLY_JSON in data:
            output.data = {"text/html": live_figure(data[PLOTLY_JSON])}
        elif WIDGET in data:
            progress_bar = "%|" in data.get("text/plain", "")
            output.data = {"text/html": "" if progress_bar else LIVE_ONLY}
        elif "text" in output:
            output.text = last_of_each_line(output.text)
    for cell in nb.cells:
        if cell.cell_type == "code" and "cl.explore(" in cell.source and not cell.outputs:
            cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": STILL})]
    nb.metadata.pop("widgets", None)
    return nb


def ledger_of(nb) -> str:
    """The tables of the code cells that show a notebook's rows of the ledger; "" without one."""
    cells = [
        cell
        for cell in nb.cells
        if cell.cell_type == "code" and re.search(r"\bledger(\.table)?\(", cell.source)
    ]
    return "".join(
        output.get("data", {}).get("text/html", "") for cell in cells for output in cell.outputs
    )


def contents_of(body: str) -> str:
    """The headings of a page as a list of links; "" where there are fewer than two."""
    found = re.findall(r'<h([23]) id="([^"]+)">(.*?)<a class="anchor-link"', body, flags=re.DOTALL)
    items = [
        f'<li class="h{level}"><a href="#{anchor}">{heading}</a></li>'
        for level, anchor, heading in found
    ]
    return CONTENTS.format(items="\n".join(items)) if len(items) > 1 else ""


def top_of(i: int, stems: list[str], home: str) -> str:
    """The links at the head of the i-th page: the site, the index, the pages before and after."""
    links = [f'<a href="{home}">cascadelib</a>'] if home else []
    links += ['<a href="index.html">All notebooks</a>']
    links += [
        f'<a rel="prev" href="{stem}.html">← {stem}</a>' for stem in stems[i - 1 : i] if i > 0
    ]
    links += [f'<a rel="next" href="{stem}.html">{stem} →</a>' for stem in stems[i + 1 : i + 2]]
    return "\n".join(links)


def write(runs, out: Path, about: str = "", home: str = "") -> Path:
    """Write ``index.html``, a page a run, ``ledger.html`` where runs show claims of the paper, and what they share into
    ``out``; returns the index's path. about: a sentence for the index in place of when and how long; home: a page that
    all link to."""
    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True
    )
    (out / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    for shared in (HERE / "report.css", HERE / "report.js", EXPLORER):
        shutil.copyfile(shared, out / shared.name)
    docs = ".." if home else Path(os.path.relpath(ROOT / "docs", out)).as_posix()
    stems, entries, claims = [html.escape(run.source.stem) for run in runs], [], ""
    for i, run in enumerate(runs):
        failure = FAILURE.format(error=html.escape(run.error)) if run.error else ""
        nb = nbformat.read(run.executed if run.executed.exists() else run.source, as_version=4)
        question = html.escape(question_of(nbformat.read(run.source, as_version=4)))
        answer = html.escape(answer_of(nb)) if run.executed.exists() else ""
        body, _ = exporter.from_notebook_node(for_page(nb))
        body = re.sub(
            r'href="\.\./docs/([\w-]+)\.md', rf'href="{docs}/\1.{"html" if home else "md"}', body
        )
        top = top_of(i, stems, home)
        body += f'<nav class="bottom">{top}</nav>'
        page = PAGE.format(title=stems[i], top=top, contents=contents_of(body), body=body)
        (out / f"{run.source.stem}.html").write_text(page, encoding="utf-8")
        if table := ledger_of(nb):
            claims += f"<h2>{stems[i]}</h2>\n{table}\n"
        notes = (
            f'{run.seconds:.1f} s · executed: <a href="{stems[i]}.ipynb">.ipynb</a>'
            if run.seconds
            else ""
        )
        answer = ANSWER.format(answer=answer) if answer else ""
        entries.append(
            ENTRY.format(
                stem=stems[i], question=question, answer=answer, failure=failure, about=notes
            )
        )
    back = top_of(len(runs), [], home)
    if claims:
        page = PAGE.format(
            title="ledger",
            top=back,
            contents="",
            body=f"<h1>{LEDGER}</h1>\n<div class='words'>{claims}</div>",
        )
        (out / "ledger.html").write_text(page, encoding="utf-8")
        entries.append(CLAIMS)
    date, seconds = (
        datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        sum(run.seconds for run in runs),
    )
    about = (
        about
        or f"Executed on {date}, {seconds:.0f} s in all. The figures are live: hover over a point to read it."
    )
    body = "\n".join(["<h1>The notebooks and their answers</h1>", f"<p>{about}</p>", *entries])
    text = PAGE.format(title="report", top=back if home else "", contents="", body=body)
    (index := out / "index.html").write_text(text, encoding="utf-8")
    return index
