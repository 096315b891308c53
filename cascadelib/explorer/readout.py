"""The numbers of an explored cascade in text: validation, held-out, and what changes between them."""

import re
from html import escape

import numpy as np

from ..analysis.uncertainty import paired_difference_interval, share_interval
from ..tables import number

STYLE = (
    "<style>.cascadelib-numbers{border-collapse:collapse;font-size:12px;line-height:1.35}"
    ".cascadelib-numbers td,.cascadelib-numbers th{padding:1px 7px;text-align:right;white-space:nowrap;"
    "border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}"
    ".cascadelib-numbers th:first-child{text-align:left;padding-left:0}"
    ".cascadelib-numbers small{color:#595959}</style>"
)


def per_cent_text(value, k, sign=""):
    """A share of k samples with the decimals that tell one sample from the next, at least two."""
    return f"{value:{sign}.{max(2, int(np.ceil(np.log10(k))) - 2)}%}"


def between(limits, k, sign=""):
    """An interval as small text, in per cent; nothing where there is none."""
    ends = [per_cent_text(value, k, sign)[:-1] for value in limits or ()]
    return f" <small>{' … '.join(ends)}</small>" if ends else ""


def counts(cascade):
    """Whether samples are counted: there are intervals in closed form then, none for graded scores and F1."""
    return cascade.positive is None and all(right.dtype == bool for right in (*cascade.right, cascade.single))


def accuracy_cell(reading, cascade):
    """Accuracy with its 95% interval (Wilson), where there is one."""
    k = len(cascade)
    return per_cent_text(reading.accuracy, k) + between(share_interval(reading.correct) if counts(cascade) else None, k)


def difference_cell(reading, cascade):
    """Accuracy − that of the best single model, paired by sample, with its 95% interval, where there is one."""
    k = len(cascade)
    limits = paired_difference_interval(cascade.single, reading.correct) if counts(cascade) else None
    return per_cent_text(reading.difference, k, "+") + between(limits, k, "+")


def factor(value):
    """An improvement factor; "–" above the best single model, where there is none."""
    return "–" if np.isnan(value) else f"{value:.3g} ×"


def numbers(readings, cascades, single, unit, score):
    """Rows of text {label: a cell a split, and a last one that tells the change from the first split to the second}.

    readings, cascades: {split: Reading}, {split: CascadeOnSplit}; single: the name of the best single model; score:
    the title of what ``accuracy`` is.
    """
    all_of, stages = list(readings.values()), next(iter(cascades.values())).stages
    pairs = list(zip(all_of, cascades.values()))
    rows = {
        score: [accuracy_cell(*pair) for pair in pairs],
        f"− {escape(single)}": [difference_cell(*pair) for pair in pairs],
        f"cost ({escape(unit)})": [number(r.cost) for r in all_of],
        "improvement": [factor(r.improvement) for r in all_of],
    }
    for i in range(stages):
        rows[f"exit rate {i + 1}"] = [f"{r.exit_rates[i]:.2%} <small>{r.exits[i]:,}</small>" for r in all_of]
    if len(all_of) == 2:
        for cells, change in zip(rows.values(), changes(*all_of)):
            cells.append("–" if "nan" in change else change)
    return rows


def changes(here, there):
    """What changes from one split to the other, a text a row of :func:`numbers`."""
    k = min(len(here.correct), len(there.correct))
    yield per_cent_text(there.accuracy - here.accuracy, k, "+")
    yield per_cent_text(there.difference - here.difference, k, "+")
    yield f"{there.cost / here.cost - 1:+.1%}"
    yield f"× {there.improvement / here.improvement:.2f}"
    yield from (f"{b - a:+.2%}" for a, b in zip(here.exit_rates, there.exit_rates))


def numbers_html(rows, splits):
    """The rows of :func:`numbers` as an HTML table, a column each; a cell has its kind (accuracy …) as class, and
    data-split."""
    heads = [*splits, "change"] if len(splits) == 2 else list(splits)
    kinds = [re.sub(r"\W+", "-", label.partition(" (")[0]).strip("-") for label in rows]
    lines = ["<tr><th></th>" + "".join(f"<th>{label}</th>" for label in rows) + "</tr>"]
    for i, head in enumerate(heads):
        cells = zip(kinds, rows.values())
        marked = [f'<td class="{kind}" data-split="{escape(head)}">{column[i]}</td>' for kind, column in cells]
        lines.append(f"<tr><th>{escape(head)}</th>{''.join(marked)}</tr>")
    return f'{STYLE}<table class="cascadelib-numbers">{"".join(lines)}</table>'
