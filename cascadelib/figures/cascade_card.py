"""Write the card of a policy: one HTML page without scripts, links and other files."""

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_text
from ..policy.summary import PolicySummary, summarize
from .chart import as_html, draw_chart

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{style}</style></head><body><main>
<h1>{title}</h1>
<p class="rule">{rule}</p>
{body}
</main></body></html>
"""


def card(
    policy: Any,
    path: str | Path,
    front: Any = None,
    table: Any = None,
    *,
    per_month: float | None = None,
) -> Path:
    """Write the card of a policy: its rule, its saving and its guarantee.

    Parameters
    ----------
    policy : Policy, Cascade or Point
    path : str or Path
        File of the page. The page is self-contained and can be printed.
    front : Front, optional
        The front from which the policy was chosen, for the chart.
    table : ScoreTable or LogitStore, optional
        Labelled samples on which the figures are measured. Some of the deferred samples are shown
        as examples. The default figures are those of the policy's file.
    per_month : float, optional
        Number of queries in a month, for the cost of a month.

    Returns
    -------
    Path
        The path of the page.

    Raises
    ------
    ValueError
        If the table lacks a model of the policy, or ``per_month`` is less than 1.

    See Also
    --------
    Policy.to_python : Write the policy as one Python file.
    explore : Move the thresholds of a cascade in a page.

    Notes
    -----
    The guarantee is the sentence of the certificate that certified these thresholds, as stored in
    the policy file.

    Examples
    --------
    >>> import tempfile
    >>> import cascadelib as cl
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.55,)))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     text = cl.figures.card(policy, folder + "/card.html").read_text(encoding="utf-8")
    >>> "small receives each query first, and defers it to large" in text
    True
    """
    summary = summarize(policy, front, table, per_month)
    sections = [figures_html(summary)]
    if front is not None:
        sections.append(chart_html(summary, front))
    sections.append(guarantee_html(summary))
    if summary.examples:
        columns, *rows = summary.examples
        shown = table_html(columns, rows) if rows else "<p>No query of the table is deferred.</p>"
        sections.append(f"<h2>Queries that are deferred</h2>{shown}")
    text = PAGE.format(
        title=as_html(" → ".join(summary.models)),
        style=files(__package__).joinpath("card.css").read_text(encoding="utf-8"),
        rule=as_html(summary.rule),
        body="\n".join(filter(None, sections)),
    )
    path = Path(path)
    write_text(path, text)
    return path


def figures_html(summary: PolicySummary) -> str:
    """Return the figures, and the share of queries that each model answers."""
    boxes = "".join(
        f"<div><dt>{as_html(figure.name)}</dt><dd>{as_html(figure.value)}</dd>"
        f"<dd>{as_html(figure.note)}</dd></div>"
        for figure in summary.figures
    )
    shares = "".join(
        f"<li><span>{as_html(name, 200)}</span>"
        f'<i style="width: {max(0.0, min(rate, 1.0)):.2%}"></i><b>{rate:.1%}</b></li>'
        for name, rate in zip(summary.models[:20], summary.exit_rates)
    )
    parts = [f'<dl class="figures">{boxes}</dl>'] if boxes else []
    if shares:
        parts.append(f'<h2>Who answers</h2><ul class="shares">{shares}</ul>')
    return "\n".join(parts)


def guarantee_html(summary: PolicySummary) -> str:
    """Return the guarantee, its premises and its limits."""
    kind = "" if summary.premises else ' class="none"'
    parts = ["<h2>What is guaranteed</h2>"]
    parts.append(f"<blockquote{kind}>{as_html(summary.guarantee)}</blockquote>")
    if summary.premises:
        rows = [(each["name"], each["status"], each["evidence"]) for each in summary.premises]
        parts.append("<h2>What the guarantee assumes</h2>")
        parts.append(table_html(("premise", "status", "evidence"), rows))
    if summary.limits:
        items = "".join(f"<li>{as_html(limit)}</li>" for limit in summary.limits)
        parts.append(f"<h2>What is not guaranteed</h2><ul>{items}</ul>")
    return "\n".join(parts)


def table_html(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table. The cells "verified" and "violated" are coloured."""
    head = "".join(f"<th>{as_html(column, 200)}</th>" for column in columns)
    lines = []
    for row in rows:
        cells = (
            f"<td class={each}>{each}</td>"
            if each in ("verified", "violated")
            else f"<td>{as_html(each, 500)}</td>"
            for each in row
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def chart_html(summary: PolicySummary, front: Any) -> str:
    """Return the chart of the front, with single models and the policy."""
    policy = {
        "blue": ("chosen", summary.chosen),
        "orange": ("measured on the table", summary.measured),
    }
    marks = {colour: place for colour, (_, place) in policy.items() if np.isfinite(place).all()}
    legend = "".join(
        f' <b class="{colour}">●</b> The policy as {policy[colour][0]}.' for colour in marks
    )
    return (
        "<h2>Accuracy and cost of all cascades</h2>"
        f"{draw_chart(front.table, front.singles, marks, front.cost_kind)}"
        f"<p>The line is the front of cascades on {front.samples:,} samples. "
        f"Grey points are single models.{legend}</p>"
    )
