"""The glossary's picture: single models, their hull, the front of pairs, and the improvement factor at one accuracy.

python docs/improvement.py     rewrites docs/improvement.png (draws with Chrome or Chromium)
"""

import asyncio
import json
import sys
from pathlib import Path

import cascadelib as cl

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "notebooks"))
from committed import draw, with_palette  # noqa: E402

STORE, ACCURACY, BLACK = "data/fashion-mnist/val", 0.94, "#222222"


def improvement_picture(front, accuracy):
    """The front over its single models, with an arrow from the hull to the front at ``accuracy``: a plotly figure."""
    baseline, cascade = front.baseline.cost_at(accuracy), front.cost_at(accuracy)
    title = "The improvement factor is the length of the arrow"
    fig = cl.figures.front_figure({"front of cascades of two": front.table}, front.singles, title=title)
    fig.add_scatter(
        x=[baseline, cascade],
        y=[accuracy, accuracy],
        mode="lines+markers",
        marker={"symbol": "arrow", "angleref": "previous", "size": 14, "color": BLACK},
        line={"color": BLACK, "width": 2},
        name=f"at {accuracy:.0%}: {baseline / cascade:.1f} × less",
    )
    return fig.update_layout(legend={"x": 0.98, "xanchor": "right", "y": 0.03, "yanchor": "bottom"})


if __name__ == "__main__":
    figure = improvement_picture(cl.search(cl.LogitStore(STORE)), ACCURACY)
    (picture,) = asyncio.run(draw([json.loads(figure.to_json())]))
    (HERE / "improvement.png").write_bytes(with_palette(picture))
