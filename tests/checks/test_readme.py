"""Figures of the README and docs/ equal those of the bundled data, and the README's code runs."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import readme_numbers  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(
    ("page", "block"),
    [  # those of docs/shift.md search and replay
        pytest.param(page, block, marks=[pytest.mark.soak] * (page == "docs/shift.md"))
        for page, block in readme_numbers.BLOCKS
    ],
)
def test_figures_of_a_page_equal_those_of_the_data(page, block):
    before = (ROOT / page).read_text(encoding="utf-8")
    assert readme_numbers.filled(before, page, [block]) == before, (
        "run: python docs/readme_numbers.py"
    )


def test_figures_of_the_drawing_equal_those_of_the_data():
    drawn = (ROOT / readme_numbers.DRAWING).read_text(encoding="utf-8")
    assert drawn == readme_numbers.cascade_svg(), "run: python docs/readme_numbers.py"


def test_the_first_code_prints_the_shown_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(CODE[0], {})
    printed = capsys.readouterr().out
    assert " ".join(printed.split()) in " ".join(README.replace("\n> ", " ").split())
