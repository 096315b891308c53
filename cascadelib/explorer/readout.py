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


def per_cent_text(value: float, k: int, sign: str = "") -> str:
    """A share of k samples with the decimals that tell one sample from the next, at least two."""
    return f"{value:{sign}.{max(2, int(np.ceil(np.log10(k))) - 2)}%}"


def with_interval(value: float, limits: tuple[float, ...], k: int, sign: str = "") -> str:
    """A share of k samples in per cent, then the ends of its interval in small, where it has one."""
    ends = [per_cent_text(end, k, sign)[:-1] for end in limits]
    return f"<b>{per_cent_text(value, k, sign)}</b>" + (
        f" <small>{' … '.join(ends)}</small>" if ends else ""
    )


def cells(reading: Reading, cascade: CascadeOnSplit) -> Iterator[str]:
    """A split's line of the table: accuracy and its difference from the best single model's (paired by sample) with 95%
    intervals (none for graded scores and F1), cost, improvement ("–" above the best single model), exit rates."""
    k, single, correct = len(cascade), cascade.single, reading.correct
    counted = cascade.task.score != F1 and all(
        right.dtype == bool for right in (*cascade.right, single)
    )
    yield with_interval(reading.accuracy, share_interval(correct) if counted else (), k)
    yield with_interval(
        reading.difference, paired_difference_interval(single, correct) if counted else (), k, "+"
    )
    unit = COSTS[cascade.task.cost_kind].unit
    yield f"<b>{number(reading.cost, unit if unit == 's' else '')}</b>"
    yield "–" if np.isnan(reading.improvement) else f"<b>{reading.improvement:.3g} ×</b>"
    yield from (
        f"<b>{rate:.2%}</b> <small>{n:,}</small>"
        for rate, n in zip(reading.exit_rates, reading.exits)
    )


def changes(here: Reading, there: Reading) -> Iterator[str]:
    """What changes from one split to the other, in the order of :func:`cells`."""
    k = min(len(here.correct), len(there.correct))
    yield per_cent_text(there.accuracy - here.accuracy, k, "+")
    yield per_cent_text(there.difference - here.difference, k, "+")
    yield f"{there.cost / here.cost - 1:+.1%}"
    yield f"× {there.improvement / here.improvement:.2f}"
    yield from (f"{b - a:+.2%}" for a, b in zip(here.exit_rates, there.exit_rates))


def numbers_html(
    readings: Mapping[str, Reading], cascades: Mapping[str, CascadeOnSplit], single: str
) -> str:
    """An HTML table, a row a kind of number (a cell's class): held-out, validation, change. single: the best model."""
    lines = {split: list(cells(readings[split], cascades[split])) for split in list(readings)[::-1]}
    first = next(iter(cascades.values()))
    score, unit = score_of(first.task.score).title, COSTS[first.task.cost_kind].unit
    labels = [score, f"− {escape(single)}", f"cost ({escape(unit)})", "improvement"]
    labels += [f"exit rate {i + 1}" for i in range(first.stages)]
    if len(lines) == 2:
        lines["change"] = [
            "–" if "nan" in change else change for change in changes(*readings.values())
        ]
    rows = [
        "<thead><tr><th></th>"
        + "".join(f"<th>{escape(head)}</th>" for head in lines)
        + "</tr></thead>"
    ]
    for label, *texts in zip(labels, *lines.values()):
        kind = re.sub(r"\W+", "-", label.partition(" (")[0]).strip("-")
        marked = [
            f'<td class="{kind}" data-split="{escape(head)}">{text}</td>'
            for head, text in zip(lines, texts)
        ]
        rows.append(f"<tr><th>{label}</th>{''.join(marked)}</tr>")
    return f'<table class="cascadelib-numbers">{"".join(rows)}</table>'
