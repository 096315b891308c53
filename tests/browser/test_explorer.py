"""The explorer under a mouse and a keyboard, in JupyterLab, Notebook 7 and Voilà, beside `cl.evaluate`."""

import contextlib
import re
import time

import numpy as np
import pytest
from jupyter_pages import PATIENCE, changes, drag, handle, on_screen, run_cell, serving, write_cell

import cascadelib as cl
from cascadelib.explorer.charts import front_points
from cascadelib.explorer.readout import per_cent_text

pytestmark = pytest.mark.browser
STORES = """
import numpy as np, cascadelib as cl
def made(seed, k, classes=8):
    rng = np.random.default_rng(seed)
    labels, ease = rng.integers(0, classes, k), rng.normal(size=(k, 1))
    right = np.eye(classes)[labels]
    logits = {f"net {i}": (1 + 0.7 * i) * right * (1 + ease) + rng.normal(size=(k, classes)) for i in range(5)}
    return cl.LogitStore.from_arrays(labels, logits, macs={f"net {i}": 10.0 ** (i + 3) for i in range(5)})
store, other = made(0, 900), made(1, 700)
images = np.random.default_rng(2).integers(0, 255, (900, 12, 12), dtype=np.uint8)
"""
# Not the explorer's: files that are not there, Voilà's style sheets and MathJax from a CDN, its quarrel with Notebook's
# own extension, and two commands that Notebook 7 looks for in vain.
NOISE = "404|ERR_NAME_NOT_RESOLVED|ERR_INTERNET_DISCONNECTED|ERR_PROXY|RUNTIME-012|reading 'schema'|not registered"
CELL = "exec(open('stores.py').read())\nx = cl.explore(store, other, images)\nx"
GIVEN = "exec(open('stores.py').read())\nx = cl.explore(store, other, front=cl.search(store, 2))\nx"


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "stores.py").write_text(STORES)
    for name in ("lab", "notebook", "voila"):
        write_cell(folder / f"{name}.ipynb", CELL)
    write_cell(folder / "given.ipynb", GIVEN)
    with serving(folder) as (address, log):
        yield address, log


@pytest.fixture(scope="module")
def stores():
    namespace = {}
    exec(STORES, namespace)
    return namespace


def listen(page):
    """Let a page collect what it complains of in ``page.said``."""
    page.said = []
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("console", lambda said: page.said.append(said.text) if said.type == "error" else None)


def complaints(page, log):
    """What the page or the server's log complained of, but for the front ends' own noise."""
    said = [text for text in page.said if not re.search(NOISE, text)]
    return said + re.findall(r"Traceback[\s\S]{0,2000}|Exception.*", log.read_text())


@pytest.fixture(scope="module")
def lab(browser, server):
    """A page 1,280 pixels wide with the explorer in JupyterLab; the tests go on from where the last one left it."""
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    listen(page)
    run_cell(page, f"{server[0]}/doc/tree/lab.ipynb")
    yield page
    page.close()


def right_now(page, stores):
    """(point, whether accuracy and cost on screen are cl.evaluate's for it): the point exported as Python."""
    namespace = {"store": stores["store"]}
    exec(page.locator("textarea").first.input_value(), namespace)
    point, agree = namespace["point"], True
    for split, name in (("validation", "store"), ("held-out", "other")):
        result = cl.evaluate(stores[name], point)
        agree &= on_screen(page, split=split) == per_cent_text(result.accuracy, len(stores[name]))
        agree &= on_screen(page, "cost", split) == cl.tables.number(result.cost)
    return point, agree


def assert_right(page, stores):
    """Once the hand rests: what is on screen is what is exported and what cl.evaluate says; returns the point."""
    page.wait_for_timeout(300)
    end = time.monotonic() + 30
    while True:
        (point, agree), text = right_now(page, stores), page.locator("table.cascadelib-numbers").inner_text()
        page.wait_for_timeout(300)
        if agree and text == page.locator("table.cascadelib-numbers").inner_text():
            return point
        assert time.monotonic() < end, f"{point} is exported beside\n{text}"


def threshold_box(page):
    return page.locator(".widget-text:visible input").nth(3)


def test_mouse_keyboard_and_numbers(lab, stores):
    assert_right(lab, stores)
    for to in (0.6, 0.05):
        changes(lab, lambda to=to: drag(lab, 0, to))
        point = assert_right(lab, stores)
        assert point.exit_rates[1] == pytest.approx(to, abs=0.03)
    changes(lab, lambda: drag(lab, 1, 0.5))
    assert_right(lab, stores)
    handle(lab, 0).focus()
    before = assert_right(lab, stores)
    changes(lab, lambda: [lab.keyboard.press("ArrowRight") for _ in range(30)], "exit-rate-1")
    assert assert_right(lab, stores).thresholds > before.thresholds
    changes(lab, lambda: lab.keyboard.press("Home"), "exit-rate-1")
    assert assert_right(lab, stores).thresholds == (-np.inf,)
    changes(lab, lambda: lab.keyboard.press("End"), "exit-rate-1")
    assert assert_right(lab, stores).thresholds == (np.inf,)


