"""The explorer in a browser, from disk and in JupyterLab, compared with `cl.evaluate`."""

import base64
import json
import re
import time
from itertools import groupby
from urllib.request import urlopen

import numpy as np
import pytest
from jupyter_pages import PATIENCE, drag, run_cell, serving, write_cell

import cascadelib as cl
from cascadelib.explorer.page import read_part, read_script
from cascadelib.explorer.splits import ExploredSplits

pytestmark = pytest.mark.browser
STORES = """
import numpy as np, cascadelib as cl
def made(seed, k, classes=8):
    rng = np.random.default_rng(seed)
    labels, ease = rng.integers(0, classes, k), rng.normal(size=(k, 1))
    truth = np.eye(classes)[labels]
    names = [f"a_network_of_kind_{i}@224" for i in range(5)]
    logits = {}
    for i, n in enumerate(names):
        logits[n] = (1 + 0.7 * i) * truth * (1 + ease) + rng.normal(size=(k, classes))
    macs = {n: 10.0 ** (i + 3) for i, n in enumerate(names)}
    return cl.LogitStore.from_arrays(labels, logits, macs=macs)
store, other = made(0, 900), made(1, 700)
"""
CELL = """exec(open("stores.py").read())
import ipywidgets, os, time
x = cl.explore(store, other)
at = x.sliders[0].value
stock = ipywidgets.FloatSlider(min=0, max=1, step=0.001, value=at, description="stock")
ipywidgets.jslink((stock, "value"), (x.sliders[0], "value"))
display(stock, x)
"""
MORE = (
    "while not os.path.exists('go'):\n    time.sleep(0.1)\nprint('AWAKE')",
    "print('AFTER', x.state, x.point.accuracy, x.sliders[0].value)",
    "x.resize(3)\nx.go({'goal': 'max_improvement'})\nprint('GONE', x.point.thresholds)",
    "print('LAST', x.choice.method, len(x.point.models), x.front.method.metric)",
)
RESTART = """address => fetch(address, {method: "POST", headers: {
    "X-XSRFToken": document.cookie.match(/_xsrf=([^;]*)/)[1]}})"""
SENTENCE = ".cl-sentence >> nth=0"  # the second holds the place
# What the page shows of its cascade, and where it stands.
SHOWN = """() => ({state: explorer.address(), results: explorer.evaluated.map(
    e => ({accuracy: e.accuracy, cost: e.cost, saving: e.saving, exit_rates: e.exitRates}))})"""
# [text, contrast] of what is read, beside the first background below it.
CONTRASTS = """() => {
    const parts = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number)
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
    const light = rgb => rgb.reduce(
        (sum, v, i) => sum + linear(v / 255) * [0.2126, 0.7152, 0.0722][i], 0)
    const solid = e => { for (; e; e = e.parentElement) {
        const ground = parts(getComputedStyle(e).backgroundColor)
        if ((ground[3] ?? 1) > 0.99) return ground } return [255, 255, 255] }
    const own = e => [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())
    return [...document.querySelectorAll(".cascadelib *, main > *")].filter(
        e => own(e) && e.checkVisibility() && !e.closest(":disabled, option, .cl-digit")).map(e => {
        const style = getComputedStyle(e), ground = solid(e)
        const ink = parts(e.closest("svg") ? style.fill : style.color).slice(0, 3)
        const [a, b] = [ink, ground.slice(0, 3)].map(light)
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
        return [e.textContent.trim().slice(0, 40), contrast] }) }"""
WIDER = """() => [...document.querySelectorAll(".cascadelib *")].filter(
    e => e.checkVisibility() && !e.closest("svg") &&
    e.getBoundingClientRect().right > innerWidth + 1).map(
    e => e.className + " " + e.textContent.slice(0, 40))"""
# The tops of all above the sliders, and whether a text is cut.
TOPS = """() => [".cl-bar", ".cl-sentence", ".cl-chart", ".cl-exits", ".cl-stages"].map(
    name => document.querySelector(name).getBoundingClientRect().top + scrollY)"""
CUT = """() => [".cl-words", ".cl-note"].filter(name => {
    const {scrollHeight, clientHeight} = document.querySelector(name)
    return scrollHeight > clientHeight + 3 })"""


