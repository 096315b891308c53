"""How figures leave a kernel: as plotly's own JSON and nothing else.

A :class:`Figure` sees to that; plotly's own settings stay as they are. JupyterLab, VS Code and Colab draw that JSON as
a live figure. The notebook keeps only the numbers, where plotly's "notebook" renderer would add a copy of plotly.js
(5 MB) to the first figure.
``notebooks/run.py`` turns the same JSON into live figures in the HTML report (:mod:`report` beside it) and into
PNGs in the committed notebooks (:mod:`committed`), so that a kernel never starts a browser. A renderer that the
user chose (``PLOTLY_RENDERER``, ``plotly.io.renderers.default``) stays, short of that copy.
"""

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from ..cost_kinds import COSTS
from ..tables import arrow, digits, percents

PLOTLY_JSON = "application/vnd.plotly.v1+json"
"""MIME type under which a figure sits in a notebook's outputs."""


def renderer_without_script(default: str | None) -> str | None:
    """Plotly's renderer string without ``notebook``, e.g. "plotly_mimetype+notebook" → "plotly_mimetype".

    Strings that do not hold both are returned as they are.
    """
    names = (default or "").split("+")
    if "plotly_mimetype" not in names:
        return default
    return "+".join(name for name in names if name != "notebook")


class Figure(go.Figure):
    """A plotly figure that a notebook shows as plotly's JSON alone, whatever copy of plotly.js the renderer adds."""

    def _ipython_display_(self):
        renderer = renderer_without_script(pio.renderers.default)
        pio.show(self, renderer=renderer) if renderer else print(repr(self))


# Okabe and Ito (2008), readable with every colour vision, then darker companions
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B00", "#5D3A9B", "#8A8D00", "#B2182B"]
GREY, BLACK = "#8C8C8C", "#222222"

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
        "hoverlabel": {"align": "left"},
        "legend": {"bgcolor": "rgba(255,255,255,0.8)"},
        **{
            f"{axis}axis": {"gridcolor": "#E6E6E6", "linecolor": "#444", "ticks": "outside", "zeroline": False}
            for axis in "xy"
        },
    }
)


def panels(titles, columns, height=250, **spacing):
    """A grid of subplots in the project's template, and the (row, column) of each title."""
    rows = -(-len(titles) // columns)
    fig = Figure(make_subplots(rows, columns, subplot_titles=list(titles), **spacing))
    fig.update_annotations(font_size=12)
    fig.update_layout(template=TEMPLATE, height=90 + height * rows, margin={"t": 80})
    return fig, [(i // columns + 1, i % columns + 1) for i in range(len(titles))]


def add_segments(fig, moved, x, y, hover, **at):
    """A line a segment of a replayed front, over two of its columns: one cascade and its thresholds."""
    for segment, rows in moved.groupby("segment"):
        shown = decimated(rows, 300)
        fig.add_scatter(
            x=shown[x],
            y=shown[y],
            text=cascade_hover(shown),
            mode="lines+markers",
            marker={"size": 3},
            line={"color": PALETTE[segment % len(PALETTE)], "width": 2},
            showlegend=False,
            hovertemplate=hover,
            **at,
        )


SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagon", "hourglass"]
DASHES = ["solid", "dash"]
HOVER = "%{text}<br>%{y:.2%} at %{x:.4s}<extra></extra>"  # of what has a name, a cost and an accuracy


def colours(groups):
    """One colour and marker symbol a group, the same wherever the same list of groups is given."""
    unique = list(dict.fromkeys(groups))
    return {g: (PALETTE[i % len(PALETTE)], SYMBOLS[i % len(SYMBOLS)]) for i, g in enumerate(unique)}


def cost_axis(cost):
    """A log axis for a kind of cost: a key of COSTS, or any other word as its own title."""
    return {
        "type": "log",
        "title": COSTS[cost].title if cost in COSTS else cost,
        "exponentformat": "SI",
        "dtick": 1,
        "minor": {"dtick": "D1"},
    }


def figure(title, **layout):
    """An empty figure in the project's template."""
    return Figure(layout={"template": TEMPLATE, "title": title, **layout})


def per_cent_axis(**axis):
    """Settings of an axis of fractions."""
    return {"tickformat": ".4~p", **axis}


def decimated(table, most=1500):
    """At most ``most`` rows, evenly spread by position, first and last kept: what a screen can show."""
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, min(most, len(table))).astype(int))]


def cascade_hover(table):
    """One text a row of a table of cascades: of models, thresholds and exit rates what it has."""
    shows = {"models": arrow, "thresholds": digits, "exit_rates": percents}
    parts = [table[column].map(show) for column, show in shows.items() if column in table]
    return ["<br>".join(lines) for lines in zip(*parts)] if parts else None


def add_models(fig, rows, **style):
    """A trace of single models by cost and accuracy, named where the mouse is. rows: cost, accuracy; index: names."""
    fig.add_scatter(x=rows["cost"], y=rows["accuracy"], text=rows.index, hovertemplate=HOVER, **style)


def hull_line(singles):
    """(cost, accuracy) along the hull of ``front.singles``, closely: on a log axis its straight parts are curves."""
    hull = singles[singles["on_hull"]]
    corners = hull["cost"].to_numpy()
    cost = np.concatenate([corners[:1], *(np.geomspace(*pair, 25)[1:] for pair in zip(corners, corners[1:]))])
    return cost, np.interp(cost, corners, hull["accuracy"])


def add_hull(fig, singles, **at):
    """What random routing between single models gives, as a grey line. singles: ``front.singles``."""
    (x, y), line = hull_line(singles), {"color": GREY, "dash": "dot"}
    fig.add_scatter(x=x, y=y, mode="lines", line=line, name="random routing (hull)", hoverinfo="skip", **at)


def add_singles(fig, singles, families=None, label="single models", **at):
    """Single models as points (by family where given) and their hull as a grey line."""
    add_hull(fig, singles, **at)
    groups = (
        {label: singles.index} if families is None else {f: families.index[families == f] for f in families.unique()}
    )
    palette = {label: (GREY, "circle")} if families is None else colours(groups)
    for group, members in groups.items():
        rows = singles.loc[singles.index.intersection(members)]
        colour, symbol = palette[group]
        marker = {
            "color": colour,
            "symbol": symbol,
            "size": 8,
            "opacity": [1.0 if f else 0.4 for f in rows["on_front"]],
        }
        add_models(fig, rows, name=group, mode="markers", marker=marker, **at)
    return fig
