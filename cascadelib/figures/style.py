"""The look of all figures: template, colours, axes, and the traces that several figures share.

A :class:`Figure` leaves a kernel as plotly's own JSON and nothing else, so that a notebook keeps
the numbers alone: plotly's "notebook" renderer would add a copy of plotly.js (5 MB). Plotly's own
settings, and a renderer that the user chose, stay.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from ..cost_kinds import cost_of
from ..tables import arrow, digits, percents

PLOTLY_JSON = "application/vnd.plotly.v1+json"
"""MIME type under which a figure sits in a notebook's outputs."""


def renderer_without_script(default: str | None) -> str | None:
    """Plotly's renderer string without ``notebook`` where it holds "plotly_mimetype" as well.

    Others are returned as they are.
    """
    names = (default or "").split("+")
    if "plotly_mimetype" not in names:
        return default
    return "+".join(name for name in names if name != "notebook")


MARKS = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "\n": "<br>"})


def plain(text: Any) -> Any:
    """Text that a figure shows as it is: plotly reads some HTML, and TeX, in names.

    Of an array of text each entry is made plain; numbers stay.
    """
    if isinstance(text, str):
        return text.translate(MARKS)
    if np.ndim(text) and np.asarray(text).dtype.kind in "OU":
        return [plain(each) for each in text]
    return text


class Figure(go.Figure):
    """A plotly figure whose names are text, and that a notebook shows as plotly's JSON alone."""

    def add_trace(self, trace: Any, *place: Any, **more: Any) -> "Figure":
        """As plotly does it; name, text and categories are :func:`plain`."""
        for key in {"name", "text", "x", "y"}.intersection(trace):
            trace[key] = plain(trace[key])
        return super().add_trace(trace, *place, **more)

    def titled(self, title: str, **layout: Any) -> "Figure":
        """The figure with a title, whose second line is small, and more of the layout."""
        head, _, note = plain(title).partition("<br>")
        if note:
            head += f"<br><sup>{note}</sup>"
        return self.update_layout(title=head, **layout)

    def _ipython_display_(self) -> None:
        renderer = renderer_without_script(pio.renderers.default)
        if renderer:
            pio.show(self, renderer=renderer)
        else:
            print(repr(self))


# Near to Okabe and Ito (2008), moved until any two, GREY and BLACK with them, differ for
# deuteranopes as well and each has a contrast of 3 : 1 to its page: tests/figures/test_style.py
# measures that.
PALETTE = "#0073B5 #A80000 #009D6C #CA73AD #C58800 #009DD8 #9F6500 #0033A4 #4D5428 #C20047".split()
GREY = "#8C8C8C"
BLACK = "#222222"
GRID = "#E6E6E6"
LINE = "#444444"

SYMBOLS = "circle square diamond triangle-up cross x star pentagon hexagon hourglass".split()
DASHES = ["solid", "dash"]
HOVER = "%{text}<br>%{y:.2%} at %{x}<extra></extra>"  # of what has a name, a cost and an accuracy
FRONT_HOVER = "%{y:.2%} at %{x}<br>%{text}<extra></extra>"
DOTTED = {"color": GREY, "dash": "dot"}
GAIN = "baseline cost ÷ cascade cost"
GAIN_AXIS = {"type": "log", "tickvals": [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000]}

