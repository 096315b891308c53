"""Figures of fronts, each from plain tables. Costs stand on a log axis, accuracies as per cent."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from .style import (
    BLACK,
    DASHES,
    DOTTED,
    GAIN,
    GREY,
    PALETTE,
    SYMBOLS,
    Figure,
    add_break_even,
    add_cascades,
    add_hull,
    add_improvement,
    add_line,
    add_models,
    add_singles,
    cost_axis,
    decimated,
    figure,
    panels,
    per_cent_axis,
    two_columns,
)

Tables = dict[str, pd.DataFrame]


def singles_figure(
    singles: pd.DataFrame,
    families: pd.Series | None = None,
    cost: str = "macs",
    title: str = "Single models: faint ones are dominated",
) -> Figure:
    """Single models by cost and accuracy. singles: ``front.singles``; families: Series from model to its family."""
    fig = figure(title, xaxis=cost_axis(cost), yaxis=per_cent_axis(title="accuracy"))
    return add_singles(fig, singles, families)


def front_figure(
    tables: Tables,
    singles: pd.DataFrame,
    cost: str = "macs",
    title: str = "Cascades against single models",
    accuracy_from: float | None = None,
) -> Figure:
    """Figure 1, top: fronts (label → ``front.table``) over the single models (``front.singles``).

    accuracy_from: lowest accuracy shown (default: a little below the cheapest model on the hull).
    """
    fig = figure(title, xaxis=cost_axis(cost), yaxis=per_cent_axis(title="accuracy"))
    add_singles(fig, singles)
    for i, (label, table) in enumerate(tables.items()):
        style = {"shape": "hv", "dash": DASHES[i // len(PALETTE) % 2], "mode": "lines+markers", "marker": {"size": 3}}
        add_cascades(fig, decimated(table), PALETTE[i % len(PALETTE)], name=label, **style)
    low = singles.loc[singles["on_hull"], "accuracy"].iloc[0] if accuracy_from is None else accuracy_from
    high = max(singles["accuracy"].max(), *(t["accuracy"].max() for t in tables.values()))
    return fig.update_yaxes(range=[low - 0.02 * (high - low), high + 0.03 * (high - low)])


def improvement_figure(
    curves: Tables, title: str = "Improvement factor at equal accuracy", references: Collection[str] = ()
) -> Figure:
    """Figure 1, bottom, and figure 3: label → table with accuracy and improvement (``front.improvement_curve()``).

    references: labels drawn as thin black lines, for comparison.
    """
    fig = figure(title, xaxis=per_cent_axis(title="accuracy"), yaxis={"title": GAIN, "rangemode": "tozero"})
    add_break_even(fig)
    others = [label for label in curves if label not in references]
    for label, curve in curves.items():
        if label in references:
            add_improvement(fig, curve, label, BLACK, 1.2)
        else:
            i = others.index(label)
            dash = "solid" if i < len(PALETTE) else "dash"
            add_improvement(fig, curve, label, PALETTE[i % len(PALETTE)], 1.8, dash=dash)
    return fig.update_layout(hovermode="x", showlegend=True)


def members_figure(members: pd.DataFrame, order: list[str], title: str = "Which models the front uses") -> Figure:
    """Figure 1, members: a mark at each accuracy where a model runs. members: ``front.members()``; cheapest first."""
    used = [m for m in order if m in set(members["model"])]
    fig = figure(title, height=120 + 24 * len(used), xaxis=per_cent_axis(title="accuracy"))
    for stage, rows in members.groupby("stage"):
        shown = decimated(rows.sort_values(["model", "accuracy"]), 3000)
        marker = {"color": PALETTE[int(stage) - 1], "symbol": "line-ns-open", "size": 11, "line": {"width": 2}}
        fig.add_scatter(x=shown["accuracy"], y=shown["model"], mode="markers", marker=marker, name=f"stage {stage}")
    fig.update_yaxes(categoryorder="array", categoryarray=used)
    return fig.update_layout(margin={"l": 190})


def shares_figure(shares: pd.Series, title: str = "Part in the front (share of its log-cost range)") -> Figure:
    """A bar a model or family: ``front.shares()``."""
    rows = shares.sort_values()
    fig = figure(title, height=130 + 26 * len(rows), xaxis=per_cent_axis(title="share"), margin={"l": 190})
    fig.add_bar(x=rows.to_numpy(), y=list(rows.index), orientation="h", marker={"color": PALETTE[0]})
    return fig


def exit_rate_figure(curves: Tables, title: str = "Accuracy of pairs against their exit rate") -> Figure:
    """Figure 2, left. curves: label → ``pair_curve`` table; accuracy is shown relative to the second model's."""
    axes = {"xaxis": per_cent_axis(title="early exit rate of the first model")}
    fig = figure(title, **axes, yaxis=per_cent_axis(title="accuracy − second model's"))
    fig.add_hline(y=0, line=DOTTED)
    for i, (label, curve) in enumerate(curves.items()):
        shown, dash = decimated(curve, 400), "solid" if i < len(PALETTE) else "dash"
        y = shown["accuracy"] - curve["accuracy"].iloc[0]
        add_line(fig, shown["exit_rate"], y, PALETTE[i % len(PALETTE)], 2, dash, name=label)
    return fig


