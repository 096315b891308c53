"""Write CascadeBench's page in Markdown, and the tables of docs/speed.md."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench.task import File
from bench.verdicts import (
    EVEN,
    FITTED,
    LOST,
    WON,
    cells_of,
    compared,
    ratios,
    summary_of,
    why,
)

MINUS = "−"
NOWHERE = "In no comparison that was run."


def percent(value: float, digits: int = 0) -> str:
    """Format a share, a dash if it is missing."""
    return "–" if np.isnan(value) else f"{value:.{digits}%}"


def points(value: float) -> str:
    """Format a difference of shares in points, with its sign."""
    if not np.isfinite(value):
        return "–"
    text = f"{100 * value:+.1f}".replace("-", MINUS)
    return "0.0" if text in ("+0.0", f"{MINUS}0.0") else text


def chance(value: float) -> str:
    """Format a p-value, a dash if it is missing."""
    if np.isnan(value):
        return "–"
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"


def interval(row: pd.Series) -> str:
    """Format a difference of costs with its 95% interval."""
    if np.isnan(row["mean"]):
        return "–"
    ends = f"{points(row['low'])} … {points(row['high'])}"
    return f"{points(row['mean'])} ({ends})"


def seconds(value: float) -> str:
    """Format a time in milliseconds."""
    return f"{1000 * value:,.0f} ms"


def name_or_dash(name: Any) -> str:
    """Return the name of a rule, a dash for None or nan (pandas' None)."""
    return "none" if pd.isna(name) else name


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, the key of its values, and their format."""

    title: str
    key: str
    shown: Callable[[Any], str] = str


def with_words(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Add the displayed texts to comparisons."""
    shown = comparisons.copy()
    shown["difference"] = [interval(row) for _, row in comparisons.iterrows()]
    shown["why"] = [why(row).replace("-", MINUS) for _, row in comparisons.iterrows()]
    return shown


COMPARED = (
    Column("league", "league"),
    Column("peers", "inputs"),
    Column("file", "file"),
    Column("labels", "labels", "{:,}".format),
    Column("ε", "epsilon", percent),
    Column("verdict", "verdict"),
    Column("ours", "ours", name_or_dash),
    Column("cost", "ours_cost", percent),
    Column("theirs", "theirs", name_or_dash),
    Column("cost", "theirs_cost", percent),
    Column("ours − theirs, points", "difference"),
    Column("adjusted p", "adjusted", chance),
    Column("why", "why"),
)
LOST_ONES = tuple(column for column in COMPARED if column.key != "verdict")
SUMMARY = (
    Column("rule", "rule"),
    Column("league", "league"),
    Column("inputs", "shown_inputs"),
    Column("what runs", "about"),
    Column("cells", "cells", "{:.0f}".format),
    Column("breaks in", "breaks", "{:.0f}".format),
    Column("broken", "broken", lambda value: percent(value, 1)),
    Column("pooled", "pooled", str),
    Column("cost", "cost", percent),
    Column("choosing", "seconds", seconds),
)
CELLS = (
    Column("file", "file"),
    Column("labels", "labels", "{:,}".format),
    Column("ε", "epsilon", percent),
    Column("rule", "rule"),
    Column("cost", "cost", lambda value: percent(value, 1)),
    Column("loss, points", "loss", points),
    Column("broken", "broken", percent),
    Column("from", "broken_low", percent),
    Column("to", "broken_high", percent),
    Column("adjusted p", "adjusted", chance),
    Column("breaks", "breaks", lambda value: "yes" if value else "not shown"),
    Column("choosing", "seconds", seconds),
    Column("labels bought", "bought", "{:,.0f}".format),
)


@dataclass(frozen=True)
class Results:
    """What a run measured.

    Parameters
    ----------
    records : DataFrame
        A row per draw, cell and rule.
    rules : DataFrame
        A row per rule: about, ours, league, inputs, lines.
    files : list of File
        The files with all draws.
    missing : list of str
        The files and rules without results, in words.
    """

    records: pd.DataFrame
    rules: pd.DataFrame
    files: Sequence[File]
    missing: Sequence[str]


def counted(comparisons: pd.DataFrame) -> str:
    """Count the cells won and lost, a sentence per kind of peers."""
    sentences = []
    for inputs, rows in comparisons.groupby("inputs"):
        counts = rows["verdict"].value_counts()
        many = [counts.get(verdict, 0) for verdict in (LOST, EVEN, WON)]
        peers = "peers with the same inputs" if inputs == FITTED else f"peers {inputs}"
        sentences.append(
            "Of {} comparisons with {}, our rules lost {}, {} are level, and they won {}.".format(
                len(rows), peers, *many
            )
        )
    return " ".join(sentences)


def limit_of(records: pd.DataFrame) -> str:
    """Compare the cost of peeling with the fitted peers, in a sentence each."""
    sentences = []
    for peer in ("LTT, fitted", "MAPIE, fitted"):
        found = ratios(records, "peeling", peer)
        if len(found):
            sentences.append(
                f"Peeling costs {found.mean():.2f} of *{peer}* in the mean of {len(found)} cells "
                f"({found.min():.2f} to {found.max():.2f})."
            )
    return " ".join(sentences)


def shown_inputs(rows: pd.DataFrame) -> list[str]:
    """Return the inputs of each rule in words: those of our rules are fitted."""
    return ["ours" if row["ours"] else str(row["inputs"]) for _, row in rows.iterrows()]


def summary(results: Results) -> pd.DataFrame:
    """Return the table of rules with the displayed texts."""
    rows = summary_of(results.records, results.rules)
    pooled = [
        "–" if np.isnan(row["counted"]) else f"{row['exceeded']:.0f} of {row['counted']:.0f}"
        for _, row in rows.iterrows()
    ]
    return rows.assign(pooled=pooled, shown_inputs=shown_inputs(rows))


def write_page(path: Path, results: Results, machine: str) -> Path:
    """Write all comparisons, rules and cells, each as a table in Markdown."""
    records = results.records
    files = [f"- {each.name}, {len(each.table):,} rows: {each.about}" for each in results.files]
    parts = [
        "# CascadeBench\n\nCosts are shares of the cost of the reference. "
        "benchmarks/bench/README.md has the criteria.",
        f"{counted(compared(records))} {limit_of(records)}",
        "## Comparisons\n\n" + as_markdown(with_words(compared(records)), COMPARED),
        "## Rules\n\n" + as_markdown(summary(results), SUMMARY),
        "## Cells\n\n" + as_markdown(cells_of(records), CELLS),
        "## Files\n\n" + "\n".join(files),
        "\n".join(f"- Not measured: {one}." for one in results.missing),
        machine,
    ]
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    return path


def as_markdown(rows: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return a table in Markdown."""
    lines = [
        "| " + " | ".join(column.title for column in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for _, row in rows.iterrows():
        lines.append("| " + " | ".join(column.shown(row[column.key]) for column in columns) + " |")
    return "\n".join(lines)


def write_blocks(path: Path, results: Results) -> None:
    """Write the tables of docs/speed.md, each between two comments with its name."""
    comparisons = with_words(compared(results.records))
    lost = comparisons[comparisons["verdict"] == LOST]
    blocks = {
        "counted": f"{counted(comparisons)} {results.records['draw'].nunique()} draws of each of "
        f"{len(results.files)} files.",
        "lost": as_markdown(lost, LOST_ONES) if len(lost) else NOWHERE,
        "limit": limit_of(results.records),
        "rules": as_markdown(summary(results), SUMMARY),
        "missing": "\n".join(f"- Not measured: {one}." for one in results.missing)
        or "All files and rules were measured.",
    }
    page = path.read_text(encoding="utf-8")
    for name, block in blocks.items():
        marked = re.compile(rf"(?s)<!--{name}-->.*?<!--/{name}-->")
        new = f"<!--{name}-->\n{block}\n<!--/{name}-->"
        page = marked.sub(new.replace("\\", "\\\\"), page)
    path.write_text(page, encoding="utf-8")
