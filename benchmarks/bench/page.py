"""Write CascadeBench's page, one self-contained HTML file, and the tables of docs/bench.md."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bench.task import DELTA, EPSILONS, File
from bench.verdicts import (
    DOCUMENTED,
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

HERE = Path(__file__).resolve().parent
REASONS = HERE.parents[1] / "docs" / "bench.md"
MINUS = "−"
WORDS = ("about", "why")  # columns of whole sentences
MARKS = {r"\*\*": "b", "`": "code", r"\*": "em"}  # of Markdown, in HTML
NOWHERE = "In no comparison that was run."
COLOURS = 13  # of rules: --c0 … in page.css
WIDTH = 320
HEIGHT = 170
LEFT = 38
BOTTOM = 24


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
    """A column of a table: its title, the key of its values, their format, and an explanation."""

    title: str
    key: str
    shown: Callable[[Any], str] = str
    about: str = ""

    def cell(self, row: pd.Series) -> str:
        """Return the cell of a row, as HTML."""
        value = row[self.key]
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        order = f"{float(value):.9g}" if is_number else escape(str(value), quote=True)
        kind = ' class="number"' if is_number else ""
        kind = ' class="words"' if self.key in WORDS else kind
        return f'<td{kind} data-order="{order}">{escape(self.shown(value))}</td>'


def table(rows: pd.DataFrame, columns: Sequence[Column], kind: str = "") -> str:
    """Return a sortable table."""
    head = ""
    for column in columns:
        about = f' title="{escape(column.about, quote=True)}"' if column.about else ""
        head += f'<th scope="col"{about}><button>{escape(column.title)}</button></th>'
    body = ""
    for _, row in rows.iterrows():
        verdict = f' class="{row["verdict"]}"' if "verdict" in row else ""
        body += f"<tr{verdict}>{''.join(column.cell(row) for column in columns)}</tr>\n"
    return (
        f'<div class="scroll {kind}"><table class="sortable {kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


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
    Column("cost", "ours_cost", percent, "share of the cost of the reference, on the odd draws"),
    Column("theirs", "theirs", name_or_dash),
    Column("cost", "theirs_cost", percent, "share of the cost of the reference, on the odd draws"),
    Column("ours − theirs, points", "difference"),
    Column("adjusted p", "adjusted", chance, "Benjamini and Hochberg, all comparisons"),
    Column("why", "why"),
)
LOST_ONES = tuple(column for column in COMPARED if column.key != "verdict")
SUMMARY = (
    Column("rule", "rule"),
    Column("league", "league"),
    Column("inputs", "shown_inputs"),
    Column("what runs", "about", lambda text: str(text).replace("`", "")),
    Column("cells", "cells", "{:.0f}".format),
    Column("breaks in", "breaks", "{:.0f}".format, "cells in which it is shown to break"),
    Column("broken", "broken", lambda value: percent(value, 1), "share of draws, mean over cells"),
    Column("pooled", "pooled", str, "draws that exceed ε, of those that the pooled test counts"),
    Column("adjusted p", "pooled_adjusted", chance, "of the pooled test, by Holm over rules"),
    Column("cost", "cost", percent, "share of the cost of the reference, mean of its cells"),
    Column("choosing", "seconds", seconds, "processor time, median of cells"),
    Column("lines", "lines", "{:.0f}".format, "lines of code of the adapter"),
)
CELLS = (
    Column("file", "file"),
    Column("labels", "labels", "{:,}".format),
    Column("ε", "epsilon", percent),
    Column("rule", "rule"),
    Column("cost", "cost", lambda value: percent(value, 1)),
    Column("loss, points", "loss", points),
    Column("broken", "broken", percent),
    Column("from", "broken_low", percent, "95% interval"),
    Column("to", "broken_high", percent, "95% interval"),
    Column("adjusted p", "adjusted", chance, "of the bound, by Holm over all cells and rules"),
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


def line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    """Return a line of a drawing."""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{kind}"/>'


def text(x: float, y: float, said: str, anchor: str = "middle") -> str:
    """Return text in a drawing."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(said)}</text>'