def test_typed_threshold_is_the_one_that_counts(lab, stores):
    field = threshold_box(lab)
    assert field.input_value() == "never"
    field.fill("0.7")
    changes(lab, lambda: field.press("Enter"))
    typed = cl.Point(assert_right(lab, stores).models, (float(field.input_value()),), (), 0, 0, 0, cl.Method())
    assert_right(lab, stores)
    assert on_screen(lab) == per_cent_text(cl.evaluate(stores["store"], typed).accuracy, 900)
    handed = cl.Point(typed.models, (0.7,), (), 0, 0, 0, cl.Method())
    assert cl.evaluate(stores["store"], handed).exit_rates == cl.evaluate(stores["store"], typed).exit_rates


def test_models_goals_and_undo(lab, stores):
    before = assert_right(lab, stores)
    cascade = lab.locator(".widget-dropdown:visible select")
    changes(lab, lambda: cascade.nth(4).select_option(index=4))
    assert assert_right(lab, stores).models[1] == "net 4"
    changes(lab, lambda: lab.get_by_role("button", name="undo").click())
    assert assert_right(lab, stores) == before
    changes(lab, lambda: lab.get_by_role("button", name="3 models").click(), "exit-rate-2")
    assert len(assert_right(lab, stores).models) == 3
    lab.wait_for_function("""() => {
        const plot = document.querySelector(".js-plotly-plot"), {yaxis3, yaxis4} = plot._fullLayout;
        const most = plot.data.filter(t => t.meta == "threshold 2").map(t => Math.max(...t.y));
        return yaxis4.type == "log" && yaxis4.range[0] < 0 && yaxis4.range[1] > Math.log10(most[0] / 1.5) }""")
    changes(lab, lambda: lab.get_by_role("button", name="4 models").click(), "exit-rate-3")
    lab.wait_for_function("""() => {
        const {xaxis3, xaxis5, yaxis5, annotations} = document.querySelector(".js-plotly-plot")._fullLayout;
        return yaxis5.visible && yaxis5.domain[1] < 0.3 && xaxis3.domain[1] < 0.34 && xaxis5.domain[0] > 0.66 &&
               annotations.length == 3 && annotations[2].x > 0.66 && annotations[2].text.startsWith("<b>3</b>") }""")
    changes(lab, lambda: lab.get_by_role("button", name="3 models").click(), "exit-rate-3")
    goal = lab.get_by_role("button", name="match the best single model")
    lab.wait_for_function("b => !b.disabled", arg=goal.element_handle(), timeout=PATIENCE)
    changes(lab, goal.click)
    expected = cl.pick(cl.search(stores["store"], 3), "match_best")
    point = assert_right(lab, stores)
    assert (point.models, point.thresholds, point.cost) == (expected.models, expected.thresholds, expected.cost)
    changes(lab, lambda: drag(lab, 2, 0.9), "exit-rate-2")
    assert_right(lab, stores)


def test_a_click_on_the_front_loads_its_cascade(lab, stores):
    front = cl.search(stores["store"], 3)
    at = lab.evaluate("""() => {
        const plot = document.querySelector(".js-plotly-plot"), box = plot.getBoundingClientRect();
        const {xaxis, yaxis} = plot._fullLayout, trace = plot.data.find(t => t.meta == "front");
        return Array.from(trace.x, (x, i) => [box.x + xaxis._offset + xaxis.l2p(Math.log10(x)),
                                              box.y + yaxis._offset + yaxis.l2p(trace.y[i])]) }""")
    steps = np.hypot(*np.diff(np.array(at), axis=0).T)
    row = 1 + int(np.argmax(np.minimum(steps[:-1], steps[1:])))  # the one that stands out most
    changes(lab, lambda: [lab.mouse.move(*at[row]), lab.wait_for_timeout(200), lab.mouse.click(*at[row])], "cost")
    rows = front_points(front.table)[1]  # what the trace shows of the front
    point, expected = assert_right(lab, stores), front.point(int(rows[row]))
    assert (point.models, point.thresholds) == (expected.models, expected.thresholds)


