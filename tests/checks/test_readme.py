"""Figures of the README and docs/ equal those of the bundled data, and the README's code runs."""

import re
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))
import measured  # noqa: E402 - scripts, no package
import readme_numbers  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
MOST_WORDS = 700


@pytest.mark.parametrize(("page", "block"), readme_numbers.BLOCKS)
def test_figures_of_a_page_equal_those_of_the_data(page, block):
    before = (ROOT / page).read_text(encoding="utf-8")
    assert readme_numbers.filled(before, page, [block]) == before, (
        "run: python docs/readme_numbers.py"
    )


def test_figures_of_the_drawing_equal_those_of_the_data():
    drawn = (ROOT / readme_numbers.DRAWING).read_text(encoding="utf-8")
    assert drawn == readme_numbers.cascade_svg(), "run: python docs/readme_numbers.py"


def test_the_readme_is_short():
    assert len(README.split()) <= MOST_WORDS


def test_a_missing_mark_is_named():
    with pytest.raises(ValueError, match="0 blocks <!--zoo-->"):
        readme_numbers.filled("no marks", "docs/shift.md", ["zoo"])


def test_a_stale_figure_is_found():
    stale = "<!--zoo-->\n99 classifiers\n<!--/zoo-->"
    assert readme_numbers.filled(stale, "docs/shift.md", ["zoo"]) != stale


def test_the_list_of_lessons_has_questions_and_short_findings(
    tmp_path, write_notebook, monkeypatch
):
    paths = [
        write_notebook(tmp_path / name, "print('It is')") for name in ("07_a.ipynb", "08_b.ipynb")
    ]
    nb = nbformat.read(paths[0], as_version=4)
    nb.cells[2].update(
        outputs=[
            nbformat.v4.new_output(
                "stream",
                name="stdout",
                text="It is 5 (95% CI 4 to 6), up (+1 points). Certified: at most 2.\n",
            )
        ]
    )
    nb.cells[2].metadata["tags"] = ["answer"]
    nbformat.write(nb, paths[0])
    monkeypatch.setattr(readme_numbers, "NOTEBOOKS", tmp_path)
    assert readme_numbers.notebooks().splitlines() == [
        "- [Is 0.5% enough?](notebooks/07_a.ipynb) It is 5, up.",
        "- [Is 0.5% enough?](notebooks/08_b.ipynb)",
    ]


def test_a_notebooks_table_is_found_by_its_column(tmp_path, write_notebook, monkeypatch):
    path = write_notebook(tmp_path / "08_a.ipynb", "table")
    nb = nbformat.read(path, as_version=4)
    table = pd.DataFrame({"a b": ["1.5", "–"]}, ["x → <y>", "z"])
    nb.cells[2].outputs = [
        nbformat.v4.new_output("display_data", {"text/html": table._repr_html_()})
    ]
    nbformat.write(nb, path)
    monkeypatch.setattr(readme_numbers, "NOTEBOOKS", tmp_path)
    readme_numbers.cells.cache_clear()
    found = readme_numbers.table_with("08", "a b")
    with pytest.raises(ValueError, match="no table with a column 'c'"):
        readme_numbers.table_with("08", "c")
    readme_numbers.cells.cache_clear()
    pd.testing.assert_frame_equal(found, table)


def test_the_report_is_linked_if_the_site_has_an_address(tmp_path, monkeypatch):
    assert "build/report/index.html" in readme_numbers.hosted()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.cascadelib]\nrepository = "https://github.com/A/b"', encoding="utf-8"
    )
    monkeypatch.setattr(readme_numbers, "ROOT", tmp_path)
    assert "](https://a.github.io/b/notebooks/index.html)" in readme_numbers.hosted()


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(0.1012, "s", "0.10 s"), (132, "s", "2 min 12 s"), (118600, "s", "33 h")]
    + [(0.7053, "GiB", "0.71 GiB"), (3.243, "×", "3.2 ×"), (0.041, "share", "4.1%")]
    + [(0, "samples", "0"), (13130, "1/s", "13,130"), (11.2, "ms", "11 ms")],
)
def test_a_quantity_has_its_unit_and_two_digits(value, unit, text):
    assert measured.quantity(value, unit) == text


def replace_results(monkeypatch, **columns):
    """Replace the results by two rows, a and b, of one job."""
    rows = {
        "measured": [2.0, 0.5],
        "unit": ["s", "share"],
        "target": ["≤ 3", ""],
        "quiet": "yes",
        "others": 0.0,
        "commit": "abc",
    }
    rows |= {
        "module": "job",
        "benchmark": ["a", "b"],
        "cpu": float("nan"),
        "runs": [5, float("nan")],
    } | columns
    table = pd.DataFrame(rows).set_index(["module", "benchmark"])
    monkeypatch.setattr(measured, "benchmarks", lambda: table)
    monkeypatch.setattr(measured, "TABLES", ((("A", "job", "a"), ("B", "job", "b")),))


def test_tables_omit_columns_without_values(monkeypatch):
    replace_results(monkeypatch)
    lines = measured.rows_of(measured.TABLES[0]).splitlines()
    assert lines[0] == "| | measured | runs | target |" and lines[1].count("---:") == 3
    assert lines[2:] == ["| A | 2.0 s | 5 | ≤ 3 s |", "| B | 50.0% |  |  |"]
    assert (measured.timed("job", "a"), measured.timed("job", "b")) == ("2.0 s", "50.0%")


@pytest.mark.parametrize(
    ("quiet", "text"), [("yes", "was quiet"), ("no", "others used 0.7 cores"), ("", "Not recorded")]
)
def test_pages_state_whether_the_machine_was_quiet(monkeypatch, quiet, text):
    replace_results(monkeypatch, quiet=quiet, others=0.7, cpu=[1.5, float("nan")])
    assert text in measured.conditions() and "at commit abc." in measured.conditions()
    assert measured.timed("job", "a") == ("1.5 s of processor time" if quiet == "no" else "2.0 s")


def test_a_table_of_a_job_without_rows_names_its_command(monkeypatch):
    replace_results(monkeypatch)
    text = measured.rows_of((("A", "job", "a"), ("B", "other", "b")))
    assert text == "Not measured yet: `python benchmarks/run.py other`."


def test_a_missing_benchmark_is_named():
    with pytest.raises(ValueError, match="no row of search that starts with 'sorting'"):
        measured.measured("search", "sorting")


def test_the_first_code_prints_the_shown_output(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(CODE[0], {})
    printed = capsys.readouterr().out
    assert " ".join(printed.split()) in " ".join(README.replace("\n> ", " ").split())


def test_the_line_that_installs_depends_on_one_setting(tmp_path, monkeypatch):
    assert "pip install '.[explore]'" in readme_numbers.install()
    (tmp_path / "pyproject.toml").write_text("[tool.cascadelib]\nrepository = ''\npublished = true")
    monkeypatch.setattr(readme_numbers, "ROOT", tmp_path)
    assert "pip install 'cascadelib[explore]'" in readme_numbers.install()
