"""Figures of published models: the baseline fronts among hundreds of dominated models, then and now."""

from .figures import BLACK, GREY, PALETTE, SYMBOLS, add_hull, add_models, cost_axis, figure, per_cent


def fronts_figure(tables, families, cost="macs", accuracy_from=0.55, title=None):
    """Published models by cost and accuracy, the front of the first table by family, those of the others as lines.

    tables: label → ``published.singles(…)``; families: Series from model to family (of the first table), for colours:
    give the same Series to figures that shall agree. accuracy_from: lowest accuracy shown.
    """
    (label, singles), *others = tables.items()
    front = singles[singles["on_front"]]
    title = title or f"{len(front)} of {len(singles)} published models are on the front ({label})"
    fig = figure(title, height=520, xaxis=cost_axis(cost), yaxis=per_cent(title="published top-1 accuracy"))
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