def test_rapid_dragging_loses_no_last_move(lab, stores):
    track = lab.locator(".noUi-target:visible").nth(0).bounding_box()
    knob = handle(lab, 0).bounding_box()
    y = knob["y"] + knob["height"] / 2
    lab.mouse.move(knob["x"] + knob["width"] / 2, y)
    lab.mouse.down()
    for to in [*np.random.default_rng(0).random(150), 0.37]:
        lab.mouse.move(track["x"] + float(to) * track["width"], y)
    lab.mouse.up()
    lab.wait_for_timeout(300)
    last = float(handle(lab, 0).get_attribute("aria-valuenow")) / 10  # the slider counts in 0.1%
    lab.wait_for_function(
        "last => Math.abs(parseFloat(document.querySelectorAll('.widget-text input')[2].value) - last) < 0.2",
        arg=last,
        timeout=PATIENCE,
    )
    assert last == pytest.approx(37, abs=1)
    assert_right(lab, stores)


def test_json_is_what_cascade_load_reads(lab, stores):
    point = assert_right(lab, stores)
    lab.get_by_role("tab", name="JSON").click()
    text = lab.locator("textarea:visible").input_value()
    again = cl.deployment.point_of(cl.deployment.parse_cascade(text))
    assert (again.models, again.thresholds, again.accuracy) == (point.models, point.thresholds, point.accuracy)
    link = lab.locator("a[download]:visible")
    with lab.expect_download() as waiting:
        link.click()
    assert waiting.value.path().read_text(encoding="utf-8") == text
    lab.get_by_role("tab", name="table row").click()
    row = lab.locator(".jp-OutputArea table.dataframe:visible td").first
    assert row.inner_text() == cl.tables.arrow(point.models)
    lab.get_by_role("tab", name="Python").click()


def test_nobody_complained(lab, server):
    assert complaints(lab, server[1]) == []


def test_a_given_front_and_other_numbers_of_models(browser, server, stores):
    late = pytest.importorskip("playwright.sync_api").TimeoutError
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    listen(page)
    run_cell(page, f"{server[0]}/doc/tree/given.ipynb")
    goals = {
        "match the best single model": {"goal": "match_best"},
        "largest improvement (optimistic)": {"goal": "max_improvement"},
        "this budget": {"budget": 2e6},
        "this accuracy": {"accuracy": 0.7},
    }
    for example, text in (("e.g. 11M", "2M"), ("e.g. 94.2%", "70%")):
        page.get_by_placeholder(example).fill(text)
        page.get_by_placeholder(example).press("Enter")
    for n in (2, 3, 4):
        front, number = cl.search(stores["store"], n), page.get_by_role("button", name=f"{n} models")
        number.click()
        drawn = "n => document.querySelector('.js-plotly-plot').data.find(t => t.meta == 'front').x.length == n"
        page.wait_for_function(drawn, arg=len(front_points(front.table)[1]), timeout=PATIENCE)
        for label, goal in goals.items():
            number.click()
            button, expected = page.get_by_role("button", name=label), cl.pick(front, **goal)
            page.wait_for_function("b => !b.disabled", arg=button.element_handle(), timeout=PATIENCE)
            accuracy = per_cent_text(expected.accuracy, 900)
            shown = (
                "a => document.querySelector('td.accuracy[data-split=validation]').firstChild.textContent.trim() == a"
            )
            for patience in (PATIENCE / 4, PATIENCE):  # a click while the front is searched again says so, and no more
                button.click()
                with contextlib.suppress(late):
                    page.wait_for_function(shown, arg=accuracy, timeout=patience)
                    break
            assert page.evaluate(shown, accuracy)
            point = assert_right(page, stores)
            assert (point.models, point.thresholds) == (expected.models, expected.thresholds) and len(point.models) == n
    assert complaints(page, server[1]) == []
    page.close()


@pytest.mark.parametrize("front_end", ["notebooks/notebook.ipynb", "voila/render/voila.ipynb"])
def test_notebook_7_and_voila(browser, server, stores, front_end):
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    listen(page)
    if "voila" in front_end:
        page.goto(f"{server[0]}/{front_end}", timeout=PATIENCE)
        page.wait_for_selector("td.accuracy", timeout=PATIENCE)
    else:
        run_cell(page, f"{server[0]}/{front_end}")
    changes(page, lambda: drag(page, 0, 0.5))
    assert_right(page, stores)
    handle(page, 0).focus()
    changes(page, lambda: page.keyboard.press("Home"), "exit-rate-1")
    assert assert_right(page, stores).thresholds == (-np.inf,)
    assert page.locator(".js-plotly-plot .barlayer path").count() > 40
    assert complaints(page, server[1]) == []
    page.close()
