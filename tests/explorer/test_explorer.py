"""The explorer without a browser: what its controls do, what it exports, and odd stores. In a
browser: tests/browser/test_explorer.py."""

import asyncio
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import cascadelib as cl
from cascadelib.deployment.form import parse_cascade
from cascadelib.explorer.canvas import places
from cascadelib.explorer.charts import front_points
from cascadelib.explorer.controls import GoalButtons, fraction_in, resized, share
from cascadelib.explorer.examples import SHOWN, example_html, kinds_of, nearest, picture
from cascadelib.explorer.explorer import Later, beside, certainty
from cascadelib.explorer.export import as_call, as_json
from cascadelib.explorer.state import on_split, reading_at
from cascadelib.figures.style import PLOTLY_JSON
from cascadelib.fronts.exact import SearchTask
from cascadelib.labels import samples_in_common


def made(seed=0, k=400, classes=7, models=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, k)
    ease = rng.normal(size=(k, 1))
    truth = np.eye(classes)[labels]
    logits = {
        f"m{i}": (1 + 0.7 * i) * truth * (1 + ease) + rng.normal(size=(k, classes))
        for i in range(models)
    }
    costs = {name: 10.0 ** (i + 2) for i, name in enumerate(logits)}
    return cl.LogitStore.from_arrays(
        labels, logits, macs=costs, seconds={name: c / 1e9 for name, c in costs.items()}
    )


STORE = made()
OTHER = made(1, 300)


@pytest.fixture
def explorer():
    return cl.explore(STORE, OTHER)


def told(point):
    """A point without its improvement, which may be nan."""
    return {key: value for key, value in vars(point).items() if key != "improvement"}


def assert_shows_its_point(explorer, store=STORE, other=OTHER):
    """All that is shown and exported is the point, and the point is what evaluate says, on both
    splits."""
    point = explorer.point
    for split, at in (("validation", store), ("held-out", other)):
        if at is not None:
            result = cl.evaluate(at, point)
            reading = explorer.readings[split]
            assert (reading.accuracy, reading.cost) == (result.accuracy, result.cost)
    namespace = {"store": store}
    exec(explorer.export.call.value, namespace)
    again = namespace["point"]
    part = ("models", "thresholds", "exit_rates", "accuracy", "cost", "score", "cost_kind")
    assert [getattr(again, key) for key in part] == [getattr(point, key) for key in part]
    assert samples_in_common(again.found_on, point.found_on) == len(store)
    assert cl.evaluate(store, again).accuracy == point.accuracy
    assert parse_cascade(explorer.export.json.value).thresholds == point.thresholds
    now = next(trace for trace in explorer.charts.figure.data if trace.meta == "now, validation")
    assert (now.x[0], now.y[0]) == (np.float32(point.cost), np.float32(point.accuracy))
    return point


def test_it_opens_at_the_pair_that_matches_the_best_single_model(explorer):
    expected = cl.pick(cl.search(STORE, 2), "match_best")
    point = assert_shows_its_point(explorer)
    assert (point.models, point.thresholds, point.improvement) == (
        expected.models,
        expected.thresholds,
        expected.improvement,
    )


@pytest.mark.parametrize("control", ["share", "slider"])
@pytest.mark.parametrize("value", [0, 1, 137, 500, 999, 1000])
@pytest.mark.parametrize("method", ["max_softmax", "entropy", "logits_margin"])
def test_either_slider_moves_the_other(explorer, control, value, method):
    explorer.change("method", method)
    slider = explorer.sliders[0]
    getattr(slider, control).value = 501 if value == 500 else 500
    getattr(slider, control).value = value
    point = assert_shows_its_point(explorer)
    confidence = explorer.cascades["validation"].confidences[0]
    sent_on = np.mean(confidence < explorer.thresholds[0])
    assert point.exit_rates[1] == sent_on
    assert slider.share_text.value == f"{sent_on:.2%}"
    if control == "share":
        assert sent_on == pytest.approx(value / 1000, abs=0.5 / len(STORE) + 1e-9)
    else:
        assert slider.share.value == pytest.approx(1000 * sent_on, abs=0.51)
    if value in (0, 1000) and control == "share":
        assert slider.text.value == ("always" if value == 0 else "never")


