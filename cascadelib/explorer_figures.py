"""The explorer's three views as figures, each from plain tables; a drag changes a few arrays of their traces.

Each function that ends in ``_figure`` draws empty traces, each with its name as ``meta``; its companions return ``{name: {property:
array}}`` for :func:`changed`. Arrays are float32: that is what goes over the wire.
"""

import numpy as np

from .confidence import own_units
from .figures import BLACK, GREY, PALETTE, cascade_hover, cost_axis, decimated, figure, per_cent

SPLIT_COLOURS = (PALETTE[0], PALETTE[3])  # the split that cascades are chosen on, the held-out one
CLEAR = "rgba(0,0,0,0)"  # the frames of histograms out of use lie above the others
RIGHT, WRONG, SENT_ON = PALETTE[5], PALETTE[4], "#D9D9D9"
HATCHED = {"shape": "/", "size": 6, "solidity": 0.2, "fillmode": "overlay", "fgcolor": "#7A4B00"}
KINDS_OF_BAR = {
    "right": {"color": RIGHT, "line": {"width": 0}},
    "wrong": {"color": WRONG, "line": {"width": 0}, "pattern": HATCHED},
}
FLOW = ("exits right", "exits wrong", "sent on")
MOST = 600  # points of a curve: what a screen shows


def wire(values):
    """Numbers as float32."""
    return np.asarray(values, np.float32)


def changed(fig, traces, layout=None):
    """Put {name: {property: value}} and a dict of layout into a FigureWidget (or a Figure), in one message."""
    of = {trace.meta: trace for trace in fig.data}
    with fig.batch_update():
        for name, properties in traces.items():
            for key, value in properties.items():
                of[name][key] = value
        if layout:
            fig.update_layout(layout)
    return fig


def framed(width, height, **layout):
    """An empty figure that wastes no room: legend in a line above, small titles."""
    legend = {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0, "font": {"size": 11}}
    fig = figure("", width=width, height=height, legend=legend, margin={"l": 58, "r": 8, "t": 30, "b": 44}, **layout)
    return fig.update_layout(font_size=11)


def curve_figure(splits):
    """Front, single models, the cascade's curve and its point, with empty traces; splits: one or two names."""
    fig = framed(570, 400, uirevision="kept")
    hover = "%{text}<br>%{y:.2%} at %{x:.4s}<extra></extra>"
    for split, colour in zip(splits, (GREY, SPLIT_COLOURS[1])):
        line = {"color": colour, "dash": "dot", "width": 1.5}
        style = {"line": line, "hoverinfo": "skip", "showlegend": split == splits[0]}
        fig.add_scatter(meta=f"hull, {split}", name="random routing (hull)", mode="lines", **style)
    marker = {"color": GREY, "size": 7}
    fig.add_scatter(meta="singles", name="single models", mode="markers", marker=marker, hovertemplate=hover)
    line, marker = {"color": BLACK, "width": 1, "shape": "hv"}, {"size": 4}
    style = {"mode": "lines+markers", "line": line, "marker": marker, "hovertemplate": hover}
    fig.add_scatter(meta="front", name="front: click a point", **style)
    for split, colour, dash in zip(splits, SPLIT_COLOURS, ("solid", "dash")):
        line = {"color": colour, "width": 2.5, "dash": dash}
        style = {"line": line, "hoverinfo": "skip", "opacity": 0.75}
        fig.add_scatter(meta=f"curve, {split}", name=f"this cascade, {split}", mode="lines", **style)
    for split, colour, symbol in list(zip(splits, SPLIT_COLOURS, ("circle", "diamond")))[::-1]:
        marker = {"color": colour, "size": 13, "symbol": symbol, "line": {"color": "white", "width": 1.5}}
        hover = f"%{{y:.2%}} at %{{x:.4s}}<extra>{split}</extra>"
        style = {"marker": marker, "hovertemplate": hover, "showlegend": False}
        fig.add_scatter(meta=f"now, {split}", mode="markers", **style)
    return fig


