"""The explorer under a mouse and a keyboard, in JupyterLab, Notebook 7 and Voilà, beside
`cl.evaluate`."""

import contextlib
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jupyter_pages import (
    PATIENCE,
    ROOT,
    app,
    changes,
    drag,
    on_screen,
    run_cell,
    serving,
    slider,
    write_cell,
)

import cascadelib as cl
from cascadelib.explorer.charts import front_points
from cascadelib.explorer.readout import per_cent_text, points_text

pytestmark = pytest.mark.browser
STORES = """
import numpy as np, cascadelib as cl
def made(seed, k, classes=8):
    rng = np.random.default_rng(seed)
    labels, ease = rng.integers(0, classes, k), rng.normal(size=(k, 1))
    truth = np.eye(classes)[labels]
    logits = {f"net {i}": (1 + 0.7 * i) * truth * (1 + ease) + rng.normal(size=(k, classes)) for i in range(5)}
    return cl.LogitStore.from_arrays(labels, logits, macs={f"net {i}": 10.0 ** (i + 3) for i in range(5)})
store, other = made(0, 900), made(1, 700)
images = np.random.default_rng(2).integers(0, 255, (900, 12, 12), dtype=np.uint8)
"""
CELL = "exec(open('stores.py').read())\nx = cl.explore(store, other, images)\nx"
GIVEN = "exec(open('stores.py').read())\nx = cl.explore(store, other, front=cl.search(store, 2))\nx"


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "stores.py").write_text(STORES)
    for name in ("lab", "notebook", "voila"):
        write_cell(folder / f"{name}.ipynb", CELL)
    write_cell(folder / "given.ipynb", GIVEN)
    with serving(folder) as (address, log):
        yield address, log


@pytest.fixture(scope="module")
def stores() -> Any:
    namespace = {}
    exec(STORES, namespace)
    return namespace


def complaints(log: Any) -> Any:
    """What the server's log complained of; what a page says is for `tests/conftest.py`."""
    return re.findall(r"Traceback[\s\S]{0,2000}|Exception.*", log.read_text())


@pytest.fixture(scope="module")
def lab(browser: Any, server: Any) -> Iterator[Any]:
    """A page 1,280 pixels wide with the explorer in JupyterLab; the tests go on from where the last
    one left it."""
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    run_cell(page, f"{server[0]}/doc/tree/lab.ipynb")
    yield page
    page.close()


def exported(page: Any, stores: Any) -> tuple:
    """(point, whether accuracy and cost on screen are cl.evaluate's for it): the point exported as
    Python."""
    namespace = {"store": stores["store"]}
    exec(page.locator("textarea").first.input_value(), namespace)
    point = namespace["point"]
    agree = True
    for split, name in (("validation", "store"), ("held-out", "other")):
        result = cl.evaluate(stores[name], point)
        agree &= on_screen(page, split=split) == per_cent_text(result.accuracy, len(stores[name]))
        agree &= on_screen(page, "cost", split) == cl.tables.number(result.cost)
    return point, agree


def assert_agrees(page: Any, stores: Any) -> Any:
    """Once the hand rests: what is on screen is what is exported and what cl.evaluate says; returns
    the point."""
    page.wait_for_timeout(300)
    end = time.monotonic() + 30
    while True:
        point, agree = exported(page, stores)
        text = page.locator("table.cascadelib-numbers").inner_text()
        page.wait_for_timeout(300)
        if agree and text == page.locator("table.cascadelib-numbers").inner_text():
            return point
        assert time.monotonic() < end, f"{point} is exported beside\n{text}"


def threshold_box(page: Any) -> Any:
    return page.locator(".widget-text:visible input").nth(3)


def test_mouse_keyboard_and_numbers(lab: Any, stores: Any) -> None:
    assert_agrees(lab, stores)
    for to in (0.6, 0.05):
        changes(lab, lambda to=to: drag(lab, 0, to))
        point = assert_agrees(lab, stores)
        assert point.exit_rates[1] == pytest.approx(to, abs=0.03)
    changes(lab, lambda: drag(lab, 1, 0.5))
    assert_agrees(lab, stores)
    slider(lab, 0).focus()
    before = assert_agrees(lab, stores)
    changes(lab, lambda: [lab.keyboard.press("ArrowRight") for _ in range(30)], "exit-rate-1")
    assert assert_agrees(lab, stores).thresholds > before.thresholds
    changes(lab, lambda: lab.keyboard.press("Home"), "exit-rate-1")
    assert assert_agrees(lab, stores).thresholds == (-np.inf,)
    changes(lab, lambda: lab.keyboard.press("End"), "exit-rate-1")
    assert assert_agrees(lab, stores).thresholds == (np.inf,)


