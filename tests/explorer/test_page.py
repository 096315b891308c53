"""The page as a file, and its sentence without scripts."""

import hashlib
import re
import xml.etree.ElementTree as ElementTree

import pytest
from explorer_stores import OTHER, STORE

import cascadelib as cl
from cascadelib.explorer.page import describe_cascade, format_still, read_part, still_outputs
from cascadelib.figures.style import HELD_OUT, PLOTLY_JSON
from cascadelib.figures.tables import arrow

D3 = "2740fadd6762e1ea58b62cd8623adc9d7a1350e9c4280db1560147f682a0aabf"


def test_a_page_is_one_file_without_requests(explorer, tmp_path):
    path = explorer.save_html(tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    ours = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|<link|src=(?!\"(\$|data:))", ours)
    assert f"{explorer.runs['held-out'].accuracy:.2%} are correct" in text.split("noscript")[1]


@pytest.mark.parametrize("name", ["<u>", "</script><script>alert(1)</script>"])
def test_names_are_escaped(name, tmp_path):
    store = cl.LogitStore.from_arrays(
        STORE.labels, {name: STORE.logits("m0"), "m": STORE.logits("m4")}, macs={name: 1, "m": 9}
    )
    explorer = cl.explore(store)
    text = explorer.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert name not in text.split("<script", 1)[0] and text.count("</script>") == 2
    ElementTree.fromstring(format_still(explorer.runs, explorer.state))


def test_the_html_without_scripts_has_sentence_splits_and_state(explorer):
    root = ElementTree.fromstring(format_still(explorer.runs, explorer.state))
    assert (
        root.text == describe_cascade(explorer.runs) and arrow(explorer.point.models) in root.text
    )
    assert root.get("data-state") == explorer.state
    for split, run in explorer.runs.items():
        origin = run.store.origin
        assert root.get(f"data-{split}") == f"{origin.dataset} {origin.split}"


def test_the_figure_shows_the_split_that_the_sentence_states(explorer):
    run = explorer.runs["held-out"]
    _, figure = still_outputs(explorer.runs, explorer.front, explorer.state, False)
    traces = figure[PLOTLY_JSON]["data"]
    models = next(trace for trace in traces if trace.get("name") == "single models")
    assert models["text"] == list(run.baseline.table.index)
    (mark,) = [trace for trace in traces if trace.get("marker", {}).get("color") == HELD_OUT]
    assert (mark["x"], mark["y"]) == ([run.cost], [run.accuracy])


def test_the_sentence_states_shared_samples(explorer):
    whole = cl.explore(STORE, STORE)
    assert describe_cascade(whole.runs).endswith("checked on 400 samples, 400 of them the same.")
    half = cl.explore(STORE, STORE.take(slice(0, 300)))
    assert "checked on 300 samples, 300 of them the same." in describe_cascade(half.runs)
    assert half.pack.pack_split("held-out")["shared"] == 300
    assert describe_cascade(explorer.runs).endswith(f"checked on {len(OTHER)} others.")
    assert explorer.pack.pack_split("held-out")["shared"] == 0


def test_the_vendored_d3_is_unchanged():
    assert hashlib.sha256(read_part("d3.js").encode()).hexdigest() == D3
