"""The runner on throw-away notebooks: live offline pages, small committed outputs, failures that
name their cell."""

import io
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from browsers import find_browser
from PIL import Image, ImageColor

from cascadelib.figures import style
from tools import committed, report, run

ROOT = Path(__file__).resolve().parents[2]
FIGURE = """from cascadelib.figures.style import Figure
line = {"x": list(range(points)), "y": list(range(points))}
Figure([line], {"title": {"text": "A <b>line</b>"}})"""
TABLE = "import pandas as pd\npd.DataFrame({'a': [points]})"
NBVAL = [sys.executable, *"-m pytest -q -p no:cacheprovider -c pyproject.toml --rootdir=.".split()]
LARGEST_PAGE = 1_500_000  # bytes; nbconvert's style sheet is most of it
SLIDER = "import ipywidgets\nipywidgets.IntSlider()"
NOISE = """import sys, warnings
print(7, 'of 9\\r', 9, 'of 9\\ndone', file=sys.stderr)
print(sys.prefix + '/lib')
warnings.warn('`torch.jit.script` is deprecated. Please switch')
warnings.warn('mind')"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("project") / "notebooks"


def test_report_and_rewrite(folder, write_notebook, capsys):
    source = write_notebook(folder / "01_page.ipynb", FIGURE, TABLE, SLIDER, NOISE)
    ids = [cell.id for cell in nbformat.read(source, as_version=4).cells]
    rewrite = ["--rewrite"] if find_browser() else []
    assert run.main(rewrite, folder) == 0

    out = folder.parent / "build" / "report"
    html = (out / "01_page.html").read_text(encoding="utf-8")
    assert re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']*\.(?:js|css|mjs)""", html) == []
    assert re.findall(r"url\(['\"]?https?:", html) == [] and not re.search(
        "import mermaid|MathJax.js", html
    )
    assert html.count('<script src="plotly.min.js"></script>') == 1 and len(html) < LARGEST_PAGE
    assert (
        "Plotly.newPlot" in html and 'aria-label="A line"' in html and "live in JupyterLab" in html
    )
    assert "7 of 9" not in html and "9 of 9" in html
    assert (out / "plotly.min.js").stat().st_size > 1e6
    index = (out / "index.html").read_text(encoding="utf-8")
    assert "Is 0.5% enough?" in index and 'href="01_page.html"' in index and "explains" not in index

    if not rewrite:
        pytest.skip("no Chrome or Chromium: the committed outputs were not drawn")
    nb = nbformat.read(source, as_version=4)
    assert [cell.id for cell in nb.cells] == ids
    assert [cell.get("execution_count") for cell in nb.cells] == [None, 1, 2, 3, 4, 5]
    figure, table, slider, noise = (cell.outputs for cell in nb.cells[2:])
    assert (
        list(figure[0].data) == ["image/png"] and figure[0].metadata["image/png"]["alt"] == "A line"
    )
    assert "<table" in table[0].data["text/html"] and slider == []
    assert "ipykernel" not in str(noise) and "cell:5: UserWarning: mind" in str(noise)
    assert "torch.jit" not in str(noise)
    assert sys.prefix not in str(noise) and " 9 of 9\\ndone\\n" in str(noise)
    assert source.stat().st_size < 100_000 and "papermill" not in source.read_text(encoding="utf-8")


def test_the_colours_of_the_style_survive_a_small_palette():
    """Beside thousands of others, where few pixels have them, as a thin line."""
    pixels = np.full((200, 300, 3), 255, np.uint8)
    pixels[:, 100:] = np.random.default_rng(0).integers(0, 256, (200, 200, 3))
    own = [
        ImageColor.getrgb(colour) for colour in ("white", *style.PALETTE, style.GREY, style.BLACK)
    ]
    for i, colour in enumerate(own):
        pixels[10 * i, 5] = colour
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, "PNG")
    few = Image.open(io.BytesIO(committed.reduce_palette(whole.getvalue())))
    assert few.mode == "P" and len(few.getcolors()) <= 256
    shown = np.asarray(few.convert("RGB"))
    assert [tuple(shown[10 * i, 5].tolist()) for i in range(len(own))] == own
    assert np.abs(shown.astype(int) - pixels).mean() < 16


def test_the_index_shows_the_answers(tmp_path, write_notebook):
    folder = tmp_path / "notebooks"
    source = write_notebook(folder / "01_a.ipynb", "print('It is <', points)")
    nb = nbformat.read(source, as_version=4)
    nb.cells[-1].metadata["tags"] = ["answer"]
    nbformat.write(nb, source)
    assert run.main(["-p", "points", "7"], folder) == 0
    index = (tmp_path / "build" / "report" / "index.html").read_text(encoding="utf-8")
    assert '<span class="answer">It is &lt; 7</span>' in index


