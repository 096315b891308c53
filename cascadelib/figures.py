"""Plotly figures, each from a plain table. Costs stand on a log axis, accuracies as per cent."""

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

from . import display  # noqa: F401 - figures leave the kernel as plotly JSON
from .cost_kinds import COSTS
from .tables import arrow, digits, percents

# Okabe and Ito (2008), readable with every colour vision, then darker companions
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4B00", "#5D3A9B", "#8A8D00", "#B2182B"]
GREY, BLACK = "#8C8C8C", "#222222"
SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon", "hexagon", "hourglass"]
DASHES = ["solid", "dash"]
HOVER = "%{text}<br>%{y:.2%} at %{x:.4s}<extra></extra>"  # of what has a name, a cost and an accuracy

pio.templates["cascadelib"] = go.layout.Template(
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
    return go.Figure(layout={"template": "cascadelib", "title": title, **layout})


def per_cent(**axis):
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


def singles_figure(singles, families=None, cost="macs", title="Single models: faint ones are dominated"):
    """Single models by cost and accuracy. singles: ``front.singles``; families: Series from model to its family."""
    fig = figure(title, xaxis=cost_axis(cost), yaxis=per_cent(title="accuracy"))
    return add_singles(fig, singles, families)


def front_figure(tables, singles, cost="macs", title="Cascades against single models", accuracy_from=None):
    """Figure 1, top: fronts (label → ``front.table``) over the single models (``front.singles``).

    accuracy_from: lowest accuracy shown (default: a little below the cheapest model on the hull).
    """
    fig = figure(title, xaxis=cost_axis(cost), yaxis=per_cent(title="accuracy"))
    add_singles(fig, singles)
    for i, (label, table) in enumerate(tables.items()):
        shown = decimated(table)
        fig.add_scatter(
            x=shown["cost"],
            y=shown["accuracy"],
            text=cascade_hover(shown),
            mode="lines+markers",
            marker={"size": 3},
            line={"color": PALETTE[i % len(PALETTE)], "width": 2, "shape": "hv", "dash": DASHES[i // len(PALETTE) % 2]},
            name=label,
            hovertemplate="%{y:.2%} at %{x:.4s}<br>%{text}<extra></extra>",
        )
    low = singles.loc[singles["on_hull"], "accuracy"].iloc[0] if accuracy_from is None else accuracy_from
    high = max(singles["accuracy"].max(), *(t["accuracy"].max() for t in tables.values()))
    return fig.update_yaxes(range=[low - 0.02 * (high - low), high + 0.03 * (high - low)])


def improvement_figure(curves, title="Improvement factor at equal accuracy", references=()):
    """Figure 1, bottom, and figure 3: label → table with accuracy and improvement (``front.improvement_curve()``).

    references: labels drawn as thin black lines, for comparison.
    """
    fig = figure(
        title, xaxis=per_cent(title="accuracy"), yaxis={"title": "baseline cost ÷ cascade cost", "rangemode": "tozero"}
    )
    fig.add_hline(y=1, line={"color": GREY, "dash": "dot"})
    others = [label for label in curves if label not in references]
    for label, curve in curves.items():
        colour = BLACK if label in references else PALETTE[others.index(label) % len(PALETTE)]
        dash = "solid" if label in references or others.index(label) < len(PALETTE) else "dash"
        width = 1.2 if label in references else 1.8
        fig.add_scatter(
            x=curve["accuracy"],
            y=curve["improvement"],
            mode="lines",
            line={"color": colour, "width": width, "dash": dash},
            name=label,
            hovertemplate="%{y:.2f} × at %{x:.2%}<extra>" + label + "</extra>",
        )
    return fig.update_layout(hovermode="x", showlegend=True)


def members_figure(members, order, title="Which models the front uses"):
    """Figure 1, members: a mark at each accuracy where a model runs. members: ``front.members()``; cheapest first."""
    used = [m for m in order if m in set(members["model"])]
    fig = figure(title, height=120 + 24 * len(used), xaxis=per_cent(title="accuracy"))
    for stage, rows in members.groupby("stage"):
        shown = decimated(rows.sort_values(["model", "accuracy"]), 3000)
        marker = {"color": PALETTE[int(stage) - 1], "symbol": "line-ns-open", "size": 11, "line": {"width": 2}}
        fig.add_scatter(x=shown["accuracy"], y=shown["model"], mode="markers", marker=marker, name=f"stage {stage}")
    fig.update_yaxes(categoryorder="array", categoryarray=used)
    return fig.update_layout(margin={"l": 190})


def shares_figure(shares, title="Part in the front (share of its log-cost range)"):
    """A bar a model or family: ``front.shares()``."""
    rows = shares.sort_values()
    fig = figure(title, height=130 + 26 * len(rows), xaxis=per_cent(title="share"), margin={"l": 190})
    fig.add_bar(x=rows.to_numpy(), y=list(rows.index), orientation="h", marker={"color": PALETTE[0]})
    return fig


def exit_rate_figure(curves, title="Accuracy of pairs against their exit rate"):
    """Figure 2, left. curves: label → ``pair_curve`` table; accuracy is shown relative to the second model's."""
    fig = figure(
        title,
        xaxis=per_cent(title="early exit rate of the first model"),
        yaxis=per_cent(title="accuracy − second model's"),
    )
    fig.add_hline(y=0, line={"color": GREY, "dash": "dot"})
    for i, (label, curve) in enumerate(curves.items()):
        shown = decimated(curve, 400)
        fig.add_scatter(
            x=shown["exit_rate"],
            y=shown["accuracy"] - curve["accuracy"].iloc[0],
            mode="lines",
            line={"color": PALETTE[i % len(PALETTE)], "dash": "solid" if i < len(PALETTE) else "dash"},
            name=label,
        )
    return fig


def pairs_figure(pairs, title="Every pair of models"):
    """Figure 2, middle and right. pairs: ``pair_table``; a point a pair, coloured by size or mean improvement."""
    fig = make_subplots(
        1,
        2,
        horizontal_spacing=0.17,
        subplot_titles=("largest exit rate on the plateau", "mean improvement over the pair's range"),
    )
    size, gain = np.log10(pairs["cost_ratio"]), pairs["mean_improvement"]
    panels = (
        ("plateau", size, {"x": 0.42, "title": "log₁₀<br>size ratio"}, "exit rate %{y:.1%}"),
        ("cost_ratio", gain, {"x": 1.0, "title": "mean im-<br>provement"}, "size × %{y:.4s}<br>%{marker.color:.3f}"),
    )
    for col, (y, colour, bar, hover) in enumerate(panels, 1):
        bar = {**bar, "len": 1.0, "thickness": 12}
        fig.add_scatter(
            x=pairs["accuracy_difference"],
            y=pairs[y],
            text=pairs["first"] + " → " + pairs["second"],
            mode="markers",
            marker={"color": colour, "colorscale": "Viridis", "size": 7, "colorbar": bar},
            hovertemplate=f"%{{text}}<br>difference %{{x:.2%}}, {hover}<extra></extra>",
            row=1,
            col=col,
        )
    fig.update_xaxes(title="accuracy difference", **per_cent())
    fig.update_yaxes(title="early exit rate", row=1, col=1, **per_cent())
    fig.update_yaxes(type="log", title="size ratio", exponentformat="SI", dtick=1, row=1, col=2)
    return fig.update_layout(template="cascadelib", title=title, showlegend=False, margin={"t": 80})
