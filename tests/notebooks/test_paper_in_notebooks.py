"""Every figure and table of the paper has its cell, by id, under its own name; 03 and 04 argue."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
DRAWN = {  # notebook: {what of the paper: id of the cell}, in the order of the page
    "03": {"Figure 4": "c04", "Figure 4, right": "c08", "two thresholds": "c12"},
    "04": {"Figure 3": "c04", "Figure 8": "c10", "Figure 9": "c14", "Figure 11": "c18"},
    "05": {"Figure 6": "78ff7b27", "Figure 12": "3c3bb5d8"},
    "06": {"Figure 7": "cell-06"},
    "07": {"Figure 13": "b3af89b6", "Figure 14": "9b1905f9"},
}
MOST_CELLS = 24


def notebook(start):
    (path,) = (ROOT / "notebooks").glob(f"{start}_*.ipynb")
    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize(
    ("start", "name", "cell"),
    [(start, name, cell) for start, drawn in DRAWN.items() for name, cell in drawn.items()],
)
def test_every_figure_of_the_paper_has_a_cell(start, name, cell):
    cells = notebook(start).cells
    place = [each.id for each in cells].index(cell)
    told = [each.source for each in cells[:place] if each.cell_type == "markdown"][-1]
    assert cells[place].cell_type == "code"
    assert re.search(rf"{name}\b", told + cells[place].source, re.IGNORECASE)
    if cells[place].execution_count:
        kinds = {kind for output in cells[place].outputs for kind in output.get("data", {})}
        assert kinds & {"application/vnd.plotly.v1+json", "image/png", "image/svg+xml", "text/html"}


@pytest.mark.parametrize("start", DRAWN)
def test_figures_are_in_one_order(start):
    ids = [cell.id for cell in notebook(start).cells]
    places = [ids.index(cell) for cell in DRAWN[start].values()]
    assert places == sorted(places)


@pytest.mark.parametrize("start", ["03", "04"])
def test_an_argument_is_short_and_begins_by_hand(start):
    cells = notebook(start).cells
    ids = [cell.id for cell in cells]
    assert len(cells) <= MOST_CELLS
    first_figure = min(ids.index(cell) for cell in DRAWN[start].values())
    assert ids.index("by-hand-equal") < first_figure