def test_boxes_and_arrows(explorer):
    slider = explorer.sliders[0]
    slider.share_text.value = "12.5%"
    assert assert_shows_its_point(explorer).exit_rates[1] == 0.125
    slider.more.click()
    assert explorer.point.exit_rates[1] == pytest.approx(0.125 + 1 / 400)
    slider.fewer.click()
    slider.text.value = "never"
    assert explorer.point.thresholds == (np.inf,)
    slider.text.value = "0.8"
    assert (
        explorer.point.exit_rates
        == cl.evaluate(
            STORE, cl.Point(explorer.point.models, (0.8,), (), 0, 0, 0, cl.Method())
        ).exit_rates
    )
    before = explorer.point
    for nonsense in ("much", "", "1e", "nan%"):
        slider.text.value = nonsense
        slider.share_text.value = nonsense
        assert (
            explorer.point == before
            and slider.text.value != nonsense
            and slider.share_text.value != nonsense
        )


def test_choices_keep_the_shares_and_undo_takes_them_back(explorer):
    explorer.chooser.number.value = 3
    for slider in explorer.sliders[:2]:
        slider.share.value = 300
    seen = [assert_shows_its_point(explorer)]
    for act in (
        lambda: setattr(explorer.chooser.models[0], "value", "m0"),
        lambda: setattr(explorer.chooser.lists["method"], "value", "max_softmax_mean_logits_ts"),
        lambda: setattr(explorer.chooser.lists["cost"], "value", "seconds"),
        lambda: setattr(explorer.chooser.lists["score"], "value", "top5"),
        lambda: setattr(explorer.chooser.number, "value", 2),
        lambda: explorer.goals.buttons["largest improvement (optimistic)"].click(),
    ):
        act()
        seen.append(assert_shows_its_point(explorer))
    assert [len(point.models) for point in seen] == [3, 3, 3, 3, 3, 2, 2]
    assert [point.cost_kind for point in seen[2:4]] == ["macs", "seconds"] and seen[
        4
    ].score == "top5"
    rates = [point.exit_rates for point in seen[:5]]
    assert np.array(rates) == pytest.approx(np.array([[0.7, 0.21, 0.09]] * 5), abs=0.01)
    for point in seen[-2::-1]:
        explorer.goals.undo.click()
        assert told(assert_shows_its_point(explorer)) == told(point)


def test_moves_of_one_slider_are_undone_together(explorer):
    start = explorer.point
    for value in (100, 200, 300):
        explorer.sliders[0].share.value = value
    explorer.goals.undo.click()
    assert explorer.point == start and explorer.goals.undo.disabled


def test_goals_are_those_of_pick(explorer):
    front = cl.search(STORE, 2)
    explorer.goals.budget.value = "2k"
    explorer.goals.accuracy.value = "70.5%"
    for label, goal in {
        "match the best single model": {"goal": "match_best"},
        "this budget": {"budget": 2000},
        "this accuracy": {"accuracy": 0.705},
        "largest improvement (optimistic)": {"goal": "max_improvement"},
    }.items():
        expected = cl.pick(front, **goal)
        explorer.goals.buttons[label].click()
        assert (explorer.point.models, explorer.point.thresholds) == (
            expected.models,
            expected.thresholds,
        )
    before = explorer.point
    for text, said in (
        ("1", "the cheapest costs"),
        ("", "write a number"),
        ("-", "write a number"),
    ):
        explorer.goals.budget.value = text
        explorer.goals.buttons["this budget"].click()
        assert said in explorer.message.value and explorer.point == before


