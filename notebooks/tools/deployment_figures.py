"""Figures of a running cascade, each from a plain table.

They show the cost of a guarantee, a stream, and how MACs relate to seconds.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cascadelib.figures import style
from cascadelib.tables import arrow, number
from tools import findings
from tools.paper_figures import interval_bars

GUARANTEE = {
    "accuracy_loss_allowed": "certified: at most ε",
    "accuracy_loss_held_out": "measured on held-out data",
}


def guarantee_figure(
    table: pd.DataFrame,
    reference_cost: float,
    cost: str = "macs",
    title: str = "The cost of a guarantee (dotted: the reference model alone)",
    lines: Mapping[str, str] = GUARANTEE,
    axis: str = "accuracy loss against the reference",
) -> style.Figure:
    """Draw the least certified cost against the allowed loss, or another share.

    Parameters
    ----------
    table : DataFrame
        One row per allowed loss: models, cost and the columns of ``lines``. Rows without a cost are
        left out. The columns cost_low and cost_high, if present, are drawn as bars.
    reference_cost : float
        Cost of the reference model, a dotted line.
    cost : str
        Kind of cost: a key of COSTS, or the title of the axis.
    title : str
    lines : mapping of str to str
        Column → its label.
    axis : str
        Title of the axis of shares.

    Returns
    -------
    Figure
    """
    shown = table.dropna(subset=["cost"])
    costs = style.cost_axis(cost, [*shown["cost"], reference_cost])
    costs["autorangeoptions"] = {"include": 1.3 * reference_cost}  # the dotted line is within
    title = findings.titled(findings.describe_guarantees(table, reference_cost), title)
    fig = style.figure(title, xaxis=style.per_cent_axis(title=axis), yaxis=costs)
    fig.add_hline(y=reference_cost, line=style.DOTTED)
    for (column, label), colour, symbol in zip(lines.items(), style.PALETTE, ("circle", "diamond")):
        style.add_line(
            fig,
            shown[column],
            shown["cost"],
            colour,
            name=label,
            mode="lines+markers",
            marker={"symbol": symbol, "size": 9},
            error_y=interval_bars(shown, "cost"),
            text=shown["models"].map(arrow),
            hovertemplate="%{text}<br>%{x:.2%} at %{y:.4s}<extra></extra>",
        )
    return fig


def capital_figure(table: pd.DataFrame, level: float, change: int | None = None) -> style.Figure:
    """Draw the capital of bets on drift with a stake of 1, and the level of the alarm.

    Parameters
    ----------
    table : DataFrame
        One column per stage. The index is the number of inputs. Capital far above the level is
        drawn just above it, because the alarm has been raised.
    level : float
        Of the alarm, a dotted line: 1 ÷ the false-alarm rate of each stage.
    change : int, optional
        The input at which the stream changes, a dashed line.

    Returns
    -------
    Figure
    """
    drawn = (
        "capital of bets on drift with a stake of 1; without drift it reaches "
        f"{level:.4g} with a probability of at most {1 / level:.3g}, ever"
    )
    title = findings.titled(findings.describe_capital(table, level, change), drawn)
    range_ = [-3, np.log10(level) + 1]
    ticks = [10.0**power for power in range(-3, int(range_[1]) + 1)]
    labels = [f"{tick:,g}" for tick in ticks]
    axis = {"type": "log", "title": "capital", "range": range_, "tickvals": ticks}
    fig = style.figure(title, xaxis={"title": "inputs"}, yaxis=axis | {"ticktext": labels})
    above = {"text": "alarm", "showarrow": False, "xanchor": "left", "yanchor": "bottom"}
    fig.add_hline(y=level, line=style.DOTTED)
    fig.add_annotation(x=0.01, xref="paper", y=np.log10(level), **above)
    if change is not None:
        fig.add_vline(x=change, line={"color": style.GREY, "dash": "dash"})
        beside = {"y": 0.98, "yref": "paper", "showarrow": False, "xanchor": "right"}
        fig.add_annotation(x=change, text="the stream changes ", **beside)
    for i, (name, values) in enumerate(table.items()):
        shown = values.clip(10 ** (range_[0] + 0.05), 10 ** (range_[1] - 0.15 - 0.1 * i))
        style.add_line(fig, table.index, shown, style.colour(i), 2, name=str(name))
    return fig


def savings_figure(
    table: pd.DataFrame, title: str = "The cascade against the best single model, at equal accuracy"
) -> style.Figure:
    """Draw each kind of cost as a share of the best single model's, as stacked bars.

    Parameters
    ----------
    table : DataFrame
        :func:`savings`: one row per kind of cost, its parts and their total as fractions of the
        single model's cost.
    title : str

    Returns
    -------
    Figure
    """
    ratio = style.per_cent_axis(title="cost ÷ cost of the single model")
    title = findings.titled(findings.describe_savings(table), title)
    fig = style.figure(title, barmode="stack", xaxis=ratio, margin={"l": 190})
    parts = table.drop(columns="total")
    totals = table["total"]
    names = list(table.index)
    colours = [*style.PALETTE[: len(parts.columns) - 2], style.BLACK, style.GREY]
    for (part, values), colour in zip(parts.items(), colours):
        fig.add_bar(
            x=values,
            y=names,
            name=part,
            marker_color=colour,
            orientation="h",
            hovertemplate="%{y}: %{x:.1%}<extra>%{fullData.name}</extra>",
        )
    fig.add_scatter(
        x=parts.sum(axis=1),
        y=names,
        mode="text",
        text=[f" {number(1 / total)} × less" for total in totals],
        textposition="middle right",
        showlegend=False,
    )
    fig.add_vline(x=1, line=style.DOTTED)
    fig.update_xaxes(range=[0, max(1.1, 1.25 * totals.max())])
    return fig.update_yaxes(autorange="reversed")


def savings(tables: Mapping[str, pd.DataFrame], single: str, costs: pd.Series) -> pd.DataFrame:
    """Return the cost of a cascade ÷ that of a ``single`` model, part by part, a row per kind of
    cost.

    tables: label → :func:`tools.deployed.time_cascade` with ``single``. costs: Series from model to
    its MACs, weighted by the exit rates of the first table. Columns: each model's part, exit
    decisions, rest (splitting batches, sorting results), and total.
    """
    reach = next(iter(tables.values()))["share_run"].dropna()
    rows = {"MACs": costs[reach.index] * reach / costs[single]}
    rows["MACs"]["total"] = rows["MACs"].sum()
    for label, table in tables.items():
        seconds = table["seconds"]
        row = table["seconds_in_cascade"].dropna()
        row["exit decisions"] = seconds["exit decisions"]
        row["rest"] = seconds["cascade"] - row.sum()
        row["total"] = seconds["cascade"]
        rows[label] = row / seconds[single]
    columns = [*reach.index, "exit decisions", "rest", "total"]
    return pd.DataFrame(rows).T.fillna(0.0)[columns]