def test_typed_threshold_is_the_one_that_counts(lab: Any, stores: Any) -> None:
    field = threshold_box(lab)
    assert field.input_value() == "never"
    field.fill("0.7")
    changes(lab, lambda: field.press("Enter"))
    typed = cl.Point(
        assert_agrees(lab, stores).models, (float(field.input_value()),), (), 0, 0, 0, cl.Method()
    )
    assert_agrees(lab, stores)
    assert on_screen(lab) == per_cent_text(cl.evaluate(stores["store"], typed).accuracy, 900)
    handed = cl.Point(typed.models, (0.7,), (), 0, 0, 0, cl.Method())
    assert (
        cl.evaluate(stores["store"], handed).exit_rates
        == cl.evaluate(stores["store"], typed).exit_rates
    )


def test_models_goals_and_undo(lab: Any, stores: Any) -> None:
    before = assert_agrees(lab, stores)
    cascade = lab.locator(".widget-dropdown:visible select")
    changes(lab, lambda: cascade.nth(3).select_option(index=1), "cost")
    assert assert_agrees(lab, stores).models[0] == "net 1"
    changes(lab, lambda: lab.get_by_role("button", name="undo").click(), "cost")
    assert repr(assert_agrees(lab, stores)) == repr(before)  # an improvement may be nan
    changes(lab, lambda: lab.get_by_role("button", name="3 models").click(), "exit-rate-2")
    assert len(assert_agrees(lab, stores).models) == 3
    lab.wait_for_function("""() => {
        const {yaxis3, yaxis4, xaxis4} = document.querySelector(".js-plotly-plot")._fullLayout;
        return yaxis3.visible && yaxis4.visible && xaxis4.title.text.startsWith("<b>2</b>") }""")
    changes(lab, lambda: lab.get_by_role("button", name="4 models").click(), "exit-rate-3")
    lab.wait_for_function("""() => {
        const {xaxis3, xaxis5, yaxis5} = document.querySelector(".js-plotly-plot")._fullLayout;
        return yaxis5.visible && yaxis5.domain[1] < 0.4 && xaxis3.domain[1] < 0.36 && xaxis5.domain[0] > 0.66 &&
               xaxis5.title.text.startsWith("<b>3</b>") }""")
    changes(lab, lambda: lab.get_by_role("button", name="3 models").click(), "exit-rate-3")
    goal = lab.get_by_role("button", name="largest improvement")
    lab.wait_for_function("b => !b.disabled", arg=goal.element_handle(), timeout=PATIENCE)
    changes(lab, goal.click)
    expected = cl.pick(cl.search(stores["store"], 3), "max_improvement")
    point = assert_agrees(lab, stores)
    assert (point.models, point.thresholds, point.cost) == (
        expected.models,
        expected.thresholds,
        expected.cost,
    )
    changes(lab, lambda: drag(lab, 2, 0.9), "exit-rate-2")
    assert_agrees(lab, stores)


def test_a_click_on_the_front_loads_its_cascade(lab: Any, stores: Any) -> None:
    front = cl.search(stores["store"], 3)
    at = lab.evaluate("""() => {
        const plot = document.querySelector(".js-plotly-plot"), box = plot.getBoundingClientRect();
        const {xaxis, yaxis} = plot._fullLayout, trace = plot.data.find(t => t.meta == "front");
        return Array.from(trace.x, (x, i) => [box.x + xaxis._offset + xaxis.l2p(Math.log10(x)),
                                              box.y + yaxis._offset + yaxis.l2p(trace.y[i])]) }""")
    steps = np.hypot(*np.diff(np.array(at), axis=0).T)
    row = 1 + int(np.argmax(np.minimum(steps[:-1], steps[1:])))  # the one that stands out most
    changes(
        lab,
        lambda: [lab.mouse.move(*at[row]), lab.wait_for_timeout(200), lab.mouse.click(*at[row])],
        "cost",
    )
    rows = front_points(front.table)[1]  # what the trace shows of the front
    point = assert_agrees(lab, stores)
    expected = front.point(int(rows[row]))
    assert (point.models, point.thresholds) == (expected.models, expected.thresholds)


def test_rapid_dragging_loses_no_last_move(lab: Any, stores: Any) -> None:
    drag(lab, 0, *np.random.default_rng(0).random(150).tolist(), 0.37, steps=1)
    lab.wait_for_timeout(300)
    last = float(slider(lab, 0).input_value()) / 10  # the slider counts in 0.1%
    lab.wait_for_function(
        "last => Math.abs(parseFloat(document.querySelectorAll('.widget-text input')[2].value) - last) < 0.2",
        arg=last,
        timeout=PATIENCE,
    )
    assert last == pytest.approx(37, abs=1)
    assert_agrees(lab, stores)


