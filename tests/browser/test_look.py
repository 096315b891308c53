"""The explorer's look at three widths, light and dark: it fits, no text lies on another, all text
has contrast."""

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_pages import DRAWN, PATIENCE, run_cell, serving, write_cell

pytestmark = pytest.mark.browser
STORES = """
import numpy as np, cascadelib as cl
def made(seed, k, classes=8):
    rng = np.random.default_rng(seed)
    labels, ease = rng.integers(0, classes, k), rng.normal(size=(k, 1))
    right = np.eye(classes)[labels]
    names = [f"resnet{i}_w32@{28 + i}" for i in range(5)]
    logits = {m: (1 + 0.7 * i) * right * (1 + ease) + rng.normal(size=(k, classes)) for i, m in enumerate(names)}
    costs = {m: 10.0 ** (i + 3) for i, m in enumerate(names)}
    return cl.LogitStore.from_arrays(labels, logits, macs=costs, seconds={m: c / 1e9 for m, c in costs.items()})
x = cl.explore(made(0, 900), made(1, 700), np.random.default_rng(2).integers(0, 255, (900, 12, 12), dtype=np.uint8))
"""
CELL = "exec(open('stores.py').read())\nx"
FIGURE = "document.querySelector('.cascadelib-explorer .js-plotly-plot')"
# What stands out of the cell, or holds more than it shows.
WIDER = """() => {
    const root = document.querySelector(".cascadelib-explorer"), most = root.getBoundingClientRect().right + 1
    const parts = [...root.querySelectorAll("*:not(defs *, textarea, select *)")].filter(e => e.checkVisibility())
    const out = parts.filter(e => !e.closest("svg") && e.getBoundingClientRect().right > most)
    const over = [root, ...parts].filter(e => !e.closest(".js-plotly-plot, input, small") &&
        e.scrollWidth > e.clientWidth + 1 && !/inline/.test(getComputedStyle(e).display) &&
        getComputedStyle(e).textOverflow != "ellipsis")
    const text = [...root.querySelectorAll(".main-svg text")].filter(e => e.getBoundingClientRect().right > most)
    return [...out, ...over, ...text].map(e => e.outerHTML.slice(0, 200)) }"""
# Pairs of a figure's texts, or of its toolbar and one, whose boxes share more than their edges.
OVERLAPPING = """() => {
    const shown = document.querySelectorAll(".cascadelib-explorer :is(.main-svg text, .modebar-group:last-child)")
    const boxes = [...shown].map(e => [e.textContent.trim() || "toolbar", e.getBoundingClientRect(), e])
        .filter(([, box, e]) => box.width > 2 && !e.closest(".hoverlayer") && e.checkVisibility())
    const shared = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
        Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2
    return boxes.flatMap(([text, box], i) =>
        boxes.slice(i + 1).filter(([, other]) => shared(box, other)).map(([other]) => [text, other]))
        .filter(([one, other]) => one != other) }"""
# The vertical middles of the controls of a row, at most so many pixels apart.
ROWS = """() => [...document.querySelectorAll(".cascadelib-threshold")].filter(e => e.checkVisibility()).map(row => {
    const middles = [...row.children].filter(e => e.checkVisibility()).map(e => e.getBoundingClientRect())
        .map(box => (box.top + box.bottom) / 2)
    return Math.max(...middles) - Math.min(...middles) })"""
# [text, contrast] of what is read, beside the first background below it; what stands on bars is
# tested as colours.
CONTRASTS = """() => {
    const parts = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number)
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
    const light = rgb => rgb.reduce((sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0)
    const solid = e => { for (; e; e = e.parentElement) {
        const ground = parts(getComputedStyle(e).backgroundColor)
        if ((ground[3] ?? 1) > 0.99) return ground } return [255, 255, 255] }
    const on = ([r, g, b, a = 1], ground) => [r, g, b].map((v, i) => a * v + (1 - a) * ground[i])
    const own = e => [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())
    return [...document.querySelectorAll(".cascadelib-explorer *")].filter(e => own(e) && e.checkVisibility() &&
        !e.closest("style, .bars, .hoverlayer, :disabled, .modebar, option")).map(e => {
        const style = getComputedStyle(e), ground = solid(e)
        const [a, b] = [on(parts(e.closest("svg") ? style.fill : style.color), ground), ground].map(light)
        return [e.textContent.trim().slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)] }) }"""


@pytest.fixture(scope="module")
def server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("look")
    (folder / "stores.py").write_text(STORES)
    write_cell(folder / "look.ipynb", CELL)
    with serving(folder) as (address, _):
        yield address


def settled(page: Any) -> None:
    """Wait until the figure is as wide as the explorer, and drawn."""
    as_wide = f"() => {FIGURE}?._fullLayout?.width == Math.floor({FIGURE}.closest('.widget-vbox').clientWidth)"
    page.wait_for_function(as_wide, timeout=PATIENCE)
    page.wait_for_timeout(500)


def assert_fits(page: Any) -> None:
    settled(page)
    page.locator(".js-plotly-plot").first.hover(position={"x": 150, "y": 150})
    page.mouse.move(1, 1)
    assert page.evaluate(WIDER) == []
    assert page.evaluate(OVERLAPPING) == []
    assert max(page.evaluate(ROWS)) < 4
    low = [pair for pair in page.evaluate(CONTRASTS) if pair[1] < 4.5]
    assert low == []


def assert_fits_with_any_number(page: Any) -> None:
    assert_fits(page)
    for n in (4, 3):
        page.get_by_role("button", name=f"{n} models").click()
        page.wait_for_function(
            f"() => {FIGURE}._fullLayout.yaxis2.tickvals.length == {n}", timeout=PATIENCE
        )
        assert_fits(page)
    page.locator(".cascadelib-explorer select:visible").nth(1).select_option("seconds per sample")
    page.wait_for_function(
        f"() => {FIGURE}._fullLayout.xaxis.title.text.startsWith('seconds')", timeout=PATIENCE
    )
    assert_fits(page)
    ticks = page.locator(".js-plotly-plot .xtick text").all_text_contents()
    assert "10µs" in ticks and "1ms" in ticks


def test_jupyterlab_beside_its_file_browser(browser: Any, server: Any) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    run_cell(page, f"{server}/lab/tree/look.ipynb?reset")
    assert page.locator(".jp-DirListing").is_visible()
    assert_fits_with_any_number(page)
    page.set_viewport_size({"width": 1000, "height": 900})
    assert_fits(page)
    page.keyboard.press("Control+b")  # the cell grows, the window does not
    page.wait_for_function("() => !document.querySelector('.jp-DirListing').checkVisibility()")
    assert_fits(page)
    page.close()


@pytest.mark.parametrize("width", [1000, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_voila(browser: Any, server: Any, width: int, theme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=theme)
    page.goto(f"{server}/voila/render/look.ipynb", timeout=PATIENCE)
    page.wait_for_selector(DRAWN, timeout=PATIENCE)
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 17, 17)"}[theme]
    assert_fits_with_any_number(page)
    page.close()
