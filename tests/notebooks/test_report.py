"""Pages of the report have links, contents and the explorer, and read on phones and in the dark."""

import io
import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cascadelib as cl
from cascadelib.figures.style import BLACK, GREY, PALETTE, PLOTLY_JSON
from tools.figures import plots
from tools.figures.plots import panels
from tools.report import home, rendering

new = nbformat.v4

SIZES = (1440, 1000, 390)
FITTED = "width => document.body.dataset.fitted === (width > 600 ? 'page' : 'phone')"
# Elements wider than the window, without those in a part that scrolls. Of figures, the texts.
WIDER = """() => [...document.querySelectorAll('body *')].filter(e => {
    const box = e.getBoundingClientRect()
    const scrolls = e.closest('.output_area, pre, table') && !e.closest('[role=figure]')
    const part = e.ownerSVGElement && e.tagName !== 'text' || e.closest('#js-plotly-tester')
    return !scrolls && !part && box.width && (box.right > innerWidth + 1 || box.left < -1)
}).map(e => `${e.className} ${e.textContent.slice(0, 60)}`)"""
# [contrast with the nearest background, text] of each element with text.
CONTRASTS = """() => {
    const numbers = text => text.match(/[\\d.]+/g).map(Number)
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
    const light = rgb => rgb.slice(0, 3).map(v => linear(v / 255)).reduce(
        (sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0)
    const below = e => {
        const [r, g, b, a = 1] = numbers(getComputedStyle(e).backgroundColor)
        return a || !e.parentElement ? [r, g, b] : below(e.parentElement)
    }
    const texts = e => [...e.childNodes].filter(n => n.nodeType === 3)
    const own = e => texts(e).map(n => n.data.trim()).join('')
    const shown = [...document.querySelectorAll('body *')].filter(
        e => !e.closest('script, svg, .modebar') && own(e))
    return shown.map(e => {
        const both = [light(numbers(getComputedStyle(e).color)), light(below(e))]
        const [one, two] = both.sort((a, b) => b - a)
        return [(one + 0.05) / (two + 0.05), own(e).slice(0, 40)]
    })
}"""


def figures():
    """Yield figures that change on a phone: panels, legends, long names, a long title."""
    curve = cl.search(
        cl.LogitStore.from_arrays(*data(), macs={"a": 1, "b": 5, "c": 9})
    ).improvement_curve()
    names = ["max_softmax", "entropy", "entropy_most_confident_ts", "max_softmax_mean_logits_ts"]
    yield plots.methods_figure(
        dict.fromkeys(names, curve), "A title of many words that no telephone shows in one line"
    )
    grid, places = panels([f"panel {i}" for i in range(10)], 4)
    for row, col in places:
        grid.add_scatter(
            x=[1, 2], y=[1, 2], name="both", showlegend=row == col == 1, row=row, col=col
        )
    yield grid
    rows = pd.DataFrame({"accuracy": [0.6, 0.7], "cost": [1.0, 2.0]})
    many = {f"a long name of a cascade, number {i}": rows * [1, i] for i in range(1, 12)}
    singles = rows.assign(on_front=True, on_hull=True)
    yield cl.figures.front_figure(many, singles).update_layout(showlegend=True)