def test_the_same_cascade_again_keeps_its_threshold_where_it_is(explorer):
    line = next(trace for trace in explorer.charts.figure.data if trace.meta == "threshold 1")
    for _ in range(2):
        explorer.goals.buttons["match the best single model"].click()
        assert np.allclose(line.x, explorer.point.thresholds[0]) and len(line.x) == 2


@pytest.mark.parametrize(
    "goal", ["match the best single model", "largest improvement (optimistic)", "this budget"]
)
def test_another_number_of_models_is_the_best_by_the_present_goal(explorer, goal):
    """And the page says what the last one adds on the other split, and undo takes it back."""
    explorer.goals.budget.value = "20k"
    explorer.goals.buttons[goal].click()
    before = explorer.point
    expected = [cl.pick(cl.search(STORE, n), **explorer.goal) for n in (1, 2, 3)]
    single, pair = (each.models for each in expected[:2])
    added = "the first" if single == pair[1:] else "a second"
    for n, word in ((2, added), (3, "a third")):
        explorer.chooser.number.value = n
        point = assert_shows_its_point(explorer)
        assert (point.models, point.thresholds) == (
            expected[n - 1].models,
            expected[n - 1].thresholds,
        )
        less, more = (cl.evaluate(OTHER, each) for each in expected[n - 2 : n])
        accuracy = f"{100 * (more.accuracy - less.accuracy):+.2f} points"
        cost = f"{more.cost / less.cost - 1:+.1%}"
        said = f"adding {word} model: accuracy {accuracy}, cost {cost} on the held-out split"
        assert said in explorer.message.value
    explorer.goals.undo.click()
    assert explorer.point == before


def test_a_goal_out_of_reach_says_so_and_keeps_the_number(explorer):
    explorer.goals.budget.value = "101"
    explorer.goals.buttons["this budget"].click()
    explorer.splits.fronts[explorer.choice.kind[:3] + (3,)] = cl.search(
        STORE.select(["m1", "m2", "m3"]), 3
    )
    explorer.chooser.number.value = 3
    assert (
        "the cheapest costs 1000" in explorer.message.value
        and len(assert_shows_its_point(explorer).models) == 3
    )


def test_a_late_front_does_not_take_away_what_a_hand_did_meanwhile():
    async def events(act):
        explorer = cl.explore(STORE)
        explorer.chooser.number.value = 3
        act(explorer)
        before = explorer.point
        while explorer.searching:
            await asyncio.sleep(0.01)
        return before, explorer.point

    before, after = asyncio.run(
        events(lambda explorer: setattr(explorer.sliders[1].share, "value", 123))
    )
    assert before == after
    _, offered = asyncio.run(events(lambda explorer: None))
    assert offered.thresholds == cl.pick(cl.search(STORE, 3), "match_best").thresholds


@pytest.mark.parametrize("method", ["max_softmax", "entropy_most_confident_ts"])
def test_a_state_opens_elsewhere_at_the_same_point(explorer, method):
    explorer.change("method", method)
    explorer.change("cost", "seconds")
    explorer.chooser.number.value = 3
    for shares in ((317, 500), (0, 1000)):
        for slider, part in zip(explorer.sliders, shares):
            slider.share.value = part
        again = cl.explore(STORE, OTHER, state=explorer.state)
        assert (
            told(assert_shows_its_point(again)) == told(explorer.point)
            and again.state == explorer.state
        )
        assert again.export.state.value == again.state and again.goals.undo.disabled


