"""The numbers of an explored cascade in text: validation, held-out, and what changes between them."""

import re
from collections.abc import Iterator, Mapping
from html import escape

import numpy as np

from ..analysis.uncertainty import paired_difference_interval, share_interval
from ..cost_kinds import COSTS
from ..scoring import F1, score_of
from ..tables import number
from .state import CascadeOnSplit, Reading

STYLE = (
    "<style>.cascadelib-numbers{border-collapse:collapse;font-size:12px;line-height:1.35}"
    ".cascadelib-numbers td,.cascadelib-numbers th{padding:1px 7px;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}"
    ".cascadelib-numbers th:first-child{text-align:left;padding-left:0}"
    ".cascadelib-numbers small{color:#595959}</style>"
)


def per_cent_text(value: float, k: int, sign: str = "") -> str:
    """A share of k samples with the decimals that tell one sample from the next, at least two."""
    return f"{value:{sign}.{max(2, int(np.ceil(np.log10(k))) - 2)}%}"


def with_interval(value: float, limits: tuple[float, ...], k: int, sign: str = "") -> str:
    """A share of k samples in per cent, then the ends of its interval in small, where it has one."""
    ends = [per_cent_text(end, k, sign)[:-1] for end in limits]
    return per_cent_text(value, k, sign) + (f" <small>{' … '.join(ends)}</small>" if ends else "")


def cells(reading: Reading, cascade: CascadeOnSplit) -> Iterator[str]:
    """A split's line of the table: accuracy and its difference from the best single model's (paired by sample) with 95%
    intervals (none for graded scores and F1), cost, improvement ("–" above the best single model), exit rates."""
    k, single, correct = len(cascade), cascade.single, reading.correct
    counted = cascade.task.score != F1 and all(right.dtype == bool for right in (*cascade.right, single))
    yield with_interval(reading.accuracy, share_interval(correct) if counted else (), k)
    yield with_interval(reading.difference, paired_difference_interval(single, correct) if counted else (), k, "+")
    yield number(reading.cost)
    yield "–" if np.isnan(reading.improvement) else f"{reading.improvement:.3g} ×"
    yield from (f"{rate:.2%} <small>{n:,}</small>" for rate, n in zip(reading.exit_rates, reading.exits))


def changes(here: Reading, there: Reading) -> Iterator[str]:
    """What changes from one split to the other, in the order of :func:`cells`."""
    k = min(len(here.correct), len(there.correct))
    yield per_cent_text(there.accuracy - here.accuracy, k, "+")
    yield per_cent_text(there.difference - here.difference, k, "+")
    yield f"{there.cost / here.cost - 1:+.1%}"
    yield f"× {there.improvement / here.improvement:.2f}"
    yield from (f"{b - a:+.2%}" for a, b in zip(here.exit_rates, there.exit_rates))


def numbers_html(readings: Mapping[str, Reading], cascades: Mapping[str, CascadeOnSplit], single: str) -> str:
    """An HTML table with a line a split and, of two splits, the change from the first to the second.

    readings, cascades: by split; single: the best single model. A cell has its kind (accuracy …) as class, and
    data-split.
    """
    lines = {split: list(cells(reading, cascades[split])) for split, reading in readings.items()}
    first = next(iter(cascades.values()))
    score, unit = score_of(first.task.score).title, COSTS[first.task.cost_kind].unit
    labels = [score, f"− {escape(single)}", f"cost ({escape(unit)})", "improvement"]
    labels += [f"exit rate {i + 1}" for i in range(first.stages)]
    if len(lines) == 2:
        lines["change"] = ["–" if "nan" in change else change for change in changes(*readings.values())]
    kinds = [re.sub(r"\W+", "-", label.partition(" (")[0]).strip("-") for label in labels]
    rows = ["<tr><th></th>" + "".join(f"<th>{label}</th>" for label in labels) + "</tr>"]
    for head, texts in lines.items():
        marked = [f'<td class="{kind}" data-split="{escape(head)}">{text}</td>' for kind, text in zip(kinds, texts)]
        rows.append(f"<tr><th>{escape(head)}</th>{''.join(marked)}</tr>")
    return f'{STYLE}<table class="cascadelib-numbers">{"".join(rows)}</table>'
