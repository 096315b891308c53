"""The home of the report: figures of the answers, the explorer, and a card per notebook."""

import base64
import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from cascadelib.figures.style import PLOTLY_JSON
from tools import app, home, report
from tools.paper_figures import panels
from tools.report import Run

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
HOSTILE = "<script>alert(1)</script>\"'"
SIZES = (1440, 1000, 390)


def committed(*numbers, **options):
    """Runs of the committed notebooks, or of those with these numbers."""
    chosen = [path for path in COMMITTED if not numbers or path.name[:2] in numbers]
    return [Run(path, path, **options) for path in chosen]


@pytest.fixture
def written(tmp_path):
    """Function that writes a notebook with an answer and outputs, and returns its run."""

    def write(name, answer="", *outputs, error=None):
        shown = [nbformat.v4.new_output("display_data", output) for output in outputs]
        printed = [nbformat.v4.new_output("stream", text=answer)]
        cells = [
            nbformat.v4.new_markdown_cell("# Is it much?"),
            nbformat.v4.new_code_cell("show()", outputs=shown),
            nbformat.v4.new_code_cell("print()", outputs=printed, metadata={"tags": ["answer"]}),
        ]
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return Run(path, path, 1.0, error=error)

    return write


def texts(pattern, page):
    return re.findall(pattern, page, flags=re.DOTALL)


def figure():
    """A figure of two panels, each with a line and a reference line, as a notebook stores it."""
    fig, _ = panels(["left", "right"], 2)
    for col in (1, 2):
        fig.add_scatter(x=[1, 2], y=[col, col], name="n", text=["a", "b"], row=1, col=col)
        fig.add_hline(y=1, row=1, col=col)
    fig.update_layout(title="A <b>title</b>")
    return json.loads(fig.to_json())


def test_the_home_of_the_committed_notebooks_has_all_parts():
    page = home.format_home(committed())
    (title,) = texts("<h1>(.*?)</h1>", page)
    assert title.startswith(home.PURPOSE) and title.endswith("× lower cost.")
    values = texts(r'class="tile" href="(\d\d)_\w+.html"><b>(.*?)</b>', page)
    assert [number for number, _ in values] == ["02", "02", "05", "08"]
    assert [re.sub(r"\d+", "n", value) for _, value in values] == ["n.n×", "n.n%", "n of n", "n%"]
    assert values[0][1] in title
    assert page.index('class="tiles"') < page.index("<iframe") < page.index('class="cards"')
    assert texts("<h2>(.*?)</h2>", page) == list(home.GROUPS)
    cards = texts(r'<a class="card" href="(.*?).html">(.*?)</a>', page)
    assert sorted(stem for stem, _ in cards) == [path.stem for path in COMMITTED]
    for stem, card in cards:
        assert len(texts('src="data:image/png;base64', card)) == 1, stem
        (claim,) = texts("<h3>(.*?)</h3>", card)
        assert claim.endswith(".") and not claim.endswith("?"), stem
        (label,) = texts('aria-label="(.*?)"', card)
        assert label, stem


def test_the_home_loads_no_file_from_elsewhere():
    page = home.format_home(committed())
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    local = {"report.css", "report.js", "plotly.min.js", "live.html", "glossary.html"}
    pages = {f"{path.stem}.html" for path in COMMITTED}
    assert {name for name in loaded if not name.startswith("data:")} == local | pages


def test_parts_of_missing_notebooks_are_left_out():
    page = home.format_home(committed("04", "06"))
    (title,) = texts("<h1>(.*?)</h1>", page)
    assert "a pair of text classifiers saves" in title
    assert texts(r'class="tile" href="(\d\d)_', page) == ["06"]
    assert "<iframe" not in page and 'class="live still"' in page  # the explorer of other data
    assert texts("<h2>(.*?)</h2>", page) == ["Does it save?", "What matters?"]
    bare = home.format_home(committed("04"))
    assert f"<h1>{home.PURPOSE}.</h1>" in bare
    assert 'class="tiles"' not in bare and 'class="live' not in bare


def test_other_data_have_their_own_figures(written):
    answer = (
        "A pair misses the best single model at 17.5× lower cost. On held_out, a → b has 70.10% "
        "accuracy, the single model 80.20%."
    )
    page = home.format_home([written("02_pairs", answer)])
    assert "a pair misses the best single model at 17.5× lower cost" in page
    assert texts(r"<b>([\d.]+[×%])</b>", page) == ["17.5×", "70.10%"]
    assert "accuracy on held_out (best single model: 80.20%)" in page


