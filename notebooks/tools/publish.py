"""Write the figures of executed notebooks as vector graphics and their tables as LaTeX."""

import asyncio
import re
from collections.abc import Iterable
from html import unescape
from pathlib import Path
from typing import Any

import nbformat

from cascadelib.figures.style import PLOTLY_JSON
from tools.committed import draw

SPECIAL = {character: f"\\{character}" for character in "&%$#_{}"}  # of LaTeX
SPECIAL |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
SPECIAL |= {"×": r"$\times$", "→": r"$\rightarrow$", "−": "$-$", "÷": r"$\div$", "✓": r"$\surd$"}


def publish(executed: Iterable[Path], folder: Path) -> list[Path]:
    """Write NN_name-CELL.svg for each figure and NN_name-CELL.tex for each table, and return the
    paths.

    A cell with several figures or tables has numbers after its id.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[Path, Any] = {}
    written = []
    for path in executed:
        for cell in nbformat.read(path, as_version=4).cells:
            found = [output.get("data", {}) for output in cell.get("outputs", [])]
            charts = [data[PLOTLY_JSON] for data in found if PLOTLY_JSON in data]
            pages = [data["text/html"] for data in found if "<table" in data.get("text/html", "")]
            start = f"{folder}/{path.stem}-{cell.id}"
            figures |= dict(zip(names(start, len(charts), "svg"), charts))
            for place, page in zip(names(start, len(pages), "tex"), pages):
                place.write_text(latex_table(page), encoding="utf-8")
                written.append(place)
    if figures:
        pictures = asyncio.run(draw(list(figures.values()), "svg"))
        for place, picture in zip(figures, pictures):
            place.write_bytes(picture)
    return [*written, *figures]


def names(start: str, count: int, suffix: str) -> list[Path]:
    """Return the paths of the figures or tables of a cell, numbered if there are several."""
    if count == 1:
        return [Path(f"{start}.{suffix}")]
    return [Path(f"{start}-{number}.{suffix}") for number in range(1, count + 1)]


def rows_of_table(page: str) -> list[list[str]]:
    """Return the texts of the cells of a table in HTML, row by row."""
    rows = []
    for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        texts = [re.sub(r"<[^>]*>", "", cell) for cell in cells]
        rows.append([unescape(text).strip() for text in texts])
    return rows


def latex_table(page: str) -> str:
    """Return the rows of a table in HTML as a LaTeX tabular."""
    rows = rows_of_table(page)
    columns = "l" * max(map(len, rows), default=0)
    lines = [" & ".join(map(latex_text, row)) + r" \\" for row in rows]
    lines.insert(1, r"\hline")
    return "\n".join([rf"\begin{{tabular}}{{{columns}}}", *lines, r"\end{tabular}", ""])


def latex_text(text: str) -> str:
    """Return a text with LaTeX's special characters escaped."""
    return "".join(SPECIAL.get(character, character) for character in text)