def test_foreign_states_are_refused_by_name(explorer):
    good = explorer.state
    cl.explore(STORE, state=f" {good}\n")
    for text, said in {
        7: "text of another explorer",
        "a" * 30_000: "bad query field",
        "models=m1": "unknown method ''",
        "<script>alert(1)</script>": "bad query field",
        f"{good}&images=x": "unknown part 'images'",
        f"{good}&method=entropy": "unknown method 'max_softmax entropy'",
        f"{good}&models=m9": "unknown model 'm9'",
        f"{good}&models=m4": "no cascade",
        good.replace("thresholds=", "thresholds=1&thresholds="): "with 2 thresholds is no cascade",
        good.replace("max_softmax", "%3Cb%3E"): "unknown method '<b>'",
        good.replace("max_softmax", "%ff"): "utf-8",
        good.replace("macs", "joules"): "unknown cost 'joules'",
        good.replace("top1", "f1"): "unknown score 'f1'",
        "&".join(f"a{i}=1" for i in range(200)): "fields",
        **{re.sub("thresholds=[^&]+", f"thresholds={t}", good): t for t in ("nan", "inf", "x")},
    }.items():
        with pytest.raises(ValueError, match=f"^state: .*{re.escape(said)}"):
            cl.explore(STORE, state=text)


