"""Figures of fronts, each from plain tables. Costs stand on a log axis, accuracies as per cent."""

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from . import style

Tables = dict[str, pd.DataFrame]
KINDS = {"no ensembling": "", "most confident": "_most_confident", "mean ensembles": "_mean_"}


def singles_figure(
    singles: pd.DataFrame,
    families: pd.Series | None = None,
    cost: str = "macs",
    title: str = "Single models: faint ones are dominated",
) -> style.Figure:
    """Single models by cost and accuracy. singles: ``front.singles``; families: Series from model to its family."""
    axes = {"xaxis": style.cost_axis(cost, singles["cost"]), "yaxis": style.per_cent_axis(title="accuracy")}
    return style.add_singles(style.figure(title, **axes), singles, families)


def front_figure(
    tables: Tables, singles: pd.DataFrame, cost: str = "macs", title: str = "Cascades against single models"
) -> style.Figure:
    """Figure 1, top: fronts (label → ``front.table``), of those that coincide one, over single models
    (``front.singles``), from a little below the cheapest model on the hull."""
    fig = singles_figure(singles, None, cost, title)
    at = np.unique(np.concatenate([table["accuracy"] for table in tables.values()]))
    least = {label: table.groupby("accuracy")["cost"].min()[::-1].cummin()[::-1] for label, table in tables.items()}
    costs = {label: cost.reindex(at, method="bfill") for label, cost in least.items()}
    for i, (label, name) in enumerate(coinciding(costs).items()):
        line: dict = {"line_shape": "hv", "dash": style.dash(i), "mode": "lines+markers", "marker": {"size": 3}}
        style.add_cascades(fig, style.decimated(tables[label]), style.colour(i), name=name, **line)
    low = singles.loc[singles["on_hull"], "accuracy"].iloc[0]
    high = max(singles["accuracy"].max(), *(t["accuracy"].max() for t in tables.values()))
    return fig.update_yaxes(range=[low - 0.02 * (high - low), high + 0.03 * (high - low)])


def improvement_figure(
    curves: Tables, title: str = "Improvement factor at equal accuracy", references: Collection[str] = ()
) -> style.Figure:
    """Figure 1, bottom: label → table with accuracy and improvement (``front.improvement_curve()``); references: labels
    drawn as thin black lines. Of curves that coincide one is drawn, under all their labels (:func:`coinciding`)."""
    gain = {"title": style.GAIN, **style.GAIN_AXIS}
    fig = style.figure(title, xaxis=style.per_cent_axis(title="accuracy"), yaxis=gain, hovermode="x", showlegend=True)
    curves = {label: curves[label] for label in [*references, *curves] if label in curves}
    names = coinciding({label: curve.set_index("accuracy")["improvement"] for label, curve in curves.items()})
    others = [first for first in names if first not in references]
    for first, name in names.items():
        i = others.index(first) if first in others else None
        colour, width, dash = (style.BLACK, 1.2, None) if i is None else (style.colour(i), 1.8, style.dash(i))
        style.add_improvement(fig, curves[first], name, colour, width, dash=dash)
    return fig.add_hline(y=1, line=style.DOTTED)


def coinciding(curves: dict[str, pd.Series]) -> dict[str, str]:
    """{label to draw: its name, with those of the later curves over the same index that it stands for}: "=" has equal
    values, "≈" none that differs by more than 2%."""
    names: dict[str, str] = {}
    for label, curve in curves.items():
        for first in [first for first in names if curve.index.equals(curves[first].index)]:
            equal, near = (np.allclose(curve, curves[first], by, 0, equal_nan=True) for by in (1e-9, 0.02))
            if near:
                names[first] += f" = {label}" if equal else f"\n≈ {label} (within 2%)"
                break
        else:
            names[label] = label
    return names


