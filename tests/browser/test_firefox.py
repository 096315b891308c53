"""The explorer's file from disk in Firefox (Debian's firefox-esr)."""

import numpy as np
import pytest
from explorer_stores import OTHER, STORE
from marionette import FIREFOXES, find_firefox, firefox

import cascadelib as cl

OPENED = """const wait = () => {
    if (window.explorer?.models) done(location.protocol)
    else setTimeout(wait, 10)
}
wait()"""
# Milliseconds from the first input to the frame after it, and what the page then has.
DRAGGED = """const slider = document.querySelector(".cl-slider")
slider.value = Math.round(0.4 * slider.max)
slider.dispatchEvent(new Event("input", { bubbles: true }))
requestAnimationFrame(() => setTimeout(() => done({
    state: explorer.address(),
    accuracy: explorer.evaluated.map(e => e.accuracy), cost: explorer.evaluated.map(e => e.cost),
    said: document.querySelector(".cl-sentence").innerText,
    drawn: document.querySelectorAll(".cl-chart path").length })))"""


def test_a_page_opens_from_disk_in_firefox(tmp_path):
    """The first frame after a drag shows the result of cl.evaluate."""
    if find_firefox() is None:
        pytest.skip(f"no Firefox found ({', '.join(FIREFOXES)}; Debian: apt install firefox-esr)")
    explorer = cl.explore(STORE, OTHER)
    path = explorer.save_html(tmp_path / "page.html")
    profile = tmp_path / "profile"
    profile.mkdir()
    with firefox(profile) as browser:
        browser.open(path.as_uri())
        assert browser.run(OPENED) == "file:"
        first = browser.run(DRAGGED)
    explorer.state = first["state"]
    runs = explorer.runs.values()
    assert first["accuracy"] == [run.accuracy for run in runs]
    assert first["cost"] == [run.cost for run in runs]
    assert np.isfinite(explorer.point.thresholds[0]) and first["drawn"] > 2
    assert f"{explorer.runs['held-out'].accuracy:.2%} are correct" in first["said"]
