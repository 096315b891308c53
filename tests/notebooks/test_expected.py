"""Answers and key tables are compared with committed values."""

import json

import nbformat
import pytest

from tools.report import expected, run

TABLE = "import pandas as pd\npd.DataFrame({'factor': [points / 7], 'models': ['a → b']})"
ANSWER = "print(f'{points} claims hold, {points / 7:.3f}× less')"
CLOCK = "import time\nprint(time.time(), 's')"


@pytest.fixture
def notebook(write_notebook, tmp_path):
    """A notebook whose last three cells are compared."""
    path = write_notebook(
        tmp_path / "notebooks" / "02_a.ipynb", "kept = points", TABLE, ANSWER, CLOCK
    )
    nb = nbformat.read(path, as_version=4)
    for cell, tag in zip(nb.cells[-3:], ("key-table", "answer", "nbval-check-output")):
        cell.metadata["tags"] = [tag]
    nbformat.write(nb, path)
    return path


def edit(path, before, after):
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_a_changed_result_fails_the_run_and_a_rearranged_program_does_not(notebook, capsys):
    folder = notebook.parent
    assert run.main([], folder) == 0, "without expected values nothing is compared"
    assert run.main(["--expect"], folder) == 0
    written = json.loads((folder / "expected" / "02.json").read_text(encoding="utf-8"))
    assert written["units"] == 1 and [len(written["full"]), len(written["quick"])].count(0) == 1
    edit(notebook, "kept = points", "kept = sum([points])\\nother = kept")
    assert run.main([], folder) == 0
    capsys.readouterr()
    edit(notebook, "points / 7", "points / 7.1")
    assert run.main(["-p", "points", "5"], folder) == 0, "other parameters are not compared"
    assert run.main([], folder) == 1
    printed = capsys.readouterr().err
    assert printed.count("DIFFERENT 02_a, cell") == 2
    assert "expected 5 claims hold, 0.714× less\n  found    5 claims hold, 0.704× less" in printed
    assert "run this again with --rewrite" in printed


@pytest.mark.parametrize(
    ("wanted", "found", "units", "same"),
    [
        ("factor 2.34 [2.30, 2.38]", "factor 2.34 [2.30, 2.38]", 0, True),
        ("factor 2.34", "factor 2.35", 1, True),
        ("factor 2.34", "factor 2.36", 1, False),
        ("factor 2.34", "factor 2.36", 2, True),
        ("factor 2.34", "ratio 2.34", 1, False),
        ("29 hold", "30 hold", 1, False),
        ("1,234 samples", "1,235 samples", 1, False),
        ("−0.00", "0.01", 1, True),
        ("loses −0.12 points", "loses -0.12 points", 1, True),
        ("1e-12", "2e-12", 1, True),
        ("1e-12", "3e-12", 1, False),
        ("12.5%", "12.6%", 1, True),
        ("resnet18_w8@28", "resnet18_w9@28", 1, False),
        ("a | 0.9", "a | 0.95", 1, False),
        ("1 | 2", "1 | 2 | 3", 1, False),
    ],
)
def test_words_and_whole_numbers_are_equal_and_others_to_the_last_digit(wanted, found, units, same):
    assert expected.are_close(wanted, found, units) is same


def test_times_and_figures_are_not_compared():
    output = nbformat.v4.new_output("stream", text="done in 1.3 s\n7 of 9")
    assert expected.lines_of(output) == ["done in TIME", "7 of 9"]
    output = nbformat.v4.new_output("display_data", {"image/png": "x", "text/plain": "Figure"})
    assert expected.lines_of(output) == []
    title = nbformat.v4.new_output("display_data", {"text/html": "<p>A", "text/plain": "A"})
    assert expected.lines_of(title) == ["A"]


@pytest.fixture
def executed(tmp_path):
    """Function (texts by cell) → a notebook whose cells have printed these texts."""

    def write(**texts):
        cells = []
        for name, text in texts.items():
            cell = nbformat.v4.new_code_cell("", id=name, metadata={"tags": ["answer"]})
            cell.outputs = [nbformat.v4.new_output("stream", text=text)]
            cells.append(cell)
        path = tmp_path / "-".join(texts)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return write


def test_a_missing_or_new_cell_and_a_missing_line_are_differences(executed, tmp_path):
    source = tmp_path / "02_a.ipynb"
    first = executed(a="1\n2", b="3")
    expected.rewrite({source: first}, "full")
    assert expected.differences(source, first, "full") == []
    assert expected.differences(source, first, "quick") == []
    second = executed(a="1", c="4")
    found = expected.differences(source, second, "full")
    assert [line.partition(":")[0] for line in found] == [f"02_a, cell {name}" for name in "abc"]
    edit(expected.file_of(source), '"units": 1', '"units": 3')
    expected.rewrite({source: second}, "quick")
    assert expected.read(source)["units"] == 3, "a stated tolerance is kept"
    assert expected.differences(source, second, "quick") == []


def test_expected_values_need_the_default_parameters(capsys):
    with pytest.raises(SystemExit):
        run.main(["--expect", "-p", "points", "7"])
    assert "--expect need the default parameters" in capsys.readouterr().err


def test_every_notebook_has_expected_values_of_its_answer_and_key_tables():
    for path in run.find_notebooks(run.NOTEBOOKS):
        content = expected.read(path)
        committed = set(expected.results_of(path))
        assert committed == set(content["full"]), path.name
        assert len(committed) >= 2
