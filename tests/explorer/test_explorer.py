"""The explorer without a browser. Tests in a browser: tests/browser/test_explorer.py."""

import asyncio
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from explorer_stores import OTHER, STORE, assert_same, fields_of, made

import cascadelib as cl
from cascadelib.explorer.explorer import WIDGET_VIEW
from cascadelib.explorer.splits import format_state
from cascadelib.figures.style import PLOTLY_JSON


def request(explorer, **wanted):
    """Send the request of a page for a front."""
    choice = explorer.choice
    kinds = {"method": choice.method, "score": choice.score, "cost": choice.cost}
    explorer.handle_request(explorer, {"n": len(choice.models), **kinds, **wanted}, [])


def test_the_explorer_starts_at_the_pair_that_matches_the_best_single_model(explorer):
    expected = cl.pick(cl.search(STORE, 2), "match_best", caution=0)
    assert_same(explorer.point, expected)
    assert_same(
        explorer.runs["held-out"].measured_point, cl.evaluate(OTHER, expected).measured_point
    )
    assert len(explorer.front) == len(cl.search(STORE, 2))


def test_goals_select_the_points_of_pick(explorer):
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
            assert fields_of(explorer.point) == fields_of(before)
    with pytest.raises(ValueError, match="the cheapest costs"):
        explorer.go({"budget": 1})
    with pytest.raises(ValueError, match="n must be one of .*, not 9"):
        explorer.resize(9)
    assert fields_of(explorer.point) == fields_of(before)


@pytest.mark.parametrize("method", ["max_softmax", "entropy"])
def test_sliders_have_native_units_and_ends_for_always_and_never(method):
    """Each threshold has an ipywidget."""
    front = cl.search(STORE, 3, method)
    explorer = cl.explore(STORE, OTHER, front=front)
    explorer.go({"goal": "near_best"})
    point = explorer.point
    sign = -1 if method == "entropy" else 1
    low, high = explorer.pack.ends
    step = explorer.sliders[0].step
    assert low < high and step == pytest.approx((high - low) / 1000)
    assert explorer.sliders[0].min == low - step and explorer.sliders[0].max == high + step
    assert len(explorer.sliders) == 3 and explorer.sliders[0].description == point.models[0]
    slider = explorer.sliders[0]
    assert slider.value == pytest.approx(point.thresholds[0])
    slider.value = 0.6
    moved = explorer.point
    assert moved.thresholds == (0.6, *point.thresholds[1:])
    for end, rate in ((slider.min, sign < 0), (slider.max, sign > 0)):
        slider.value = end
        assert explorer.point.exit_rates[0] == 1 - rate and not np.isfinite(
            explorer.point.thresholds[0]
        )
    explorer.go({"goal": "near_best"})
    assert fields_of(explorer.point) == fields_of(point)


def test_a_slider_message_from_the_page_does_not_move_the_cascade(explorer):
    """The page sends its state, too."""
    before = explorer.state
    explorer.sliders[0].set_state({"value": 0.5})
    assert explorer.sliders[0].value == 0.5 and explorer.state == before
    explorer.set_state({"state": before.replace("thresholds=", "thresholds=0.5&thresholds=")})
    assert "is not a cascade" in explorer.notice


def test_requested_fronts_and_outputs_are_sent(explorer):
    """Requests name fronts of other lengths and methods."""
    request(explorer, n=3)
    fronts = json.loads(explorer.details)["fronts"]
    assert set(fronts) == {f"macs|top1|max_softmax|{n}" for n in (2, 3)}
    expected = cl.search(STORE, 3)
    short = fronts["macs|top1|max_softmax|3"]
    assert short["accuracy"] == expected.table["accuracy"].tolist() and short["gap"] == 0
    packed = explorer.packed
    request(explorer, method="max_softmax_mean_logits_ts")
    assert explorer.packed != packed
    assert explorer.pack.choice.method == "max_softmax_mean_logits_ts"
    for odd in ({"n": 17}, {"method": "x"}, {"seconds": -1}):
        more = explorer.details
        request(explorer, **odd)
        assert explorer.details == more and str(*odd.values()) in explorer.notice