@pytest.mark.browser
def test_page_draws_its_figure_offline(folder, write_notebook, page):
    write_notebook(folder / "01_page.ipynb", FIGURE)
    out = folder.parent / "drawn"
    assert run.main(["--out", str(out), "-p", "points", "7"], folder) == 0
    asked = []
    wrong = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(error))
    page.goto((out / "01_page.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .main-svg .points path")
    assert page.locator(".points path").count() == 7
    assert [
        url for url in asked if not url.startswith(("file:", "data:", "blob:"))
    ] == [] and wrong == []


def test_a_failing_notebook_is_reported_and_the_others_run(tmp_path, write_notebook, capsys):
    folder = tmp_path / "notebooks"
    write_notebook(folder / "01_bad.ipynb", "1 / 0", "never = 1")
    write_notebook(folder / "02_dead.ipynb", "import os\nos._exit(1)")
    write_notebook(folder / "03_good.ipynb", "points + 1")
    assert run.main([], folder) == 1
    said = capsys.readouterr()
    assert (
        "FAILED 01_bad.ipynb: code cell 2, `1 / 0`: ZeroDivisionError: division by zero" in said.err
    )
    assert "FAILED 02_dead.ipynb: code cell 2, `import os`: DeadKernelError" in said.err
    assert re.search(r"03_good +\d+\.\d s  ok", said.out)
    index = (tmp_path / "build" / "report" / "index.html").read_text(encoding="utf-8")
    assert index.count('class="failed"') == 2 and "03_good.html" in index


@pytest.mark.parametrize(("starts", "error"), [(1, None), (2, "RuntimeError: Kernel died")])
def test_a_kernel_that_does_not_start_is_started_again(starts, error, tmp_path, monkeypatch):
    """Between choosing a port and taking it, another process may take it."""
    died = []

    def fake(*_, **__):
        if len(died) < starts:
            died.append(1)
            raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(run.papermill, "execute_notebook", fake)
    found = run.execute(tmp_path / "01_page.ipynb", tmp_path / "out", {}).error
    assert found is None if error is None else found.startswith(error)


def test_notebooks_run_in_parallel_except_those_that_measure_time(
    tmp_path, write_notebook, capsys, monkeypatch
):
    """Each leaves a file when it ends; 02 waits for that of 03, which only a neighbour can
    write."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = tmp_path / "notebooks"
    here = "import os, time\nfrom pathlib import Path\n"
    ends = "{'01', '02', '03', '08'} & {*os.listdir()}"
    write_notebook(
        folder / "01_timed.ipynb", here + f"assert {ends} == {{'02', '03'}}\nPath('01').touch()"
    )
    wait = (
        "for _ in range(1200):\n    time.sleep(0 if Path('03').exists() else 0.1)\ntime.sleep(2)\n"
    )
    write_notebook(
        folder / "02_late.ipynb", here + wait + "assert Path('03').exists()\nPath('02').touch()"
    )
    write_notebook(
        folder / "03_early.ipynb", here + "Path('03').touch()\nprint(os.environ['OMP_NUM_THREADS'])"
    )
    write_notebook(folder / "04_bad.ipynb", "1 / 0")
    write_notebook(
        folder / "08_timed.ipynb",
        here + f"assert {ends} == {{'01', '02', '03'}}\nPath('08').touch()",
    )
    assert run.main(["--jobs", "2"], folder) == 1
    said = capsys.readouterr()
    ended = re.findall(r"^(\d\d)_\w+ +\d+\.\d s  (ok|FAILED)", said.out, flags=re.MULTILINE)
    assert ended[-2:] == [("01", "ok"), ("08", "ok")] and ended.index(("03", "ok")) < ended.index(
        ("02", "ok")
    )
    assert (
        ("04", "FAILED") in ended
        and len(ended) == 5
        and "FAILED 04_bad.ipynb: code cell 2, `1 / 0`" in said.err
    )
    out = tmp_path / "build" / "report"
    assert re.findall(r'<h2><a href="(\d\d)_', (out / "index.html").read_text()) == [
        "01",
        "02",
        "03",
        "04",
        "08",
    ]
    threads = int(report.printed(nbformat.read(out / "03_early.ipynb", as_version=4).cells[-1]))
    assert 1 <= threads <= max(1, run.cores() // 2)


def test_parameters_reach_the_notebooks_that_have_their_name(tmp_path, write_notebook):
    paths = [write_notebook(tmp_path / name) for name in ("01_a.ipynb", "02_b.ipynb")]
    other = nbformat.read(paths[1], as_version=4)
    other.cells[1].source = 'split = "val"'
    nbformat.write(other, paths[1])
    assert run.deal_parameters(paths, {"points": 7}) == {paths[0]: {"points": 7}, paths[1]: {}}
    with pytest.raises(SystemExit, match="'splt'; nearest: split"):
        run.deal_parameters(paths, {"splt": "test"})
    preset = {"points": 3, "split": "own"}
    assert run.deal_parameters(paths, {"points": 7}, preset) == {
        paths[0]: {"points": 7},
        paths[1]: {"split": "own"},
    }
    assert run.deal_parameters(paths[:1], {}, preset) == {paths[0]: {"points": 3}}
    assert run.ignored_parameters(paths, ["split", "points"]) == "split in 01; points in 02"
    assert run.ignored_parameters(paths[:1], ["points"]) == ""
    assert run.find_notebooks(tmp_path, ["02"]) == paths[1:]
    with pytest.raises(SystemExit, match="no notebook starts with '3'"):
        run.find_notebooks(tmp_path, ["3"])


def test_cells_that_a_quick_run_repeats_are_tagged_for_nbval(tmp_path, write_notebook, monkeypatch):
    """Of the last tables: not what depends on the quick parameters, and not a figure; times are
    sanitised."""
    cells = [
        "points",
        "points + 1",
        "import os\n'CASCADELIB_QUICK' in os.environ",
        "print(f'{0.1 + 0.2}')",
    ]
    source = write_notebook(
        tmp_path / "notebooks" / "02_a.ipynb",
        *cells,
        FIGURE,
        "import time; print(time.time(), 's')",
    )
    nb = nbformat.read(source, as_version=4)
    nb.cells[3:3] = [
        nbformat.v4.new_markdown_cell("## The answer"),
        nbformat.v4.new_markdown_cell("## The paper"),
    ]
    nb.cells[5].metadata["tags"] = ["answer", committed.CHECK]  # this one depends on them
    nbformat.write(nb, source)
    monkeypatch.setenv("CASCADELIB_QUICK", "")
    monkeypatch.delenv("CASCADELIB_QUICK")
    out = tmp_path / "whole"
    assert run.main(["--out", str(out)], source.parent) == 0
    nbformat.write(nbformat.read(out / source.name, as_version=4), source)
    assert run.main(["--mark"], source.parent) == 0
    found = {
        c.source[:9]: c.metadata.get("tags", [])
        for c in nbformat.read(source, as_version=4).cells[2:]
    }
    assert [name for name, tags in found.items() if committed.CHECK in tags] == [
        "points + ",
        "print(f'{",
        "import ti",
    ]
    other = source.with_name("03_b.ipynb")
    text = source.read_text(encoding="utf-8")
    other.write_text(text.replace('"0.3000', '"0.4000'), encoding="utf-8")
    tested = subprocess.run([*NBVAL, source, other], cwd=ROOT, capture_output=True, text=True)
    assert "1 failed, 13 passed" in tested.stdout, tested.stdout
    assert re.match(r"\.{7,}F", tested.stdout)  # a cell of the other notebook


def test_a_preset_reaches_matching_notebooks_and_ignored_parameters_are_reported(
    tmp_path, write_notebook, capsys
):
    folder = tmp_path / "notebooks"
    preset = tmp_path / "own.yml"
    write_notebook(folder / "01_a.ipynb", "print('said', points)")
    nb = nbformat.read(write_notebook(folder / "02_b.ipynb"), as_version=4)
    nb.cells[1].source = 'split = "val"'
    nbformat.write(nb, folder / "02_b.ipynb")
    preset.write_text("points: 8  # many\n", encoding="utf-8")
    assert run.main(["--preset", str(preset), "-p", "split", "test"], folder) == 0
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == "No such parameter, so it was ignored: split in 01"
    )
    executed = nbformat.read(tmp_path / "build" / "report" / "01_a.ipynb", as_version=4)
    assert report.printed(executed.cells[-1]) == "said 8"
    preset.write_text("pints: 8\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="'pints'; nearest: points"):
        run.main(["02", "--preset", str(preset)], folder)


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("1e6", 1e6), ("None", None), ("test", "test"), ("[1]", [1])]
)
def test_literals(text, value):
    assert run.parse_literal(text) == value


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("# 02 · Pairs\n\nWhich two? And why?", "Which two?"),
        ("# 2 · Which *two*?", "Which two?"),
        ("# Which *two* models?\nText.", "Which two models?"),
        ("# Title\n\nA word first. Is 0.5% of `x` much?", "Is 0.5% of x much?"),
        ("# Title\n\nNone here.", "Title"),
    ],
)
def test_question_of(text, question):
    assert (
        report.question_of(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)]))
        == question
    )


def test_title_of_a_figure_without_a_title():
    layout = {"xaxis": {"title": {"text": "MACs"}}, "yaxis": {"title": {"text": "Accuracy"}}}
    assert report.title_of({"layout": layout}) == "Accuracy against MACs"
    assert report.title_of({}) == "Figure"


@pytest.mark.parametrize(
    ("default", "kept"),
    [
        ("plotly_mimetype+notebook", "plotly_mimetype"),
        ("plotly_mimetype", "plotly_mimetype"),
        ("colab", "colab"),
        ("notebook", "notebook"),
        ("", ""),
        (None, None),
    ],
)
def test_the_kernel_embeds_no_script(default, kept):
    assert style.renderer_without_script(default) == kept


def test_rewriting_checks_for_a_browser_first(tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match="drawn by Chrome or Chromium"):
        run.main(["--rewrite"], tmp_path)


def test_help_describes_the_options(capsys):
    text = subprocess.run(
        [sys.executable, ROOT / "notebooks" / "tools" / "run.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--rewrite" in text and "02 05 -p split test" in text