# Heights of the held-out mark and of the reference, and the distance of the mark to the curve.
GEOMETRY = """() => {
    const [, x, y] = document.querySelector(".cl-held").getAttribute("d").match(/M([^,]+),([^l]+)l/)
    const curve = document.querySelector(".cl-curve.cl-active")
    const at = [Number(x), Number(y) + 7]
    const steps = Array.from({length: 2001}, (_, i) => i / 2000 * curve.getTotalLength())
    const near = steps.map(way => curve.getPointAtLength(way)).map(
        point => Math.hypot(point.x - at[0], point.y - at[1]))
    const line = document.querySelector(".cl-reference").getAttribute("y1")
    return [at[1], Number(line), Math.min(...near)] }"""
# The width of the narrowest name of a row of the table.
NAMED = """() => Math.min(
    ...[...document.querySelectorAll(".cl-numbers tbody th")].map(e => e.clientWidth))"""


@pytest.fixture(scope="module")
def stores():
    namespace = {}
    exec(STORES, namespace)
    return namespace["store"], namespace["other"]


@pytest.fixture(scope="module")
def explorer(stores):
    cl.search(stores[0], 4)  # compiles, since the explorer limits its search of four models
    explorer = cl.explore(*stores)
    explorer.resize(4)
    explorer.resize(2)
    return explorer


@pytest.fixture(scope="module")
def path(explorer, tmp_path_factory):
    return explorer.save_html(tmp_path_factory.mktemp("page") / "page.html")


def opened(browser, path, state="", **options):
    """A page with a file of the explorer, and the requests that it makes."""
    size = {"viewport": {"width": 1280, "height": 900}}
    page = browser.new_page(**(size | options))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.asked = asked
    page.goto(path.as_uri() + (f"#{state}" if state else ""))
    page.wait_for_function("() => window.explorer?.models")
    return page


def point_of(state, explorer):
    """The cascade of an address."""
    explorer.state = state
    return explorer.point


def settle(page):
    """Wait until the page has drawn its cascade and written its address."""
    page.wait_for_function(
        "() => !explorer.frame && !explorer.sending"
        " && location.hash.slice(1) === explorer.address()"
    )


def assert_agrees(page, explorer):
    """Assert that the page equals cl.evaluate in every digit, and return the point."""
    settle(page)
    shown = page.evaluate(SHOWN)
    assert page.evaluate("location.hash.slice(1)") == shown["state"]
    explorer.state = shown["state"]
    for run, result in zip(explorer.runs.values(), shown["results"], strict=True):
        assert [run.accuracy, run.cost, run.saving] == [
            result[k] for k in ("accuracy", "cost", "saving")
        ]
        assert list(run.exit_rates) == result["exit_rates"]
    held = list(explorer.runs.values())[-1]
    text = page.locator(SENTENCE).inner_text()
    assert f"{held.accuracy:.2%} are correct" in text
    return explorer.point


def test_mouse_and_keyboard_move_a_page_from_disk(browser, path, explorer, stores):
    """Drag, arrows, typed thresholds, other models, lengths, goals, undo, a click on the front."""
    page = opened(browser, path)
    first = assert_agrees(page, explorer)
    expected = cl.pick(cl.search(stores[0], 2), "match_best", caution=0)
    assert (first.models, first.thresholds) == (expected.models, expected.thresholds)
    drag(page, 0, 0.9, 0.3)
    moved = assert_agrees(page, explorer)
    assert moved.thresholds != first.thresholds
    page.get_by_role("button", name="undo").click()
    assert assert_agrees(page, explorer).thresholds == first.thresholds
    slider = page.locator(".cl-slider").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert assert_agrees(page, explorer).thresholds > first.thresholds
    for key, threshold in (("Home", -np.inf), ("End", np.inf)):
        page.keyboard.press(key)
        assert assert_agrees(page, explorer).thresholds == (threshold,)
    box = page.locator(".cl-threshold").first
    assert box.input_value() == "never"
    box.fill("0.7")
    box.press("Enter")
    typed = assert_agrees(page, explorer)
    asked = cl.Point(typed.models, (0.7,), method=cl.Method())
    rates = [cl.evaluate(stores[0], each).exit_rates[0] for each in (asked, typed)]
    assert abs(rates[0] - rates[1]) <= 1 / 900 + 1e-12
    page.locator(".cl-model").first.select_option(index=1)
    assert assert_agrees(page, explorer).models[0] == stores[0].models.index[1]
    for n in (3, 4, 2):
        page.locator(".cl-number label", has_text=f"{n} models").click()
        expected = cl.pick(cl.search(stores[0], n), "match_best", caution=0)
        point = assert_agrees(page, explorer)
        assert (point.models, point.thresholds) == (expected.models, expected.thresholds)
    page.locator(".cl-number label", has_text="3 models").click()
    page.locator(".cl-goal select").select_option("max_improvement")
    expected = cl.pick(cl.search(stores[0], 3), "max_improvement", caution=0)
    assert assert_agrees(page, explorer).thresholds == expected.thresholds
    for kind, text, goal in (
        ("budget", "2M", {"budget": 2e6}),
        ("accuracy", "70%", {"accuracy": 0.7}),
    ):
        page.locator(".cl-goal select").select_option(kind)
        page.locator(".cl-goal input").fill(text)
        page.locator(".cl-goal input").press("Enter")
        point = assert_agrees(page, explorer)
        assert point.thresholds == cl.pick(cl.search(stores[0], 3), **goal, caution=0).thresholds
        assert page.locator(".cl-goal select").input_value() == kind
    page.locator(".cl-goal input").fill("99.99%")
    page.locator(".cl-goal input").press("Enter")
    assert "the best has" in page.locator(".cl-note").inner_text()
    places = page.evaluate("""() => {
        const mark = document.querySelector(".cl-held").getBoundingClientRect()
        return [mark.x + mark.width / 2, mark.y + mark.height / 2] }""")
    drag(page, 0, 0.05)
    page.mouse.click(*places)
    point = assert_agrees(page, explorer)
    assert point.thresholds in set(cl.search(stores[0], 3).table["thresholds"])
    assert {url.split("#")[0] for url in page.asked if not url.startswith("blob:")} == {
        path.as_uri()
    }


