"""The explorer without a browser: what code does with it, and odd stores. In a browser:
tests/browser/test_explorer.py."""

import asyncio
import json
import re

import numpy as np
import pytest
from explorer_stores import OTHER, STORE, assert_same, made, told

import cascadelib as cl


def asks(explorer, **wanted):
    """What the page sends where it lacks a front."""
    choice = explorer.choice
    kinds = {"method": choice.method, "score": choice.score, "cost": choice.cost}
    explorer.asked(explorer, {"n": len(choice.models), **kinds, **wanted}, [])


def test_it_opens_at_the_pair_that_matches_the_best_single_model(explorer):
    expected = cl.pick(cl.search(STORE, 2), "match_best", caution=0)
    assert_same(explorer.point, expected)
    assert_same(
        explorer.runs["held-out"].measured_point, cl.evaluate(OTHER, expected).measured_point
    )
    assert len(explorer.front) == len(cl.search(STORE, 2))


def test_the_goals_and_lengths_are_those_of_pick(explorer):
    best = STORE.models["top1"].max()
    for n in (3, 2, 4):
        explorer.resize(n)
        front = cl.search(STORE, n)
        assert len(explorer.front) == len(front)
        for goal in ({"goal": "max_improvement"}, {"budget": 5000}, {"accuracy": best - 0.1}):
            explorer.go(goal)
            assert_same(explorer.point, cl.pick(front, **goal, caution=0))
            before = explorer.point
            explorer.resize(n)  # the goal stays
            assert told(explorer.point) == told(before)
    with pytest.raises(ValueError, match="the cheapest costs"):
        explorer.go({"budget": 1})
    with pytest.raises(ValueError, match="models here, not 9"):
        explorer.resize(9)
    assert told(explorer.point) == told(before)


@pytest.mark.parametrize("method", ["max_softmax", "entropy"])
def test_sliders_are_widgets_with_a_value(method):
    """One per threshold, in the metric's own units; the ends mean always and never."""
    front = cl.search(STORE, 3, method)
    explorer = cl.explore(STORE, OTHER, front=front)
    explorer.go({"goal": "near_best"})
    point = explorer.point
    sign = -1 if method == "entropy" else 1
    assert len(explorer.sliders) == 3 and explorer.sliders[0].description == point.models[0]
    heard = []
    slider = explorer.sliders[0]
    slider.observe(lambda change: heard.append(change["new"]), "value")
    assert slider.value == pytest.approx(point.thresholds[0])
    slider.value = 0.6
    moved = explorer.point
    assert heard == [0.6] and moved.thresholds == (0.6, *point.thresholds[1:])
    for end, rate in ((slider.min, sign < 0), (slider.max, sign > 0)):
        slider.value = end
        assert explorer.point.exit_rates[0] == 1 - rate and not np.isfinite(
            explorer.point.thresholds[0]
        )
    explorer.go({"goal": "near_best"})
    assert told(explorer.point) == told(point)


def test_what_a_page_says_is_not_said_back(explorer):
    """A slider's message from the page does not move the cascade: the page sends its state too."""
    before = explorer.state
    explorer.sliders[0].set_state({"value": 0.5})
    assert explorer.sliders[0].value == 0.5 and explorer.state == before
    explorer.set_state({"state": before.replace("thresholds=", "thresholds=0.5&thresholds=")})
    assert "is no cascade" in explorer.said


def test_what_a_page_lacks_is_sent(explorer):
    """Fronts of other lengths, methods and costs; a cascade of an ensemble that it does not
    hold."""
    asks(explorer, n=3)
    fronts = json.loads(explorer.more)["fronts"]
    assert set(fronts) == {f"macs|top1|max_softmax|{n}" for n in (2, 3)}
    expected = cl.search(STORE, 3)
    short = fronts["macs|top1|max_softmax|3"]
    assert short["accuracy"] == expected.table["accuracy"].tolist() and short["gap"] == 0
    packed = explorer.packed
    asks(explorer, method="max_softmax_mean_logits_ts")
    assert explorer.packed != packed
    assert explorer.pack.choice.method == "max_softmax_mean_logits_ts"
    names = explorer.pack.names
    lacking = next(
        p for p in (("m0", "m4"), ("m1", "m3"), ("m0", "m3")) if p != explorer.choice.models
    )
    explorer.pack.outputs = {
        key: value for key, value in explorer.pack.outputs.items() if "," not in key
    }
    state = re.sub(
        "models=[^&]*&models=[^&]*", "models={}&models={}".format(*lacking), explorer.state
    )
    state = state.replace("method=max_softmax&", "method=max_softmax_mean_logits_ts&")
    packed = explorer.packed
    explorer.set_state({"state": state})
    assert explorer.packed != packed
    assert explorer.pack.holds(lacking) and set(lacking) <= set(names)
    assert explorer.point.method.ensemble == "mean_logits"
    for odd in ({"n": 17}, {"method": "x"}, {"seconds": -1}, {"cost": None}):
        more = explorer.more
        asks(explorer, **odd)
        assert explorer.more == more and str(*odd.values()) in explorer.said


