"""Write the card of a policy: one HTML page without scripts, links and other files."""

import html
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..cost_kinds import cost_of
from ..files import write_text
from ..policy.summary import PolicySummary, summarize
from ..tables import number

MOST_TEXT = 2000  # largest number of characters of a text
MOST_STEPS = 300  # points of the front in the chart
WIDTH = 560  # width and height of the chart
HEIGHT = 340
X_AXIS = (64, 540)  # horizontal ends of the axes in the chart
Y_AXIS = (296, 16)  # vertical ends, the lower one first
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
    sections = [
        figures_html(summary),
        "" if front is None else chart_html(summary, front),
        guarantee_html(summary),
        examples_html(summary.examples),
    ]
    text = PAGE.format(
        title=as_html(" → ".join(summary.models)),
        style=files(__package__).joinpath("card.css").read_text(encoding="utf-8"),
        rule=as_html(summary.rule),
        body="\n".join(filter(None, sections)),
    )
    path = Path(path)
    write_text(path, text)
    return path


def as_html(text: Any, most: int = MOST_TEXT) -> str:
    """Return text as HTML, shortened. Lone surrogates, which UTF-8 cannot encode, are replaced."""
    text = str(text).encode("utf-8", "replace").decode()
    return html.escape(text if len(text) <= most else text[: most - 1] + "…")


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


def examples_html(examples: Sequence[Sequence[str]]) -> str:
    """Return the table of deferred queries, or "" if there are no ``examples``."""
    if not examples:
        return ""
    columns, *rows = examples
    shown = table_html(columns, rows) if rows else "<p>No query of the table is deferred.</p>"
    return f"<h2>Queries that are deferred</h2>{shown}"


def chart_html(summary: PolicySummary, front: Any) -> str:
    """Return the chart of the front, with single models and the policy."""
    singles = front.singles
    steps = front.table[["cost", "accuracy"]].to_numpy(float)
    keep = np.unique(np.linspace(0, len(steps) - 1, min(MOST_STEPS, len(steps))).astype(int))
    policy = [
        ("chosen", "blue", summary.chosen),
        ("measured on the table", "orange", summary.measured),
    ]
    policy = [mark for mark in policy if np.isfinite(mark[2]).all()]
    places = singles[["cost", "accuracy"]].to_numpy(float)
    scale = Scale(np.array([*steps, *places, *(place for _, _, place in policy)]))
    stairs = [scale.at(*steps[keep[0]])]
    for row in keep[1:]:
        x, y = scale.at(*steps[row])
        stairs += [(x, stairs[-1][1]), (x, y)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in stairs)
    parts = scale.axes(as_html(cost_of(front.cost_kind).title))
    parts.append(f'<polyline points="{line}" fill="none" stroke="var(--ink)" stroke-width="2"/>')
    parts += [scale.circle(cost, accuracy, 4, "soft") for cost, accuracy in places]
    named = {singles.index[0]: 20, singles["accuracy"].idxmax(): -12}
    for name, down in named.items():
        cost, accuracy = singles.loc[name, ["cost", "accuracy"]]
        parts.append(scale.label(as_html(name, 40), cost, accuracy, down))
    legend = ""
    for text, colour, place in policy:
        parts.append(scale.circle(*place, 7, colour))
        legend += f' <b class="{colour}">●</b> The policy as {text}.'
    return (
        "<h2>Accuracy and cost of all cascades</h2>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="accuracy against cost">'
        f"{''.join(parts)}</svg><p>The line is the front of cascades on {front.samples:,} samples. "
        f"Grey points are single models.{legend}</p>"
    )


class Scale:
    """Convert cost (log axis) and accuracy to a place in the chart. A cost of 0 is at the left."""

    def __init__(self, points: Array) -> None:
        costs, accuracies = points.T
        positive = costs[costs > 0] if (costs > 0).any() else np.ones(1)
        decades = np.log10([positive.min(), positive.max()])
        self.decades = decades + max(0.1, 0.08 * np.ptp(decades)) * np.array([-1, 1])
        margin = 0.08 * max(np.ptp(accuracies), 0.01)
        self.accuracies = np.array([accuracies.min() - margin, accuracies.max() + margin])

    def at(self, cost: float, accuracy: float) -> tuple[float, float]:
        """Return the position of a point."""
        decade = np.log10(cost) if cost > 0 else self.decades[0]
        x = np.interp(decade, self.decades, X_AXIS)
        return float(x), float(np.interp(accuracy, self.accuracies, Y_AXIS))

    def circle(self, cost: float, accuracy: float, radius: int, colour: str) -> str:
        """Return the mark of a point."""
        x, y = self.at(cost, accuracy)
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="var(--{colour})"/>'

    def label(self, text: str, cost: float, accuracy: float, down: int) -> str:
        """Return the name of a point, below or above it and towards the middle."""
        x, y = self.at(cost, accuracy)
        anchor, shift = ("end", -8) if x > WIDTH / 2 else ("start", 8)
        place = f'x="{x + shift:.1f}" y="{y + down:.1f}" text-anchor="{anchor}"'
        return f'<text class="name" {place}>{text}</text>'

    def axes(self, title: str) -> list[str]:
        """Return grid lines with numbers, and the titles of the axes."""
        start, end = X_AXIS
        bottom, top = Y_AXIS
        parts = [
            f'<text x="{end}" y="{HEIGHT - 6}" text-anchor="end">{title}, log axis</text>',
            f'<text x="4" y="{top}">accuracy</text>',
        ]
        for accuracy in round_numbers(*self.accuracies):
            _, y = self.at(1, accuracy)
            place = f'x="{start - 8}" y="{y + 4:.1f}" text-anchor="end"'
            parts.append(f'<path d="M{start} {y:.1f}H{end}" stroke="var(--line)"/>')
            parts.append(f"<text {place}>{100 * accuracy:.4g}%</text>")
        first, last = self.decades
        powers = 10.0 ** np.arange(np.floor(first), last + 1)
        costs = np.ravel(powers[:, None] * ([1, 2, 5] if len(powers) < 5 else [1]))
        for cost in costs[(costs >= 10**first) & (costs <= 10**last)]:
            x, _ = self.at(cost, 0)
            place = f'x="{x:.1f}" y="{bottom + 20}" text-anchor="middle"'
            parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="var(--soft)"/>')
            parts.append(f"<text {place}>{number(cost)}</text>")
        return parts


def round_numbers(low: float, high: float) -> Array:
    """Return four to nine round numbers between two ends."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    step *= max(factor for factor in (1, 2, 5) if (high - low) / (factor * step) >= 4)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
