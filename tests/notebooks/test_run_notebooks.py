"""The runner on small notebooks: pages that read offline, committed outputs, failures, presets."""

import re
import sys

import nbformat
import pytest
from browsers import find_browser

from cascadelib.figures import style
from tools.report import rendering, run

FIGURE = """from cascadelib.figures.style import Figure
line = {"x": list(range(points)), "y": list(range(points))}
Figure([line], {"title": {"text": "A <b>line</b>"}})"""
TABLE = "import pandas as pd\npd.DataFrame({'a': [points]})"
NBVAL = [sys.executable, *"-m pytest -q -p no:cacheprovider -c pyproject.toml --rootdir=.".split()]
LARGEST_PAGE = 1_500_000  # bytes; nbconvert's style sheet is most of it
ANSWER = "print('It is <', points)"
SLIDER = "import ipywidgets\nipywidgets.IntSlider()"
NOISE = """import sys, warnings
print(7, 'of 9\\r', 9, 'of 9\\ndone', file=sys.stderr)
print(sys.prefix + '/lib')
warnings.warn('`torch.jit.script` is deprecated. Please switch')
warnings.warn('mind')"""


@pytest.fixture(scope="module")
def source(write_notebook, tmp_path_factory):
    """A notebook after ``make notebooks``, or after ``make run`` if no browser is found."""
    folder = tmp_path_factory.mktemp("project") / "notebooks"
    path = write_notebook(folder / "01_page.ipynb", FIGURE, TABLE, SLIDER, NOISE, ANSWER)
    nb = nbformat.read(path, as_version=4)
    nb.cells[-1].metadata["tags"] = ["answer"]
    nbformat.write(nb, path)
    cells = [(cell.id, cell.source) for cell in nb.cells]
    assert run.main(["--rewrite"] if find_browser() else [], folder) == 0
    assert [(cell.id, cell.source) for cell in nbformat.read(path, as_version=4).cells] == cells
    return path


@pytest.fixture
def report_folder(source):
    return source.parents[1] / "build" / "report"


@pytest.mark.soak
def test_a_page_has_the_figure_and_the_last_state_of_each_line(report_folder):
    html = (report_folder / "01_page.html").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in html and 'aria-label="A line"' in html
    assert "7 of 9" not in html and "9 of 9" in html and len(html) < LARGEST_PAGE


def test_committed_outputs_are_small_and_have_no_trace_of_the_machine(source):
    if not find_browser():
        pytest.skip("no Chrome or Chromium: the committed outputs were not drawn")
    nb = nbformat.read(source, as_version=4)
    assert [cell.get("execution_count") for cell in nb.cells] == [None, 1, 2, 3, 4, 5, 6]
    figure, table, slider, noise, _ = (cell.outputs for cell in nb.cells[2:])
    title, picture = figure
    assert title.data == {"text/html": "<p><b>A <b>line</b></b><br></p>", "text/plain": "A line"}
    assert list(picture.data) == ["image/png"]
    assert picture.metadata["image/png"]["alt"] == "A line"
    assert "<table" in table[0].data["text/html"] and slider == []
    assert "ipykernel" not in str(noise) and "cell:5: UserWarning: mind" in str(noise)
    assert "torch.jit" not in str(noise)
    assert sys.prefix not in str(noise) and " 9 of 9\\ndone\\n" in str(noise)
    assert source.stat().st_size < 100_000 and "papermill" not in source.read_text(encoding="utf-8")


