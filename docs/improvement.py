"""Draw the glossary's picture: hull, improvement factor and early exit rate of one held-out
cascade.

python docs/improvement.py     rewrites docs/improvement.png (draws with Chrome or Chromium)
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import cascadelib as cl
from cascadelib.figures.tables import arrow

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "notebooks"))
from tools.report.committed import draw, reduce_palette  # noqa: E402

VAL = "data/fashion-mnist/val"
TEST = "data/fashion-mnist/test"
BLACK = "#222222"
COLOURS = ["#56B4E9", "#0072B2"]


def glossary_picture(store: cl.LogitStore, held_out: cl.LogitStore) -> Any:
    """Draw the picture of the glossary.

    Left: the single models of ``held_out``, their hull, and the replayed front of pairs of
    ``store``. An arrow goes from the hull to the pair that matches the best single model of
    ``store``. Right: the exits of its samples and its cost.
    """
    front = cl.search(store)
    point = cl.pick(front, "match_best", caution=0)
    moved = cl.replay(held_out, front)
    there = cl.evaluate(held_out, point)
    singles = cl.search(held_out, 1).singles
    shown = moved[moved["on_front"]].sort_values("cost_replayed")
    shown = shown.drop(columns=["cost", "accuracy"]).rename(
        columns={"cost_replayed": "cost", "accuracy_replayed": "accuracy"}
    )
    title = f"{arrow(point.models)} on {held_out.split}"
    fig = cl.figures.front_figure({"cascades of two": shown}, singles, title=title)
    arrow_at = {"symbol": "arrow", "angleref": "previous", "size": 14, "color": BLACK}
    ends = [there.baseline_cost, there.cost]
    height = [there.accuracy, there.accuracy]
    fig.add_scatter(
        x=ends, y=height, mode="lines+markers", marker=arrow_at, line={"color": BLACK, "width": 2}
    )
    fig.data[-1].name = f"improvement factor: {there.improvement:.1f}"
    large = held_out.models["macs"][point.models[-1]]
    spent = [
        held_out.models["macs"][name] * share / large
        for name, share in zip(point.models, [1, there.exit_rates[1]])
    ]
    rows = ["samples", "cost, beside<br>that of the<br>large model"]
    for colour, parts in zip(COLOURS, zip(there.exit_rates, spent)):
        bar = {
            "orientation": "h",
            "xaxis": "x2",
            "yaxis": "y2",
            "marker": {"color": colour},
            "textangle": 0,
        }
        fig.add_bar(
            x=parts, y=[0, 1], text=[f"{part:.0%}" for part in parts], showlegend=False, **bar
        )
    note = {"xref": "x2", "yref": "y2", "y": -0.48, "yanchor": "bottom", "showarrow": False}
    fig.add_annotation(
        x=0,
        xanchor="left",
        align="left",
        text="early exit rate:<br>leave at the<br>small model",
        **note,
    )
    fig.add_annotation(x=1, xanchor="right", align="right", text="at the<br>large one", **note)
    fig.update_layout(
        xaxis={"domain": [0, 0.56]},
        xaxis2={"domain": [0.72, 1], "anchor": "y2", "range": [0, 1.02], "visible": False},
        yaxis2={
            "domain": [0, 0.95],
            "anchor": "x2",
            "tickvals": [0, 1],
            "ticktext": rows,
            "range": [1.6, -0.95],
        },
        barmode="stack",
        legend={"x": 0.55, "xanchor": "right", "y": 0.03, "yanchor": "bottom"},
        width=1000,
    )
    return fig


if __name__ == "__main__":
    figure = glossary_picture(cl.LogitStore(VAL), cl.LogitStore(TEST))
    (picture,) = asyncio.run(draw([json.loads(figure.to_json())]))
    (HERE / "improvement.png").write_bytes(reduce_palette(picture))
