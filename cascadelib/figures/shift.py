"""Figures of fronts and cascades on other data (paper, figures 6 and 12), each from plain tables."""

import numpy as np

from .fronts import _grid
from .style import BLACK, GREY, PALETTE, add_segments, add_singles, cost_axis, figure, panels, per_cent_axis


def by_kind(tables, first):
    """{split: table} → {kind: {label: table}}: splits named <kind>-<severity> share a panel, each with ``first`` in it.

    first: {label: table} of the split that the cascades were chosen on.
    """
    grouped = {}
    for name, table in tables.items():
        kind, _, severity = name.rpartition("-")
        graded = bool(kind) and severity.isdigit()
        grouped.setdefault(kind if graded else name, {**first})[f"severity {severity}" if graded else "moved"] = table
    return grouped


def moved_improvement_figure(curves, title="Improvement of the identical cascades and thresholds", columns=3):
    """Figure 6: {panel: {label: table with accuracy and improvement}}, small multiples with a log axis of the factor.

    A label has the same colour in all panels, the first is black.
    """
    space = {"horizontal_spacing": 0.03, "vertical_spacing": 0.16, "shared_yaxes": True}
    fig, places = panels(curves, min(columns, len(curves)), **space)
    labels = list(dict.fromkeys(label for lines in curves.values() for label in lines))
    colour, shown = dict(zip(labels, [BLACK, *PALETTE])), set()
    for (row, col), lines in zip(places, curves.values()):
        for label, curve in lines.items():
            fig.add_scatter(
                x=curve["accuracy"],
                y=curve["improvement"].where(curve["improvement"] > 0),
                mode="lines",
                line={"color": colour[label], "width": 1.2 if colour[label] == BLACK else 2},
                name=label,
                legendgroup=label,
                showlegend=label not in shown,
                hovertemplate="%{y:.2f} × at %{x:.2%}<extra>" + label + "</extra>",
                row=row,
                col=col,
            )
            shown.add(label)
        fig.add_hline(y=1, line={"color": GREY, "dash": "dot"}, row=row, col=col)
    fig.update_xaxes(**per_cent_axis())
    fig.update_xaxes(title="accuracy", row=places[-1][0])
    fig.update_yaxes(type="log", dtick=1, minor={"dtick": "D1"}, matches="y")
    fig.update_yaxes(title="baseline ÷ cascade cost", col=1)
    return fig.update_layout(title=title, legend={"orientation": "h", "y": 1.12, "x": 1, "xanchor": "right"})


def segments_figure(moved, own, singles, cost="macs", title="The front as the pieces that it becomes"):
    """Figure 12. moved: ``replay`` on the new split; own: that split's own ``front.table``; singles: its models.

    Left: a line a segment (one cascade and its range of thresholds, or its points). Right: the non-dominated ones of
    all their points. The title says which of the two was replayed.
    """
    fig, places = panels(("segments of the moved front", "what of it is Pareto-optimal there"), 2, 370)
    hover = "%{y:.2%} at %{x:.4s}<br>%{text}<extra></extra>"
    add_segments(fig, moved, "cost_moved", "accuracy_moved", hover, row=1, col=1)
    best = moved[moved["on_front"]].sort_values("cost_moved")
    x, y = best["cost_moved"], best["accuracy_moved"]
    line = {"color": PALETTE[1], "width": 2, "shape": "hv"}
    fig.add_scatter(x=x, y=y, mode="lines", line=line, name="moved front", row=1, col=2)
    for row, col in places:
        line = {"color": BLACK, "width": 1.2, "shape": "hv"}
        fig.add_scatter(
            x=own["cost"], y=own["accuracy"], mode="lines", line=line, name="its own front",
            showlegend=col == 2, row=row, col=col,
        )  # fmt: skip
    add_singles(fig, singles, row=1, col=2)
    fig.update_xaxes(matches="x", **cost_axis(cost))
    low, high = min(own["accuracy"].min(), moved["accuracy_moved"].min()), max(own["accuracy"].max(), y.max())
    margin = 0.05 * (high - low)
    fig.update_yaxes(title="accuracy", range=[low - margin, high + margin], **per_cent_axis())
    legend = {"x": 0.99, "xanchor": "right", "y": 0.02, "yanchor": "bottom"}
    return fig.update_layout(title=f"{title}<br><sup>replayed: {how_replayed(moved)}</sup>", legend=legend)


