"""Write the report and its home: the saving, the live explorer, and a card per notebook.

All figures and pictures are those of the executed notebooks. A notebook that is missing or failed
leaves out its part.
"""

import base64
import datetime
import html
import io
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from cascadelib.figures.style import PLOTLY_JSON

from . import report

PURPOSE = "Run a cheap model first, and an expensive one only when it is needed"
PAPER = (
    "The notebooks test the claims of <i>Efficient Inference With Model Cascades</i> "
    "(Lebovitz, Cavigelli, Magno and Müller, TMLR 2023)."
)
SAVINGS = ("02", "06", "08")  # notebooks whose finding states what the run saves, in this order
MOST_TILES = 4
GROUPS = {
    "Does it save?": ("02", "03", "06"),
    "What matters?": ("01", "04", "07"),
    "Does it hold?": ("05", "10", "11"),
    "Can I run it?": ("08", "09"),
}
OTHERS = "Other notebooks"
# The figure of each notebook: its number, from the end if negative. The suffix of the axes of one
# panel. In a committed picture, the same part as shares: left, top, right, bottom.
KEY_FIGURES = {
    "01": (0, "", (0, 0.07, 0.79, 1)),
    "02": (0, "", (0, 0.1, 0.48, 0.77)),
    "03": (0, "2", (0.48, 0.1, 1, 0.87)),
    "04": (4, "", (0, 0.08, 1, 0.92)),
    "05": (-2, "", (0, 0.1, 0.97, 1)),
    "06": (1, "", (0, 0.09, 0.82, 1)),
    "07": (0, "8", (0, 0.08, 0.51, 0.48)),
    "08": (3, "", (0, 0.09, 0.8, 1)),
    "09": (0, "", (0, 0.09, 0.79, 1)),
    "10": (0, "2", (0.52, 0.1, 1, 0.8)),
    "11": (0, "", (0, 0.1, 0.97, 1)),
}
SMALL_AXIS = {"domain": [0, 1], "matches": None, "showticklabels": True, "tickfont": {"size": 10}}
SMALL_LAYOUT = {
    "showlegend": False,
    "height": 210,
    "margin": {"l": 10, "r": 24, "t": 8, "b": 10},
}
MOST_LETTERS = {"x": 24, "y": 36}  # in a line of an axis title
LONG = ("text", "texttemplate", "hovertext", "hovertemplate", "customdata", "legend", "name")
TILE = '<a class="tile" href="{page}.html"><b>{value}</b><span>{text}</span></a>'
LIVE = """<section class="live"><p><b>Try it.</b> Drag the threshold. The cheap model answers the
images above it, the expensive model answers the others. <a href="{page}">Full page</a></p>
{frame}</section>"""
STILL = """<section class="live still">{picture}<p><a href="{page}.html">The figures of this
cascade</a></p></section>"""
CARD = """<a class="card" href="{page}.html">{figure}<p class="tag">{number} · {name}</p>
<h3>{claim}</h3><p>{detail}</p>{failure}</a>"""
FIGURE = '<div class="fig" role="img" aria-label="{label}">{content}</div>'
PICTURE = '<img src="data:image/png;base64,{data}" alt="">'
FAILURE = '<p class="failed">failed in <code>{error}</code></p>'
DATE = "%Y-%m-%d %H:%M"


# Figures in the notebooks' answers: the notebook, a pattern, and two templates of its match, for
# the figure and for the text.
TILES = (
    ("02", r"at (\S+×) lower cost", r"\1", "lower cost than the best single model"),
    (
        "02",
        r"On (\S+), .*? has (\S+%) accuracy, the single model (\S+%)",
        r"\2",
        r"accuracy on \1 (best single model: \3)",
    ),
    (
        "05",
        r"On ([1-9]\d*) shifted splits .* significantly worse on (\d+)",
        r"\2 of \1",
        "shifts of the data at which accuracy is significantly below the large model's",
    ),
    (
        "08",
        r"(\S+%) of the cost suffices for a certified loss of (\S+%)\.",
        r"\1",
        r"of the cost for another cascade, guaranteed to lose at most \2 of accuracy",
    ),
    ("11", r"Of (\d+) testable claims, (\d+) hold", r"\2 of \1", "testable claims hold"),
    (
        "06",
        r"saves (\S+×) at equal accuracy\. On held-out (\S+)",
        r"\1",
        r"lower cost at equal accuracy, on \2",
    ),
    (
        "09",
        r"(\S+%) of the calls guarantee at most (\S+%) changed answers",
        r"\1",
        r"of the calls, for at most \2 changed answers",
    ),
)