def test_json_is_what_cascade_load_reads(lab: Any, stores: Any) -> None:
    point = assert_agrees(lab, stores)
    lab.get_by_role("tab", name="JSON").click()
    text = lab.locator("textarea:visible").input_value()
    again = cl.deployment.parse_cascade(text)
    assert (again.models, again.thresholds, again.accuracy) == (
        point.models,
        point.thresholds,
        point.accuracy,
    )
    link = lab.locator("a[download]:visible")
    with lab.expect_download() as waiting:
        link.click()
    assert waiting.value.path().read_text(encoding="utf-8") == text
    lab.get_by_role("tab", name="table row").click()
    row = lab.locator(".jp-OutputArea table.dataframe:visible td").first
    assert row.inner_text() == cl.tables.arrow(point.models)
    lab.get_by_role("tab", name="Python").click()


def test_a_screen_reader_hears_names_and_values(lab: Any, stores: Any) -> None:
    for position, kind in enumerate(("share sent on", "threshold")):
        name = slider(lab, position).get_attribute("aria-label")
        assert name == f"stage 1, {assert_agrees(lab, stores).models[0]}: {kind}"
        assert lab.get_by_role("slider", name=name).count() == 1
    drag(lab, 0, 0.2)
    point = assert_agrees(lab, stores)
    said = [slider(lab, position).get_attribute("aria-valuetext") for position in (0, 1)]
    assert said[0] == f"{point.exit_rates[1] + sum(point.exit_rates[2:]):.2%}"
    assert float(said[1]) == pytest.approx(point.thresholds[0], abs=1e-3)


def test_enter_in_a_box_acts(lab: Any, stores: Any) -> None:
    for example, text, goal in (
        ("e.g. 11M", "2M", {"budget": 2e6}),
        ("e.g. 94.2%", "70%", {"accuracy": 0.7}),
    ):
        box = lab.get_by_placeholder(example)
        n = len(assert_agrees(lab, stores).models)
        expected = cl.pick(cl.search(stores["store"], n), **goal, caution=0)
        changes(lab, lambda box=box, text=text: [box.fill(text), box.press("Enter")], "cost")
        point = assert_agrees(lab, stores)
        assert (point.models, point.thresholds) == (expected.models, expected.thresholds)


def test_another_number_of_models_keeps_the_goal_and_says_what_it_adds(
    lab: Any, stores: Any
) -> None:
    lab.get_by_role("button", name="match the best single model").click()
    for n in (2, 4):
        expected = cl.pick(cl.search(stores["store"], n), "match_best", caution=0)
        changes(lab, lambda n=n: lab.get_by_role("button", name=f"{n} models").click(), "cost")
        word = {2: "adding the first model: ", 4: "adding a fourth model: "}[n]
        lab.get_by_text(word).wait_for(timeout=PATIENCE)
        point = assert_agrees(lab, stores)
        assert (point.models, point.thresholds) == (expected.models, expected.thresholds)
    less, more = (
        cl.evaluate(
            stores["other"], cl.pick(cl.search(stores["store"], n), "match_best", caution=0)
        )
        for n in (3, 4)
    )
    said = lab.get_by_text("adding a fourth model: ").inner_text()
    assert (
        f"accuracy {points_text(more.accuracy - less.accuracy, 700)}," in said
        and "held-out" in said
    )


def test_the_state_to_paste_is_what_is_on_screen(lab: Any, stores: Any) -> None:
    point = assert_agrees(lab, stores)
    lab.get_by_role("tab", name="state").click()
    state = lab.locator("textarea:visible").input_value()
    lab.get_by_role("tab", name="Python").click()
    again = cl.explore(stores["store"], stores["other"], state=state).point
    assert (again.models, again.thresholds, again.accuracy) == (
        point.models,
        point.thresholds,
        point.accuracy,
    )


def test_it_says_when_its_kernel_is_gone(lab: Any, server: Any) -> None:
    assert complaints(server[1]) == []
    gone = "() => getComputedStyle(document.querySelector('.cascadelib-alive'), '::before').content"
    assert "Not alive" not in lab.evaluate(gone)
    lab.get_by_role("menuitem", name="Kernel", exact=True).click()
    lab.locator(".lm-Menu-item[data-command='kernelmenu:restart']").click()
    lab.locator(".jp-Dialog .jp-mod-accept").click()
    lab.wait_for_function(f"() => ({gone})().includes('Not alive any more')", timeout=PATIENCE)


