"""Executed notebooks → HTML pages that read offline: live figures, one plotly.min.js beside all the pages."""

import datetime
import html
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import plotly.io as pio
from nbconvert import HTMLExporter
from plotly.offline import get_plotlyjs

from cascadelib.figures.style import PLOTLY_JSON

WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE_ONLY = "<p><em>Sliders: live in JupyterLab (make lab); the table and the figure below show the same.</em></p>"
# nbconvert's lab page without what it would fetch from elsewhere: require.js, MathJax, mermaid, the widget manager.
PAGE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}<script src="plotly.min.js"></script>{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}<style>
main { max-width: 1000px; margin: 0 auto; } .jp-OutputArea-output img { max-width: 100%; }
nav { font-family: sans-serif; font-size: 14px; padding: 12px 0; }
</style>{% endblock %}
{% block body_header %}{{ super() }}<nav><a href="index.html">All notebooks</a></nav>{% endblock %}
"""
INDEX = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>cascadelib: report</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body {{ font: 16px/1.5 sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; width: 100%; }} td, th {{ padding: .5rem; border-bottom: 1px solid #ddd;
text-align: left; vertical-align: top; }} td.number {{ text-align: right; white-space: nowrap; }}
.failed {{ color: #b00020; }} .answer {{ color: #444; }} code {{ white-space: pre-wrap; }}
</style></head><body><h1>cascadelib: report</h1>
<p>Executed on {date} in {seconds:.0f} s. The figures are live: hover over a point to read it.</p>
<table><tr><th>Notebook</th><th>Question, and the answer of this run</th><th>Run time</th><th>Executed</th></tr>
{rows}
</table>{ledger}</body></html>
"""
LEDGER = '<p><a href="ledger.html">The paper\'s claims beside what these runs show</a>, of all notebooks.</p>'
CLAIMS = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>cascadelib: ledger</title><style>
body {{ font: 15px/1.4 sans-serif; margin: 2rem; }} td, th {{ padding: .3rem .5rem; border-bottom: 1px solid #ddd; }}
table {{ border-collapse: collapse; border: 0; text-align: left; }}
</style></head><body><h1>The paper's claims beside what these runs show</h1>
<nav><a href="index.html">All notebooks</a></nav>
{claims}</body></html>
"""
ROW = """<tr><td><a href="{stem}.html">{stem}</a></td><td>{question}{answer}{failure}</td>
<td class="number">{seconds:.1f} s</td><td><a href="{stem}.ipynb">.ipynb</a></td></tr>"""
ANSWER = '<br><span class="answer">{answer}</span>'
FAILURE = '<br><span class="failed">failed in <code>{error}</code></span>'


def question_of(nb) -> str:
    """The first sentence of the opening cell that ends in a question mark, without its number and Markdown's marks."""
    lines = [line.lstrip("# ") for line in nb.cells[0].source.splitlines()] if nb.cells else []
    for paragraph in "\n".join(lines).split("\n\n") + lines:
        for sentence in re.findall(r"[^.?!]*(?:[.!](?=\S)[^.?!]*)*[.?!]", " ".join(paragraph.split())):
            if sentence.endswith("?"):
                return re.sub(r"[*_`]|^\d+ · ", "", sentence.strip())
    return lines[0] if lines else ""


def printed(cell) -> str:
    """What a cell printed, on one line."""
    texts = [out.text for out in cell.get("outputs", []) if out.output_type == "stream" and out.name == "stdout"]
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
    """A div with the figure, drawn by the page's plotly.min.js."""
    config = {"responsive": True, "displaylogo": False} | figure.get("config", {})
    config.pop("plotlyServerURL", None)
    bare = {key: value for key, value in figure.items() if key != "config"}
    div = pio.to_html(bare, config=config, full_html=False, include_plotlyjs=False, validate=False)
    return f'<div role="figure" aria-label="{html.escape(title_of(figure), quote=True)}">{div}</div>'


def last_of_each_line(text: str) -> str:
    """What a terminal shows after carriage returns: a progress bar's last state."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def for_page(nb):
    """A copy of the notebook whose figures are HTML, whose sliders are a remark, and whose progress bars are done."""
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
    nb.metadata.pop("widgets", None)
    return nb


def ledger_of(nb) -> str:
    """The tables of the code cells that show a notebook's rows of the ledger; "" without one."""
    cells = [cell for cell in nb.cells if cell.cell_type == "code" and ".ledger(" in cell.source]
    return "".join(output.get("data", {}).get("text/html", "") for cell in cells for output in cell.outputs)


def write(runs, out: Path) -> Path:
    """Write ``index.html``, a page a run, ``ledger.html`` where runs show claims of the paper, and plotly.min.js into
    ``out``; returns the index's path."""
    exporter = HTMLExporter(raw_template=PAGE, exclude_input_prompt=True, exclude_output_prompt=True)
    (out / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    rows, claims = [], ""
    for run in runs:
        failure = FAILURE.format(error=html.escape(run.error)) if run.error else ""
        nb = nbformat.read(run.executed if run.executed.exists() else run.source, as_version=4)
        question = html.escape(question_of(nbformat.read(run.source, as_version=4)))
        answer = html.escape(answer_of(nb)) if run.executed.exists() else ""
        page, _ = exporter.from_notebook_node(for_page(nb), {"metadata": {"name": run.source.stem}})
        (out / f"{run.source.stem}.html").write_text(page, encoding="utf-8")
        stem = html.escape(run.source.stem)
        if table := ledger_of(nb):
            claims += f"<h2>{stem}</h2>\n{table}\n"
        answer = ANSWER.format(answer=answer) if answer else ""
        rows.append(ROW.format(stem=stem, question=question, answer=answer, failure=failure, seconds=run.seconds))
    date = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    index, seconds = out / "index.html", sum(run.seconds for run in runs)
    text = INDEX.format(date=date, seconds=seconds, rows="\n".join(rows), ledger=LEDGER if claims else "")
    if claims:
        (out / "ledger.html").write_text(CLAIMS.format(claims=claims), encoding="utf-8")
    index.write_text(text, encoding="utf-8")
    return index
