"""Compare the answers and key tables of executed notebooks with committed values.

``notebooks/expected/NN.json`` has {cell: its lines} of a notebook at full and at quick parameters.
Words and whole numbers must be equal. Another number may differ by ``units`` of its last printed
digit, which the file states. Times are not compared.
"""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from html import unescape
from itertools import zip_longest
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from .rendering import tagged

COMPARED = ("answer", "key-table", "nbval-check-output")  # tags of cells
UNITS = 1  # of the last printed digit of a number that is not whole
NUMBER = re.compile(r"[-−+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?")
TIME = re.compile(r"[\d.]+ ?(?:ns|µs|ms|s)\b")
MOST_DIFFERENCES = 20  # that are printed of a notebook


def file_of(source: Path) -> Path:
    """Return the file with the expected values of a notebook."""
    return source.parent / "expected" / f"{source.name[:2]}.json"


def results_of(executed: Path) -> dict[str, list[str]]:
    """Return {cell: lines of its output} of the compared cells of a notebook."""
    found = {}
    for cell in tagged(nbformat.read(executed, as_version=4), *COMPARED):
        found[cell.id] = [line for output in cell.outputs for line in lines_of(output)]
    return found


def lines_of(output: NotebookNode) -> list[str]:
    """Return the rows of a table, or the lines of a text. Figures have none."""
    data = output.get("data", {})
    if "<table" in data.get("text/html", ""):
        rows = rows_of_table(data["text/html"])
        lines = [" | ".join(row) for row in rows]
    else:
        is_text = set(data) <= {"text/plain", "text/html"}
        text = data.get("text/plain", output.get("text", "")) if is_text else ""
        lines = text.splitlines()
    return [TIME.sub("TIME", line) for line in lines]


def rows_of_table(page: str) -> list[list[str]]:
    """Return the texts of the cells of a table in HTML, row by row."""
    rows = []
    for row in re.findall(r"<tr.*?</tr>", page, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        texts = [re.sub(r"<[^>]*>", "", cell) for cell in cells]
        rows.append([unescape(text).strip() for text in texts])
    return rows


def read(source: Path) -> dict[str, Any]:
    """Return the expected values of a notebook, empty ones without a file."""
    path = file_of(source)
    if not path.exists():
        return {"units": UNITS, "full": {}, "quick": {}}
    return json.loads(path.read_text(encoding="utf-8"))


def differences(source: Path, executed: Path, kind: str) -> list[str]:
    """Return how the results of a notebook differ from the expected ones, a line each.

    kind: "full" or "quick". Without expected values of that kind nothing is compared.
    """
    expected = read(source)
    wanted = expected[kind]
    found = results_of(executed) if wanted else {}
    lines = []
    for cell in {**wanted, **found}:
        both = (each.get(cell, []) for each in (wanted, found))
        for here, there in zip_longest(*both, fillvalue="–"):
            if not are_close(here, there, expected["units"]):
                lines.append(f"{source.stem}, cell {cell}:\n  expected {here}\n  found    {there}")
    return lines[:MOST_DIFFERENCES]


def are_close(wanted: str, found: str, units: int) -> bool:
    """Return whether two lines have the same words, and numbers that differ by a few last
    digits."""
    if NUMBER.sub("#", wanted) != NUMBER.sub("#", found):
        return False
    here, there = (map(number, NUMBER.findall(line)) for line in (wanted, found))
    pairs = zip(here, there)
    return all(abs(one - other) <= units * last_digit(one, other) for one, other in pairs)


def number(text: str) -> Decimal:
    """Return a printed number with its digits."""
    return Decimal(text.replace(",", "").replace("−", "-"))


def last_digit(*numbers: Decimal) -> Decimal:
    """Return the value of the last printed digit, 0 for whole numbers."""
    least = min(int(one.as_tuple().exponent) for one in numbers)
    return Decimal(10) ** least if least < 0 else Decimal(0)


def rewrite(executed: Mapping[Path, Path], kind: str) -> None:
    """Write the results of executed notebooks (value) as those that their sources expect (key)."""
    for source, result in executed.items():
        expected = read(source)
        expected[kind] = results_of(result)
        file_of(source).parent.mkdir(exist_ok=True)
        text = json.dumps(expected, indent=1, ensure_ascii=False)
        file_of(source).write_text(text + "\n", encoding="utf-8")
