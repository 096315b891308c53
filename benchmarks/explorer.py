"""The explorer at the paper's scale: 27 models, k = 50,000 on each of two splits, in a real kernel
and a real browser.

A server, JupyterLab and a headless Chromium are started (tests/jupyter_pages.py). Latency holds the
machine's other load as well, and is an upper bound unless the machine was quiet; processor time
does not.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RUNS, row

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from conftest import BROWSER_FLAGS, find_browser  # noqa: E402 - the tests' helpers are no package
from jupyter_pages import place, run_cell, serving, slider, write_cell  # noqa: E402

STORES = """
import json, os, sys, threading, time; sys.path.insert(0, {here!r})
from synthetic import scores
import cascadelib as cl
from cascadelib.explorer.controls import ThresholdSlider
names = [f"net {{i:02}}" for i in range({models})]
store, other = (cl.ScoreTable(*scores({models}, {samples}, seed), names) for seed in (0, 1))
cl.search(cl.ScoreTable(*scores(3, 500)), (2, 3))  # compile
cl.explore(cl.ScoreTable(*scores(3, 500)))
times = {{}}
def timed(owner, name):
    function = getattr(owner, name)
    def call(self, *arguments):
        begun = time.perf_counter()
        busy = time.thread_time()
        own = not getattr(self, "quiet", False)
        function(self, *arguments)
        if own:
            times.setdefault(name, []).append(time.perf_counter() - begun)
            times.setdefault(name + ", busy", []).append(time.thread_time() - busy)
    setattr(owner, name, call)
timed(ThresholdSlider, "change")
for name in ("draw", "replace_model", "resize"):
    timed(cl.explorer.Explorer, name)
def written():  # beside the calls that are timed
    while True:
        time.sleep(2)
        open("times.part", "w").write(json.dumps(dict(times)))
        os.replace("times.part", "times.json")
threading.Thread(target=written, daemon=True).start()
for _ in range({runs}):
    begun = time.perf_counter()
    x = cl.explore(store, other)
    times.setdefault("open", []).append(time.perf_counter() - begun)
x
"""
# From an input event in the page to the next frame after the number of its accuracy or exit rate
# has changed.
WATCH = """() => {
    window.waits = []; let since = null;
    for (const kind of ["pointermove", "keydown"])
        addEventListener(kind, () => since ??= performance.now(), true);
    const cell = () => document.querySelector("table.cascadelib-numbers").innerText;
    let last = cell();
    new MutationObserver(() => {
        const text = cell();
        if (since === null || text === last) return;
        last = text; const begun = since; since = null;
        requestAnimationFrame(() => waits.push(performance.now() - begun));
    }).observe(document.querySelector("table.cascadelib-numbers").parentElement.parentElement,
               {childList: true, subtree: true, characterData: true});
}"""


def waits(page: Any, act: Callable) -> np.ndarray:
    """Milliseconds from each input of ``act()`` to the frame that shows its number."""
    page.evaluate("() => { window.waits.length = 0 }")
    act()
    page.wait_for_timeout(500)
    return np.array(page.evaluate("() => window.waits"))


def moves(page: Any, times: int) -> None:
    """Moves of the first slider by mouse, one at a time, each left to reach the screen."""
    page.mouse.move(*place(page, 0))
    page.mouse.down()
    for to in np.random.default_rng(0).uniform(0.02, 0.98, times):
        page.mouse.move(*place(page, 0, to))
        page.wait_for_timeout(250)
    page.mouse.up()


def presses(page: Any, times: int) -> None:
    """Steps of the first slider by keyboard."""
    slider(page, 0).focus()
    for _ in range(times):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(250)


def measured(folder: Path, models: int, samples: int, repeats: int) -> tuple[dict, dict]:
    """{what: [seconds]} in the kernel and {what: [milliseconds]} on screen, by the number of models
    in the cascade.
    """
    from playwright.sync_api import sync_playwright

    write_cell(
        folder / "big.ipynb",
        STORES.format(here=str(HERE), models=models, samples=samples, runs=RUNS),
    )
    screen = {}
    kernel = {}
    with serving(folder) as (address, _), sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_browser(), args=BROWSER_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        run_cell(page, f"{address}/doc/tree/big.ipynb")
        page.wait_for_timeout(3000)
        page.evaluate(WATCH)
        for n in (2, 3, 4):
            if n > 2:
                page.get_by_role("button", name=f"{n} models").click()
                page.wait_for_timeout(
                    4000 if n == 3 else 40_000
                )  # the search of the front ends meanwhile
            screen[f"{n} models, mouse"] = waits(page, lambda: moves(page, repeats))
            screen[f"{n} models, keyboard"] = waits(page, lambda: presses(page, repeats // 2))
            for position in np.arange(4) % n:
                page.locator(".widget-dropdown:visible select").nth(3 + position).select_option(
                    index=int(5 * position + n) % models
                )
                page.wait_for_timeout(700)
            page.wait_for_timeout(3000)  # until they are written
            kernel[n] = json.loads((folder / "times.json").read_text())
        browser.close()
    return kernel, screen


def distribution(label: str, values: np.ndarray, unit: str, target: str) -> list[dict]:
    """Rows: the median against its target, then the 90th and 99th percentile and the largest; runs:
    how many values.
    """
    at = {"median": 50, "90th percentile": 90, "99th percentile": 99, "largest": 100}
    name = f"{label} ({len(values)})"
    return [
        row(
            name if i == 0 else f"… {what}",
            np.percentile(values, q),
            unit,
            "" if i else target,
            runs=len(values),
        )
        for i, (what, q) in enumerate(at.items())
    ]


def explorer(quick: bool = False) -> list[dict]:
    """Rows of the table: a drag in the kernel, on screen, opening, switching; nothing where there
    is no browser.
    """
    if find_browser() is None:
        return []
    models, samples, repeats = (6, 2000, 6) if quick else (27, 50_000, 300)
    with tempfile.TemporaryDirectory() as folder:
        kernel, screen = measured(Path(folder), models, samples, repeats)
    what = f"{models} models, k = {samples} twice"
    rows = []
    before = {}
    for n, times in kernel.items():
        for kind, part in (("change", "numbers and sliders"), ("draw", "charts, which follow")):
            wall, busy = (
                1e3 * np.array(times[of][before.get(of, 0) :]) for of in (kind, f"{kind}, busy")
            )
            rows += distribution(f"drag in the kernel, {n} of {what}: {part}", wall, "ms", "≤ 15")
            for of, q in (("median", 50), ("99th percentile", 99)):
                rows.append(
                    row(f"… {of} of processor time", np.percentile(busy, q), "ms", runs=len(busy))
                )
        before = {kind: len(values) for kind, values in times.items()}
    for label, values in screen.items():
        rows += distribution(f"input to number on screen, at most, {label}", values, "ms", "≤ 150")
    last = kernel[4]
    rows += distribution(
        "switching a model, kernel", 1e3 * np.array(last["replace_model"]), "ms", "≤ 300"
    )
    rows += distribution(
        "another number of models, kernel", 1e3 * np.array(last["resize"]), "ms", "≤ 300"
    )
    return [
        *rows,
        row(f"opening, {what}", np.median(last["open"]), "s", "≤ 2", runs=len(last["open"])),
    ]


JOBS = {"explorer": explorer}
