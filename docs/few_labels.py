"""Fill docs/few-labels.md: ``python docs/few_labels.py sizes figure``.

``sizes``: the table of labels that certify, by exact sums (minutes). ``figure``: the picture
few-labels.png, from the draws of ``python benchmarks/choosing.py`` (draws with Chrome or Chromium).
"""

import asyncio
import json
import sys
from bisect import bisect_left
from pathlib import Path

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
SHARES = (0.1, 0.5)  # of the samples on which candidates disagree
SAMPLES = 10_000  # that follow those of the choice
MOST = 60  # labels of disagreements of the cascade
TICKS = (1, 1.5, 2, 3, 4, 5, 6, 8)
COLOURS = {"images": "#0072B2", "reviews": "#D55E00"}


def power_of(count: int, epsilon: float, neither: float) -> float:
    """Return the probability that labels of ``count`` disagreements of a cascade certify it.

    neither: share of the samples on which cascade and reference differ and both are wrong, as a
    multiple of ε.
    """
    total = LOST + GAINED + neither
    shares = [LOST / total, GAINED / total, neither / total]
    disagreements = round(total * epsilon * SAMPLES)
    power = 0.0
    for gained in range(count + 1):

        def is_too_many(lost: int, gained: int = gained) -> bool:
            p = drawn_p_value(lost, gained, count, disagreements, SAMPLES, epsilon, DELTA)
            return p > DELTA

        lost = np.arange(bisect_left(range(count - gained + 1), True, key=is_too_many))
        cells = np.stack([lost, np.full(len(lost), gained), count - gained - lost], axis=1)
        power += multinomial.pmf(cells, count, shares).sum()
    return float(power)


def fewest_labels(epsilon: float, neither: float) -> list[int]:
    """Return the fewest labels that certify in OFTEN of the draws: of the cascade, then per share.

    More than MOST disagreements of the cascade count as MOST.
    """
    share = (LOST + GAINED + neither) * epsilon
    powers = np.array([power_of(m, epsilon, neither) for m in range(MOST + 1)])
    found = [first_above(powers)]
    for wide in SHARES:
        counts = np.arange(round(4 * MOST * wide / share))
        drawn = binom.pmf(np.arange(MOST + 1), counts[:, None], share / wide)
        more = binom.sf(MOST, counts, share / wide)
        found.append(first_above(drawn @ powers + more * powers[-1]))
    return found


def first_above(powers: np.ndarray) -> int:
    """Return the first number of labels with a power of OFTEN, or raise an error without one."""
    reached = np.flatnonzero(powers >= OFTEN)
    if not len(reached):
        raise ValueError(f"no number of labels reaches a power of {OFTEN}: raise MOST")
    return int(reached[0])


def sizes() -> str:
    """Return the labels that certify, by classes, ε and share of disagreements."""
    head = ["classes", "loss", "disagreements of the cascade and the reference"]
    head += [f"if candidates disagree on {SHARES[0]:.0%}", f"on {SHARES[1]:.0%}"]
    rows = [
        [classes, f"{100 * epsilon:g}%", *(f"{m:,}" for m in fewest_labels(epsilon, neither))]
        for classes, neither in (("two", 0.0), ("more", NEITHER))
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
        yaxis={
            "title": "reference cost ÷ mean cost, held-out",
            "type": "log",
            "tickvals": TICKS,
            "ticktext": [f"{tick} ×" for tick in TICKS],
        },
    )
    return figure


def write_figure(path: Path) -> None:
    """Write few-labels.png from a file of draws."""
    found = pd.DataFrame(choosing.read_rows(path))
    figure = saving_by_labels(choosing.cells_of(found))
    (picture,) = asyncio.run(draw([json.loads(figure.to_json())]))
    (HERE / "few-labels.png").write_bytes(reduce_palette(picture))


if __name__ == "__main__":
    if "sizes" in sys.argv[1:]:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- sizes -->\n")
        after = rest.partition("<!-- /sizes -->")[2]
        text = f"{before}<!-- sizes -->\n{sizes()}\n<!-- /sizes -->{after}"
        PAGE.write_text(text, encoding="utf-8")
    if "figure" in sys.argv[1:]:
        write_figure(HERE.parent / "build" / "choosing.jsonl")