def test_opening_a_notebook_does_not_change_it(browser: Any, tmp_path: Path) -> None:
    """By `make lab`; neither its tab nor, once it is saved, its text."""
    source = ROOT / "notebooks" / "01_extraction.ipynb"
    path = Path(shutil.copy(source, tmp_path))
    dirty = ".lm-TabBar-tab.jp-mod-current.jp-mod-dirty"
    with serving(tmp_path, [str(ROOT / "notebooks" / "tools" / "lab.py")]) as (address, log):
        page = browser.new_page()
        page.goto(f"{address}/lab/tree/{path.name}")
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=PATIENCE)
        page.wait_for_timeout(2000)
        assert page.locator(dirty).count() == 0
        page.click(".jp-CodeCell .cm-content")
        page.keyboard.type("#")
        page.wait_for_selector(dirty)
        page.keyboard.press("Backspace")
        page.keyboard.press("Control+s")
        page.wait_for_selector(dirty, state="detached", timeout=PATIENCE)
        assert json.loads(path.read_text()) == json.loads(source.read_text())
        assert complaints(log) == []
        page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_make_app(browser: Any, tmp_path: Path, width: int) -> None:
    """Pick, drag, goals, export, as somebody does who opens it, on a screen and on a phone."""
    folder = ROOT / "data" / "fashion-mnist"
    stores = {
        name: cl.LogitStore(folder / split) for name, split in (("store", "val"), ("other", "test"))
    }
    with app(tmp_path) as served:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(f"http://127.0.0.1:{served.port}/?token={served.token}", timeout=PATIENCE)
        page.wait_for_selector("td.accuracy", timeout=PATIENCE)
        assert (
            page.title() == "Model cascades, interactively"
            and page.get_by_role("heading", level=1).is_visible()
        )
        assert assert_agrees(page, stores).accuracy >= stores["store"].models["top1"].max()
        lists = page.locator(".widget-dropdown:visible select")
        changes(page, lambda: lists.nth(3).select_option(index=0))
        assert_agrees(page, stores)
        changes(page, lambda: drag(page, 0, 0.5), "exit-rate-2")
        assert assert_agrees(page, stores).exit_rates[1] == pytest.approx(0.5, abs=0.03)
        changes(page, lambda: page.get_by_role("button", name="largest improvement").click())
        expected = cl.pick(cl.search(stores["store"], 2), "max_improvement")
        assert assert_agrees(page, stores).thresholds == expected.thresholds
        changes(page, lambda: page.get_by_role("button", name="3 models").click(), "cost")
        page.get_by_text("adding a third model: ").wait_for(timeout=PATIENCE)
        assert len(assert_agrees(page, stores).models) == 3
        page.get_by_role("tab", name="JSON").click()
        with page.expect_download() as waiting:
            page.locator("a[download]:visible").click()
        policy = cl.Policy.load(waiting.value.path())
        assert list(policy.models) == list(assert_agrees(page, stores).models)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        page.close(run_before_unload=True)
    assert complaints(served.log) == []


def test_a_given_front_and_other_numbers_of_models(browser: Any, server: Any, stores: Any) -> None:
    late = pytest.importorskip("playwright.sync_api").TimeoutError
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
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
        front = cl.search(stores["store"], n)
        number = page.get_by_role("button", name=f"{n} models")
        number.click()
        drawn = "n => document.querySelector('.js-plotly-plot').data.find(t => t.meta == 'front').x.length == n"
        page.wait_for_function(drawn, arg=len(front_points(front.table)[1]), timeout=PATIENCE)
        for label, goal in goals.items():
            number.click()
            button = page.get_by_role("button", name=label)
            expected = cl.pick(front, **goal, caution=0)
            page.wait_for_function(
                "b => !b.disabled", arg=button.element_handle(), timeout=PATIENCE
            )
            accuracy = per_cent_text(expected.accuracy, 900)
            cell = "document.querySelector('td.accuracy[data-split=validation]')"
            shown = f"text => {cell}.firstChild.textContent.trim() == text"
            # a click while the front is searched again says so, and no more
            for patience in (PATIENCE / 4, PATIENCE):
                button.click()
                with contextlib.suppress(late):
                    page.wait_for_function(shown, arg=accuracy, timeout=patience)
                    break
            assert page.evaluate(shown, accuracy)
            point = assert_agrees(page, stores)
            assert (point.models, point.thresholds) == (
                expected.models,
                expected.thresholds,
            ) and len(point.models) == n
    assert complaints(server[1]) == []
    page.close()


@pytest.mark.parametrize("front_end", ["notebooks/notebook.ipynb", "voila/render/voila.ipynb"])
def test_notebook_7_and_voila(browser: Any, server: Any, stores: Any, front_end: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    if "voila" in front_end:
        page.goto(f"{server[0]}/{front_end}", timeout=PATIENCE)
        page.wait_for_selector("td.accuracy", timeout=PATIENCE)
    else:
        run_cell(page, f"{server[0]}/{front_end}")
    changes(page, lambda: drag(page, 0, 0.5))
    assert_agrees(page, stores)
    slider(page, 0).focus()
    changes(page, lambda: page.keyboard.press("Home"), "exit-rate-1")
    assert assert_agrees(page, stores).thresholds == (-np.inf,)
    assert page.locator(".js-plotly-plot .barlayer path").count() > 40
    assert complaints(server[1]) == []
    page.close()