def test_a_failed_notebook_has_a_card_with_its_error(written, tmp_path):
    failed = written("02_pairs", error="code cell 3, `<x>`: ValueError: no")
    never = Run(COMMITTED[0], tmp_path / "missing.ipynb", error="Kernel died")
    page = home.format_home([never, failed])
    assert "failed in <code>code cell 3, `&lt;x&gt;`: ValueError: no</code>" in page
    assert "failed in <code>Kernel died</code>" in page
    cards = texts(r'<a class="card".*?</a>', page)
    assert len(cards) == 2 and not any("<img" in card or 'class="fig"' in card for card in cards)
    assert 'class="tiles"' not in page


def test_texts_of_notebooks_are_escaped(written):
    answer = f"A pair {HOSTILE} saves 2× at equal accuracy. On held-out {HOSTILE} it is."
    alt = {"image/png": {"alt": HOSTILE}}
    run = written(f"06_{HOSTILE[:5]}", answer, error=HOSTILE)
    nb = nbformat.read(run.executed, as_version=4)
    png = base64.b64encode(pixel()).decode()
    nb.cells[1].outputs = [nbformat.v4.new_output("display_data", {"image/png": png}, metadata=alt)]
    nbformat.write(nb, run.executed)
    page = home.format_home([run])
    assert HOSTILE not in page and "<scri" not in page.replace("<script src", "")


def pixel():
    """A small picture."""
    file = io.BytesIO()
    Image.new("RGB", (10, 10)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("panel", "shown"), [("", 1), ("2", 2), ("9", 1)])
def test_a_panel_of_a_figure_has_its_lines_and_no_texts(panel, shown):
    small = home.panel_of(figure(), panel)
    (trace,) = small["data"]
    assert trace["y"] == [shown] * 2
    assert not {"text", "name"} & trace.keys()
    assert (trace["xaxis"], trace["yaxis"]) == ("x", "y")
    layout = small["layout"]
    assert "title" not in layout and "annotations" not in layout and not layout["showlegend"]
    (line,) = layout["shapes"]
    assert line["xref"].split()[0] == "x" and line["yref"] == "y"
    assert layout["xaxis"]["domain"] == layout["yaxis"]["domain"] == [0, 1]


def test_a_figure_that_is_missing_is_replaced_by_the_first(written):
    run = written("04_methods", "", {PLOTLY_JSON: figure()})
    assert 'aria-label="A title"' in home.thumbnail_of(home.Entry(run))
    assert home.thumbnail_of(home.Entry(written("04_none"))) == ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A home with the live explorer, the committed pictures and a live figure."""
    folder = tmp_path_factory.mktemp("report")
    report.copy_shared(folder)
    app.write_page(folder / report.LIVE)
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("show()")])
    nb.cells[0].outputs = [nbformat.v4.new_output("display_data", {PLOTLY_JSON: figure()})]
    nbformat.write(nb, folder / "11_live.ipynb")
    live = Run(folder / "11_live.ipynb", folder / "11_live.ipynb")
    text = home.format_home([*committed(), live])
    (folder / "index.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_the_explorer_is_on_the_first_screen_and_nothing_is_cut(folder, browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto((folder / "index.html").as_uri())
    frame = page.frame_locator("iframe.explorer")
    slider = frame.locator(".cl-slider").first
    slider.wait_for()
    page.locator(".fig .main-svg").first.wait_for()
    box = slider.bounding_box()
    if width == 1440:
        assert box["y"] + box["height"] < 900
    assert box["width"] >= 200
    page.wait_for_function(  # the frame is as high as its page
        "() => document.querySelector('iframe.explorer').style.height !== ''"
    )
    inside = frame.locator("body")
    assert inside.evaluate("body => body.scrollHeight <= innerHeight + 1")
    assert inside.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    figures = page.locator(".fig").all()
    assert len(figures) == len(COMMITTED) + 1
    filters = {figure.locator("img, .js-plotly-plot").first.evaluate(FILTER) for figure in figures}
    assert filters == {scheme == "dark"}
    page.close()


FILTER = "element => getComputedStyle(element).filter.includes('invert')"