def test_a_search_runs_in_a_thread_and_reports_its_error():
    async def events():
        explorer = cl.explore(made(k=300, classes=2))
        request(explorer, score="f1")
        first = explorer.notice
        while explorer.notice.startswith("searching"):
            await asyncio.sleep(0.01)
        request(explorer, score="f1", n=3)
        while explorer.notice.startswith("searching"):
            await asyncio.sleep(0.01)
        return first, explorer.notice

    first, last = asyncio.run(events())
    assert first == "searching:2" and "the front could not be searched: " in last


@pytest.mark.parametrize("method", ["max_softmax", "entropy_most_confident_ts"])
def test_a_state_opens_at_the_same_point(method):
    front = cl.search(STORE, 3, method, cost="seconds")
    explorer = cl.explore(STORE, OTHER, front=front)
    for thresholds in ((0.317, -np.inf), (np.inf, 0.25)):
        explorer.show(explorer.choice, thresholds)
        again = cl.explore(STORE, OTHER, state=explorer.state)
        assert fields_of(again.point) == fields_of(explorer.point) and again.state == explorer.state


def test_the_explorer_starts_at_the_front_that_is_passed():
    method = cl.METHODS["entropy_most_confident_ts"].fit(STORE)
    front = cl.search(STORE, (1, 2, 3), method, cost="seconds", models=["m0", "m2", "m3"])
    explorer = cl.explore(STORE, OTHER, front=front)
    assert fields_of(explorer.point) == fields_of(cl.pick(front, "near_best", caution=0))
    assert explorer.choice.method == "entropy_most_confident_ts"
    rows = json.loads(explorer.details)["fronts"]["seconds|top1|entropy_most_confident_ts|2"][
        "rows"
    ]
    assert all(cuts is not None for _, _, cuts in rows)
    for row in (0, len(front) // 2, len(front) - 1):
        explorer.show_point(front.point(row))
        assert fields_of(explorer.point) == fields_of(front.point(row))


def test_outputs_are_sent_again_if_one_of_the_offered_cascades_lacks_them(monkeypatch):
    monkeypatch.setattr("cascadelib.explorer.explorer.MAX_CASCADES", 2)
    front = cl.search(STORE, 2, "max_softmax_mean_logits")
    explorer = cl.explore(STORE, OTHER, front=front)
    offered = [replace(explorer.choice, models=models) for models in front.table["models"]]
    assert {explorer.pack.shows(choice) for choice in offered} == {True, False}
    monkeypatch.setattr("cascadelib.explorer.explorer.MAX_CASCADES", 60)
    explorer.publish(explorer.choice)
    assert all(explorer.pack.shows(choice) for choice in offered)


@pytest.mark.parametrize(("gaps", "shown"), [([0.0, 0.2, 0.1], 0.2), ([], 0.0)])
def test_the_page_has_the_largest_gap_of_a_front(gaps, shown, explorer, monkeypatch):
    monkeypatch.setattr(cl.fronts.Front, "gap", property(lambda front: np.array(gaps)))
    fronts = explorer.describe()["fronts"].values()
    assert fronts and {front["gap"] for front in fronts} == {shown}


def test_a_front_of_another_method_adds_the_method():
    front = cl.search(STORE, 2, cl.Method("top2_softmax_sum"))
    explorer = cl.explore(STORE, front=front)
    assert explorer.choice.method == "method of the front"
    assert_same(explorer.point, cl.pick(front, "near_best", caution=0))


def test_one_model_has_no_slider():
    alone = cl.explore(STORE.select(["m3"]), OTHER.select(["m3"]))
    assert alone.point.models == ("m3",) and alone.sliders == []


@pytest.mark.parametrize("k", [1, 2])
def test_sliders_work_for_one_or_two_samples(k):
    store = STORE.take(slice(0, k))
    explorer = cl.explore(store)
    for value in (explorer.sliders[0].min, 0.4, explorer.sliders[0].max):
        explorer.sliders[0].value = value
        point = explorer.point
        assert cl.evaluate(store, point).accuracy == point.accuracy


@pytest.mark.parametrize("front_end", [False, True])
def test_an_output_has_a_figure_and_in_a_front_end_the_widget(explorer, monkeypatch, front_end):
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    if front_end:
        monkeypatch.setenv("JPY_SESSION_NAME", "a.ipynb")
    outputs = []
    display = "cascadelib.explorer.explorer.display"
    monkeypatch.setattr(display, lambda data, raw: outputs.append(data))
    explorer._ipython_display_()
    still, figure, *views = outputs
    assert f"{explorer.runs['held-out'].accuracy:.2%} are correct" in still["text/plain"]
    assert list(figure) == [PLOTLY_JSON] and len(json.dumps(figure)) < 50_000
    assert ("<style>" in still["text/html"]) == front_end
    assert [list(view) for view in views] == ([[WIDGET_VIEW]] if front_end else [])
    assert all(view[WIDGET_VIEW]["model_id"] == explorer.model_id for view in views)


def test_a_stopped_search_does_not_change_the_page():
    async def events():
        explorer = cl.explore(STORE)
        before = explorer.details, explorer.packed, explorer.state
        request(explorer, method="entropy")
        explorer.handle_request(explorer, {"stop": True}, [])
        while ("macs", "top1", "entropy", 2) not in explorer.splits.fronts:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert explorer.notice == ""
        assert (explorer.details, explorer.packed, explorer.state) == before
        request(explorer, method="entropy")
        while explorer.notice.startswith("searching"):
            await asyncio.sleep(0.01)
        return explorer.pack.choice.method

    assert asyncio.run(events()) == "entropy"


def test_a_state_of_replaced_arrays_does_not_undo_a_change_of_method(explorer):
    """A page that drags sends the state before it gets the arrays of another method."""
    dragged = re.sub("thresholds=[^&]*", "thresholds=0.5", explorer.state)
    before = explorer.point
    request(explorer, method="entropy")
    explorer.set_state({"state": dragged})
    assert explorer.pack.choice.method == "entropy"
    assert fields_of(explorer.point) == fields_of(before)
    explorer.set_state({"state": dragged.replace("max_softmax", "entropy")})  # of the new arrays
    assert explorer.choice.method == explorer.pack.choice.method == "entropy"
    explorer.state = dragged  # by code
    assert explorer.choice.method == explorer.pack.choice.method == "max_softmax"
    assert explorer.point.thresholds == (0.5,)


def test_a_slider_clipped_by_another_method_does_not_undo_the_change(explorer):
    explorer.state = explorer.state.replace("max_softmax", "entropy")
    explorer.sliders[0].value = 1.5  # above each softmax margin
    request(explorer, method="softmax_margin")
    assert explorer.sliders[0].value <= explorer.sliders[0].max < 1.5
    assert explorer.pack.choice.method == "softmax_margin"


def test_code_that_observes_a_slider_of_the_page_moves_the_cascade(explorer):
    """Such as an observer that rounds what the page has set."""
    slider = explorer.sliders[0]
    slider.observe(lambda change: setattr(slider, "value", round(change["new"], 1)), "value")
    slider.set_state({"value": 0.5123})
    assert slider.value == 0.5 and explorer.point.thresholds == (0.5,)


def test_a_page_gets_the_outputs_of_its_models_by_the_method_of_the_sent_arrays(
    explorer, monkeypatch
):
    monkeypatch.setattr("cascadelib.explorer.explorer.MAX_CASCADES", 1)
    models = ("m0", "m1", "m4")
    state = format_state(
        replace(explorer.choice, models=models), explorer.splits, (0.5, 0.5), explorer.goal
    )
    request(explorer, method="max_softmax_mean_logits")
    assert not explorer.pack.holds(models)
    explorer.set_state({"state": state})
    assert explorer.pack.choice.method == "max_softmax_mean_logits" and explorer.pack.holds(models)


def test_invalid_arguments_are_refused_with_their_name():
    with pytest.raises(TypeError, match="open the folder with cascadelib.LogitStore"):
        cl.explore("data/fashion-mnist/val")
    with pytest.raises(ValueError, match="held-out split 'm2'|'m2'"):
        cl.explore(STORE, OTHER.select(["m0", "m1"]))
    with pytest.raises(ValueError, match="399 images for the 400 samples"):
        cl.explore(STORE, images=np.zeros((399, 8, 8)))
    with pytest.raises(TypeError, match="dict"):
        cl.explore({"a": STORE})