@pytest.mark.browser
def test_a_page_draws_its_figure_offline(report_folder, page):
    requests = []
    errors = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((report_folder / "01_page.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg .points path")
    assert page.locator(".points path").count() == 5
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []


def test_a_failing_notebook_is_reported_and_the_others_run(tmp_path, write_notebook, capsys):
    folder = tmp_path / "notebooks"
    write_notebook(folder / "01_bad.ipynb", "1 / 0", "never = 1")
    write_notebook(folder / "02_dead.ipynb", "import os\nos._exit(1)")
    write_notebook(folder / "03_good.ipynb", "points + 1")
    assert run.main([], folder) == 1
    printed = capsys.readouterr().out
    error = "FAILED in code cell 2, `1 / 0`: ZeroDivisionError: division by zero"
    assert re.search(rf"01_bad +\d+\.\d s  {re.escape(error)}", printed)
    assert re.search(r"02_dead +\d+\.\d s  FAILED in DeadKernelError", printed)
    assert re.search(r"03_good +\d+\.\d s  ok", printed)
    index = (tmp_path / "build" / "report" / "index.html").read_text(encoding="utf-8")
    assert index.count('class="failed"') == 2 and "03_good.html" in index


@pytest.mark.parametrize(("starts", "error"), [(1, None), (2, "RuntimeError: Kernel died")])
def test_a_kernel_that_does_not_start_is_started_again(starts, error, tmp_path, monkeypatch):
    """Another process may take the port that was chosen."""
    deaths = []

    def fake(*_, **__):
        if len(deaths) < starts:
            deaths.append(1)
            raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(run.papermill, "execute_notebook", fake)
    found = run.execute(tmp_path / "01_page.ipynb", tmp_path / "out", {}).error
    assert found is None if error is None else found.startswith(error)


@pytest.mark.soak
def test_notebooks_run_in_parallel_except_those_that_measure_time(
    tmp_path, write_notebook, capsys, monkeypatch
):
    """Each writes a file when it ends. 02 waits for the file of 03, which runs next to it."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = tmp_path / "notebooks"
    start = "import os, time\nfrom pathlib import Path\n"
    files = "{'01', '02', '03', '08'} & {*os.listdir()}"
    wait = "for _ in range(1200):\n    time.sleep(0 if Path('03').exists() else 0.1)\n"
    cells = {
        "01_timed": f"assert {files} == {{'02', '03'}}\nPath('01').touch()",
        "02_late": f"{wait}assert Path('03').exists()\nPath('02').touch()",
        "03_early": "Path('03').touch()\nprint(points, os.environ['OMP_NUM_THREADS'])",
        "08_timed": f"assert {files} == {{'01', '02', '03'}}\nPath('08').touch()",
    }
    for name, code in cells.items():
        write_notebook(folder / f"{name}.ipynb", start + code)
    assert run.main(["--jobs", "2", "-p", "points", "7"], folder) == 0
    lines = re.findall(r"^(\d\d)_\w+ +\d+\.\d s  ok", capsys.readouterr().out, flags=re.MULTILINE)
    assert sorted(lines[:2]) == ["02", "03"] and lines[2:] == ["01", "08"]
    out = tmp_path / "build" / "report"
    index = (out / "index.html").read_text()
    cards = re.findall(r'<a class="card" href="(\d\d)_', index)
    assert sorted(cards) == ["01", "02", "03", "08"]
    printed = rendering.printed(nbformat.read(out / "03_early.ipynb", as_version=4).cells[-1])
    points, threads = map(int, printed.split())
    assert points == 7 and 1 <= threads <= max(1, run.cores() // 2)


def test_parameters_and_presets_reach_the_notebooks_that_have_their_name(
    tmp_path, write_notebook, capsys, monkeypatch
):
    folder = tmp_path / "notebooks"
    paths = [write_notebook(folder / f"{name}.ipynb") for name in ("01_a", "02_b")]
    nb = nbformat.read(paths[1], as_version=4)
    nb.cells[1].source = 'split = "val"'
    nbformat.write(nb, paths[1])
    requested = []

    def run_all(out, shares, jobs):
        requested.append(shares)
        out.mkdir(parents=True)
        return [run.Run(path, path, 1.0) for path in shares]

    monkeypatch.setattr(run, "run_all", run_all)
    preset = tmp_path / "preset.yml"
    preset.write_text("points: 8  # many\nsplit: own\n", encoding="utf-8")
    assert run.main(["--preset", str(preset), "-p", "split", "test"], folder) == 0
    assert requested == [{paths[0]: {"points": 8}, paths[1]: {"split": "test"}}]
    preset.write_text("pints: 8\n", encoding="utf-8")
    refused = {
        "'pints'; nearest: points": ["02", "--preset", str(preset)],
        "'splt'; nearest: split": ["-p", "splt", "test"],
        "no notebook starts with '3'": ["3"],
    }
    for message, arguments in refused.items():
        with pytest.raises(SystemExit, match=message):
            run.main(arguments, folder)


def test_the_question_is_the_heading_without_its_number():
    cell = nbformat.v4.new_markdown_cell("# 02 · Which *two* models?\n\nText.")
    assert rendering.question_of(nbformat.v4.new_notebook(cells=[cell])) == "Which two models?"


@pytest.mark.parametrize(
    ("default", "renderer"),
    [
        ("plotly_mimetype+notebook", "plotly_mimetype"),
        ("colab", "colab"),
        (None, None),
    ],
)
def test_the_kernel_embeds_no_script(default, renderer):
    assert style.renderer_without_script(default) == renderer


def test_rewriting_checks_for_a_browser_first(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match="drawn by Chrome or Chromium"):
        run.main(["--rewrite"], tmp_path)
