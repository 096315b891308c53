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
from cascadelib.figures import style
from cascadelib.figures.tables import readable
from cascadelib.files import replace_atomically

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "notebooks"))
from tools.claims.published_models import on_fronts, singles  # noqa: E402 - beside the notebooks

SYMBOLS = "circle square diamond triangle-up cross x star pentagon hexagon hourglass".split()
WORDS = {"macs": "MACs", "seconds": "seconds an image"}


def fronts_figure(
    tables: dict[str, pd.DataFrame],
    families: pd.Series,
    cost: str = "macs",
    title: str | None = None,
) -> style.Figure:
    """Draw published models by cost and accuracy: the first table's front by family, others as
    lines.

    tables: label → ``singles(…)``. families: Series from model to family (of the first
    table). Pass the same Series to figures that must have the same colours. Accuracies start at
    55%.
    """
    (label, singles), *others = tables.items()
    front = singles[singles["on_front"]]
    title = title or f"{len(front)} of {len(singles)} published models are on the front ({label})"
    accuracy = style.per_cent_axis(title="published top-1 accuracy")
    fig = style.figure(
        title, height=520, xaxis=style.cost_axis(cost, singles["cost"]), yaxis=accuracy
    )
    marker = {"color": style.GREY, "size": 4, "opacity": 0.35}
    style.add_models(
        fig, singles[~singles["on_front"]], name="dominated", mode="markers", marker=marker
    )
    style.add_hull(fig, singles)
    colours = [*style.PALETTE, style.BLACK]
    for i, family in enumerate(families.unique()):
        rows = front[[families.get(name) == family for name in front.index]]
        if len(rows):
            # If colours run out, the next family takes the first colour with another symbol.
            symbol = SYMBOLS[(i + i // len(SYMBOLS)) % len(SYMBOLS)]
            marker = {"color": colours[i % len(colours)], "symbol": symbol, "size": 9}
            style.add_models(fig, rows, name=family, mode="markers", marker=marker)
    line_colours = [style.BLACK, *style.PALETTE]
    for i, (other, table) in enumerate(others):
        colour = line_colours[i % len(line_colours)]
        line = {"color": colour, "width": 1.5, "shape": "hv"}
        style.add_models(fig, table[table["on_front"]], name=other, mode="lines", line=line)
    best = max(table["accuracy"].max() for table in tables.values())
    return fig.update_yaxes(range=[0.55, best + 0.01])


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