def drawing(inside: str, title: str, height: float = HEIGHT) -> str:
    """Return a drawing with a title for screen readers."""
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title, quote=True)}">{inside}</svg></figure>'
    )


def cost_drawing(cells: pd.DataFrame, title: str, colour: dict[str, int]) -> str:
    """Draw cost by number of labels, a line per rule, with hollow points if the rule breaks."""
    counts = sorted(cells["labels"].unique())
    place = {count: index for index, count in enumerate(counts)}
    step = (WIDTH - LEFT - 36) / max(1, len(counts) - 1)
    tall = HEIGHT - BOTTOM - 12

    def at(row: pd.Series) -> tuple[float, float]:
        return LEFT + 12 + step * place[row["labels"]], 12 + tall * (1 - min(row["cost"], 1.05))

    inside = ""
    for share in (0, 0.5, 1):
        y = 12 + tall * (1 - share)
        inside += line(LEFT, y, WIDTH, y, "grid") + text(LEFT - 4, y + 4, f"{share:.0%}", "end")
    for count, index in place.items():
        inside += text(LEFT + 12 + step * index, HEIGHT - 6, f"{count:,}")
    for rule, own in cells.groupby("rule", sort=False):
        mine = f"c{colour[str(rule)]}"
        spots = [at(row) for _, row in own.sort_values("labels").iterrows()]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        dashed = "" if own["ours"].iloc[0] else " dashed"
        inside += f'<polyline points="{path}" class="path {mine}{dashed}"/>'
        for _, row in own.iterrows():
            x, y = at(row)
            hollow = " hollow" if row["breaks"] else ""
            about = f"{rule}, {row['labels']:,} labels: cost {row['cost']:.1%}, "
            about += f"broken {row['broken']:.0%}"
            inside += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{mine}{hollow}">'
            inside += f"<title>{escape(about)}</title></circle>"
    return drawing(inside, title)


def cost_drawings(cells: pd.DataFrame, files: Sequence[File], colour: dict[str, int]) -> str:
    """Return a drawing per ε and file."""
    drawings = ""
    for epsilon in EPSILONS:
        row = ""
        for file in files:
            own = cells[(cells["file"] == file.name) & (cells["epsilon"] == epsilon)]
            row += cost_drawing(own, f"{file.name}, ε = {epsilon:.0%}", colour)
        drawings += f'<div class="figures">{row}</div>'
    return drawings


def broken_drawing(summary: pd.DataFrame, colour: dict[str, int]) -> str:
    """Draw the share of draws in which a rule exceeds the limit, next to δ."""
    row_height = 22
    height = row_height * len(summary) + BOTTOM + 8
    left = 104
    most = max(0.3, summary["broken"].max())
    wide = WIDTH - left - 44
    inside = line(
        left + wide * DELTA / most, 0, left + wide * DELTA / most, height - BOTTOM, "mark"
    )
    inside += text(left + wide * DELTA / most, height - 8, f"δ = {DELTA:.0%}")
    for index, (_, row) in enumerate(summary.iterrows()):
        y = row_height * index + 6
        inside += text(left - 6, y + 12, row["rule"], "end")
        inside += (
            f'<rect x="{left}" y="{y}" width="{wide * row["broken"] / most:.1f}" height="16" '
            f'class="c{colour[row["rule"]]}"/>'
        )
        end = wide * max(row["broken"], DELTA) / most  # beyond the mark
        inside += text(left + end + 5, y + 12, percent(row["broken"]), "start")
    return drawing(inside, "Limit exceeded: share of draws, mean over cells", height)