def test_a_link_reproduces_the_cascade(browser, path, explorer):
    page = opened(browser, path)
    drag(page, 0, 0.5)
    point = assert_agrees(page, explorer)
    page.get_by_role("button", name="copy link").click()
    link = page.locator("textarea").input_value()
    page.close()
    again = opened(browser, path, link.split("#")[1])
    assert assert_agrees(again, explorer).thresholds == point.thresholds
    for odd, said in (("models=<b>x</b>", "does not have"), ("x", "method")):
        again.evaluate("hash => { location.hash = hash }", odd)
        again.wait_for_function(
            "said => document.querySelector('.cl-note').innerText.includes(said)", arg=said
        )
        shown = again.evaluate(SHOWN)
        assert point_of(shown["state"], explorer).thresholds == point.thresholds
    again.close()


def test_the_chart_agrees_with_the_sentence(browser, path, explorer):
    """Reference, front and curve are those of the held-out split, which the sentence states."""
    page = opened(browser, path)
    for share in (0.2, 0.5, 0.8):
        drag(page, 0, share)
        assert_agrees(page, explorer)
        held = explorer.runs["held-out"]
        mark, line, distance = page.evaluate(GEOMETRY)
        assert (line - mark) * (held.accuracy - held.baseline.best) >= 0
        assert distance < 1.5
    explorer.go({"goal": "near_best"})
    page.locator(".cl-goal select").select_option("max_improvement")
    page.locator(".cl-goal select").select_option("near_best")
    assert_agrees(page, explorer)
    assert page.evaluate("""() => explorer.measureFront(explorer.front).some(({accuracy, cost}) =>
        accuracy === explorer.shown.accuracy && cost === explorer.shown.cost)""")


def test_early_exits_exclude_those_that_are_lost(browser, stores, tmp_path):
    texts = [f"text {row}" for row in range(len(stores[0]))]
    page = opened(browser, cl.explore(*stores, images=texts).save_html(tmp_path / "page.html"))
    page.locator(".cl-kind").first.wait_for()
    page.evaluate("() => document.querySelectorAll('.cl-kind').forEach(kind => kind.remove())")
    drag(page, 0, 0.1)
    page.locator(".cl-kind").first.wait_for()  # details are drawn after a pause
    kinds = [kind.inner_text().split("\n") for kind in page.locator(".cl-kind").all()]
    assert [kind[0].split("  ")[0] for kind in kinds] == [
        "early exits",
        "deferred and corrected",
        "lost by exiting early",
    ]
    early, _, lost = ({line for line in kind if line.startswith("text ")} for kind in kinds)
    assert early and lost and not early & lost