def exit_rates_figure(table, title="Share of inputs that leave at the first stage"):
    """A bar a split, with its 95% interval. table: exit_rate, exit_rate_low, exit_rate_high, indexed by split."""
    fig = figure(title, height=130 + 26 * len(table), xaxis=per_cent_axis(title="early exit rate"), margin={"l": 130})
    error = {
        "array": table["exit_rate_high"] - table["exit_rate"],
        "arrayminus": table["exit_rate"] - table["exit_rate_low"],
    }
    fig.add_bar(
        x=table["exit_rate"],
        y=list(table.index),
        orientation="h",
        marker={"color": PALETTE[0]},
        error_x={"type": "data", "symmetric": False, "color": BLACK, "thickness": 1.2, **error},
        hovertemplate="%{y}: %{x:.2%}<extra></extra>",
    )
    return fig.update_yaxes(autorange="reversed")


def confidences_figure(reference, live, threshold, bins=20, title="Confidence at the first stage"):
    """Histograms of live confidences {label: [k]} in bins that hold equally many of the reference's confidences [k].

    A split like the reference is flat. The x axis is the rank among the reference, where confidences near 1 are told
    apart; the threshold (inside: higher = surer) stands at its own rank.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)))
    ranks = np.searchsorted(np.sort(reference), edges[1:-1]) / len(reference)
    x = np.concatenate([[0], ranks, [1]])
    fig = figure(title, xaxis=per_cent_axis(title="confidence, as its rank among the reference"))
    for i, (label, values) in enumerate({"reference": reference, **live}.items()):
        inside = np.bincount(np.searchsorted(edges[1:-1], values, side="right"), minlength=len(x) - 1)
        share = inside / len(values) / np.diff(x)
        line = {"color": BLACK if i == 0 else PALETTE[i - 1], "shape": "hv", "width": 1.2 if i == 0 else 2}
        fig.add_scatter(x=x, y=np.append(share, share[-1]), mode="lines", line=line, name=label)
    rank = float(np.mean(np.asarray(reference) < threshold))
    fig.add_vline(x=rank, line={"color": GREY, "dash": "dash"}, annotation_text="threshold")
    return fig.update_yaxes(title="inputs ÷ expected inputs", rangemode="tozero")


def won_back_figure(table, cost="macs", title="Thresholds chosen again on a few labelled samples"):
    """A point a repeat of ``won_back``: cost and accuracy (less the last model's) measured on the rest, by size."""
    fig = figure(title, xaxis=cost_axis(cost), yaxis=per_cent_axis(title="accuracy − last model's"))
    fig.add_hline(y=0, line={"color": GREY, "dash": "dot"})
    for i, (size, rows) in enumerate(table.groupby("size")):
        marker = {"color": PALETTE[i], "size": 6, "opacity": 0.6}
        fig.add_scatter(
            x=rows["cost_rechosen"], y=rows["difference_rechosen"], mode="markers", marker=marker,
            name=f"{size} samples",
        )  # fmt: skip
    middle = table[["cost_unchanged", "difference_unchanged"]].median()
    marker = {"color": BLACK, "symbol": "star", "size": 13}
    fig.add_scatter(x=middle[:1], y=middle[1:], mode="markers", marker=marker, name="thresholds unchanged")
    return fig


def how_replayed(moved):
    """What a replayed front is made of, in words for a title or a table."""
    if set(moved["replayed"]) == {"range"}:
        return "ranges of thresholds"
    longest = moved["models"].map(len).max()
    if set(moved["replayed"]) == {"point"}:
        return "single points" + (f": a segment of {longest} models is a box, no path" if longest > 2 else "")
    return "pairs as ranges of thresholds, longer cascades as single points (a segment is a box)"


def splits_figure(moved, title="The identical cascades elsewhere"):
    """Figure 6 for several splits: a panel each, improvement against accuracy of the replayed front.

    moved: {split: :func:`cascadelib.replay`}. Points of one segment (one cascade) are joined in the order of their
    thresholds; segments move apart. The title says whether ranges or points were replayed.
    """
    rows = (len(moved) + 1) // 2
    fig = _grid(rows, list(moved), 200)
    for i, table in enumerate(moved.values()):
        at = {"row": i // 2 + 1, "col": i % 2 + 1}
        hover = "%{y:.2f} × at %{x:.2%}<br>%{text}<extra></extra>"
        add_segments(fig, table, "accuracy_moved", "improvement_moved", hover, **at)
        fig.add_hline(y=1, line={"color": GREY, "dash": "dot"}, **at)
        fig.update_xaxes(**per_cent_axis(title="accuracy there"), **at)
        fig.update_yaxes(title="improvement there", rangemode="tozero", **at)
    how = how_replayed(next(iter(moved.values())))
    return fig.update_layout(title=f"{title}<br><sup>replayed: {how}</sup>", showlegend=False)