def methods_figure(
    curves: Tables, title: str, reference: str = "max_softmax", kinds: Mapping[str, str] = KINDS
) -> style.Figure:
    """Figures 3, 8, 9 and 11: :func:`improvement_figure` in panels by a part of the methods' names, {panel: part}; the
    reference, in each panel, is black, and so is its form with the panel's part."""
    fig, places = style.panels(kinds, len(kinds), 400, shared_yaxes=True, horizontal_spacing=0.03)
    kind_of = {name: [kind for kind in kinds.values() if kind in name][-1] for name in curves}
    for (row, col), kind in zip(places, kinds.values()):
        group = {name: curve for name, curve in curves.items() if kind_of[name] == kind or name == reference}
        lines = improvement_figure(group, references=[reference, reference + kind]).update_traces(legend=f"legend{col}")
        fig.add_traces(lines.data, row, col).add_hline(y=1, line=style.DOTTED, row=row, col=col)
        below = {"x": fig.layout[f"xaxis{col}"].domain[0], "y": -0.28, "yanchor": "top"}
        fig.update_layout({f"legend{col}": below})
    fig.update_xaxes(title="accuracy", **style.per_cent_axis())
    fig.update_yaxes(**style.GAIN_AXIS).update_yaxes(title=style.GAIN, col=1)
    return fig.titled(title, width=1150, margin={"b": 150})


def excess_figure(table: pd.DataFrame) -> style.Figure:
    """A row a recipe: 1 + its mean excess cost on the split that chose (circle) and held out (diamond). table:
    ``compare_recipes`` with a held-out split."""
    rows = table.dropna(subset="excess_cost_moved").sort_values("excess_cost_moved", ascending=False)
    axis = {"title": "mean cost ÷ the exact front's at equal accuracy", **style.GAIN_AXIS}
    fig = style.figure("Cost ÷ that of the exact front", height=150 + 26 * len(rows), xaxis=axis, margin={"l": 280})
    for i, (column, name) in enumerate({"excess_cost": "where chosen", "excess_cost_moved": "held out"}.items()):
        marker = {"color": style.PALETTE[i], "symbol": ["circle-open", "diamond"][i], "size": 10, "line": {"width": 2}}
        fig.add_scatter(x=1 + rows[column], y=list(rows.index), mode="markers", marker=marker, name=name)
    return fig.add_vline(x=1, line=style.DOTTED)


def band_figure(
    curve: pd.DataFrame, band: pd.DataFrame, title: str = "Improvement, 95% bootstrap band"
) -> style.Figure:
    """An improvement curve (accuracy, improvement) over its band (accuracy, low, high)."""
    fig, edge = improvement_figure({}, title), {"mode": "lines", "line": {"width": 0, "color": style.PALETTE[0]}}
    fig.add_scatter(x=band["accuracy"], y=band["high"], showlegend=False, hoverinfo="skip", **edge)
    filled = {"name": "95% band", "fill": "tonexty", "fillcolor": "rgba(0,114,178,0.22)"}
    fig.add_scatter(x=band["accuracy"], y=band["low"], **filled, **edge)
    style.add_line(fig, curve["accuracy"], curve["improvement"], style.BLACK, name="front")
    return fig


def members_figure(members: pd.DataFrame, order: list[str], title: str = "Which models the front uses") -> style.Figure:
    """Figure 1, members: a mark at each accuracy where a model runs. members: ``front.members()``; cheapest first."""
    used = [m for m in order if m in set(members["model"])]
    height, accuracy = 120 + 24 * len(used), style.per_cent_axis(title="accuracy")
    fig = style.figure(title, height=height, xaxis=accuracy, margin={"l": 190})
    for stage, rows in members.groupby("stage"):
        shown = style.decimated(rows.sort_values(["model", "accuracy"]), 3000)
        marker = {"color": style.PALETTE[int(stage) - 1], "symbol": "line-ns-open", "size": 11, "line": {"width": 2}}
        fig.add_scatter(x=shown["accuracy"], y=shown["model"], mode="markers", marker=marker, name=f"stage {stage}")
    return fig.update_yaxes(categoryorder="array", categoryarray=style.plain(used))