def pairs_figure(pairs: pd.DataFrame, title: str = "Every pair of models") -> Figure:
    """Figure 2, middle and right. pairs: ``pair_table``; a point a pair, coloured by size or mean improvement."""
    titles = ("largest exit rate on the plateau", "mean improvement over the pair's range")
    fig, places = panels(titles, 2, 370, horizontal_spacing=0.17)
    size, gain = np.log10(pairs["cost_ratio"]), pairs["mean_improvement"]
    shows = (
        ("plateau", size, {"x": 0.42, "title": "log₁₀<br>size ratio"}, "exit rate %{y:.1%}"),
        ("cost_ratio", gain, {"x": 1.0, "title": "mean im-<br>provement"}, "size × %{y:.4s}<br>%{marker.color:.3f}"),
    )
    for (row, col), (y, colour, bar, hover) in zip(places, shows):
        marker = {"color": colour, "colorscale": "Viridis", "size": 7, "colorbar": {**bar, "len": 1.0, "thickness": 12}}
        hover = f"%{{text}}<br>difference %{{x:.2%}}, {hover}<extra></extra>"
        at = {"text": pairs["first"] + " → " + pairs["second"], "mode": "markers", "row": row, "col": col}
        fig.add_scatter(x=pairs["accuracy_difference"], y=pairs[y], marker=marker, hovertemplate=hover, **at)
    fig.update_xaxes(title="accuracy difference", **per_cent_axis())
    fig.update_yaxes(title="early exit rate", row=1, col=1, **per_cent_axis())
    fig.update_yaxes(type="log", title="size ratio", exponentformat="SI", dtick=1, row=1, col=2)
    return fig.update_layout(title=title, showlegend=False)


def fronts_figure(
    tables: Tables, families: pd.Series, cost: str = "macs", accuracy_from: float = 0.55, title: str | None = None
) -> Figure:
    """Published models by cost and accuracy, the front of the first table by family, those of the others as lines.

    tables: label → ``published.singles(…)``; families: Series from model to family (of the first table), for colours:
    give the same Series to figures that shall agree. accuracy_from: lowest accuracy shown.
    """
    (label, singles), *others = tables.items()
    front = singles[singles["on_front"]]
    title = title or f"{len(front)} of {len(singles)} published models are on the front ({label})"
    fig = figure(title, height=520, xaxis=cost_axis(cost), yaxis=per_cent_axis(title="published top-1 accuracy"))
    marker = {"color": GREY, "size": 4, "opacity": 0.35}
    add_models(fig, singles[~singles["on_front"]], name="dominated", mode="markers", marker=marker)
    add_hull(fig, singles)
    for i, family in enumerate(families.unique()):
        rows = front[[families.get(name) == family for name in front.index]]
        if len(rows):
            # More families than colours: the eleventh takes the first colour with the second symbol.
            colour, symbol = PALETTE[i % len(PALETTE)], SYMBOLS[(i + i // len(PALETTE)) % len(SYMBOLS)]
            marker = {"color": colour, "symbol": symbol, "size": 9}
            add_models(fig, rows, name=family, mode="markers", marker=marker)
    for i, (other, table) in enumerate(others):
        line = {"color": (BLACK, *PALETTE)[i % (1 + len(PALETTE))], "width": 1.5, "shape": "hv"}
        add_models(fig, table[table["on_front"]], name=other, mode="lines", line=line)
    best = max(table["accuracy"].max() for table in tables.values())
    return fig.update_yaxes(range=[accuracy_from, best + 0.01])


def tasks_figure(tasks: dict[str, dict], cost: str = "macs", title: str = "Cascades on each task") -> Figure:
    """Figure 7: a row a task and score, its fronts on the left, their improvement factors on the right.

    tasks: {label: {name of a front: :class:`cascadelib.Front`}}; the names have the same colour in every row. Scores
    are those of the fronts: accuracy, or F1.
    """
    fig, _ = two_columns([t for label in tasks for t in (label, f"{label}: improvement")], 240)
    names = list(dict.fromkeys(name for fronts in tasks.values() for name in fronts))
    for row, fronts in enumerate(tasks.values(), 1):
        first = next(iter(fronts.values()))
        at = {"row": row, "col": 1, "showlegend": row == 1}
        add_singles(fig, first.singles, **at)
        for name, front in fronts.items():
            colour, new = PALETTE[names.index(name)], not any(trace.name == name for trace in fig.data)
            at = {"name": name, "legendgroup": name, "showlegend": new, "row": row, "col": 1}
            add_cascades(fig, decimated(front.table), colour, shape="hv", **at)
            curve, at = front.improvement_curve(), {"showlegend": False, "row": row, "col": 2}
            add_improvement(fig, curve, name, colour, **at)
        add_break_even(fig, row=row, col=2)
        score = "F1" if first.score == "f1" else "accuracy"
        low = first.singles.loc[first.singles["on_hull"], "accuracy"].iloc[0]
        high = max(front.table["accuracy"].max() for front in fronts.values())
        margin = 0.04 * max(high - low, 0.01)
        fig.update_xaxes(row=row, col=1, **cost_axis(cost))
        fig.update_yaxes(row=row, col=1, **per_cent_axis(title=score, range=[low - margin, high + margin]))
        fig.update_xaxes(row=row, col=2, **per_cent_axis(title=score))
        fig.update_yaxes(row=row, col=2, title=GAIN, rangemode="tozero")
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1 - 40 / fig.layout.height, "yref": "container"}
    return fig.update_layout(title=title, legend=legend)
