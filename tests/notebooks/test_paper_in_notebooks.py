"""Notebook 10 has a section per figure of the paper, in its order, with its design as caption."""

import re
from pathlib import Path

import nbformat
import pytest

from tools.designs import DESIGNS

ROOT = Path(__file__).resolve().parents[2]
CELLS = nbformat.read(ROOT / "notebooks" / "10_paper_figures.ipynb", as_version=4).cells
DRAWN = {
    name: cell for cell in CELLS for name in re.findall(r'paper\.draw\("([^"]*)"\)', cell.source)
}


def test_all_figures_are_drawn_in_the_papers_order():
    assert list(DRAWN) == list(DESIGNS)
    assert {f"Figure {number}" for number in range(1, 15)} | {"Table 1"} == set(DRAWN)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_committed_caption_is_the_design(name):
    outputs = [output for output in DRAWN[name].outputs if "data" in output]
    captions = []
    for output in outputs:
        pictures = output.metadata.get("image/png", {}).get("alt", "")
        captions.append(pictures + output.data.get("text/html", ""))
    assert captions and all(DESIGNS[name].caption in caption for caption in captions)
