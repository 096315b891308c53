"""The home of the report: a sentence, the explorer, and a card per notebook."""

import json
import re

import nbformat
import pandas as pd
import pytest

from cascadelib.figures import lines_figure
from cascadelib.figures.style import PLOTLY_JSON
from cascadelib.files import ROOT
from tools.report import app, home, rendering
from tools.report.rendering import Run

COMMITTED = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
HOSTILE = "<script>alert(1)</script>\"'"
SIZES = (1440, 1000, 390)
STILL = (
    '<p class="cl-still" data-state="method={method}&amp;cost=macs" '
    'data-validation="{name} val" data-held-out="{name} test"></p>'
)
PIXEL = "iVBORw0KGgo="  # base64, which no test decodes
new = nbformat.v4


def figure():
    """A figure of two lines, as a notebook stores it."""
    table = pd.DataFrame({"exit_rate": [0.0, 1.0], "accuracy": [0.9, 0.8]})
    fig = lines_figure({"val": table, "test": table}, "exit_rate", "accuracy", "t")
    return json.loads(fig.update_layout(title=None).to_json())


@pytest.fixture
def written(tmp_path):
    """Function that writes a notebook with an answer and a figure, and returns its run."""

    def write(name, answer="It is.", drawn=None, error=None):
        title = new.new_output("display_data", {"text/html": "<p></p>", "text/plain": answer})
        outputs = [title] + [new.new_output("display_data", data) for data in [drawn] if data]
        tags = {"tags": ["answer", "key-figure"]}
        cells = [new.new_markdown_cell("# Is it much?"), new.new_code_cell("x", metadata=tags)]
        cells[1].outputs = outputs
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(new.new_notebook(cells=cells), path)
        return Run(path, path, 1.0, error=error)

    return write


def texts(pattern, page):
    return re.findall(pattern, page, flags=re.DOTALL)


def test_a_card_has_question_finding_and_key_figure(written):
    runs = [
        written("02_pairs", "It is in MACs\nmeasured.\nDots: of the figure."),
        written("04_live", "So", {PLOTLY_JSON: figure()}),
        written("10_paper", drawn={"image/png": PIXEL}),
    ]
    page = home.format_home(runs)
    assert texts("<h1>(.*?)</h1>", page) == [home.PURPOSE]
    assert texts('class="lede">(.*?)</p>', page) == [
        "<b>It is in MACs</b><br>measured. MACs are multiply-accumulate operations."
    ]
    cards = dict(texts(r'<a class="card" href="(.*?).html">(.*?)</a>', page))
    assert list(cards) == ["02_pairs", "04_live", "10_paper"]
    assert all("<h3>Is it much?</h3>" in card for card in cards.values())
    assert (
        'class="finding">It is in MACs</p>' in cards["02_pairs"] and "fig" not in cards["02_pairs"]
    )
    assert "fig" not in cards["04_live"], "its page draws the figure"
    assert "data:image/png;base64" in cards["10_paper"]
    assert texts("<h2>(.*?)</h2>", page) == ["Lessons", "The paper"]
    assert page.index("04_live") < page.index("The paper") < page.index("10_paper")


@pytest.mark.parametrize(
    ("data_set", "method", "is_live"),
    [
        ("fashion-mnist", "max_softmax", True),
        ("fashion-mnist", "entropy", False),
        ("mine", "max_softmax", False),
    ],
)
def test_the_explorer_is_live_for_bundled_images_and_else_a_picture(
    written, data_set, method, is_live
):
    still = STILL.format(name=data_set, method=method)
    page = home.format_home([written("02_pairs", drawn={"text/html": still, "text/plain": "a"})])
    assert ("<iframe" in page) == is_live
    assert ('class="live still"' in page) == (not is_live)
    assert "<iframe" not in home.format_home([written("02_pairs")])


def test_a_failed_notebook_has_a_card_with_its_error(written, tmp_path):
    failed = written("02_pairs", error="code cell 3, `<x>`: ValueError: no")
    never = Run(COMMITTED[0], tmp_path / "missing.ipynb", error="Kernel died")
    page = home.format_home([never, failed])
    assert "failed in <code>code cell 3, `&lt;x&gt;`: ValueError: no</code>" in page
    assert "failed in <code>Kernel died</code>" in page
    assert len(texts(r'<a class="card".*?</a>', page)) == 2 and 'class="fig"' not in page


def test_texts_of_notebooks_are_escaped(written):
    run = written(f"02_{HOSTILE[:5]}", HOSTILE, error=HOSTILE)
    nb = nbformat.read(run.executed, as_version=4)
    alt = {"image/png": {"alt": HOSTILE}}
    picture = new.new_output("display_data", {"image/png": PIXEL}, metadata=alt)
    nb.cells[0].source = f"# Is {HOSTILE} it?"
    nb.cells[1].outputs.append(picture)
    nbformat.write(nb, run.executed)
    page = home.format_home([run])
    assert HOSTILE not in page and "<scri" not in page.replace("<script src", "")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A home with the live explorer and the committed pictures."""
    folder = tmp_path_factory.mktemp("report")
    rendering.copy_shared(folder)
    app.write_page(folder / rendering.LIVE)
    still = STILL.format(name="fashion-mnist", method="max_softmax")
    cell = new.new_code_cell("x")
    cell.outputs = [new.new_output("display_data", {"text/html": still, "text/plain": "a → b"})]
    path = folder / "09_live.ipynb"
    nbformat.write(new.new_notebook(cells=[cell]), path)
    text = home.format_home([*(Run(path, path) for path in COMMITTED), Run(path, path)])
    (folder / "index.html").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.soak
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_the_explorer_is_on_the_first_screen_and_nothing_is_cut(folder, open_page, width, scheme):
    page = open_page((folder / "index.html").as_uri(), width, scheme)
    frame = page.frame_locator("iframe.explorer")
    slider = frame.locator(".cl-slider").first
    slider.wait_for()
    box = slider.bounding_box()
    if width == 1440:
        assert box["y"] + box["height"] < 900
    assert box["width"] >= 170
    page.wait_for_function(  # the frame is as high as its page
        "() => document.querySelector('iframe.explorer').style.height !== ''"
    )
    inside = frame.locator("body")
    assert inside.evaluate("body => body.scrollHeight <= innerHeight + 1")
    assert inside.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    filters = {picture.evaluate(FILTER) for picture in page.locator(".fig img").all()}
    assert filters == {scheme == "dark"}


FILTER = "element => getComputedStyle(element).filter.includes('invert')"
