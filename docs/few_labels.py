"""Fill docs/few-labels.md: ``python docs/few_labels.py sizes figure``.

``sizes``: the table of labels that certify, by exact sums (minutes). ``figure``: the picture
few-labels.png, from the draws of ``python benchmarks/choosing.py`` (draws with Chrome or Chromium).
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from guarantees import DELTA, GAINED, LOST, NEITHER, OFTEN, markdown
from scipy.stats import binom, multinomial

from cascadelib.guarantees.p_values import drawn_p_value

HERE = Path(__file__).resolve().parent
PAGE = HERE / "few-labels.md"
sys.path[:0] = [str(HERE.parent / "benchmarks"), str(HERE.parent / "notebooks")]
import choosing  # noqa: E402

from tools.committed import draw, reduce_palette  # noqa: E402

EPSILONS = (0.005, 0.01, 0.02, 0.05)
SHARES = (0.1, 0.25, 0.5)  # of the samples on which candidates disagree
SAMPLES = 10_000  # that follow those of the choice
MOST = 30  # labels of disagreements of the cascade
COLOURS = {"images": "#0072B2", "reviews": "#D55E00"}


def power_of(count: int, epsilon: float, disagreements: int) -> float:
    """Return the probability that labels of ``count`` disagreements of a cascade certify it."""
    total = LOST + GAINED + NEITHER
    pairs = [(a, b) for a in range(count + 1) for b in range(count + 1 - a)]
    certifying = [
        (lost, gained, count - lost - gained)
        for lost, gained in pairs
        if drawn_p_value(lost, gained, count, disagreements, SAMPLES, epsilon, DELTA) <= DELTA
    ]
    shares = [LOST / total, GAINED / total, NEITHER / total]
    return float(sum(multinomial.pmf(cell, count, shares) for cell in certifying))


def fewest_labels(epsilon: float) -> list[int]:
    """Return the fewest labels of which OFTEN certify: of the cascade, then per share."""
    share = (LOST + GAINED + NEITHER) * epsilon
    powers = np.array([power_of(m, epsilon, round(share * SAMPLES)) for m in range(MOST + 1)])
    found = [int(np.argmax(powers >= OFTEN))]
    for wide in SHARES:
        counts = np.arange(1, round(MOST * wide / share / 2))
        drawn = binom.pmf(np.arange(MOST + 1), counts[:, None], share / wide)
        found.append(int(counts[np.argmax(drawn @ powers >= OFTEN)]))
    return found


def sizes() -> str:
    """Return the labels that certify, by ε and by the share of disagreements."""
    head = ["loss", "disagreements of the cascade and the reference"]
    head += [f"of candidates that disagree on {share:.0%}" for share in SHARES]
    rows = [
        [f"{100 * epsilon:g}%", *(f"{count:,}" for count in fewest_labels(epsilon))]
        for epsilon in EPSILONS
    ]
    return markdown(head, rows)


def saving_by_labels(cells: pd.DataFrame) -> go.Figure:
    """Draw the saving against the number of labels, one line per pool and rule."""
    figure = go.Figure()
    cells = cells[(cells["lengths"] == "triples") & (cells["kind"] == "expected")]
    cells = cells[cells["pool"].isin(COLOURS)].sort_values("labels")
    for (pool, rule), part in cells.groupby(["pool", "rule"]):
        dash = "solid" if rule == choosing.DISAGREEMENTS else "dot"
        line = {"color": COLOURS[pool], "dash": dash, "width": 2}
        figure.add_scatter(x=part["labels"], y=part["saving"], mode="lines+markers", line=line)
        end = part.iloc[-1]
        name = f"{pool}, labels of {rule}"
        figure.add_annotation(
            x=np.log10(end["labels"]),
            y=np.log10(end["saving"]),
            text=name,
            xanchor="left",
            xshift=8,
            showarrow=False,
            font={"color": COLOURS[pool]},
        )
    labels = sorted(cells["labels"].unique().tolist())
    axis = {"type": "log", "tickvals": labels, "ticktext": [f"{count:,}" for count in labels]}
    axis["range"] = [np.log10(labels[0]) - 0.05, np.log10(labels[-1]) + 0.75]
    figure.update_layout(
        template="simple_white",
        showlegend=False,
        width=760,
        height=420,
        margin={"l": 60, "r": 10, "t": 10, "b": 50},
        xaxis={"title": "labels that choose", **axis},
        yaxis={"title": "reference cost ÷ mean cost, held-out", "type": "log", "dtick": "D2"},
    )
    return figure


def write_figure(path: Path) -> None:
    """Write few-labels.png from a file of draws."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines()]
    figure = saving_by_labels(choosing.cells_of(pd.DataFrame(rows)))
    (picture,) = asyncio.run(draw([json.loads(figure.to_json())]))
    (HERE / "few-labels.png").write_bytes(reduce_palette(picture))


if __name__ == "__main__":
    if "sizes" in sys.argv[1:]:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- sizes -->\n")
        after = rest.partition("\n<!-- /sizes -->")[2]
        text = f"{before}<!-- sizes -->\n{sizes()}\n<!-- /sizes -->{after}"
        PAGE.write_text(text, encoding="utf-8")
    if "figure" in sys.argv[1:]:
        write_figure(HERE.parent / "build" / "choosing.jsonl")
