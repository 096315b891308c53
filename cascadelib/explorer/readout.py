"""The numbers of an explored cascade in text: validation, held-out, and what changes between."""

from collections.abc import Iterator, Mapping
from html import escape

import numpy as np

from ..analysis.uncertainty import paired_difference_interval, share_interval
from ..cost_kinds import COSTS
from ..scoring import F1
from ..tables import in_words, number
from .state import CascadeOnSplit, Reading


def decimals(k: int) -> int:
    """Decimals of a share of k samples in per cent that tell one sample from the next, at least
    two."""
    return max(2, int(np.ceil(np.log10(k))) - 2)


def per_cent_text(value: float, k: int) -> str:
    """A share of k samples in per cent: "94.21%"."""
    return f"{value:.{decimals(k)}%}"


def points_text(value: float, k: int) -> str:
    """A difference of shares of k samples in percentage points: "+0.25 points"."""
    return f"{100 * value:+.{decimals(k)}f} points"


def with_interval(text: str, ends: list[str]) -> str:
    """A number in bold, then the ends of its interval in small, where it has one."""
    interval = f" <small>{' … '.join(ends)}</small>" if ends else ""
    return f"<b>{text}</b>{interval}"


def cells(reading: Reading, cascade: CascadeOnSplit) -> Iterator[str]:
    """A split's line of the table: accuracy and its difference from the best single model's (paired
    by sample) with 95% intervals (none for graded scores and F1), cost, improvement ("–" above the
    best single model), exit rates."""
    k = len(cascade)
    outcomes = (*cascade.correct, cascade.single)
    shares: list[str] = []
    differences: list[str] = []
    if cascade.task.score != F1 and all(correct.dtype == bool for correct in outcomes):
        ends = share_interval(reading.correct)
        shares = [per_cent_text(end, k).removesuffix("%") for end in ends]
        ends = paired_difference_interval(cascade.single, reading.correct)
        differences = [points_text(end, k).removesuffix(" points") for end in ends]
    yield with_interval(per_cent_text(reading.accuracy, k), shares)
    yield with_interval(points_text(reading.difference, k), differences)
    unit = COSTS[cascade.task.cost_kind].unit
    yield f"<b>{number(reading.cost, unit if unit == 's' else '')}</b>"
    yield "–" if np.isnan(reading.improvement) else f"<b>{reading.improvement:.3g} ×</b>"
    for rate, exits in zip(reading.exit_rates, reading.exits):
        yield f"<b>{rate:.2%}</b> <small>{exits:,}</small>"


def changes(here: Reading, there: Reading) -> Iterator[str]:
    """What changes from one split to the other, in the order of :func:`cells`."""
    k = min(len(here.correct), len(there.correct))
    yield points_text(there.accuracy - here.accuracy, k)
    yield points_text(there.difference - here.difference, k)
    yield f"{there.cost / here.cost - 1:+.1%}"
    yield f"× {there.improvement / here.improvement:.2f}"
    for before, after in zip(here.exit_rates, there.exit_rates):
        yield points_text(after - before, 1)


def numbers_html(
    readings: Mapping[str, Reading], cascades: Mapping[str, CascadeOnSplit], single: str
) -> str:
    """An HTML table, a row a kind of number (a cell's class): held-out, validation, change.
    single: name of the best single model."""
    lines = {
        split: list(cells(readings[split], cascades[split])) for split in reversed(list(readings))
    }
    first = next(iter(cascades.values()))
    titles = {
        "accuracy": in_words(first.task.score),
        "difference": f"difference from {single}",
        "cost": in_words(first.task.cost_kind),
        "improvement": "improvement",
    }
    titles |= {f"exit-rate-{i + 1}": f"exit rate {i + 1}" for i in range(first.stages)}
    if len(lines) == 2:
        changed = changes(*readings.values())
        lines["change"] = ["–" if "nan" in text else text for text in changed]
    heads = "".join(f"<th>{escape(split)}</th>" for split in lines)
    rows = [f"<thead><tr><th></th>{heads}</tr></thead>"]
    for (kind, title), *texts in zip(titles.items(), *lines.values()):
        marked = [
            f'<td class="{kind}" data-split="{escape(split)}">{text}</td>'
            for split, text in zip(lines, texts)
        ]
        rows.append(f"<tr><th>{escape(title)}</th>{''.join(marked)}</tr>")
    return f'<table class="cascadelib-numbers">{"".join(rows)}</table>'