@dataclass(frozen=True)
class Entry:
    """A notebook on the home. Without an execution it has no outputs."""

    run: report.Run

    @cached_property
    def nb(self) -> NotebookNode:
        """The executed notebook, or its source without outputs."""
        if self.run.executed.exists():
            return nbformat.read(self.run.executed, as_version=4)
        nb = nbformat.read(self.run.source, as_version=4)
        for cell in nb.cells:
            cell.pop("outputs", None)
        return nb

    @property
    def number(self) -> str:
        """The first two characters of the notebook's name."""
        return self.run.source.stem[:2]

    @property
    def page(self) -> str:
        """The name of the notebook's page, without its suffix."""
        return html.escape(self.run.source.stem)

    @property
    def outputs(self) -> list[NotebookNode]:
        """All outputs with data."""
        cells = [cell.get("outputs", []) for cell in self.nb.cells]
        return [output for outputs in cells for output in outputs if "data" in output]


def thumbnail_of(entry: Entry) -> str:
    """Return the key figure of a notebook in small, "" without figures."""
    figures = [each for each in entry.outputs if {PLOTLY_JSON, "image/png"} & each.data.keys()]
    if not figures:
        return ""
    place, panel, shares = KEY_FIGURES.get(entry.number, (0, "", (0, 0, 1, 1)))
    output = figures[place if -len(figures) <= place < len(figures) else 0]
    if PLOTLY_JSON in output.data:
        figure = output.data[PLOTLY_JSON]
        label = report.title_of(figure)
        content = report.live_figure(panel_of(figure, panel))
    else:
        label = output.metadata.get("image/png", {}).get("alt", "")
        png = cropped(base64.b64decode(output.data["image/png"]), shares)
        content = PICTURE.format(data=base64.b64encode(png).decode())
    return FIGURE.format(label=html.escape(label, quote=True), content=content)


def panel_of(figure: dict, panel: str) -> dict:
    """Return one panel of a plotly figure without its title, legend and texts.

    ``panel`` is the suffix of its axes. If there is no such panel, the first one is returned.
    """
    layout = figure.get("layout", {})
    panel = panel if f"xaxis{panel}" in layout else ""
    small = SMALL_LAYOUT | {key: layout[key] for key in ("template", "barmode") if key in layout}
    for axis, other in (("x", "y"), ("y", "x")):
        full = layout.get(f"{axis}axis{panel}", {})
        words = full.get("title", {}).get("text") or ""
        lines = "<br>".join(textwrap.wrap(words, MOST_LETTERS[axis], break_long_words=False))
        title = {"text": lines, "font": {"size": 11}, "standoff": 4}
        small[f"{axis}axis"] = {**full, **SMALL_AXIS, "anchor": other, "title": title}
    small["shapes"] = [
        shape | {key: shape[key].replace(panel, "") for key in ("xref", "yref")}
        for shape in layout.get("shapes", [])
        if shape["xref"].split()[0] == f"x{panel}"
    ]
    traces = [trace for trace in figure["data"] if trace.get("xaxis", "x") == f"x{panel}"]
    data = [{key: trace[key] for key in trace if key not in LONG} for trace in traces]
    for trace in data:
        trace |= {"xaxis": "x", "yaxis": "y"}
        if "text" in trace.get("mode", ""):
            trace["mode"] = "markers" if "markers" in trace["mode"] else "none"
    return {"data": data, "layout": small, "config": {"staticPlot": True}}


def cropped(png: bytes, shares: tuple[float, float, float, float]) -> bytes:
    """Return the part of a picture within these shares of its width and height."""
    picture = Image.open(io.BytesIO(png))
    width, height = picture.size
    x0, y0, x1, y1 = shares
    box = (int(x0 * width), int(y0 * height), int(x1 * width), int(y1 * height))
    file = io.BytesIO()
    picture.crop(box).save(file, "PNG", optimize=True)
    return file.getvalue()


def headline(entries: list[Entry]) -> tuple[str, str]:
    """Return the title, with the saving of the run, and the sentence that follows it."""
    for number in SAVINGS:
        for entry in entries:
            finding = report.finding_of(entry.nb)
            if entry.number == number and finding:
                return f"{PURPOSE}: {finding[0].lower()}{finding[1:]}", detail_of(entry)
    return f"{PURPOSE}.", ""


