"""Figures of intervals, each from plain tables."""

from .style import BLACK, GREY, PALETTE, add_singles, cost_axis, figure, per_cent_axis


def band_figure(curve, band, title="Improvement factor with its 95% bootstrap band", label="front"):
    """An improvement curve (accuracy, improvement) over its band (accuracy, low, high)."""
    fig = figure(title, xaxis=per_cent_axis(title="accuracy"), yaxis={"title": "baseline cost ÷ cascade cost"})
    edge = {"width": 0, "color": PALETTE[0]}
    fig.add_scatter(x=band["accuracy"], y=band["high"], mode="lines", line=edge, showlegend=False, hoverinfo="skip")
    fill = {"fill": "tonexty", "fillcolor": "rgba(0,114,178,0.22)"}
    fig.add_scatter(x=band["accuracy"], y=band["low"], mode="lines", line=edge, name="95% band", **fill)
    line = {"color": BLACK, "width": 1.6}
    fig.add_scatter(x=curve["accuracy"], y=curve["improvement"], mode="lines", line=line, name=label)
    fig.add_hline(y=1, line={"color": GREY, "dash": "dot"})
    return fig.update_layout(hovermode="x")


def front_band_figure(table, ends, singles, cost="macs", title="The front with the 95% intervals of its cascades"):
    """Cascades by cost and accuracy, with the interval of each accuracy. ends: ``point_intervals`` of the same."""
    fig = figure(title, xaxis=cost_axis(cost), yaxis=per_cent_axis(title="accuracy"))
    add_singles(fig, singles)
    edge = {"width": 0, "color": PALETTE[0]}
    fig.add_scatter(x=table["cost"], y=ends["accuracy_high"], mode="lines", line=edge, showlegend=False)
    fill = {"fill": "tonexty", "fillcolor": "rgba(0,114,178,0.22)"}
    fig.add_scatter(x=table["cost"], y=ends["accuracy_low"], mode="lines", line=edge, name="95% interval", **fill)
    line = {"color": PALETTE[0], "width": 1.6, "shape": "hv"}
    fig.add_scatter(x=table["cost"], y=table["accuracy"], mode="lines", line=line, name="front")
    low, high = ends["accuracy_low"].min(), ends["accuracy_high"].max()
    return fig.update_yaxes(range=[low - 0.01 * (high - low), high + 0.02 * (high - low)])
