"""What the README says of the bundled data is what is computed from it."""

import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import readme_numbers  # noqa: E402 - a script beside the pages of the site, not a package


@pytest.mark.parametrize("block", readme_numbers.BLOCKS)
def test_the_figures_of_the_readme_are_those_of_the_data(block):
    before = readme_numbers.README.read_text(encoding="utf-8")
    assert readme_numbers.filled(before, [block]) == before, "run: python docs/readme_numbers.py"


def test_a_lost_mark_is_named():
    with pytest.raises(ValueError, match="0 blocks <!-- zoo -->"):
        readme_numbers.filled("no marks", ["zoo"])


def test_a_stale_figure_is_found():
    stale = "<!-- zoo -->\n99 classifiers\n<!-- /zoo -->"
    assert readme_numbers.filled(stale, ["zoo"]) != stale


def test_the_table_of_notebooks_has_question_paper_and_answer(tmp_path, write_notebook, monkeypatch):
    paths = [write_notebook(tmp_path / name, "print('It | is')") for name in ("07_a.ipynb", "99_b.ipynb")]
    nb = nbformat.read(paths[0], as_version=4)
    nb.cells[2].update(outputs=[nbformat.v4.new_output("stream", name="stdout", text="It | is\n  5.\n")])
    nb.cells[2].metadata["tags"] = ["answer"]
    nbformat.write(nb, paths[0])
    monkeypatch.setattr(readme_numbers, "NOTEBOOKS", tmp_path)
    assert readme_numbers.notebooks().splitlines()[2:] == [
        "| [07_a](notebooks/07_a.ipynb) | Is 0.5% enough? | Fig. 13, 14 | It \\| is 5. |",
        "| [99_b](notebooks/99_b.ipynb) | Is 0.5% enough? | beyond the paper | – |",
    ]