def detail_of(entry: Entry) -> str:
    """Return the second sentence of an answer, or the full answer if it has no short claim."""
    answer = report.answer_of(entry.nb)
    if not report.finding_of(entry.nb):
        return answer
    return "".join(report.sentences(answer)[1:2]).strip()


def tiles(entries: list[Entry]) -> str:
    """Return the first figures that the answers contain."""
    found = []
    for number, pattern, *templates in TILES:
        for entry in entries:
            match = re.search(pattern, report.answer_of(entry.nb))
            if entry.number == number and match:
                value, text = (html.escape(match.expand(template)) for template in templates)
                found.append(TILE.format(page=entry.page, value=value, text=text))
    return "\n".join(['<div class="tiles">', *found[:MOST_TILES], "</div>"]) if found else ""


def explorer(entries: list[Entry]) -> str:
    """Return the live explorer if a notebook shows the bundled images.

    Otherwise return the first picture of an explorer, "" without one.
    """
    pictures = [
        (entry, text)
        for entry in entries
        for text in (output.data.get("text/html", "") for output in entry.outputs)
        if "cl-still" in text
    ]
    if any(report.is_of_bundled_images(text) for _, text in pictures):
        return LIVE.format(page=report.LIVE, frame=report.FRAME.format(page=report.LIVE, state=""))
    if not pictures:
        return ""
    entry, picture = pictures[0]
    return STILL.format(picture=picture, page=entry.page)


def card_of(entry: Entry) -> str:
    """Return a notebook's card: its key figure, its finding or question, and its failure."""
    error = entry.run.error
    return CARD.format(
        page=entry.page,
        figure=thumbnail_of(entry),
        number=entry.number,
        name=html.escape(entry.run.source.stem[3:].replace("_", " ")),
        claim=html.escape(report.finding_of(entry.nb) or report.question_of(entry.nb)),
        detail=html.escape(detail_of(entry)),
        failure=FAILURE.format(error=html.escape(error)) if error else "",
    )


def cards(entries: list[Entry]) -> str:
    """Return the cards of all notebooks, by the questions of GROUPS."""
    known = {number for numbers in GROUPS.values() for number in numbers}
    groups = GROUPS | {OTHERS: tuple({entry.number for entry in entries} - known)}
    parts = []
    for question, numbers in groups.items():
        found = [card_of(entry) for entry in entries if entry.number in numbers]
        if found:
            parts += [f"<h2>{question}</h2>", '<div class="cards">', *found, "</div>"]
    return "\n".join(parts)


def footer(entries: list[Entry], about: str, site: str) -> str:
    """Return when the notebooks were executed, and links to them and to the glossary."""
    if not about:
        date = datetime.datetime.now().strftime(DATE)
        seconds = sum(entry.run.seconds for entry in entries)
        about = f"Executed on {date}, {seconds:.0f} s in all."
    executed = [
        f'<a href="{entry.page}.ipynb" title="{entry.run.seconds:.1f} s">{entry.number}</a>'
        for entry in entries
        if entry.run.seconds
    ]
    links = f"Executed notebooks: {' '.join(executed)} · " if executed else ""
    glossary = "../glossary.html" if site else "glossary.html"
    return f'<footer><p>{about} {links}<a href="{glossary}">Glossary</a></p></footer>'


def write_report(runs: Iterable[report.Run], out: Path, about: str = "", site: str = "") -> Path:
    """Write executed notebooks as pages in ``out``, with a home.

    Parameters
    ----------
    runs : iterable of Run
        The notebooks in their order.
    out : Path
        An existing folder. It gets ``index.html`` and the files of :func:`report.write`.
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
    report.write(runs, out, site)
    index = out / "index.html"
    index.write_text(format_home(runs, about, site), encoding="utf-8")
    return index


def format_home(runs: Iterable[report.Run], about: str = "", site: str = "") -> str:
    """Return the home as HTML, see :func:`write_report`."""
    entries = [Entry(run) for run in runs]
    title, detail = headline(entries)
    parts = [
        '<div class="home">',
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="lede">{html.escape(detail)} {PAPER}</p>',
        tiles(entries),
        explorer(entries),
        cards(entries),
        footer(entries, about, site),
        "</div>",
    ]
    top = report.top_of([], 0, site) if site else ""
    body = "\n".join(filter(None, parts))
    return report.PAGE.format(title="report", top=top, contents="", body=body)