def baselines(splits, singles):
    """Hulls and single models. singles: {split: ``front.singles`` there}; models are drawn for the first split."""
    traces = {}
    for split in splits:
        hull = singles[split][singles[split]["on_hull"]]
        traces[f"hull, {split}"] = {"x": wire(hull["cost"]), "y": wire(hull["accuracy"])}
    first = singles[splits[0]]
    faint = wire(np.where(first["on_front"], 1, 0.4))
    shown = {"x": wire(first["cost"]), "y": wire(first["accuracy"]), "text": list(first.index), "marker.opacity": faint}
    return traces | {"singles": shown}


def axes_of(singles, cost, most=0.0):
    """Fixed axes around the single models of the first split and the best accuracy ``most`` of anything drawn."""
    hull = singles[singles["on_hull"]]
    low, high = hull["accuracy"].iloc[0], max(singles["accuracy"].max(), most)
    room = 0.05 * max(high - low, 1e-3)
    ends = np.log10([singles["cost"].min() * 0.8, singles["cost"].max() * 2])
    x = {**cost_axis(cost), "range": ends.tolist()}
    return {"xaxis": x, "yaxis": per_cent(title="accuracy", range=[low - room, high + room])}


def front_points(table):
    """(traces, rows): the front as its trace, decimated, and the rows of the table that its points stand for."""
    shown = decimated(table.assign(row=np.arange(len(table))), MOST)
    points = {"x": wire(shown["cost"]), "y": wire(shown["accuracy"]), "text": cascade_hover(shown)}
    return {"front": points}, shown["row"].to_numpy()


def curve_of(split, cost, accuracy):
    """The cascade's whole curve on a split."""
    rows = np.unique(np.linspace(0, len(cost) - 1, min(MOST, len(cost))).astype(int))
    return {f"curve, {split}": {"x": wire(cost[rows]), "y": wire(accuracy[rows])}}


def now(readings):
    """The current point on each split. readings: {split: Reading}."""
    return {f"now, {split}": {"x": wire([r.cost]), "y": wire([r.accuracy])} for split, r in readings.items()}


def confidence_figure(stages):
    """Histograms of confidence, one beside the other, for at most ``stages`` stages; empty traces."""
    fig = framed(1080, 220, barmode="overlay", bargap=0, plot_bgcolor=CLEAR)
    fig.update_layout(legend={"x": 1, "xanchor": "right"})
    for i in range(stages):
        at = {"xaxis": f"x{i + 1}", "yaxis": f"y{i + 1}"}
        for kind, style in KINDS_OF_BAR.items():
            shown = {"hoverinfo": "y+name", "showlegend": i == 0, **at}
            fig.add_bar(meta=f"{kind} {i + 1}", name=kind, marker=style, **shown)
        line, shown = {"color": BLACK, "width": 2}, {"hoverinfo": "skip", "showlegend": False, **at}
        fig.add_scatter(meta=f"threshold {i + 1}", mode="lines", line=line, **shown)
    return fig


def confidence_axes(names, metric, edges, most, stages):
    """Layout of the histograms of a cascade: one a stage with a threshold, of at most ``stages``.

    names: of those stages; edges: inside, [BINS + 1] each; most: the largest count to show, one a stage.
    """
    layout, d = {"annotations": []}, len(names)
    for i in range(stages):
        layout[f"xaxis{i + 1}"] = layout[f"yaxis{i + 1}"] = {"visible": False}
    for i, (name, edge, top) in enumerate(zip(names, edges, most)):
        left, right = i / d + (0.04 if i else 0), (i + 1) / d
        own = sorted(own_units(metric, [edge[0], edge[-1]]).tolist())
        counts = [-0.2, np.log10(max(top, 1)) + 0.15]
        x = {"visible": True, "domain": [left, right], "anchor": f"y{i + 1}", "range": own}
        y = {"visible": True, "type": "log", "anchor": f"x{i + 1}", "range": counts, "dtick": 1}
        layout[f"xaxis{i + 1}"] = {**x, "title": str(metric or "confidence")}
        layout[f"yaxis{i + 1}"] = {**y, "title": "inputs that arrive" if i == 0 else ""}
        place = {"xref": "paper", "yref": "paper", "x": left, "y": 1.02, "yanchor": "bottom", "showarrow": False}
        layout["annotations"].append({**place, "xanchor": "left", "text": f"<b>{i + 1}</b> {name}"})
    return layout