def legend(colour: dict[str, int]) -> str:
    """Return the legend of the rules' colours."""
    entries = [
        f'<li><span class="swatch c{number}"></span>{escape(rule)}</li>'
        for rule, number in colour.items()
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'


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
            by_file = ", ".join(
                f"{name} {value:.2f}" for name, value in found.groupby(level=0).mean().items()
            )
            sentences.append(
                f"Peeling costs {found.mean():.2f} of *{peer}* in the mean of {len(found)} cells "
                f"({found.min():.2f} to {found.max():.2f}; means: {by_file})."
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
    """Write the page of all results."""
    records = results.records
    cells = cells_of(records)
    comparisons = with_words(compared(records))
    rules = summary(results)
    titles = list(rules["rule"])
    colour = {title: number % COLOURS for number, title in enumerate(titles)}
    lost = comparisons[comparisons["verdict"] == LOST]
    about = "".join(
        f"<dt>{escape(file.name)}, {len(file.table):,} rows</dt><dd>{escape(file.about)}</dd>"
        for file in results.files
    )
    parts = {
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": (HERE / "page.js").read_text(encoding="utf-8"),
        "counted": escape(counted(comparisons)),
        "limit": escape(limit_of(records)).replace("*", ""),
        "draws": f"{records['draw'].nunique()} draws of each file",
        "lost": table(lost, LOST_ONES) if len(lost) else f"<p>{NOWHERE}</p>",
        "why": reasons(),
        "compared": table(comparisons, COMPARED, "tall"),
        "summary": table(rules, SUMMARY),
        "broken": broken_drawing(rules, colour),
        "legend": legend(colour),
        "figures": cost_drawings(cells, results.files, colour),
        "cells": table(cells, CELLS, "tall long"),
        "files": about,
        "missing": "".join(f"<li>Not measured: {escape(one)}.</li>" for one in results.missing),
        "machine": escape(machine),
    }
    template = (HERE / "page.html").read_text(encoding="utf-8")
    path.write_text(re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], template), encoding="utf-8")
    return path


def reasons() -> str:
    """Return the list of reasons in docs/bench.md, as HTML."""
    said = REASONS.read_text(encoding="utf-8").partition("### Why\n")[2].partition("\n## ")[0]
    entries = ""
    for entry in re.split(r"^- ", said, flags=re.MULTILINE)[1:]:
        html = escape(" ".join(entry.split()))
        for mark, tag in MARKS.items():
            html = re.sub(rf"{mark}(.+?){mark}", rf"<{tag}>\1</{tag}>", html)
        entries += f"<li>{html}</li>"
    return f"<ul>{entries}</ul>"


def as_markdown(rows: pd.DataFrame, columns: Sequence[Column]) -> str:
    """Return the same table in Markdown."""
    lines = [
        "| " + " | ".join(column.title for column in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for _, row in rows.iterrows():
        lines.append("| " + " | ".join(column.shown(row[column.key]) for column in columns) + " |")
    return "\n".join(lines)


def by_file(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return a row per file: counts lost / level / won for each kind of peers."""
    counts = comparisons.groupby(["file", "inputs", "verdict"], sort=False).size()
    counts = counts.unstack(fill_value=0).reindex(columns=[LOST, EVEN, WON], fill_value=0)
    texts = counts.apply(lambda row: " / ".join(map(str, row)), axis=1).unstack(fill_value="–")
    return texts.reindex(columns=[DOCUMENTED, FITTED], fill_value="–").reset_index()


def write_blocks(path: Path, results: Results) -> None:
    """Write the tables of docs/bench.md, each between two comments with its name."""
    comparisons = with_words(compared(results.records))
    lost = comparisons[comparisons["verdict"] == LOST]
    counts = [Column(key, key) for key in ("file", DOCUMENTED, FITTED)]
    in_code = [
        Column(column.title, column.key) if column.key == "about" else column for column in SUMMARY
    ]
    blocks = {
        "counted": f"{counted(comparisons)} {results.records['draw'].nunique()} draws of each of "
        f"{len(results.files)} files.",
        "lost": as_markdown(lost, LOST_ONES) if len(lost) else NOWHERE,
        "limit": limit_of(results.records),
        "files": as_markdown(by_file(comparisons), counts),
        "rules": as_markdown(summary(results), in_code),
        "missing": "\n".join(f"- Not measured: {one}." for one in results.missing)
        or "All files and rules were measured.",
    }
    page = path.read_text(encoding="utf-8")
    for name, block in blocks.items():
        marked = re.compile(rf"(?s)<!--{name}-->.*?<!--/{name}-->")
        new = f"<!--{name}-->\n{block}\n<!--/{name}-->"
        page = marked.sub(new.replace("\\", "\\\\"), page)
    path.write_text(page, encoding="utf-8")
