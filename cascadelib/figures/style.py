"""Style of all figures: template, colours, axes and common traces.

A notebook stores a :class:`Figure` only as plotly's JSON, without the copy of plotly.js (5 MB) that
plotly's "notebook" renderer adds. Plotly's settings and a renderer that the user set do not change.
JupyterLab's dark theme inverts the lightness of figures (THEME).
"""

import re
from collections.abc import Iterable
from html import unescape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from IPython.display import display

from .cost_kinds import cost_of
from .front_end import displays_widgets, without_tex
from .tables import POINTS, arrow, digits, percents, select_evenly

PLOTLY_JSON = "application/vnd.plotly.v1+json"
"""MIME type of a figure in a notebook's outputs."""
DARK = (
    'body[data-jp-theme-light="false"] .jp-RenderedPlotly :is(.main-svg, .plot-img) '
    "{filter: invert(0.93) hue-rotate(180deg) saturate(2.5)}"
)
"""CSS that restyles figures in JupyterLab's dark theme."""
THEME = (
    f'<style class="cl-theme">{DARK} .jp-OutputArea-child:has(.cl-theme) {{display: none}}</style>'
)
"""HTML that a notebook outputs to restyle figures in JupyterLab. It has no height."""


def renderer_without_script(default: str | None) -> str | None:
    """Remove ``notebook`` from plotly's renderers if "plotly_mimetype" is among them."""
    names = (default or "").split("+")
    if "plotly_mimetype" not in names:
        return default
    return "+".join(name for name in names if name != "notebook")


MARKS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "\n": "<br>"})


def escape_text(text: Any) -> Any:
    """Escape text, in which plotly would interpret some HTML and TeX.

    An array of text is escaped entry by entry. Numbers are returned unchanged.
    """
    if isinstance(text, str):
        return text.translate(MARKS)
    if np.ndim(text) and np.asarray(text).dtype.kind in "OU":
        return [escape_text(each) for each in text]
    return text


class Figure(go.Figure):
    """Plotly figure with escaped names, which a notebook stores only as plotly's JSON."""

    def add_trace(self, trace: Any, *place: Any, **more: Any) -> "Figure":
        """Add a trace with an escaped name, text and categories."""
        for key in {"name", "text", "x", "y"}.intersection(trace):
            trace[key] = escape_text(trace[key])
        return super().add_trace(trace, *place, **more)

    def titled(self, title: str, **layout: Any) -> "Figure":
        """Set a title, whose second line is small, and other parts of the layout."""
        head, _, note = escape_text(title).partition("<br>")
        if note:
            head += f"<br><sup>{note}</sup>"
        return self.update_layout(title=head, **layout)

    def _ipython_display_(self) -> None:
        renderer = renderer_without_script(pio.renderers.default)
        if not renderer:
            print(repr(self))
            return
        if displays_widgets():
            display({"text/html": THEME}, raw=True)
        shown = go.Figure(self)
        if title := self.layout.title.text:  # as text it wraps, but plotly would cut it
            head, _, note = title.partition("<br>")
            note = re.sub("</?sup>", "", note)
            text = unescape(re.sub("<.*?>", "", title.replace("<br>", "\n")))
            page = without_tex(f"<p><b>{head}</b><br>{note}</p>".replace("&#36;", "$"))
            display({"text/html": page, "text/plain": text}, raw=True)
            shown.update_layout(title=None, margin={"t": 30 if has_panel_titles(shown) else 10})
        pio.show(shown, renderer=renderer)


def has_panel_titles(figure: go.Figure) -> bool:
    """Return whether a figure of several panels has titles above its first row."""
    notes = figure.layout.annotations
    return any((note.xref, note.yref, note.y) == ("paper", "paper", 1) for note in notes)


# The colours of Okabe and Ito (2008), adjusted. Any two colours, including GREY and BLACK, differ
# for deuteranopes. Each has a contrast of 3 : 1 to the page. tests/figures/test_style.py checks
# both.
PALETTE = "#0073B5 #A80000 #009D6C #CA73AD #C58800 #009DD8 #9F6500 #0033A4 #4D5428 #C20047".split()
HELD_OUT = PALETTE[1]
"""Colour of held-out data in all figures."""
GREY = "#8C8C8C"
BLACK = "#222222"
GRID = "#E6E6E6"
LINE = "#444444"