def shares_figure(shares: pd.Series, title: str = "Part in the front (share of its log-cost range)") -> style.Figure:
    """A bar a model or family: ``front.shares()``."""
    rows = shares.sort_values()
    axis = style.per_cent_axis(title="share of the front in which it takes part; shares overlap")
    fig = style.figure(title, height=130 + 26 * len(rows), xaxis=axis, margin={"l": 190})
    return fig.add_bar(x=rows.to_numpy(), y=list(rows.index), orientation="h", marker={"color": style.PALETTE[0]})


def exit_rate_figure(curves: Tables, title: str = "Accuracy of pairs against their exit rate") -> style.Figure:
    """Figure 2, left. curves: label → ``pair_curve`` table; accuracy is shown relative to the second model's."""
    axes = {"xaxis": style.per_cent_axis(title="early exit rate of the first model")}
    fig = style.figure(title, **axes, yaxis=style.per_cent_axis(title="accuracy − second model's"))
    fig.add_hline(y=0, line=style.DOTTED)
    for i, (label, curve) in enumerate(curves.items()):
        shown = style.decimated(curve, 400)
        y = shown["accuracy"] - curve["accuracy"].iloc[0]
        style.add_line(fig, shown["exit_rate"], y, style.colour(i), 2, style.dash(i), name=label)
    return fig


def pairs_figure(pairs: pd.DataFrame, curves: Tables, title: str = "What makes a good pair") -> style.Figure:
    """Figure 2. Left: :func:`exit_rate_figure` of curves; middle and right: a point a pair of pairs (``pair_table``),
    coloured by size and by mean improvement."""
    seconds = {label.rpartition(" → ")[2] for label in curves}
    second = seconds.pop() if len(seconds) == 1 else "second model"  # one for all is named above the panel, and once
    curves = {label.removesuffix(f" → {second}"): curve for label, curve in curves.items()}
    titles = f"accuracy − {second}'s", "largest exit rate on the plateau", "mean improvement over the pair's range"
    fig, places = style.panels(titles, 3, 420, horizontal_spacing=0.12)
    fig.add_traces(exit_rate_figure(curves).data, 1, 1)
    size, gain = np.log10(pairs["cost_ratio"]), pairs["mean_improvement"]
    shows = (
        ("plateau", size, {"x": 0.628, "title": "log₁₀<br>size ratio"}, "exit rate %{y:.1%}"),
        ("cost_ratio", gain, {"x": 1.0, "title": "mean im-<br>provement"}, "size × %{y:.4s}<br>%{marker.color:.3f}"),
    )
    for (row, col), (y, colour, bar, hover) in zip(places[1:], shows):
        marker = {"color": colour, "colorscale": "Viridis", "size": 7, "colorbar": {**bar, "len": 1.0, "thickness": 12}}
        hover = f"%{{text}}<br>difference %{{x:.2%}}, {hover}<extra></extra>"
        at: dict = {"text": pairs["first"] + " → " + pairs["second"], "mode": "markers", "row": row, "col": col}
        at |= {"showlegend": False, "hovertemplate": hover}
        fig.add_scatter(x=pairs["accuracy_difference"], y=pairs[y], marker=marker, **at)
    fig.update_xaxes(title="accuracy difference", **style.per_cent_axis())
    fig.update_xaxes(title="early exit rate of the first model", row=1, col=1)
    fig.update_yaxes(style.per_cent_axis(), row=1).update_yaxes(title="early exit rate", row=1, col=2)
    fig.update_yaxes(type="log", title="size ratio", dtick=1, tickformat="~s", row=1, col=3)
    return fig.titled(title, width=1300, height=640, legend={"y": -0.2, "yanchor": "top", "orientation": "h"})