def test_a_given_front_is_where_it_starts():
    method = cl.METHODS["entropy_most_confident_ts"].fit(STORE)
    front = cl.search(STORE, (1, 2, 3), method, cost="seconds", models=["m0", "m2", "m3"])
    explorer = cl.explore(STORE, OTHER, front=front)
    expected = cl.pick(front, "near_best")
    assert vars(assert_shows_its_point(explorer)) == vars(expected)
    assert explorer.chooser.lists["method"].value == "entropy_most_confident_ts"
    for row in (0, len(front) // 2, len(front) - 1):
        explorer.clicked(row)
        assert told(assert_shows_its_point(explorer)) == told(front.point(row))


@pytest.mark.parametrize("n_models", [1, 2, 3, (1, 2), (2, 3)])
def test_a_given_front_counts_for_the_lengths_that_it_holds(n_models):
    """Other numbers of models draw and steer by a front of their own, with each goal and a row that
    is clicked."""
    given = cl.search(STORE, n_models)
    best = STORE.models["top1"].max()
    explorer = cl.explore(STORE, OTHER, front=given)
    held = {len(models) for models in given.table["models"]}
    explorer.goals.budget.value = "5k"
    explorer.goals.accuracy.value = f"{best - 0.1}"
    for n in (2, 3, 4, 2):
        explorer.chooser.number.value = n
        front = given if n in held else cl.search(STORE, n)
        drawn = next(trace for trace in explorer.charts.figure.data if trace.meta == "front")
        points = front_points(front.table)[0]["front"]
        np.testing.assert_array_equal([drawn.x, drawn.y], [points["x"], points["y"]])
        for label, goal in {
            "largest improvement (optimistic)": {"goal": "max_improvement"},
            "match the best single model": {"goal": "match_best"},
            "this budget": {"budget": 5000},
            "this accuracy": {"accuracy": best - 0.1},
        }.items():
            explorer.chooser.number.value = n
            explorer.goals.buttons[label].click()
            expected = cl.pick(front, **goal)
            assert (explorer.point.models, explorer.point.thresholds) == (
                expected.models,
                expected.thresholds,
            )
            assert n in held or len(explorer.point.models) == n
        explorer.chooser.number.value = n
        explorer.clicked(len(front) // 2)
        assert told(assert_shows_its_point(explorer)) == told(front.point(len(front) // 2))


def test_a_method_of_its_own_comes_with_its_front():
    front = cl.search(STORE, 2, cl.Method("top2_softmax_sum"))
    explorer = cl.explore(STORE, front=front)
    assert explorer.chooser.lists["method"].value == "of the given front"
    assert_shows_its_point(explorer, other=None)


def test_people_see_words_and_no_keys(explorer):
    labels = [label for part in explorer.chooser.lists.values() for label, _ in part.options]
    layout = explorer.charts.figure.layout
    titles = [axis.title.text for axis in (layout.xaxis, layout.yaxis, layout.xaxis3)]
    assert titles[:2] == ["MACs per sample", "top-1 accuracy"]
    assert titles[2].endswith("max softmax")
    assert {"max softmax", "MACs per sample", "top-1 accuracy"} <= set(labels)
    assert not [text for text in labels if "_" in text or text in ("macs", "top1", "f1")]
    assert ">MACs per sample<" in explorer.numbers.value
    assert ">top-1 accuracy<" in explorer.numbers.value


def test_one_model_has_nothing_to_drag():
    alone = cl.explore(STORE.select(["m3"]), OTHER.select(["m3"]))
    assert assert_shows_its_point(alone).models == ("m3",) and alone.sliders == []


@pytest.mark.parametrize("k", [1, 2])
def test_few_samples(k):
    explorer = cl.explore(STORE.take(slice(0, k)))
    for value in (0, 1000, 500):
        explorer.sliders[0].share.value = value
    assert_shows_its_point(explorer, STORE.take(slice(0, k)), None)


def test_a_thousand_classes_and_no_second_split():
    store = made(k=60, classes=1000, models=2)
    explorer = cl.explore(store, images=np.zeros((60, 3, 8, 9), np.float32))
    explorer.sliders[0].share.value = 500
    assert ("top-5 accuracy", "top5") in explorer.chooser.lists[
        "score"
    ].options and "held-out" not in explorer.numbers.value
    assert_shows_its_point(explorer, store, None)


def test_a_page_that_opens_later_sees_the_figure_as_it_is(explorer):
    explorer.sliders[0].share.value = 640
    explorer.settle()
    state = explorer.charts.figure.get_state("_widget_data")["_widget_data"]
    now = next(trace for trace in state if trace["meta"] == "now, validation")
    assert np.frombuffer(now["x"]["buffer"], np.float32) == np.float32(explorer.point.cost)


def test_f1_with_two_classes():
    store = made(k=300, classes=2)
    other = made(1, 200, 2)
    explorer = cl.explore(store, other)
    explorer.chooser.lists["score"].value = "f1"
    explorer.sliders[0].share.value = 300
    point = assert_shows_its_point(explorer, store, other)
    assert point.score == "f1" and ">F1</th>" in explorer.numbers.value
    explorer.goals.buttons["largest improvement (optimistic)"].click()
    point = assert_shows_its_point(explorer, store, other)
    expected = cl.pick(cl.search(store, 2, score="f1"), "max_improvement")
    assert (point.models, point.thresholds, point.accuracy) == (
        expected.models,
        expected.thresholds,
        expected.accuracy,
    )
    explorer.chooser.number.value = 3  # no search of three under F1, but its sliders
    assert "could not be searched" in explorer.message.value
    explorer.sliders[1].share.value = 500
    assert_shows_its_point(explorer, store, other)


@pytest.mark.parametrize("graded", [False, True])
def test_a_score_table_has_its_own_confidences(graded):
    rng = np.random.default_rng(0)
    correct = rng.random((3, 50)) if graded else rng.random((3, 50)) < 0.7
    table = cl.ScoreTable(correct, rng.integers(0, 9, (3, 50)), [1.0, 3.0, 9.0], ["a", "b", "c"])
    explorer = cl.explore(table, table.take(slice(0, 30)), images=["some text"] * 50)
    explorer.sliders[0].share.value = 400
    explorer.settle()
    result = cl.evaluate(table, explorer.point)
    assert (explorer.point.accuracy, explorer.point.cost) == (result.accuracy, result.cost)
    assert (
        "some text" in explorer.strip.value and explorer.chooser.lists["method"].value == "as given"
    )


def test_histograms_are_shares_of_what_arrives(explorer):
    explorer.sliders[0].share.value = 300
    traces = {trace.meta: trace for trace in explorer.charts.figure.data}
    correct = traces["correct 1"]
    incorrect = traces["incorrect 1"]
    below = traces["below 1"]
    shares = np.add(correct.y, incorrect.y)
    np.testing.assert_allclose(shares[shares > 0], 1, rtol=1e-6)
    np.testing.assert_array_equal(incorrect.base, correct.y)
    for i, (split, store) in enumerate((("validation", STORE), ("held-out", OTHER))):
        cascade = explorer.cascades[split]
        line = traces[f"{'held-out ' * i}below 1"]
        np.testing.assert_allclose(
            line.y,
            [np.mean(cascade.confidences[0] < x - 1e-9) for x in line.x],
            atol=2 / len(store),
        )
    sent = np.interp(
        traces["threshold 1"].x[0], below.x, below.y
    )  # the lines cross at the share that is sent on
    assert sent == pytest.approx(explorer.point.exit_rates[1], abs=0.05)
    alone = {trace.meta: trace for trace in cl.explore(STORE).charts.figure.data}
    assert not alone["held-out correct 1"].visible and alone["correct 1"].visible


def test_the_change_to_held_out_data_stands_on_the_front(explorer):
    traces = {trace.meta: trace for trace in explorer.charts.figure.data}
    here, there = (explorer.readings[split].accuracy for split in ("validation", "held-out"))
    assert traces["told"].text == (f"held-out {there:.2%} ({100 * (there - here):+.2f} points)",)
    np.testing.assert_array_equal(traces["change"].y, np.float32([here, there]))
    numbers = explorer.numbers.value
    assert numbers.index('data-split="held-out"') < numbers.index('data-split="validation"')


def test_without_a_front_end_it_is_a_picture_and_says_how_to_drag(explorer, monkeypatch):
    monkeypatch.setattr("cascadelib.explorer.explorer.has_front_end", lambda: False)
    still = explorer._repr_mimebundle_()[PLOTLY_JSON]
    assert "make lab" in still["layout"]["title"]["text"] and len(json.dumps(still)) < 100_000
    assert {trace["meta"] for trace in still["data"]} == {
        trace.meta for trace in explorer.charts.figure.data
    }
    monkeypatch.setattr("cascadelib.explorer.explorer.has_front_end", lambda: True)
    assert PLOTLY_JSON not in explorer._repr_mimebundle_()


@pytest.mark.parametrize("width", [320, 390, 568, 800, 959, 960, 1008, 1440, 2500])
@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_charts_stay_apart_at_any_width(width, stages):
    height, boxes, _ = places(width, stages)
    for i, (start, end, top, bottom) in enumerate(boxes.values()):
        assert 0 <= start < end - 100 and end <= width and 0 <= top < bottom <= height - 40
        for other in list(boxes.values())[i + 1 :]:
            assert (
                end + 40 <= other[0]
                or other[1] + 40 <= start
                or bottom + 40 <= other[2]
                or other[3] + 40 <= top
            )
    assert (boxes["front"][3] <= boxes["flow"][2]) == (width < 960)


def test_it_says_what_is_certain_of_a_front():
    exact = cl.search(STORE, 2)
    assert certainty(exact) == "" and "searching" in certainty(None)
    rough = cl.search(STORE, 3, tolerance=0.5)
    cheaper = 1 - 1 / (1 + rough.gap.max())
    assert 0 < cheaper <= 1 / 3 and f"more than {cheaper:.1%} cheaper" in certainty(rough)


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(TypeError, match="open the folder with cascadelib.LogitStore"):
        cl.explore("data/fashion-mnist/val")
    with pytest.raises(ValueError, match="held-out split 'm2'|'m2'"):
        cl.explore(STORE, OTHER.select(["m0", "m1"]))
    with pytest.raises(ValueError, match="399 images for the 400 samples"):
        cl.explore(STORE, images=np.zeros((399, 8, 8)))


def test_models_stay_in_order_of_cost(explorer):
    for position, name, models in (
        (1, "m4", "m0 m4"),
        (0, "m4", "m0 m4"),
        (1, "m0", "m0 m4"),
        (1, "m2", "m0 m2"),
    ):
        explorer.take(models=["m0", "m4"])
        explorer.replace_model(position, name)
        assert explorer.choice.models == tuple(models.split())
    assert resized("ab", 3, "abcd") == [*"abd"] and resized("ad", 3, "abcd") == [*"adc"]
    assert resized("b", 4, "abcd") == [*"bacd"] and resized("ab", 2, "abcd") == [*"ab"]
    assert resized("abd", 2, "abcd") == [*"ad"] and resized("abd", 1, "abcd") == ["d"]


def test_examples_are_of_their_kind_and_nearest_to_the_threshold():
    cascade = on_split(
        STORE, SearchTask(STORE, cl.Method(), "top1", "macs", "all"), ["m0", "m3"], "m4"
    )
    reading = reading_at(cascade, [0.6])
    exits = reading.exit_stage == 0
    first, last = cascade.correct
    confidence = cascade.confidences[0]
    expected = (exits, ~exits & ~first & last, exits & ~first & last)
    for (kind, here), wanted in zip(kinds_of(cascade, reading).items(), expected, strict=True):
        rows = nearest(cascade, reading, here)
        assert (here == wanted).all() and here[rows].all()
        left_out = np.setdiff1d(np.flatnonzero(here), rows)
        assert len(rows) == min(here.sum(), SHOWN)
        if kind != "broken by the cascade" and len(left_out):
            others = confidence[left_out]
            side = others.min() if exits[left_out[0]] else others.max()
            assert np.all(abs(confidence[rows] - 0.6) <= abs(side - 0.6))


@pytest.mark.parametrize(
    "image",
    [
        np.full((5, 6), 9, np.uint8),
        np.zeros((5, 6, 3), np.uint8),
        np.ones((3, 5, 6), np.float32),
        np.ones((1, 5, 6), np.float64),
        Image.new("L", (6, 5)),
    ],
)
def test_pictures_of_any_kind(image, tmp_path):
    assert picture(image).size == (6, 5)
    path = tmp_path / "a.png"
    picture(image).save(path)
    assert "data:image/png" in example_html(path, 0)


def test_texts_are_escaped():
    assert "&lt;b&gt;" in example_html("<b>" + "x" * 500, 0)
    assert "a / b" in example_html(("a", "b"), 0)


def nameless_metric(logits):
    return logits.max(axis=1)


def test_an_exported_call_knows_infinity_and_fitted_temperatures():
    method = cl.METHODS["max_softmax_mean_logits_ts"].fit(STORE)
    point = cl.Point(
        ("m0", "m1", "m2"), (np.inf, -np.inf), (0.0, 1.0, 0.0), 0.5, 1.0, np.nan, method
    )
    namespace = {"store": STORE}
    exec(as_call(point, STORE), namespace)
    again = namespace["point"]
    assert again.thresholds == point.thresholds and np.isnan(again.improvement)
    assert again.method.temperatures == {name: method.temperatures[name] for name in point.models}
    fitted = cl.pick(cl.search(STORE, 2, cl.Method(confidence="isotonic_by_label")), "match_best")
    exec(as_call(fitted, STORE), namespace)
    assert cl.evaluate(STORE, namespace["point"]).accuracy == fitted.accuracy
    nameless = cl.Point(("m0", "m1"), (0.5,), (0.5, 0.5), 0.5, 1.0, 1.0, cl.Method(nameless_metric))
    assert "function" in as_json(nameless, STORE)


@pytest.mark.parametrize(
    ("text", "number"), [("11.5M", 11.5e6), ("2k", 2000), (" 3 ", 3), ("1e6", 1e6), ("0.5G", 5e8)]
)
def test_amounts(text, number):
    wanted = []
    goals = GoalButtons(SimpleNamespace(go=wanted.append, undo=list, say=print))
    goals.budget.value = text
    goals.buttons["this budget"].click()
    assert wanted == [{"budget": number}]


def test_shares():
    assert share("94.2") == 0.942
    assert (share("94.2%"), share("0.942"), fraction_in("20%"), fraction_in("20")) == (
        0.942,
        0.942,
        0.2,
        0.2,
    )
    with pytest.raises(ValueError, match="a share must be from 0% to 100%"):
        fraction_in("120%")


def test_work_beside_events_and_pauses():
    said = []
    calls = []

    async def events():
        pause, soon = (
            Later(seconds, lambda said=said: calls.append(said), restarts)
            for seconds, said, restarts in ((0.05, "rest", True), (0.02, "drawn", False))
        )
        for _ in range(5):
            pause.again()
            soon.again()
            await asyncio.sleep(0.01)
        beside(lambda: 7, said.append)
        beside(lambda: 1 / 0, lambda error: said.append(type(error)))
        said.append("later")
        while len(said) < 3 or "rest" not in calls:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(events(), 20))
    assert (
        said[0] == "later"
        and set(said[1:]) == {None, ZeroDivisionError}
        and calls.count("rest") == 1
    )
    assert 2 <= calls.count("drawn") <= 4
    beside(lambda: calls.append("at once"), said.append)
    assert said[-1] is None and calls[-1] == "at once"


def test_a_front_that_comes_late_is_dropped_if_another_is_wanted():
    async def events():
        explorer = cl.explore(STORE)
        explorer.chooser.number.value = 3
        assert (
            explorer.goals.buttons["this budget"].disabled and "searching" in explorer.message.value
        )
        explorer.go({"goal": "match_best"})  # a click that comes before the button is disabled
        assert "searching" in explorer.message.value and len(explorer.point.models) == 3
        explorer.chooser.number.value = 2
        while explorer.searching:
            await asyncio.sleep(0.01)
        return explorer

    explorer = asyncio.run(asyncio.wait_for(events(), 120))
    front = next(trace for trace in explorer.charts.figure.data if trace.meta == "front")
    assert len(front.x) == len(cl.search(STORE, 2)) and "searching" not in explorer.message.value
    assert len(explorer.point.models) == 2
    assert not explorer.goals.buttons["largest improvement (optimistic)"].disabled


def test_a_search_that_fails_late_does_not_keep_the_next_from_starting(monkeypatch):
    def refused(self, choice, real=cl.explorer.ExploredSplits.search):
        if len(choice.models) == 3:
            raise ValueError("no such luck")
        return real(self, choice)

    monkeypatch.setattr(cl.explorer.ExploredSplits, "search", refused)

    async def events():
        explorer = cl.explore(STORE)
        explorer.chooser.number.value = 3
        explorer.chooser.number.value = 4
        while explorer.searching:
            await asyncio.sleep(0.01)
        enabled = not explorer.goals.buttons["this budget"].disabled, explorer.message.value
        explorer.chooser.number.value = 3
        return explorer, enabled, explorer.message.value

    explorer, enabled, message = asyncio.run(asyncio.wait_for(events(), 120))
    assert (
        enabled == (True, "")
        and len(explorer.splits.fronts) == 3
        and "could not be searched: no such luck" in message
    )


def test_an_exported_call_is_python_whatever_the_names(tmp_path):
    folder = tmp_path / 'it\'s a "store"\n\\ {x}'
    names = ['it\'s "m"', 'cl.Method("\n', "\\"]
    store = cl.LogitStore.create(folder, STORE.labels)
    for name, model in zip(names, STORE.models.index):
        store.add(name, STORE.logits(model), macs=10.0 ** len(store.models))
    front = cl.search(store, 3)
    namespace = {}
    point = front.point(len(front) - 1)
    exec(as_call(point, store), namespace)
    assert namespace["point"].models == point.models and namespace["store"].path == store.path
    assert parse_cascade(as_json(point, store)).models == point.models