DASHES = ["solid", "dash"]
HOVER = "%{text}<br>%{y:.2%} at %{x}<extra></extra>"
FRONT_HOVER = "%{y:.2%} at %{x}<br>%{text}<extra></extra>"
DOTTED = {"color": GREY, "dash": "dot"}
KEY = (
    "Dots: single models (light: a cheaper one is as accurate). Dotted line: inputs sent at random "
    "to one of two single models."
)
GAIN = "baseline cost ÷ cascade cost"


def factor_ticks(ticks: Iterable[float]) -> dict:
    """Return the ticks of an axis of factors. Log axes have no suffixes at tickvals."""
    return {"tickvals": ticks, "ticktext": [f"{tick:g}×" for tick in ticks]}


GAIN_AXIS = {
    "type": "log",
    **factor_ticks([0.01, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100, 1000]),
}
IMPROVEMENT = "cost of single models ÷ cost of<br>cascades, at equal accuracy"
SAVING = "cost of the large model ÷<br>cost of the cascade"

AXIS = {
    "gridcolor": GRID,
    "linecolor": LINE,
    "ticks": "outside",
    "zeroline": False,
    "automargin": True,
    "title": {"font": {"size": 13}, "standoff": 8},
}
TEMPLATE = go.layout.Template(
    layout={
        "autosize": True,  # a figure is as wide as its container
        "height": 420,
        "colorway": PALETTE,
        "font": {"family": "Inter, Helvetica, Arial, sans-serif", "size": 13, "color": BLACK},
        "title": {"font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 10, "r": 10, "t": 50, "b": 10},
        "hoverlabel": {"align": "left", "namelength": -1},
        "legend": {"bgcolor": "rgba(255,255,255,0.8)"},
        **dict.fromkeys(("xaxis", "yaxis"), AXIS),
    }
)


def colour(i: int) -> str:
    """Return the colour of the i-th line. Colours repeat with another :func:`dash`."""
    return PALETTE[i % len(PALETTE)]


def dash(i: int) -> str:
    """Return the dash of the i-th line."""
    return DASHES[i // len(PALETTE) % 2]


def add_line(
    fig: go.Figure,
    x: Any,
    y: Any,
    color: str,
    width: float = 1.6,
    dash: str | None = None,
    **trace: Any,
) -> None:
    """Add a line of x and y. trace: other properties, such as its name."""
    line = {"color": color, "width": width, "dash": dash}
    fig.add_scatter(x=x, y=y, line=line, **{"mode": "lines"} | trace)


def add_cascades(
    fig: go.Figure,
    table: pd.DataFrame,
    color: str,
    x: str = "cost",
    y: str = "accuracy",
    **trace: Any,
) -> None:
    """Add a line over cascades, with models, thresholds and exit rates as hover text."""
    table = select_evenly(table)
    shows = {"models": arrow, "thresholds": digits, "exit_rates": percents}
    parts = [table[column].map(show) for column, show in shows.items() if column in table]
    text = ["\n".join(lines) for lines in zip(*parts)] or None
    trace |= {"text": text, "hovertemplate": FRONT_HOVER}
    add_line(fig, table[x], table[y], color, 2, **trace)


def add_improvement(
    fig: go.Figure,
    curve: pd.DataFrame,
    label: str,
    color: str,
    width: float = 2,
    **trace: Any,
) -> None:
    """Add a line of improvement factors at the accuracies that the front reaches.

    curve: table with accuracy and improvement.
    """
    curve = curve[curve["improvement"] > 0]
    hover = "%{y:.2f}× at %{x:.2%}<extra>%{fullData.name}</extra>"
    trace |= {"name": label, "hovertemplate": hover}
    add_line(fig, curve["accuracy"], curve["improvement"], color, width, **trace)


def cost_axis(cost: str, costs: Any = ()) -> dict:
    """Return a log axis for a kind of cost, a key of COSTS or the title of the axis.

    costs: values on the axis. If they span less than a factor of 300, labels between the powers of
    ten are added.
    """
    kind = cost_of(cost)
    prefixed = kind.unit in ("MACs", "s")
    short = len(costs) and np.nanmax(costs) < 300 * np.nanmin(costs)
    return {
        "type": "log",
        "title": escape_text(kind.title),
        "exponentformat": "SI",
        "tickformat": "~s" if prefixed else "",  # 10µs
        "hoverformat": ".4s" if prefixed else "",  # 27.39µs
        "ticksuffix": "s" if kind.unit == "s" else "",
        "dtick": None if short else 1,
        "nticks": 4,
        "minor": {"dtick": "D1"},
    }


def axis_of(column: str) -> dict:
    """Return the axis of a column of a result table, with its name in words as the title."""
    title = column.replace("_", " ")
    if "improvement" in column:
        return {"title": title.replace("improvement", IMPROVEMENT), **GAIN_AXIS}
    if column == "saving":
        return {"title": SAVING, **GAIN_AXIS}
    if is_in_points(column):
        return {"title": f"{title}, points"}
    if any(word in column for word in ("accuracy", "exit", "share")):
        return per_cent_axis(title=title)
    return {"title": title}


def is_in_points(column: str) -> bool:
    """Return whether a column has differences of shares, which are shown in percentage points."""
    return any(word in str(column) for word in (*POINTS, "gap"))


def in_points(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its differences of shares in percentage points."""
    return table.assign(**100 * table[list(filter(is_in_points, table))])


def label(fig: go.Figure, x: float, y: float, text: str, color: str = BLACK, **place: Any) -> None:
    """Write a label at a point of the axes, in the colour of what it names."""
    x, y = (
        np.log10(value) if axis.type == "log" else value
        for value, axis in ((x, fig.layout.xaxis), (y, fig.layout.yaxis))
    )
    look = {"font": {"color": color, "size": 12}}
    fig.add_annotation(x=x, y=y, text=escape_text(text), **{"showarrow": False} | look | place)


def figure(title: str, **layout: Any) -> Figure:
    """Return an empty figure with the project's template."""
    return Figure(layout={"template": TEMPLATE}).titled(title, **layout)


def per_cent_axis(**axis: Any) -> dict:
    """Return an axis of fractions, shown as per cent."""
    return {"tickformat": ".4~p", **axis}


def add_models(fig: go.Figure, rows: pd.DataFrame, **style: Any) -> None:
    """Add single models by cost and accuracy, with their names as hover text.

    rows: columns cost and accuracy, indexed by name.
    """
    fig.add_scatter(
        x=rows["cost"], y=rows["accuracy"], text=rows.index, hovertemplate=HOVER, **style
    )


def add_hull(fig: go.Figure, singles: pd.DataFrame, **at: Any) -> None:
    """Add random routing between single models (the hull of ``front.singles``) as a grey line."""
    hull = singles[singles["on_hull"]]
    corners = hull["cost"].to_numpy()
    parts = [corners[:1]]
    for low, high in zip(corners, corners[1:]):
        # On a log axis, the straight parts of the hull are curves, and 0 cannot be shown.
        parts.append(np.geomspace(low or high / 1e3, high, 25)[1:])
    cost = np.concatenate(parts)
    accuracy = np.interp(cost, corners, hull["accuracy"])
    look = {"mode": "lines", "line": DOTTED, "hoverinfo": "skip"}
    fig.add_scatter(x=cost, y=accuracy, name="random routing (hull)", **look, **at)


def add_singles(fig: go.Figure, singles: pd.DataFrame, **at: Any) -> go.Figure:
    """Add single models as points, and their hull as a grey line."""
    add_hull(fig, singles, **at)
    opacity = np.where(singles["on_front"], 1.0, 0.55)
    marker = {"size": 8, "opacity": opacity, "color": GREY}
    add_models(fig, singles, name="single models", mode="markers", marker=marker, **at)
    return fig