# A front end of anywidget in small: a model whose traits the test sets, and what the page sends.
FRONT_END = """
const listeners = {}
const traits = {sliders: [], notice: ""}
const model = {
    get: name => traits[name],
    set: (name, value) => { traits[name] = value; listeners[`change:${name}`]?.forEach(f => f()) },
    save_changes: () => sent.push(traits.state),
    send: () => {},
    on: (name, listener) => { (listeners[name] ??= []).push(listener) },
    off: () => {},
}
const signal = () => ({ connect(listener) { this.emit = listener } })
const kernel = {status: "idle", statusChanged: signal(), iopubMessage: signal()}
model.widget_manager = {kernel}
window.kernel = kernel
const sent = []
window.model = model
window.sent = sent
const receive = message => {
    const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
    Object.assign(traits, message, {packed: bytes(message.packed)})
    for (const name of Object.keys(message)) listeners[`change:${name}`]?.forEach(f => f())
}
window.receive = receive
window.show = message => { receive(message); render({model, el: document.body}) }
"""
# What a kernel reports with each request: it is busy, then idle.
REPORT = """session => kernel.iopubMessage.emit(
    kernel, {header: {msg_type: "status", session}, content: {execution_state: "busy"}})"""


def message_of(explorer):
    """The traits of an explorer that a page receives."""
    packed = base64.b64encode(explorer.packed).decode()
    names = ("details", "state")
    return {name: getattr(explorer, name) for name in names} | {"packed": packed}


def shown(browser, explorer):
    """A page with the widget, without a kernel."""
    page = browser.new_page()
    page.add_style_tag(content=read_part("page.css"))
    page.add_script_tag(content=read_script() + FRONT_END, type="module")
    page.wait_for_function("() => window.show")
    page.evaluate("message => show(message)", message_of(explorer))
    page.wait_for_function("() => document.querySelector('.cascadelib')?.view.models")
    return page


def test_another_session_of_the_kernel_is_a_restart(browser, explorer):
    """The status of a restart is lost if the front end is not yet connected to the new kernel."""
    page = shown(browser, explorer)
    page.evaluate(REPORT, "first")
    page.evaluate(REPORT, "first")
    page.wait_for_timeout(500)  # more than the time between two polls
    assert not page.locator("[data-kind=method]").is_disabled()
    page.evaluate(REPORT, "second")
    locked(page, "the kernel has restarted or ended: run the cell again")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_fits_four_widths(browser, path, theme):
    """With two to four models, no slider moves what is above it, and no text is clipped."""
    for width, height in ((1440, 900), (1000, 900), (600, 900), (390, 844)):
        page = opened(
            browser, path, viewport={"width": width, "height": height}, color_scheme=theme
        )
        for n in (2, 3, 4):
            page.locator(".cl-number label", has_text=f"{n} models").click()
            tops = page.evaluate(TOPS)
            for key in ("Home", "End"):
                page.locator(".cl-slider").first.press(key)
                settle(page)
                assert page.evaluate(TOPS) == tops
                assert page.evaluate(CUT) == [] and page.evaluate(WIDER) == []
            sliders = [each.bounding_box() for each in page.locator(".cl-slider").all()]
            assert min(each["width"] for each in sliders) >= 170
            if width > 720 or n == 2:
                assert sliders[-1]["y"] + sliders[-1]["height"] <= height
        chart = page.locator(".cl-chart").bounding_box()
        assert width > 720 or chart["height"] >= height / 2
        for summary in page.locator("summary:visible").all()[:2]:
            summary.click()
        page.locator(".cl-numbers tbody th").first.wait_for()
        assert page.evaluate(NAMED) > 80
        page.locator(".cl-goal select").select_option("accuracy")
        low = [pair for pair in page.evaluate(CONTRASTS) if pair[1] < 4.5]
        assert low == [] and page.evaluate(WIDER) == []
        page.close()


def test_a_slider_has_a_name_a_value_and_is_reached_by_keyboard(browser, path, explorer):
    page = opened(browser, path)
    tabs = 0
    while not page.evaluate("document.activeElement.matches('.cl-slider')") and tabs < 9:
        page.keyboard.press("Tab")
        tabs += 1
    assert tabs <= 5
    point = assert_agrees(page, explorer)
    slider = page.get_by_role("slider", name=f"{point.models[0]}: threshold", exact=True)
    assert slider.count() == 1
    value = slider.get_attribute("aria-valuetext")
    assert float(value.split(",")[0]) == pytest.approx(point.thresholds[0], abs=1e-5)
    rate = list(explorer.runs.values())[-1].exit_rates[0]
    assert value.endswith(f", {rate:.2%} exit here")


