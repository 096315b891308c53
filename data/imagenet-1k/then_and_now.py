"""Compare the fronts of a newer table of published models with those of 2022: printed, and as a
page with figures.

    python data/imagenet-1k/then_and_now.py build/zoo/models.csv --out build/zoo/then-and-now.html

Times compare only where both tables' were measured on one card; what ``tables.py`` takes unless
told otherwise was.
"""

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cascadelib import published
from cascadelib.files import replace_atomically
from cascadelib.tables import readable

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "notebooks"))
from tools.paper_figures import fronts_figure  # noqa: E402 - beside the notebooks
from tools.study import on_fronts, singles  # noqa: E402 - so is this

WORDS = {"macs": "MACs", "seconds": "seconds an image"}


def label(table: pd.DataFrame, path: Path) -> str:
    """The date in what a table says of its source, else the name of its file."""
    dates = {
        date
        for source in table["source"].unique()
        for date in re.findall(r"\d{4}-\d{2}-\d{2}", str(source))
    }
    return dates.pop() if len(dates) == 1 else path.stem


def checkpoints(table: pd.DataFrame, names: Iterable[str]) -> set:
    """Models of a front as (today's name, size), which tables of different dates share."""
    rows = table.loc[list(names)]
    return set(zip(rows["current"].fillna(rows.index.to_series()), rows["image_size"]))


def compared(tables: dict, cost: str) -> tuple[dict, str]:
    """Single models of both tables {label: singles}, and in words how their fronts in this cost
    differ."""
    alone = {name: singles(table, cost) for name, table in tables.items()}
    fronts = {name: rows.index[rows["on_front"]] for name, rows in alone.items()}
    shared = set.intersection(*(checkpoints(tables[name], fronts[name]) for name in tables))
    sizes = ", ".join(
        f"{len(front)} of {len(tables[name])} models in {name}" for name, front in fronts.items()
    )
    return alone, f"front in {WORDS[cost]}: {sizes}; {len(shared)} in both"


def page(figures: list) -> str:
    """Figures one below another as a page that needs no network."""
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=not i) for i, figure in enumerate(figures)
    ]
    return (
        '<!doctype html>\n<meta charset="utf-8">\n<title>Fronts then and '
        f"now</title>\n{''.join(parts)}\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="a table that tables.py made")
    parser.add_argument(
        "--then", type=Path, default=published.TABLE, help="default: the paper's, of 2022"
    )
    parser.add_argument("--out", type=Path, required=True, help="the page")
    options = parser.parse_args()
    tables = {}
    for path in (options.table, options.then):
        table = published.models(path)
        tables[label(table, path)] = table
    families = on_fronts(tables[next(iter(tables))])["family"]
    figures = []
    for cost in [c for c in WORDS if all(table[c].notna().any() for table in tables.values())]:
        alone, words = compared(tables, cost)
        figures.append(fronts_figure(alone, families, cost, title=words[0].upper() + words[1:]))
        print(words)
        for name, rows in alone.items():
            front = rows[rows["on_front"]]
            print(f"\n{name}:\n{readable(front[['accuracy', 'cost']]).to_string()}\n")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(options.out) as fresh:
        fresh.write_text(page(figures), encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
