"""Calibration (paper, figure 13) from plain tables."""

from math import ceil

import pandas as pd

from . import style

Tables = dict[str, pd.DataFrame]

COLUMNS = 4
LINES = {"confidence": (style.PALETTE[1], 1.6), "accuracy": (style.PALETTE[0], 1.2)}


def reliability_figure(averages: Tables) -> style.Figure:
    """Draw accuracy and confidence along the samples, one small panel per model.

    Parameters
    ----------
    averages : dict of str to DataFrame
        By model: ``moving_average`` with position (share of samples, by rising confidence),
        confidence and accuracy, all fractions.

    Returns
    -------
    Figure

    References
    ----------
    Paper, figure 13.
    """
    rows = ceil(len(averages) / COLUMNS)
    fig, places = style.panels(
        averages,
        min(COLUMNS, len(averages)),
        130,
        horizontal_spacing=0.02,
        vertical_spacing=0.44 / rows,
        shared_yaxes=True,
    )
    for number, ((row, col), table) in enumerate(zip(places, averages.values())):
        shown = style.decimated(table, 250)
        for name, line in LINES.items():
            at: dict = {
                "legendgroup": name,
                "showlegend": number == 0,
                "row": row,
                "col": col,
            }
            hover = "%{y:.2%} at %{x:.0%}<extra>" + name + "</extra>"
            style.add_line(
                fig, shown["position"], shown[name], *line, name=name, hovertemplate=hover, **at
            )
    lowest = min(table[["confidence", "accuracy"]].min().min() for table in averages.values())
    shares = style.per_cent_axis(tickfont_size=10)
    fig.update_yaxes(range=[lowest - 0.03, 1.03], dtick=0.2, **shares)
    fig.update_xaxes(range=[0, 1], tickvals=[0.25, 0.5, 0.75], **shares)
    fig.update_annotations(font_size=11)
    fig.add_annotation(
        text="share of samples, least confident first",
        x=0.5,
        y=-0.02,
        yshift=-28,
        xref="paper",
        yref="paper",
        showarrow=False,
        font_size=12,
    )
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.09}
    title = "Accuracy and confidence along the samples, moving averages"
    return fig.titled(title, margin={"b": 60}, legend=legend)