def test_only_certified_thresholds_are_called_certified(browser, stores, tmp_path):
    """A cascade that is assembled while looking is not certified."""
    whole = stores[0]
    choose, certify = (whole.take(slice(i, None, 2)) for i in range(2))
    names = list(whole.models.index)
    pair = cl.search(choose, 2, models=[names[2], names[4]])
    certificate = cl.certify(certify, pair, 0.08, 0.1, names[4])
    assert 2 < len(certificate.certified) < 40
    explorer = cl.explore(choose, stores[1], certificate=certificate)
    explorer.show_point(certificate.certified[0])
    path = explorer.save_html(tmp_path / "page.html")
    page = opened(browser, path)
    sentence = page.locator(SENTENCE)
    assert "Certified: loses at most 8 points of accuracy against" in sentence.inner_text()
    note = page.locator(".cl-note").inner_text()
    many = len(certificate.certified)
    assert (
        f"{many} cascades are certified by 450 other labels (at confidence 90%, simultaneously"
        in note
    )
    assert "each loses at most 8 points of accuracy against a_network" in note
    assert page.locator(".cl-band").first.is_visible()
    certified = {point.thresholds for point in certificate.certified}
    slider = page.locator(".cl-slider").first
    most = int(slider.get_attribute("max"))
    seen = set()
    for share in np.linspace(0, 1, 21):
        value = round(float(share) * most)
        slider.evaluate("(s, v) => { s.value = v; s.dispatchEvent(new Event('input')) }", value)
        point = assert_agrees(page, explorer)
        kept = "Certified:" in sentence.inner_text()
        assert kept != ("Not certified." in sentence.inner_text())
        assert kept == (point.thresholds in certified)
        seen.add(kept)
    assert seen == {True, False}
    slider.press("Home")
    seen = [(most + 1, False)]
    while seen[-1][0]:  # each key moves: within the band to certified cuts, then out of it
        slider.press("ArrowRight")
        seen.append(tuple(page.evaluate("() => [explorer.cuts[0], explorer.isCertified]")))
        assert seen[-1][0] < seen[-2][0]
    assert [kept for kept, _ in groupby(kept for _, kept in seen)] == [False, True, False]
    page.locator(".cl-model").first.select_option(index=1)
    assert "Not certified." in sentence.inner_text()
    assert not page.locator(".cl-band").first.is_visible()
    page.locator(".cl-cheapest").click()
    assert assert_agrees(page, explorer).thresholds == certificate.point.thresholds
    assert "Certified:" in sentence.inner_text()
    page.close()
    point = cl.pick(pair, "max_improvement", caution=0)
    empty = cl.certify(certify.take(slice(0, 50)), point, 0.005, 0.05, names[4])
    explorer = cl.explore(choose, stores[1], certificate=empty)
    page = opened(browser, explorer.save_html(tmp_path / "empty.html"))
    assert "nothing is certified: 50 other labels do not suffice, 598 without a loss would" in (
        page.locator(".cl-note").inner_text()
    )
    assert 0.995**598 <= 0.05 < 0.995**597
    page.close()
    with pytest.raises(ValueError, match="held_out shares 450 samples"):
        ExploredSplits(choose, certify, certificate=certificate)


