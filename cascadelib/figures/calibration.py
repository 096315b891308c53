"""Calibration (paper, figure 13) from plain tables."""

import pandas as pd

from . import style

Tables = dict[str, pd.DataFrame]


def reliability_figure(averages: Tables) -> style.Figure:
    """Figure 13: {model: ``moving_average``}, a small panel a model; samples by rising confidence on the x axis."""
    space = {
        "horizontal_spacing": 0.02,
        "vertical_spacing": 0.44 / -(-len(averages) // 4),
        "shared_yaxes": True,
    }
    fig, places = style.panels(averages, min(4, len(averages)), 130, **space)
    lines = {"confidence": (style.PALETTE[1], 1.6), "accuracy": (style.PALETTE[0], 1.2)}
    for number, ((row, col), table) in enumerate(zip(places, averages.values())):
        shown = style.decimated(table, 250)
        for name, line in lines.items():
            at: dict = {"legendgroup": name, "showlegend": number == 0, "row": row, "col": col}
            hover = "%{y:.2%} at %{x:.0%}<extra>" + name + "</extra>"
            style.add_line(
                fig, shown["position"], shown[name], *line, name=name, hovertemplate=hover, **at
            )
    lowest = min(table[["confidence", "accuracy"]].min().min() for table in averages.values())
    fig.update_yaxes(
        range=[lowest - 0.03, 1.03], dtick=0.2, tickfont_size=10, **style.per_cent_axis()
    )
    fig.update_xaxes(
        range=[0, 1], tickvals=[0.25, 0.5, 0.75], tickfont_size=10, **style.per_cent_axis()
    )
    fig.update_annotations(font_size=11)
    note = {
        "text": "share of samples, least confident first",
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
    }
    fig.add_annotation(x=0.5, y=-0.02, yshift=-28, font_size=12, **note)
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.09}
    title = "Accuracy and confidence along the samples, moving averages"
    return fig.titled(title, margin={"b": 60}, legend=legend)
