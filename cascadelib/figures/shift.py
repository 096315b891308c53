"""Figures of fronts and cascades on other data (paper, figures 6 and 12), each from plain tables."""

import pandas as pd

from . import style

Tables = dict[str, pd.DataFrame]


def moved_improvement_figure(
    curves: dict[str, Tables], title: str = "Improvement of the identical cascades and thresholds"
) -> style.Figure:
    """Figure 6: {panel: {label: table with accuracy and improvement}}, small multiples with a log axis of the factor. A
    label has the same colour in all panels, the first is black."""
    space: dict = {"horizontal_spacing": 0.03, "vertical_spacing": 0.16, "shared_yaxes": True}
    fig, places = style.panels(curves, min(3, len(curves)), **space)
    labels = list(dict.fromkeys(label for lines in curves.values() for label in lines))
    colour, shown = dict(zip(labels, [style.BLACK, *style.PALETTE])), set()
    for (row, col), lines in zip(places, curves.values()):
        for label, curve in lines.items():
            at = {"legendgroup": label, "showlegend": label not in shown, "row": row, "col": col}
            shown.add(label)
            style.add_improvement(fig, curve, label, colour[label], 1.2 if colour[label] == style.BLACK else 2, **at)
        fig.add_hline(y=1, line=style.DOTTED, row=row, col=col)
    fig.update_xaxes(**style.per_cent_axis())
    fig.update_xaxes(title="accuracy", row=places[-1][0])
    fig.update_yaxes(matches="y", **style.GAIN_AXIS)
    fig.update_yaxes(title="baseline ÷ cascade cost", col=1)
    return fig.titled(title, legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right"})


def segments_figure(
    moved: pd.DataFrame,
    own: pd.DataFrame,
    singles: pd.DataFrame,
    cost: str = "macs",
    title: str = "The front as the pieces that it becomes",
) -> style.Figure:
    """Figure 12. moved: ``replay`` on the new split; own: that split's own ``front.table``; singles: its models.

    Left: a line a segment (one cascade and its range of thresholds, or its points). Right: the non-dominated ones of
    all their points. The title says which of the two was replayed.
    """
    fig, places = style.panels(("segments of the moved front", "what of it is Pareto-optimal there"), 2, 370)
    at: dict = {"mode": "lines+markers", "marker": {"size": 3}, "showlegend": False, "row": 1, "col": 1}
    for segment, rows in moved.groupby("segment"):
        style.add_cascades(fig, style.decimated(rows, 300), style.colour(segment), "cost_moved", "accuracy_moved", **at)
    best = moved[moved["on_front"]].sort_values("cost_moved")
    x, y = best["cost_moved"], best["accuracy_moved"]
    style.add_line(fig, x, y, style.PALETTE[1], 2, line_shape="hv", name="moved front", row=1, col=2)
    for row, col in places:
        at = {"showlegend": col == 2, "row": row, "col": col}
        style.add_line(fig, own["cost"], own["accuracy"], style.BLACK, 1.2, line_shape="hv", name="its own front", **at)
    style.add_singles(fig, singles, row=1, col=2)
    fig.update_xaxes(matches="x", **style.cost_axis(cost, singles["cost"]))
    low, high = min(own["accuracy"].min(), moved["accuracy_moved"].min()), max(own["accuracy"].max(), y.max())
    margin = 0.05 * (high - low)
    fig.update_yaxes(range=[low - margin, high + margin], **style.per_cent_axis())
    fig.update_yaxes(title="accuracy", col=1)
    legend = {"x": 0.99, "xanchor": "right", "y": 0.02, "yanchor": "bottom"}
    return fig.titled(f"{title}\nreplayed: {how_replayed(moved)}", legend=legend)


def exit_rates_figure(
    table: pd.DataFrame, title: str = "Share of inputs that leave at the first stage"
) -> style.Figure:
    """A bar a split, with its 95% interval. table: exit_rate, exit_rate_low, exit_rate_high, indexed by split."""
    rate, axis = table["exit_rate"], style.per_cent_axis(title="early exit rate")
    fig = style.figure(title, height=130 + 26 * len(table), xaxis=axis, margin={"l": 130})
    error = {"array": table["exit_rate_high"] - rate, "arrayminus": rate - table["exit_rate_low"]}
    error |= {"type": "data", "symmetric": False, "color": style.BLACK, "thickness": 1.2}
    bar = {"orientation": "h", "marker": {"color": style.PALETTE[0]}, "hovertemplate": "%{y}: %{x:.2%}<extra></extra>"}
    fig.add_bar(x=rate, y=list(table.index), error_x=error, **bar)
    return fig.update_yaxes(autorange="reversed")


def how_replayed(moved: pd.DataFrame) -> str:
    """What a replayed front is made of, in words for a title or a table."""
    if set(moved["replayed"]) == {"range"}:
        return "ranges of thresholds"
    longest = moved["models"].map(len).max()
    if set(moved["replayed"]) == {"point"}:
        return "single points" + (f": a segment of {longest} models is a box, no path" if longest > 2 else "")
    return "pairs as ranges of thresholds, longer cascades as single points (a segment is a box)"
