"""Names of models, classes, samples, splits and paths in HTML, TeX or Python are shown as text."""

import json

import nbformat
import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.analysis.calibration import moving_average
from cascadelib.figures.lessons import wrapped
from cascadelib.figures.style import PLOTLY_JSON
from cascadelib.fronts.pairs import pair_curve, pair_table
from tools.figures import front_plots, plots
from tools.figures.calibration import threshold_curves
from tools.report import home, rendering

pytestmark = pytest.mark.browser
NAMES = [
    "<img src=x onerror=alert(1)>hostile0",
    "<b>hostile1</b>",
    '"><script>alert(2)</script>hostile2',
    '<a href="javascript:alert(3)">hostile3</a>',
    "$\\href{javascript:alert(4)}{hostile4}$",
    'it\'s "quoted"\n\\ &lt;i&gt;hostile5 %{x} <extra>hostile5</extra>',
]
MADE = "img[src='x'], a[href^='javascript:'], math, mjx-container, .MathJax"
# Texts that differ from a name, and elements that a name has created.
WRONG = """([root, lines, made]) => {
    const wrong = [...document.querySelectorAll(made)].map(element => element.outerHTML)
    let seen = 0
    for (const top of document.querySelectorAll(root)) {
        const texts = document.createTreeWalker(top, NodeFilter.SHOW_TEXT)
        while (texts.nextNode()) {
            const {textContent, parentElement: {tagName}} = texts.currentNode
            const text = textContent.replaceAll("\\u00a0", " ")
            if (!text.includes("hostile") || tagName == "SCRIPT" || tagName == "STYLE") continue
            const rest = lines.reduce((rest, line) => rest.replaceAll(line, ""), text)
            rest.includes("hostile") ? wrong.push(text) : seen++
        }
    }
    return [seen, wrong] }"""


def names_in(page, root="body"):
    """Count the texts of names below the elements ``root``, and assert that all are unchanged.

    Long labels of lines are wrapped between words.
    """
    lines = [line for name in NAMES for line in (*name.split("\n"), *wrapped(name))]
    seen, wrong = page.evaluate(WRONG, [root, lines, MADE])
    assert wrong == []
    return seen