def data(k=300):
    """Return labels, and logits of three models of increasing accuracy."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, k)
    return labels, {
        name: size * np.eye(3)[labels] + rng.normal(size=(k, 3))
        for size, name in enumerate("abc", 1)
    }


def stills():
    """Return the outputs of two explorers without a kernel, the first of the bundled images."""
    still = (
        '<p data-state="models=a&amp;method=max_softmax&amp;goal=near_best" '
        'data-validation="{} val" data-held-out="{} test">a → b</p>'
    )
    sentences = [{"text/html": still.format(name, name)} for name in ("fashion-mnist", "mine")]
    front = next(figures()).update_layout(title="front")
    figure = {PLOTLY_JSON: json.loads(front.to_json())}
    parts = (sentences[0], figure, sentences[1], figure)
    return [new.new_output("display_data", part) for part in parts]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The report of three notebooks. The second has figures, a wide table, code and headings."""
    folder = tmp_path_factory.mktemp("report")
    runs = []
    table = cl.LogitStore.from_arrays(*data()).models.T.to_html()
    outputs = [{PLOTLY_JSON: json.loads(figure.to_json())} for figure in figures()] + [
        {"text/html": table * 2}
    ]
    shown = [new.new_output("display_data", output) for output in outputs]
    code = "# why\nx = [1, None, 'a', print]  " + "# so " * 60
    streams = [new.new_output("stream", text="out " * 90)]
    rich = [
        new.new_markdown_cell("## One <b>x</b>"),
        new.new_code_cell(code, outputs=shown),
        new.new_markdown_cell("### Two"),
        new.new_code_cell("cl.explore(store)", outputs=stills()),
        new.new_code_cell("1", outputs=streams),
    ]
    opening = new.new_markdown_cell("# 1 · Is it?\n\nA `word` and [a link](https://a.example).")
    for name in ("01_a", "02_b", "03_c"):
        cells = [opening, *(rich if name == "02_b" else [])]
        path = folder / f"{name}.ipynb"
        nbformat.write(new.new_notebook(cells=cells), path)
        error = "code cell 1" if "c" in name else None
        runs.append(rendering.Run(path, path, 1.0, error=error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "write_page", lambda out: out.write_text("<p>live</p>"))
        home.write_report(runs, folder)
    return folder


def test_pages_have_neighbours_and_contents(pages):
    middle = (pages / "02_b.html").read_text(encoding="utf-8")
    assert (
        middle.count('rel="prev" href="01_a.html"')
        == middle.count('rel="next" href="03_c.html"')
        == 2
    )
    assert (
        '<li class="h2"><a href="#One-x">One <b>x</b></a></li>' in middle
        and 'href="#Two"' in middle
    )
    assert 'rel="prev"' not in (pages / "01_a.html").read_text(encoding="utf-8")
    assert 'rel="next"' not in (pages / "03_c.html").read_text(encoding="utf-8")


def test_parameters_are_folded_and_a_figure_is_named_by_the_title_before_it():
    figure = json.loads(next(figures()).update_layout(title=None).to_json())
    answer = new.new_code_cell("draw()", metadata={"tags": ["answer"]})
    answer.outputs = [
        new.new_output(
            "display_data",
            {"text/html": "<p>It is <b>so</b></p>", "text/plain": "It is < so\n5 of 9"},
        ),
        new.new_output("display_data", {PLOTLY_JSON: figure}),
    ]
    parameters = new.new_code_cell("split = 'val'", metadata={"tags": ["parameters"]})
    question = new.new_markdown_cell("# Is it?\n\nWhat it is.")
    nb = new.new_notebook(cells=[question, parameters, answer])
    assert (rendering.question_of(nb), rendering.finding_of(nb)) == ("Is it?", "It is < so")
    _, folded, shown = rendering.readable_copy(nb).cells
    assert "<details>" in folded.source and "split = 'val'\n```" in folded.source
    assert 'aria-label="It is &lt; so 5 of 9"' in shown.outputs[1]["data"]["text/html"]
    assert nb.cells[1] == parameters


def test_only_the_explorer_of_the_bundled_images_is_live(pages):
    text = (pages / "02_b.html").read_text(encoding="utf-8")
    assert re.findall('src="live.html#([^"]*)"', text) == [
        "models=a&amp;method=max_softmax&amp;goal=near_best"
    ]
    assert text.count("data-state") == text.count('"text":"front"') == 1
    assert (pages / "live.html").exists()
    assert "live.html" not in (pages / "01_a.html").read_text(encoding="utf-8")


@pytest.mark.browser
@pytest.mark.parametrize("width", SIZES)
def test_nothing_is_wider_than_the_window(pages, open_page, width):
    page = open_page("about:blank", width)
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    for name in ("index", "02_b", "03_c"):
        page.goto((pages / f"{name}.html").as_uri())
        page.wait_for_function(FITTED, arg=width)
        assert (
            page.evaluate(WIDER) == []
            and page.evaluate("document.documentElement.scrollWidth") <= width
        ), name
    page.close()
    assert errors == []


@pytest.mark.browser
def test_panels_are_stacked_on_a_phone_and_restored_side_by_side(pages, open_page):
    page = open_page((pages / "02_b.html").as_uri(), 390)
    page.wait_for_function(FITTED, arg=390)
    axes = "document.querySelector('.js-plotly-plot')._fullLayout"
    domains = f"['yaxis', 'yaxis2', 'yaxis3'].map(axis => {axes}[axis].domain)"
    height = "() => document.querySelector('[role=figure]').getBoundingClientRect().height"
    first, second, third = page.evaluate(domains)
    tall = page.evaluate(height)
    assert first[0] > second[1] and second[0] > third[1] and tall > 1000
    page.set_viewport_size({"width": 1000, "height": 900})
    page.wait_for_function(FITTED, arg=1000)
    assert page.evaluate(domains) == [[0, 1]] * 3 and page.evaluate(height) < 600


@pytest.mark.soak
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(pages, open_page, scheme):
    for name in ("index", "02_b"):
        page = open_page((pages / f"{name}.html").as_uri(), scheme=scheme)
        found = page.evaluate(CONTRASTS)
        assert len(found) > 5 and [text for contrast, text in found if contrast < 4.5] == []


def brightness(rgb):
    """Return the relative luminance (WCAG) of a pixel."""
    parts = np.asarray(rgb[:3]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [
        0.2126,
        0.7152,
        0.0722,
    ]


@pytest.mark.soak
@pytest.mark.browser
def test_colours_of_figures_have_contrast_in_the_dark(pages, open_page):
    page = open_page((pages / "index.html").as_uri(), scheme="dark")
    colours = [*PALETTE, GREY, BLACK, "#444444", "#ffffff"]
    boxes = "".join(
        f"<div style='background: {colour}; width: 20px; height: 20px'></div>" for colour in colours
    )
    page.evaluate(
        "boxes => document.body.innerHTML = `<div class='js-plotly-plot'>${boxes}</div>`", boxes
    )
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    seen = [brightness(picture.getpixel((10, 20 * i + 10))) for i in range(len(colours))]
    page.close()
    assert seen[-1] < 0.01 and min((one + 0.05) / (seen[-1] + 0.05) for one in seen[:-1]) >= 4.5