def test_sliders_move_within_bands_of_two_thresholds(browser, stores, tmp_path):
    """The first slider moves to certified thresholds of its row, the second to other rows."""
    choose, certify = (stores[0].take(slice(i, None, 2)) for i in range(2))
    names = [choose.models.index[i] for i in (1, 2, 4)]
    method = cl.METHODS["max_softmax"].fit(choose)
    firsts, seconds = (
        np.quantile(cl.confidence(choose.logits(name), "max_softmax"), shares)
        for name, shares in zip(names, (np.linspace(0.95, 0.05, 19), (0.6, 0.3)))
    )
    certificates = [
        cl.certify(
            certify,
            [cl.Point(tuple(names), (first, second), method=method) for first in firsts],
            0.12,
            0.1 / len(seconds),
            names[-1],
        )
        for second in seconds
    ]
    certified = {point.thresholds for each in certificates for point in each.certified}
    assert {second for _, second in certified} == set(seconds)
    explorer = cl.explore(choose, stores[1], certificate=certificates)
    explorer.show_point(certificates[0].certified[0])
    page = opened(browser, explorer.save_html(tmp_path / "page.html"))
    sentence = page.locator(SENTENCE)
    # Each row has half of δ.
    assert "(at confidence 90%, simultaneously)" in page.locator(".cl-note").inner_text()
    row = sorted(first for first, second in certified if second == seconds[0])
    drag(page, 0, 1)
    settle(page)
    assert "Not certified." in sentence.inner_text()
    box = page.locator(".cl-threshold").first
    for asked in np.linspace(row[0], row[-1], 12)[1:-1]:
        box.fill(f"{asked}")
        box.press("Enter")
        assert assert_agrees(page, explorer).thresholds in certified
        assert "Certified:" in sentence.inner_text()
    box = page.locator(".cl-threshold").nth(1)
    box.fill(f"{np.mean(seconds)}")  # between two rows: the nearer
    box.press("Enter")
    assert assert_agrees(page, explorer).thresholds in certified
    box.fill("never")
    box.press("Enter")
    settle(page)
    assert "Not certified." in sentence.inner_text()
    assert not page.locator(".cl-band").first.is_visible()


@pytest.fixture(scope="module")
def server(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "stores.py").write_text(STORES)
    write_cell(folder / "lab.ipynb", CELL, *MORE)
    with serving(folder) as (address, log):
        yield address, log


def run_more(page, number):
    """Run another cell of the notebook."""
    page.locator(".jp-CodeCell .cm-content").nth(number).click()
    page.keyboard.press("Control+Enter")


def printed(page, start):
    """The output that begins so."""
    output = page.locator(".jp-OutputArea-output pre", has_text=start).last
    output.wait_for(timeout=PATIENCE)
    text = output.inner_text()
    assert text.startswith(start), text
    return text


def locked(page, *reasons):
    """Wait until the selectors that need the kernel are disabled for one of these reasons."""
    page.wait_for_function(
        """reasons => {
            const select = document.querySelector("[data-kind=method]")
            return select.disabled && reasons.includes(select.title) }""",
        arg=reasons,
        timeout=PATIENCE,
    )