def listen(page):
    page.dialogs = []
    page.on("dialog", lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
    return page


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two splits on disk, in a folder with a hostile name."""
    folder = tmp_path_factory.mktemp("served") / 'it\'s a "<b>store<b>"\n\\ {x}'
    made = []
    for split in range(2):
        rng = np.random.default_rng(split)
        labels = rng.integers(0, 6, 300)
        ease = rng.normal(size=(300, 1))
        ids = [f"{NAMES[i % 6]} {i}" for i in range(300)]
        made.append(
            cl.LogitStore.create(
                folder / str(split), labels, ids, NAMES, NAMES[split], NAMES[1 - split]
            )
        )
        for i, name in enumerate(NAMES):
            logits = (1 + 0.7 * i) * np.eye(6)[labels] * (1 + ease) + rng.normal(size=(300, 6))
            made[-1].add(name, logits, macs=10.0 ** (i + 3))
    return made


def figures(store, other):
    """Every figure that shows names, with hostile names in all places."""
    fig = cl.figures
    front = cl.search(store, 2)
    singles = front.singles
    table = front.table
    curve = front.improvement_curve(points=20)
    replayed = cl.replay(other, front)
    correct = store.logits(NAMES[-1]).argmax(1) == store.labels
    confidence = cl.confidence(store.logits(NAMES[-1]))
    curves = threshold_curves(store, NAMES[0], store)
    yield fig.singles_figure(singles, NAMES[1], NAMES[0], NAMES)
    yield fig.front_figure(dict.fromkeys(NAMES, table), singles, title=NAMES[5])
    yield front_plots.front_and_improvement({NAMES[4]: front}, NAMES[0], {"A": front.point(0)})
    pairs = pair_table(store)
    labels = pairs["first"] + " → " + pairs["second"]
    curves_of = dict.fromkeys(labels[:4], pair_curve(store, *NAMES[:2]))
    yield front_plots.pairs_figure(pairs, curves_of, NAMES[2])
    yield plots.segments_figure(replayed, front, NAMES[0])
    panels = {name: dict.fromkeys(NAMES[::-1], curve) for name in NAMES}
    yield plots.replayed_improvement_figure(panels, NAMES[3])
    averages = moving_average(confidence, correct, 50)
    yield plots.reliability_figure(dict.fromkeys(NAMES, averages), NAMES[4])
    of_models = dict.fromkeys(NAMES, curves)
    yield plots.threshold_figure(of_models, [front.point(0)], NAMES[5])
    yield fig.lines_figure(dict.fromkeys(NAMES, curve), "accuracy", "improvement", NAMES[3])
    points = pd.DataFrame({"x": 1, "y": 2, "cost_ratio": 10.0}, NAMES)
    yield fig.points_figure(points, "x", "y", "cost_ratio", NAMES[5])
    yield fig.saving_figure(front, cl.analysis.finding(front, front.store, front.point(0)))
    rows = pd.DataFrame({"saving": 2.0, "saving_low": 1.5, "saving_high": 3.0}, NAMES)
    yield fig.intervals_figure(rows, "saving", NAMES[2])


def written(folder, *outputs):
    """Write the report of a notebook with outputs {MIME type: data}, and return its page."""
    shown = [nbformat.v4.new_output("display_data", data) for data in outputs]
    tags = {"tags": ["key-figure"]}
    cell = nbformat.v4.new_code_cell("1", outputs=shown, metadata=tags)
    question = nbformat.v4.new_markdown_cell("# Names\n\nAre they text?")
    path = folder / "01_names.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[question, cell]), path)
    error = f"code cell 1, `{NAMES[0]}`: {NAMES[2]}"
    home.write_report([rendering.Run(path, path, error=error)], folder)
    return path.with_suffix(".html")


@pytest.mark.soak
def test_names_in_the_report_are_text(stores, tmp_path, page):
    listen(page)
    front = cl.search(stores[0], 2)
    tables = [
        front,
        cl.figures.readable(front.table),
        stores[0].models,
        pd.DataFrame(1, index=NAMES, columns=NAMES),
    ]
    drawn = [{PLOTLY_JSON: json.loads(fig.to_json())} for fig in figures(*stores)]
    texts = {"text/plain": "\n".join([repr(front), repr(stores[0]), *NAMES])}
    page.goto(
        written(tmp_path, *drawn, *({"text/html": t._repr_html_()} for t in tables), texts).as_uri()
    )
    page.wait_for_function(
        "n => document.querySelectorAll('.js-plotly-plot .main-svg').length >= 2 * n",
        arg=len(drawn),
    )
    for root in (".xtitle", ".gtitle", ".legend", ".ytick", ".annotation", "table", "pre"):
        assert names_in(page, root), root
    counts = page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot')].map(plot => plot.data.length)"
    )
    hovered = 0
    for plot, count in enumerate(counts):
        for trace in range(count):
            page.evaluate(
                """([plot, trace]) => {
                const graph = document.querySelectorAll(".js-plotly-plot")[plot]
                const {xaxis, yaxis} = graph.data[trace]
                const axes = (xaxis || "x") + (yaxis || "y")
                Plotly.Fx.hover(graph, [{curveNumber: trace, pointNumber: 0}], axes) }""",
                [plot, trace],
            )
            hovered += names_in(page, ".hoverlayer")
    assert hovered > 100
    page.goto((tmp_path / "index.html").as_uri())
    assert names_in(page) >= 1 and page.dialogs == []  # the error


def test_names_in_the_explorer_are_text(stores, browser, tmp_path):
    inputs = (NAMES * 50)[:300]
    explorer = cl.explore(*stores, inputs)
    path = explorer.save_html(tmp_path / "names.html")
    still = path.read_text(encoding="utf-8").split("<noscript>")[1].split("</noscript>")[0]
    plain = listen(browser.new_page())
    plain.set_content(still)
    assert names_in(plain, "p") and plain.dialogs == []
    plain.close()
    page = listen(browser.new_page(viewport={"width": 1280, "height": 1600}))
    page.goto(path.as_uri())
    page.locator(".cl-number label", has_text="3 models").click()
    page.locator("summary", has_text="All numbers").click()
    for root in (".cl-sentence", "option", ".cl-name", "table", "figure"):
        assert names_in(page, root), root
    page.get_by_role("button", name="copy Python").click()
    namespace = {}
    code = page.locator("textarea").input_value()
    exec(code.replace('"cascade.json"', repr(str(tmp_path / "p.json"))), namespace)
    point = namespace["explorer"].point
    assert len(point.models) == 3 and set(point.models) <= set(NAMES)
    assert str(namespace["store"].path) == str(stores[0].path)
    assert names_in(page) and page.dialogs == []