def bars(stage, right, wrong, edges, metric):
    """Counts of one stage's histogram as bars in own units."""
    x = wire(own_units(metric, (edges[1:] + edges[:-1]) / 2))
    width = float(edges[1] - edges[0])
    return {
        f"right {stage + 1}": {"x": x, "y": wire(right), "width": width, "visible": True},
        f"wrong {stage + 1}": {"x": x, "y": wire(wrong), "width": width, "visible": True},
    }


def threshold_line(stage, threshold, edges, metric, top):
    """The threshold of a stage as an upright line, kept at the edge of the picture for always and never."""
    at = float(own_units(metric, np.clip(threshold, edges[0], edges[-1])))
    return {f"threshold {stage + 1}": {"x": wire([at, at]), "y": wire([0.5, top * 1.4]), "visible": True}}


def flow_figure():
    """Where the inputs go, with empty bars: a row a stage, the held-out split as a thin bar below."""
    fig = framed(490, 230, barmode="overlay", bargap=0)
    fig.update_layout(margin={"l": 34})
    fig.update_xaxes(range=[0, 1], **per_cent(title="share of all inputs"))
    styles = (*KINDS_OF_BAR.values(), {"color": SENT_ON, "line": {"width": 0}})
    for name, style in zip(FLOW, styles):
        hover = "%{x:.2%} %{customdata:,.0f}<extra>" + name + "</extra>"
        text = {"textposition": "inside", "insidetextanchor": "middle", "textangle": 0, "hovertemplate": hover}
        fig.add_bar(meta=name, name=name, orientation="h", marker=style, insidetextfont={"color": BLACK}, **text)
    return fig.update_layout(uniformtext={"minsize": 9, "mode": "hide"})


def flow_axes(stages):
    """Layout of the flow of a cascade of that many stages."""
    ticks = {"tickvals": [-i for i in range(stages)], "ticktext": [str(i + 1) for i in range(stages)]}
    return {"yaxis": {**ticks, "range": [0.4 - stages, 0.5], "title": "stage", "ticks": ""}, "height": 90 + 45 * stages}


def flow(readings):
    """Where the inputs go on each split (the first thick, the second thin): bars of :func:`flow_figure`."""
    parts = {name: {"x": [], "base": [], "y": [], "text": [], "customdata": []} for name in FLOW}
    for thin, reading in enumerate(readings.values()):
        k = len(reading.correct)
        for i, (leaves, right) in enumerate(zip(reading.exits, reading.exits_right)):
            before = reading.exits[:i].sum()
            starts, counts = (before, before + right, before + leaves), (right, leaves - right, k - before - leaves)
            for name, start, count in zip(FLOW, starts, counts):
                part = parts[name]
                part["x"].append(count / k)
                part["base"].append(start / k)
                part["y"].append(-i - 0.36 * thin)
                part["text"].append("" if thin or not count else f"{count:,.0f}")
                part["customdata"].append(count)
    width = [w for w, r in zip((0.5, 0.16), readings.values()) for _ in r.exits]
    numeric = ("x", "base", "y", "customdata")
    return {
        name: {**{key: wire(part[key]) for key in numeric}, "text": part["text"], "width": wire(width)}
        for name, part in parts.items()
    }


def hidden(fig):
    """Every trace of a figure out of sight."""
    return {trace.meta: {"visible": False} for trace in fig.data}