def fronts_figure(tables: Tables, families: pd.Series, cost: str = "macs", title: str | None = None) -> style.Figure:
    """Published models by cost and accuracy, the front of the first table by family, those of the others as lines.

    tables: label → ``published.singles(…)``; families: Series from model to family (of the first table), for colours:
    give the same Series to figures that shall agree. Accuracies are shown from 55% on.
    """
    (label, singles), *others = tables.items()
    front = singles[singles["on_front"]]
    title = title or f"{len(front)} of {len(singles)} published models are on the front ({label})"
    accuracy = style.per_cent_axis(title="published top-1 accuracy")
    fig = style.figure(title, height=520, xaxis=style.cost_axis(cost, singles["cost"]), yaxis=accuracy)
    marker = {"color": style.GREY, "size": 4, "opacity": 0.35}
    style.add_models(fig, singles[~singles["on_front"]], name="dominated", mode="markers", marker=marker)
    style.add_hull(fig, singles)
    colours = [*style.PALETTE, style.BLACK]
    for i, family in enumerate(families.unique()):
        rows = front[[families.get(name) == family for name in front.index]]
        if len(rows):
            # More families than colours: the twelfth takes the first colour with another symbol.
            symbol = style.SYMBOLS[(i + i // len(style.SYMBOLS)) % len(style.SYMBOLS)]
            marker = {"color": colours[i % len(colours)], "symbol": symbol, "size": 9}
            style.add_models(fig, rows, name=family, mode="markers", marker=marker)
    for i, (other, table) in enumerate(others):
        line = {"color": (style.BLACK, *style.PALETTE)[i % (1 + len(style.PALETTE))], "width": 1.5, "shape": "hv"}
        style.add_models(fig, table[table["on_front"]], name=other, mode="lines", line=line)
    best = max(table["accuracy"].max() for table in tables.values())
    return fig.update_yaxes(range=[0.55, best + 0.01])


def tasks_figure(tasks: dict[str, dict], cost: str = "macs", title: str = "Cascades on each task") -> style.Figure:
    """Figure 7: a row a task and score, its fronts on the left, their improvement factors on the right. tasks: {label:
    {name of a front: :class:`cascadelib.Front`}}; the names have the same colour in every row."""
    between = 85  # pixels: axis titles of one row and the title of the next
    inside = 240 * len(tasks) + between * (len(tasks) - 1)
    titles = [title for label in tasks for title in (label, f"{label}: improvement")]
    fig, _ = style.panels(titles, 2, horizontal_spacing=0.11, vertical_spacing=between / inside)
    fig.update_annotations(font_size=13)
    fig.update_layout(height=inside + 150, margin={"t": 95, "b": 55})
    names = list(dict.fromkeys(name for fronts in tasks.values() for name in fronts))
    for row, fronts in enumerate(tasks.values(), 1):
        first = next(iter(fronts.values()))
        style.add_singles(fig, first.singles, row=row, col=1, showlegend=row == 1)
        for name, front in fronts.items():
            colour, new = style.PALETTE[names.index(name)], not any(trace.legendgroup == name for trace in fig.data)
            line: dict = {"name": name, "legendgroup": name, "showlegend": new, "row": row, "col": 1}
            style.add_cascades(fig, style.decimated(front.table), colour, line_shape="hv", **line)
            curve, at = front.improvement_curve(), {"showlegend": False, "row": row, "col": 2}
            style.add_improvement(fig, curve, name, colour, **at)
        fig.add_hline(y=1, line=style.DOTTED, row=row, col=2)
        score = "F1" if first.score == "f1" else "accuracy"
        high = max(front.table["accuracy"].max() for front in fronts.values())
        low = first.singles.loc[first.singles["on_hull"], "accuracy"].iloc[0]
        low = max(first.singles["accuracy"].min(), 1.5 * low - 0.5 * high)  # whole models, but for those far below
        margin = 0.04 * max(high - low, 0.01)
        fig.update_xaxes(row=row, col=1, **style.cost_axis(cost, first.singles["cost"]))
        fig.update_yaxes(row=row, col=1, **style.per_cent_axis(title=score, range=[low - margin, high + margin]))
        fig.update_xaxes(row=row, col=2, **style.per_cent_axis(title=score))
        fig.update_yaxes(row=row, col=2, title=style.GAIN, **style.GAIN_AXIS)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1 - 40 / fig.layout.height, "yref": "container"}
    return fig.titled(title, legend=legend)