def test_a_search_leaves_the_page_free_and_says_what_fails():
    async def events():
        explorer = cl.explore(made(k=300, classes=2), state="")
        asks(explorer, score="f1")
        first = explorer.said
        while explorer.said.startswith("searching"):
            await asyncio.sleep(0.01)
        asks(explorer, score="f1", n=3)
        while explorer.said.startswith("searching"):
            await asyncio.sleep(0.01)
        return first, explorer.said

    first, last = asyncio.run(events())
    assert first == "searching:2" and "the front could not be searched: " in last


@pytest.mark.parametrize("method", ["max_softmax", "entropy_most_confident_ts"])
def test_a_state_opens_elsewhere_at_the_same_point(method):
    front = cl.search(STORE, 3, method, cost="seconds")
    explorer = cl.explore(STORE, OTHER, front=front)
    for thresholds in ((0.317, -np.inf), (np.inf, 0.25)):
        explorer.show(explorer.choice, thresholds)
        again = cl.explore(STORE, OTHER, state=explorer.state)
        assert told(again.point) == told(explorer.point) and again.state == explorer.state


def test_a_given_front_is_where_it_starts():
    method = cl.METHODS["entropy_most_confident_ts"].fit(STORE)
    front = cl.search(STORE, (1, 2, 3), method, cost="seconds", models=["m0", "m2", "m3"])
    explorer = cl.explore(STORE, OTHER, front=front)
    assert told(explorer.point) == told(cl.pick(front, "near_best", caution=0))
    assert explorer.choice.method == "entropy_most_confident_ts"
    rows = json.loads(explorer.more)["fronts"]["seconds|top1|entropy_most_confident_ts|2"]["rows"]
    assert all(cuts is not None for _, _, cuts in rows)
    for row in (0, len(front) // 2, len(front) - 1):
        explorer.to(front.point(row))
        assert told(explorer.point) == told(front.point(row))


def test_a_method_of_its_own_comes_with_its_front():
    front = cl.search(STORE, 2, cl.Method("top2_softmax_sum"))
    explorer = cl.explore(STORE, front=front)
    assert explorer.choice.method == "of the given front"
    assert_same(explorer.point, cl.pick(front, "near_best", caution=0))


def test_one_model_has_nothing_to_drag():
    alone = cl.explore(STORE.select(["m3"]), OTHER.select(["m3"]))
    assert alone.point.models == ("m3",) and alone.sliders == []


@pytest.mark.parametrize("k", [1, 2])
def test_few_samples(k):
    store = STORE.take(slice(0, k))
    explorer = cl.explore(store)
    for value in (explorer.sliders[0].min, 0.4, explorer.sliders[0].max):
        explorer.sliders[0].value = value
        point = explorer.point
        assert cl.evaluate(store, point).accuracy == point.accuracy


def test_a_headless_run_keeps_a_sentence(explorer, monkeypatch):
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert f"{explorer.runs['held-out'].accuracy:.2%} are correct" in bundle["text/plain"]
    monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()[0]


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(TypeError, match="open the folder with cascadelib.LogitStore"):
        cl.explore("data/fashion-mnist/val")
    with pytest.raises(ValueError, match="held-out split 'm2'|'m2'"):
        cl.explore(STORE, OTHER.select(["m0", "m1"]))
    with pytest.raises(ValueError, match="399 images for the 400 samples"):
        cl.explore(STORE, images=np.zeros((399, 8, 8)))
