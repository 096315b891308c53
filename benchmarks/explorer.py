"""The explorer: the page of `make app` under a mouse, and a large page in JupyterLab.

``mouse`` opens the page of the bundled images in a headless Chromium, drags its sliders with the
mouse, and measures the time from the mouse's event to the end of the frame that shows it. It takes
about half a minute.

``explorer`` starts a server, JupyterLab and a headless Chromium (tests/jupyter_pages.py). The page
is notebook 02 with its committed outputs, below an explorer of synthetic scores of 27 models on two
splits. The kernel is idle, or computes while the sliders move. It takes about four minutes.

Other load on the machine makes both slower.
"""

import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from measuring import row

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "notebooks")]
# the tests' helpers are no package
from conftest import BROWSER_FLAGS, find_browser  # type: ignore[attr-defined]  # noqa: E402
from jupyter_pages import PATIENCE, run_cell, serving  # noqa: E402

from tools.report.app import write_page  # noqa: E402

NOTEBOOK = HERE.parent / "notebooks" / "02_two_model_cascades.ipynb"
STORES = """
import sys; sys.path.insert(0, {here!r})
from dataclasses import replace
from synthetic import scores
import cascadelib as cl
names = [f"net {{i:02}}" for i in range({models})]
store, other = (cl.ScoreTable(*scores({models}, {samples}, seed), names) for seed in (0, 1))
x = cl.explore(store, other)
for n in (3, 4):
    x.splits.search(replace(x.choice, models=("",) * n), {seconds})
x.publish(x.choice)
x
"""
SECONDS = 6  # that each front of three and four models may take
BUSY = "while True: sum(i * i for i in range(10**6))"
# Milliseconds of script per move, and from the input to the end of the frame that shows it.
MOVES = """async ([moves, seed]) => {
    const root = document.querySelector(".cascadelib")
    const view = root.view
    const draw = Object.getPrototypeOf(view).draw
    let spent = 0
    view.draw = isDrag => {
        const begun = performance.now()
        draw.call(view, isDrag)
        spent += performance.now() - begun
    }
    const random = () => (seed = seed * 48271 % 2147483647) / 2147483647
    const script = []
    const paint = []
    for (let move = 0; move < moves; move++) {
        const sliders = root.querySelectorAll(".cl-slider")
        const slider = sliders[Math.floor(move / 50) % sliders.length]
        spent = 0
        const begun = performance.now()
        slider.value = random() * slider.max
        slider.dispatchEvent(new Event("input", {bubbles: true}))
        const heard = performance.now() - begun
        await new Promise(done => requestAnimationFrame(() => {
            const channel = new MessageChannel()
            channel.port1.onmessage = done
            channel.port2.postMessage(0)
        }))
        paint.push(performance.now() - begun)
        script.push(heard + spent)
    }
    delete view.draw
    return [script, paint] }"""


# Milliseconds from each event of the mouse to the end of the frame that shows it.
DELAYS = """() => {
    window.delays = []
    let moved = 0
    addEventListener("pointermove", event => { moved = event.timeStamp }, true)
    addEventListener("input", () => {
        const begun = moved
        requestAnimationFrame(() => {
            const channel = new MessageChannel()
            channel.port1.onmessage = () => delays.push(performance.now() - begun)
            channel.port2.postMessage(0)
        })
    }, true) }"""
WARM_UP = 30  # moves that are not measured


def drag(page: Any, moves: int) -> list[float]:
    """Move the first slider to and fro with the mouse. Return the milliseconds of each move."""
    box = page.locator(".cl-slider").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for move in range(WARM_UP + moves):
        if move == WARM_UP:
            page.evaluate("() => { delays.length = 0 }")
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.45 * math.sin(move / 15)), y)
    page.mouse.up()
    page.wait_for_timeout(100)
    return page.evaluate("delays")


def mouse(quick: bool = False) -> list[dict]:
    """Return the rows of mouse to paint and of the page's size, none without a browser."""
    if find_browser() is None:
        return []
    from playwright.sync_api import sync_playwright

    rows = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = write_page(Path(folder, "page.html"))
        size = path.stat().st_size / 1e6
        rows.append(row("page of the bundled images, size", size, "MB", "≤ 2.8"))
        browser = driver.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(path.as_uri())
        page.wait_for_function("() => window.explorer?.models")
        page.evaluate(DELAYS)
        for n in (2, 3):
            page.locator(".cl-number label", has_text=f"{n} models").click()
            delays = drag(page, 20 if quick else 500)
            name = f"mouse to paint, {n} of 31 models, k = 10000 twice"
            for q, target, suffix in ((50, "≤ 17", ""), (99, "≤ 40", ", 99th percentile")):
                value = np.percentile(delays, q)
                rows.append(row(name + suffix, value, "ms", target, runs=len(delays)))
        browser.close()
    return rows


def write_notebook(path: Path, *sources: str) -> None:
    """Write notebook 02 with its outputs, and cells above it."""
    nb = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    nb.cells[:0] = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nb, path)


def measured(page: Any, address: str, moves: int) -> dict[tuple, list]:
    """Return {(models in the cascade, kernel state): [script, paint]}, milliseconds of each
    move."""
    found = {}
    run_cell(page, address)
    for kernel in ("idle", "busy"):
        if kernel == "busy":
            page.locator(".jp-CodeCell .cm-content").nth(1).click()
            page.keyboard.press("Control+Enter")
        for n in (2, 3, 4):
            page.locator(".cl-number label", has_text=f"{n} models").click()
            page.wait_for_function(
                "n => document.querySelectorAll('.cl-slider').length == n - 1",
                arg=n,
                timeout=PATIENCE,
            )
            page.evaluate(MOVES, [20, 7])  # compiled by then
            found[n, kernel] = page.evaluate(MOVES, [moves, n])
    return found


def explorer(quick: bool = False) -> list[dict]:
    """Return the rows of script per move and input to paint, none without a browser."""
    if find_browser() is None:
        return []
    from playwright.sync_api import sync_playwright

    models, sizes, moves = (6, (2000,), 20) if quick else (27, (10_000, 50_000), 500)
    found: dict[int, dict[tuple, list]] = {}
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        for samples in sizes:
            options = {"models": models, "samples": samples, "seconds": SECONDS}
            cell = STORES.format(here=str(HERE), **options)
            with tempfile.TemporaryDirectory() as folder:
                write_notebook(Path(folder, "page.ipynb"), cell, BUSY)
                with serving(Path(folder)) as (address, _):  # it ends the kernel, which is busy
                    page = browser.new_page(viewport={"width": 1280, "height": 1400})
                    found[samples] = measured(page, f"{address}/doc/tree/page.ipynb", moves)
                    page.close()
        browser.close()
    return rows_of(found, models)


def rows_of(found: dict[int, dict[tuple, list]], models: int) -> list[dict]:
    """Return a row per median and 99th percentile. found: {samples: result of :func:`measured`}."""
    rows = []
    for samples, each in found.items():
        for (n, kernel), (script, paint) in each.items():
            what = f"{n} of {models} models, k = {samples} twice, kernel {kernel}"
            for kind, values, targets in (
                ("script per move", script, ("≤ 8", "≤ 25")),
                ("input to paint", paint, ("≤ 34", "≤ 60")),
            ):
                for q, target, name in zip(
                    (50, 99), targets, (f"{kind}, {what}", f"{kind}, {what}, 99th percentile")
                ):
                    rows.append(row(name, np.percentile(values, q), "ms", target, runs=len(values)))
    return rows


JOBS = {"explorer": explorer, "mouse": mouse}
