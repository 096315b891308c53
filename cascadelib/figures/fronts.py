"""Figures of fronts, each from plain tables. Costs stand on a log axis, accuracies as per cent."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from . import style

Tables = dict[str, pd.DataFrame]


def singles_figure(
    singles: pd.DataFrame,
    families: pd.Series | None = None,
    cost: str = "macs",
    title: str = "Single models: faint ones are dominated",
) -> style.Figure:
    """Single models by cost and accuracy. singles: ``front.singles``; families: Series from model to its family."""
    axes = {
        "xaxis": style.cost_axis(cost, singles["cost"]),
        "yaxis": style.per_cent_axis(title="accuracy"),
    }
    return style.add_singles(style.figure(title, **axes), singles, families)


def front_figure(
    tables: Tables,
    singles: pd.DataFrame,
    cost: str = "macs",
    title: str = "Cascades against single models",
) -> style.Figure:
    """Figure 1, top: fronts (label → ``front.table``), of those that coincide one, over single models
    (``front.singles``), from a little below the cheapest model on the hull."""
    fig = singles_figure(singles, None, cost, title)
    at = np.unique(np.concatenate([table["accuracy"] for table in tables.values()]))
    least = {
        label: table.groupby("accuracy")["cost"].min()[::-1].cummin()[::-1]
        for label, table in tables.items()
    }
    costs = {label: cost.reindex(at, method="bfill") for label, cost in least.items()}
    for i, (label, name) in enumerate(coinciding(costs).items()):
        line: dict = {
            "line_shape": "hv",
            "dash": style.dash(i),
            "mode": "lines+markers",
            "marker": {"size": 3},
        }
        style.add_cascades(fig, style.decimated(tables[label]), style.colour(i), name=name, **line)
    low = singles.loc[singles["on_hull"], "accuracy"].iloc[0]
    high = max(singles["accuracy"].max(), *(t["accuracy"].max() for t in tables.values()))
    return fig.update_yaxes(range=[low - 0.02 * (high - low), high + 0.03 * (high - low)])


def improvement_figure(
    curves: Tables,
    title: str = "Improvement factor at equal accuracy",
    references: Collection[str] = (),
) -> style.Figure:
    """Figure 1, bottom: label → table with accuracy and improvement (``front.improvement_curve()``); references: labels
    drawn as thin black lines. Of curves that coincide one is drawn, under all their labels (:func:`coinciding`)."""
    gain = {"title": style.GAIN, **style.GAIN_AXIS}
    fig = style.figure(
        title,
        xaxis=style.per_cent_axis(title="accuracy"),
        yaxis=gain,
        hovermode="x",
        showlegend=True,
    )
    curves = {label: curves[label] for label in [*references, *curves] if label in curves}
    names = coinciding(
        {label: curve.set_index("accuracy")["improvement"] for label, curve in curves.items()}
    )
    others = [first for first in names if first not in references]
    for first, name in names.items():
        i = others.index(first) if first in others else None
        colour, width, dash = (
            (style.BLACK, 1.2, None) if i is None else (style.colour(i), 1.8, style.dash(i))
        )
        style.add_improvement(fig, curves[first], name, colour, width, dash=dash)
    return fig.add_hline(y=1, line=style.DOTTED)


def coinciding(curves: dict[str, pd.Series]) -> dict[str, str]:
    """{label to draw: its name, with those of the later curves over the same index that it stands for}: "=" has equal
    values, "≈" none that differs by more than 2%."""
    names: dict[str, str] = {}
    for label, curve in curves.items():
        for first in [first for first in names if curve.index.equals(curves[first].index)]:
            equal, near = (
                np.allclose(curve, curves[first], by, 0, equal_nan=True) for by in (1e-9, 0.02)
            )
            if near:
                names[first] += f" = {label}" if equal else f"\n≈ {label} (within 2%)"
                break
        else:
            names[label] = label
    return names


def band_figure(
    curve: pd.DataFrame, band: pd.DataFrame, title: str = "Improvement, 95% bootstrap band"
) -> style.Figure:
    """An improvement curve (accuracy, improvement) over its band (accuracy, low, high)."""
    fig, edge = (
        improvement_figure({}, title),
        {"mode": "lines", "line": {"width": 0, "color": style.PALETTE[0]}},
    )
    fig.add_scatter(x=band["accuracy"], y=band["high"], showlegend=False, hoverinfo="skip", **edge)
    filled = {"name": "95% band", "fill": "tonexty", "fillcolor": "rgba(0,114,178,0.22)"}
    fig.add_scatter(x=band["accuracy"], y=band["low"], **filled, **edge)
    style.add_line(fig, curve["accuracy"], curve["improvement"], style.BLACK, name="front")
    return fig