@pytest.mark.soak  # a restart may take minutes on a loaded machine
def test_in_jupyterlab_with_a_busy_and_a_restarted_kernel(browser, server, stores):
    """Sliders work without the kernel. Selectors that need it are disabled and show what is shown.

    A linked stock slider moves the cascade. The kernel and the page learn what the other did.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 2400})
    run_cell(page, f"{server[0]}/doc/tree/lab.ipynb")
    sentence = page.locator(SENTENCE)
    before = sentence.inner_text()
    run_more(page, 1)
    locked(page, "the kernel is busy")  # until a slider moves, if comms have a subshell
    assert page.locator(".cl-reason").inner_text() == "the kernel is busy"
    assert page.locator(".cl-number input[value='3']").is_disabled()
    assert not page.locator(".cl-number input[value='2']").is_disabled()
    stock = page.locator(".jupyter-widgets .noUi-handle").first
    stock.focus()
    stock.press("End")
    page.wait_for_function(
        "text => document.querySelector('.cl-sentence').innerText != text", arg=before
    )
    stopped = page.locator(".cl-threshold").first.input_value()
    page.locator(".cl-slider").first.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(  # what moves is drawn with the next frame
        "stopped => document.querySelector('.cl-threshold').value != stopped", arg=stopped
    )
    last = page.locator(".cl-threshold").first.input_value()
    assert page.locator(".jp-OutputArea-output pre", has_text="AWAKE").count() == 0
    (server[1].parent / "go").touch()
    printed(page, "AWAKE")
    run_more(page, 2)
    _, state, _, value = printed(page, "AFTER").split()
    assert f"thresholds={last}" in state and float(value) == float(last)
    run_more(page, 3)
    printed(page, "GONE")
    expected = cl.pick(cl.search(stores[0], 3), "max_improvement", caution=0)
    held = cl.evaluate(stores[1], expected)
    page.wait_for_function(
        "text => document.querySelector('.cl-sentence').innerText.includes(text)",
        arg=f"{held.accuracy:.2%} are correct",
        timeout=PATIENCE,
    )
    page.locator(".cl-number label", has_text="4 models").click()
    page.wait_for_function(
        "() => document.querySelectorAll('.cl-slider').length == 3", timeout=PATIENCE
    )
    page.locator("[data-kind=method]").select_option("entropy")
    page.wait_for_function(
        "() => document.querySelector('.cl-settings select[data-kind=method]')?.value == 'entropy'"
        " && !document.querySelector('.cl-progress')",
        timeout=PATIENCE,
    )
    for _ in range(20):  # until the kernel has heard of the page's new state
        run_more(page, 4)
        last = printed(page, "LAST").split()[1:]
        if last[0] == "entropy":
            break
        page.wait_for_timeout(500)
    assert last == ["entropy", "4", "entropy"]
    (kernel,) = json.load(urlopen(f"{server[0]}/api/kernels"))
    address = f"{server[0]}/api/kernels/{kernel['id']}/restart"
    page.evaluate(RESTART, address)
    locked(page, "the kernel has restarted or ended: run the cell again")
    assert page.locator("[data-kind=method]").input_value() == "entropy"
    assert (
        page.locator("[data-kind=score]").count() == 0
        or page.locator("[data-kind=score]").is_disabled()
    )
    before = sentence.inner_text()
    page.locator(".cl-slider").first.focus()
    page.keyboard.press("Home")
    page.wait_for_function(
        "text => document.querySelector('.cl-sentence').innerText != text", arg=before
    )
    assert not re.search("Traceback", server[1].read_text())


SAVED = """exec(open("stores.py").read())
x = cl.explore(store, other)
x"""
ERROR = ".jp-OutputArea-output:has-text('model not found')"
END = """address => fetch(address, {method: "DELETE", headers: {
    "X-XSRFToken": document.cookie.match(/_xsrf=([^;]*)/)[1]}})"""


def shows(page, method):
    """Wait until the arrays have this method, and assert that the selector has it too."""
    page.wait_for_function(
        "method => document.querySelector('.cascadelib')?.view.pack?.method === method",
        arg=method,
        timeout=PATIENCE,
    )
    assert page.locator("[data-kind=method]").input_value() == method


@pytest.mark.soak
def test_a_notebook_is_reloaded_saved_and_reopened(browser, server):
    """The selectors equal what is computed. A figure replaces the explorer without its kernel."""
    folder = server[1].parent
    write_cell(folder / "saved.ipynb", SAVED)
    address = f"{server[0]}/doc/tree/saved.ipynb"
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    run_cell(page, address)
    shows(page, "max_softmax")
    figure = page.locator(".jp-RenderedPlotly .main-svg").first
    for still in (page.locator(".cl-still"), figure):
        still.wait_for(state="attached", timeout=PATIENCE)
        assert not still.is_visible()
    drag(page, 0, 0.4)
    end = time.monotonic() + PATIENCE / 1000
    while "cl-still" not in (folder / "saved.ipynb").read_text():
        assert time.monotonic() < end, "Ctrl+S on a slider saves the notebook"
        page.locator(".cl-slider").first.press("Control+s")
        page.wait_for_timeout(500)
    page.locator("[data-kind=method]").select_option("entropy")
    shows(page, "entropy")
    page.evaluate("""() => { // before the search ends
        const method = document.querySelector("[data-kind=method]")
        method.value = "logits_margin"
        method.dispatchEvent(new Event("change", {bubbles: true}))
        document.querySelector(".cl-progress button").click() }""")
    page.locator(".cl-progress").wait_for(state="detached")
    shows(page, "entropy")
    page.locator("[data-kind=method]").select_option("softmax_margin")
    shows(page, "softmax_margin")
    page.wait_for_timeout(300)
    drag(page, 0, 0.7)
    page.wait_for_timeout(500)
    state = page.evaluate("document.querySelector('.cascadelib').view.address()")
    with page.expect_response(lambda response: response.request.method == "PUT"):
        page.locator(".cl-slider").first.press("Control+s")
    page.reload()
    shows(page, "softmax_margin")
    assert page.evaluate("document.querySelector('.cascadelib').view.address()") == state
    (session,) = [
        each
        for each in json.load(urlopen(f"{server[0]}/api/sessions"))
        if each["path"] == "saved.ipynb"
    ]
    page.evaluate(END, f"{server[0]}/api/sessions/{session['id']}")
    page.close()
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.goto(address)
    page.locator(".cl-still").wait_for(timeout=PATIENCE)
    page.locator(".jp-RenderedPlotly :is(.main-svg, img)").first.wait_for(timeout=PATIENCE)
    page.locator(ERROR).wait_for(state="attached", timeout=PATIENCE)
    assert not page.locator(ERROR).is_visible()
