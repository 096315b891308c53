"""Write the report and its home: a sentence, the live explorer, and a card per notebook.

All figures and findings are those of the executed notebooks. A notebook that is missing or failed
leaves out its part.
"""

import datetime
import html
from collections.abc import Iterable
from pathlib import Path

from . import rendering
from .rendering import Run

PURPOSE = "Run a cheap model first, and an expensive one only when it is needed"
MAIN = "02"  # the notebook whose finding is the home's
PAPER = ("10", "11")  # the notebooks of the paper
ABOUT_PAPER = (
    "These notebooks redraw the figures and test the claims of <i>Efficient Inference With Model "
    "Cascades</i> (Lebovitz, Cavigelli, Magno and Müller, TMLR 2023)."
)
LIVE = """<section class="live"><p><b>Try it.</b> Drag the threshold. The small model answers the
images above it, the large model answers the others. <a href="{page}">Full page</a></p>
{frame}</section>"""
STILL = """<section class="live still">{picture}<p><a href="{page}.html">The figures of this
cascade</a></p></section>"""
CARD = """<a class="card" href="{page}.html"><p class="tag">{number}</p><h3>{question}</h3>
<p class="finding">{finding}</p>{figure}{failure}</a>"""
PICTURE = '<div class="fig"><img src="data:image/png;base64,{data}" alt="{label}"></div>'
FAILURE = '<p class="failed">failed in <code>{error}</code></p>'
DATE = "%Y-%m-%d %H:%M"


def explorers_of(run: Run) -> list[str]:
    """Return the HTML of each explorer of a notebook, a picture without scripts."""
    outputs = rendering.outputs_of(*run.nb.cells)
    pages = [output.get("data", {}).get("text/html", "") for _, output in outputs]
    return [page for page in pages if "cl-still" in page]


def picture_of(run: Run) -> str:
    """Return the picture of the cell tagged ``key-figure``, "" without one.

    Committed notebooks have pictures. A figure that a notebook's page draws is not drawn again.
    """
    for _, output in rendering.outputs_of(*rendering.tagged(run.nb, "key-figure")):
        png = output.get("data", {}).get("image/png", "")
        if png:
            label = output.metadata.get("image/png", {}).get("alt", "")
            label = html.escape(label, quote=True)
            return PICTURE.format(label=label, data=png.replace("\n", ""))
    return ""


def explorer(runs: list[Run]) -> str:
    """Return the live explorer if a notebook shows the bundled images.

    Otherwise return the first picture of an explorer, "" without one.
    """
    pictures = [(run, picture) for run in runs for picture in explorers_of(run)]
    if any(rendering.is_of_bundled_images(picture) for _, picture in pictures):
        frame = rendering.FRAME.format(page=rendering.LIVE, state="")
        return LIVE.format(page=rendering.LIVE, frame=frame)
    for run, picture in pictures:
        return STILL.format(picture=picture, page=run.page)
    return ""


def card_of(run: Run) -> str:
    """Return a notebook's card: its question, its finding, its key figure and its failure."""
    error = run.error
    return CARD.format(
        page=run.page,
        number=run.number,
        question=html.escape(rendering.question_of(run.nb)),
        finding=html.escape(rendering.finding_of(run.nb)),
        figure=picture_of(run),
        failure=FAILURE.format(error=html.escape(error)) if error else "",
    )


def lede_of(answer: str) -> str:
    """Return the answer of the main lesson: its finding, and below it what was measured.

    Further lines are about the figure, which is not shown here.
    """
    finding, source, *_ = map(html.escape, f"{answer}\n".split("\n"))
    unit = " MACs are multiply-accumulate operations." * ("MACs" in finding)
    return f'<p class="lede"><b>{finding}</b><br>{source}{unit}</p>'


def cards(runs: Iterable[Run]) -> str:
    """Return a grid of cards, "" without notebooks."""
    found = [card_of(run) for run in runs]
    return "\n".join(['<div class="cards">', *found, "</div>"]) if found else ""


def footer(runs: list[Run], about: str, site: str) -> str:
    """Return when the notebooks were executed, and links to them and to the site's glossary."""
    if not about:
        date = datetime.datetime.now().strftime(DATE)
        seconds = sum(run.seconds for run in runs)
        about = f"Executed on {date}, {seconds:.0f} s in all."
    executed = [
        f'<a href="{run.page}.ipynb" title="{run.seconds:.1f} s">{run.number}</a>'
        for run in runs
        if run.seconds
    ]
    links = f"Executed notebooks: {' '.join(executed)} · " if executed else ""
    glossary = '<a href="../glossary.html">Glossary</a>' if site else ""
    return f"<footer><p>{about} {links}{glossary}</p></footer>"


def write_report(runs: Iterable[Run], out: Path, about: str = "", site: str = "") -> Path:
    """Write executed notebooks as pages in ``out``, with a home.

    Parameters
    ----------
    runs : iterable of Run
        The notebooks in their order.
    out : Path
        An existing folder. It gets ``index.html`` and the files of :func:`rendering.write`.
    about : str
        A sentence for the end of the home, instead of the date and the duration of the runs.
    site : str
        The address of the site's first page, relative to ``out``. All pages link to it.

    Returns
    -------
    Path
        The home.
    """
    runs = list(runs)
    rendering.write(runs, out, site)
    index = out / "index.html"
    index.write_text(format_home(runs, about, site), encoding="utf-8")
    return index


def format_home(runs: list[Run], about: str = "", site: str = "") -> str:
    """Return the home as HTML, see :func:`write_report`."""
    lessons = [run for run in runs if run.number not in PAPER]
    paper = [run for run in runs if run.number in PAPER]
    findings = [rendering.answer_of(run.nb) for run in lessons if run.number == MAIN]
    parts = [
        '<div class="home">',
        f"<h1>{PURPOSE}</h1>",
        *(lede_of(text) for text in findings if text),
        explorer(runs),
        "<h2>Lessons</h2>" * bool(lessons),
        cards(lessons),
        f"<h2>The paper</h2><p>{ABOUT_PAPER}</p>" * bool(paper),
        cards(paper),
        footer(runs, about, site),
        "</div>",
    ]
    top = f'<a href="{site}">cascadelib</a>' if site else ""
    body = "\n".join(filter(None, parts))
    return rendering.PAGE.format(title="notebooks", top=top, contents="", body=body)
