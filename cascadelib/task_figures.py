"""Figures of several tasks or splits side by side: figure 7, and one front on other splits."""

from plotly.subplots import make_subplots

from .drift import how_replayed
from .drift_figures import add_segments
from .figures import GREY, PALETTE, add_singles, cascade_hover, cost_axis, decimated, per_cent

TOP, BETWEEN = 95, 85  # pixels: title and legend; axis titles of one row and the title of the next


def _grid(rows, titles, height):
    """Panels in two columns, each ``height`` pixels high."""
    inside = height * rows + BETWEEN * (rows - 1)
    gap = {"vertical_spacing": BETWEEN / inside} if rows > 1 else {}
    fig = make_subplots(rows, 2, subplot_titles=titles, horizontal_spacing=0.11, **gap)
    fig.update_layout(template="cascadelib", height=inside + TOP + 55, margin={"t": TOP, "b": 55})
    for title in fig.layout.annotations:
        title.font.size = 13
    return fig


def tasks_figure(tasks, cost="macs", title="Cascades on each task"):
    """Figure 7: a row a task and score, its fronts on the left, their improvement factors on the right.

    tasks: {label: {name of a front: :class:`cascadelib.Front`}}; the names have the same colour in every row. Scores
    are those of the fronts: accuracy, or F1.
    """
    fig = _grid(len(tasks), [t for label in tasks for t in (label, f"{label}: improvement")], 240)
    names = list(dict.fromkeys(name for fronts in tasks.values() for name in fronts))
    for row, fronts in enumerate(tasks.values(), 1):
        first = next(iter(fronts.values()))
        at = {"row": row, "col": 1, "showlegend": row == 1}
        add_singles(fig, first.singles, **at)
        for name, front in fronts.items():
            _add_front(fig, front, name, PALETTE[names.index(name)], row)
        score = "F1" if first.score == "f1" else "accuracy"
        low = first.singles.loc[first.singles["on_hull"], "accuracy"].iloc[0]
        high = max(front.table["accuracy"].max() for front in fronts.values())
        margin = 0.04 * max(high - low, 0.01)
        fig.update_xaxes(row=row, col=1, **cost_axis(cost))
        fig.update_yaxes(row=row, col=1, **per_cent(title=score, range=[low - margin, high + margin]))
        fig.update_xaxes(row=row, col=2, **per_cent(title=score))
        fig.update_yaxes(row=row, col=2, title="baseline cost ÷ cascade cost", rangemode="tozero")
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1 - 40 / fig.layout.height, "yref": "container"}
    return fig.update_layout(title=title, legend=legend)


def _add_front(fig, front, name, colour, row):
    shown, curve = decimated(front.table), front.improvement_curve()
    line = {"color": colour, "width": 2}
    fig.add_scatter(
        x=shown["cost"],
        y=shown["accuracy"],
        text=cascade_hover(shown),
        mode="lines",
        line=line | {"shape": "hv"},
        name=name,
        legendgroup=name,
        showlegend=not any(trace.name == name for trace in fig.data),
        hovertemplate="%{y:.2%} at %{x:.4s}<br>%{text}<extra></extra>",
        row=row,
        col=1,
    )
    fig.add_scatter(
        x=curve["accuracy"],
        y=curve["improvement"],
        mode="lines",
        line=line,
        name=name,
        showlegend=False,
        hovertemplate="%{y:.2f} × at %{x:.2%}<extra></extra>",
        row=row,
        col=2,
    )
    fig.add_hline(y=1, line={"color": GREY, "dash": "dot"}, row=row, col=2)


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
        fig.update_xaxes(**per_cent(title="accuracy there"), **at)
        fig.update_yaxes(title="improvement there", rangemode="tozero", **at)
    how = how_replayed(next(iter(moved.values())))
    return fig.update_layout(title=f"{title}<br><sup>replayed: {how}</sup>", showlegend=False)