AXIS = {
    "gridcolor": GRID,
    "linecolor": LINE,
    "ticks": "outside",
    "zeroline": False,
    "automargin": True,
    "title": {"font": {"size": 13}},
}
TEMPLATE = go.layout.Template(
    layout={
        "width": 900,
        "height": 460,
        "colorway": PALETTE,
        "font": {"family": "Inter, Helvetica, Arial, sans-serif", "size": 13, "color": BLACK},
        "title": {"font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 20, "t": 50, "b": 55},
        "hoverlabel": {"align": "left", "namelength": -1},
        "legend": {"bgcolor": "rgba(255,255,255,0.8)"},
        **dict.fromkeys(("xaxis", "yaxis"), AXIS),
    }
)


def colour(i: int) -> str:
    """The colour of the i-th of many lines.

    After the last colour comes the first again, then with another :func:`dash`.
    """
    return PALETTE[i % len(PALETTE)]


def dash(i: int) -> str:
    """The dash of the i-th of many lines."""
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
    """A trace that is a line from array to array; trace: what else it has, its name above all."""
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
    """A line over rows of cascades; hovering shows models, thresholds and exit rates."""
    trace |= {"text": cascade_hover(table), "hovertemplate": FRONT_HOVER}
    add_line(fig, table[x], table[y], color, 2, **trace)


def add_improvement(
    fig: go.Figure,
    curve: pd.DataFrame,
    label: str,
    color: str,
    width: float = 2,
    **trace: Any,
) -> None:
    """A line of improvement factors, up to where the front reaches.

    curve: a table with accuracy and improvement.
    """
    curve = curve[curve["improvement"] > 0]
    hover = "%{y:.2f} × at %{x:.2%}<extra>%{fullData.name}</extra>"
    trace |= {"name": label, "hovertemplate": hover}
    add_line(fig, curve["accuracy"], curve["improvement"], color, width, **trace)


def cost_axis(cost: str, costs: Any = ()) -> dict:
    """A log axis for a kind of cost: a key of COSTS, or any other word as its own title.

    costs: what the axis shows; where that spans less than a factor of 300, there are labels between
    the powers of ten.
    """
    kind = cost_of(cost)
    prefixed = kind.unit in ("MACs", "s")
    short = len(costs) and np.nanmax(costs) < 300 * np.nanmin(costs)
    return {
        "type": "log",
        "title": plain(kind.title),
        "exponentformat": "SI",
        "tickformat": "~s" if prefixed else "",  # 10µs
        "hoverformat": ".4s" if prefixed else "",  # 27.39µs
        "ticksuffix": "s" if kind.unit == "s" else "",
        "dtick": None if short else 1,
        "nticks": 4,
        "minor": {"dtick": "D1"},
    }


def figure(title: str, **layout: Any) -> Figure:
    """An empty figure in the project's template."""
    return Figure(layout={"template": TEMPLATE}).titled(title, **layout)


def per_cent_axis(**axis: Any) -> dict:
    """Settings of an axis of fractions."""
    return {"tickformat": ".4~p", **axis}


def decimated(table: pd.DataFrame, most: int = 1500) -> pd.DataFrame:
    """At most ``most`` rows, evenly spread, first and last kept: what a screen can show."""
    rows = np.linspace(0, len(table) - 1, min(most, len(table))).astype(int)
    return table.iloc[np.unique(rows)]


def cascade_hover(table: pd.DataFrame) -> list[str] | None:
    """One text per row of a table of cascades, in lines: models, thresholds, exit rates.

    None where the table has none of these columns.
    """
    shows = {"models": arrow, "thresholds": digits, "exit_rates": percents}
    parts = [table[column].map(show) for column, show in shows.items() if column in table]
    return ["\n".join(lines) for lines in zip(*parts)] if parts else None


def add_models(fig: go.Figure, rows: pd.DataFrame, **style: Any) -> None:
    """A trace of single models by cost and accuracy; hovering shows the name.

    rows: cost, accuracy; index: names.
    """
    fig.add_scatter(
        x=rows["cost"], y=rows["accuracy"], text=rows.index, hovertemplate=HOVER, **style
    )


def hull_line(singles: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(cost, accuracy) along the hull of ``front.singles``, at close steps.

    On a log axis, which has no place for what is free, the straight parts of the hull are curves.
    """
    hull = singles[singles["on_hull"]]
    corners = hull["cost"].to_numpy()
    parts = [corners[:1]]
    for cheap, dear in zip(corners, corners[1:]):
        parts.append(np.geomspace(cheap or dear / 1e3, dear, 25)[1:])
    cost = np.concatenate(parts)
    return cost, np.interp(cost, corners, hull["accuracy"])


def add_hull(fig: go.Figure, singles: pd.DataFrame, **at: Any) -> None:
    """What random routing between single models gives, as a grey line.

    singles: ``front.singles``.
    """
    x, y = hull_line(singles)
    look = {"mode": "lines", "line": DOTTED, "hoverinfo": "skip"}
    fig.add_scatter(x=x, y=y, name="random routing (hull)", **look, **at)


def add_singles(
    fig: go.Figure,
    singles: pd.DataFrame,
    families: pd.Series | None = None,
    **at: Any,
) -> go.Figure:
    """Single models as points (by family where given) and their hull as a grey line."""
    add_hull(fig, singles, **at)
    groups = {"single models": singles.index}
    if families is not None:
        groups = {family: families.index[families == family] for family in families.unique()}
    for i, (group, members) in enumerate(groups.items()):
        rows = singles.loc[singles.index.intersection(members)]
        marker = {
            "size": 8,
            "opacity": np.where(rows["on_front"], 1.0, 0.4),
            "color": GREY if families is None else colour(i),
            "symbol": SYMBOLS[i % len(SYMBOLS)],
        }
        add_models(fig, rows, name=group, mode="markers", marker=marker, **at)
    return fig
