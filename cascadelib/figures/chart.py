"""Draw accuracy against cost as SVG, without scripts and without style sheets."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..cost_kinds import cost_of
from .tables import number

MOST_TEXT = 2000  # largest number of characters of a text
MOST_STEPS = 300  # points of the front in the chart
WIDTH = 560  # width and height of the chart
HEIGHT = 340
X_AXIS = (64, 540)  # horizontal ends of the axes in the chart
Y_AXIS = (296, 16)  # vertical ends, the lower one first
# A page may set the variable --ink and so on. A picture outside of a page has these colours.
COLOURS = {
    "ink": "#1a1a1a",
    "soft": "#5a5a5a",
    "line": "#d4d4d4",
    "paper": "#ffffff",
    "blue": "#005f96",
    "orange": "#b84a00",
}


def draw_chart(
    steps: pd.DataFrame | None,
    singles: pd.DataFrame,
    marks: Mapping[str, tuple[float, float]],
    cost_kind: str,
) -> str:
    """Return an SVG of a front as steps, of single models as points, and of marked points.

    Parameters
    ----------
    steps : DataFrame or None
        Cost and accuracy of the front's cascades, by rising cost.
    singles : DataFrame
        Cost and accuracy of the single models, by name. The cheapest and the most accurate one are
        named.
    marks : mapping of str to tuple of float
        Cost and accuracy of each marked point, by its colour, a key of COLOURS.
    cost_kind : str
        Kind of cost, for the title of the axis.
    """
    axes = ["cost", "accuracy"]
    points = np.empty((0, 2))
    if steps is not None:
        points = select_evenly(steps, MOST_STEPS)[axes].to_numpy(float)
    places = singles[axes].to_numpy(float)
    scale = Scale(np.array([*points, *places, *marks.values()]))
    parts = scale.axes(as_html(cost_of(cost_kind).title))
    parts.append(scale.stairs(points))
    parts += [scale.circle(cost, accuracy, 4, "soft") for cost, accuracy in places]
    named = {singles["cost"].idxmin(): 20, singles["accuracy"].idxmax(): -12}
    for name, down in named.items():
        cost, accuracy = singles.loc[name, axes]
        parts.append(scale.circle(cost, accuracy, 5, "ink"))  # the dot that the name belongs to
        parts.append(scale.label(as_html(name, 40), cost, accuracy, down))
    parts += [scale.circle(*place, 7, colour) for colour, place in marks.items()]
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="accuracy against cost" font-family="system-ui, sans-serif" font-size="13" '
        f'fill="{paint("soft")}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{paint("paper")}"/>{"".join(parts)}</svg>'
    )


def select_evenly(table: pd.DataFrame, most: int = 1500) -> pd.DataFrame:
    """Return at most ``most`` evenly spread rows with the first and the last one."""
    rows = np.linspace(0, len(table) - 1, min(most, len(table))).astype(int)
    return table.iloc[np.unique(rows)]


def as_html(text: Any, most: int = MOST_TEXT) -> str:
    """Return text as HTML, shortened. Lone surrogates, which UTF-8 cannot encode, are replaced."""
    text = str(text).encode("utf-8", "replace").decode()
    return html.escape(text if len(text) <= most else text[: most - 1] + "…")


def paint(colour: str) -> str:
    """Return the variable of a page for a colour, with the colour of other pictures."""
    return f"var(--{colour}, {COLOURS[colour]})"


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

    def stairs(self, points: Array) -> str:
        """Return the line of a front. It rises at the cost of each point."""
        corners: list[tuple[float, float]] = []
        for cost, accuracy in points:
            x, y = self.at(cost, accuracy)
            corners += [(x, corners[-1][1]), (x, y)] if corners else [(x, y)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        return f'<polyline points="{line}" fill="none" stroke="{paint("ink")}" stroke-width="2"/>'

    def circle(self, cost: float, accuracy: float, radius: int, colour: str) -> str:
        """Return the mark of a point."""
        x, y = self.at(cost, accuracy)
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{paint(colour)}"/>'

    def label(self, text: str, cost: float, accuracy: float, down: int) -> str:
        """Return the name of a point, below or above it and towards the middle."""
        x, y = self.at(cost, accuracy)
        anchor, shift = ("end", -8) if x > WIDTH / 2 else ("start", 8)
        place = f'x="{x + shift:.1f}" y="{y + down:.1f}" text-anchor="{anchor}"'
        halo = f'stroke="{paint("paper")}" stroke-width="4" paint-order="stroke"'
        return f'<text {place} fill="{paint("ink")}" {halo}>{text}</text>'

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
            parts.append(f'<path d="M{start} {y:.1f}H{end}" stroke="{paint("line")}"/>')
            parts.append(f"<text {place}>{100 * accuracy:.4g}%</text>")
        first, last = self.decades
        powers = 10.0 ** np.arange(np.floor(first), last + 1)
        costs = np.ravel(powers[:, None] * ([1, 2, 5] if len(powers) < 5 else [1]))
        for cost in costs[(costs >= 10**first) & (costs <= 10**last)]:
            x, _ = self.at(cost, 0)
            place = f'x="{x:.1f}" y="{bottom + 20}" text-anchor="middle"'
            parts.append(f'<path d="M{x:.1f} {bottom}v5" stroke="{paint("soft")}"/>')
            parts.append(f"<text {place}>{number(cost)}</text>")
        return parts


def round_numbers(low: float, high: float) -> Array:
    """Return four to nine round numbers between two ends."""
    step = 10.0 ** np.floor(np.log10((high - low) / 4))
    step *= max(factor for factor in (1, 2, 5) if (high - low) / (factor * step) >= 4)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
