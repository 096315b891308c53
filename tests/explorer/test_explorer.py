"""The explorer without a browser: what its controls do, what it exports, and odd stores. In a
browser: tests/browser/test_explorer.py."""

import asyncio
import re
from typing import Any

import numpy as np
import pytest
from explorer_stores import OTHER, STORE, assert_shows_its_point, told

import cascadelib as cl
from cascadelib.explorer.charts import front_points
from cascadelib.explorer.explorer import certainty


def test_it_opens_at_the_pair_that_matches_the_best_single_model(explorer: Any) -> None:
    expected = cl.pick(cl.search(STORE, 2), "match_best", caution=0)
    point = assert_shows_its_point(explorer)
    assert (point.models, point.thresholds, point.improvement) == (
        expected.models,
        expected.thresholds,
        expected.improvement,
    )


@pytest.mark.parametrize("control", ["share", "slider"])
@pytest.mark.parametrize("value", [0, 1, 137, 500, 999, 1000])
@pytest.mark.parametrize("method", ["max_softmax", "entropy", "logits_margin"])
def test_either_slider_moves_the_other(
    explorer: Any, control: str, value: int, method: str
) -> None:
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


def test_choices_keep_the_shares_and_undo_takes_them_back(explorer: Any) -> None:
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


def test_moves_of_one_slider_are_undone_together(explorer: Any) -> None:
    start = explorer.point
    for value in (100, 200, 300):
        explorer.sliders[0].share.value = value
    explorer.goals.undo.click()
    assert explorer.point == start and explorer.goals.undo.disabled


def test_goals_are_those_of_pick(explorer: Any) -> None:
    front = cl.search(STORE, 2)
    explorer.goals.budget.value = "2k"
    explorer.goals.accuracy.value = "70.5%"
    for label, goal in {
        "match the best single model": {"goal": "match_best"},
        "this budget": {"budget": 2000},
        "this accuracy": {"accuracy": 0.705},
        "largest improvement (optimistic)": {"goal": "max_improvement"},
    }.items():
        expected = cl.pick(front, **goal, caution=0)
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


def test_the_same_cascade_again_keeps_its_threshold_where_it_is(explorer: Any) -> None:
    line = next(trace for trace in explorer.charts.figure.data if trace.meta == "threshold 1")
    for _ in range(2):
        explorer.goals.buttons["match the best single model"].click()
        assert np.allclose(line.x, explorer.point.thresholds[0]) and len(line.x) == 2


@pytest.mark.parametrize(
    "goal", ["match the best single model", "largest improvement (optimistic)", "this budget"]
)
def test_another_number_of_models_is_the_best_by_the_present_goal(explorer: Any, goal: str) -> None:
    """And the page says what the last one adds on the other split, and undo takes it back."""
    explorer.goals.budget.value = "20k"
    explorer.goals.buttons[goal].click()
    before = explorer.point
    expected = [cl.pick(cl.search(STORE, n), **explorer.goal, caution=0) for n in (1, 2, 3)]
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


def test_a_goal_out_of_reach_says_so_and_keeps_the_number(explorer: Any) -> None:
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


def test_a_late_front_does_not_take_away_what_a_hand_did_meanwhile() -> None:
    async def events(act: Any) -> tuple:
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
    assert offered.thresholds == cl.pick(cl.search(STORE, 3), "match_best", caution=0).thresholds


@pytest.mark.parametrize("method", ["max_softmax", "entropy_most_confident_ts"])
def test_a_state_opens_elsewhere_at_the_same_point(explorer: Any, method: str) -> None:
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


def test_foreign_states_are_refused_by_name(explorer: Any) -> None:
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


def test_a_given_front_is_where_it_starts() -> None:
    method = cl.METHODS["entropy_most_confident_ts"].fit(STORE)
    front = cl.search(STORE, (1, 2, 3), method, cost="seconds", models=["m0", "m2", "m3"])
    explorer = cl.explore(STORE, OTHER, front=front)
    expected = cl.pick(front, "near_best", caution=0)
    assert told(assert_shows_its_point(explorer)) == told(expected)
    assert explorer.chooser.lists["method"].value == "entropy_most_confident_ts"
    for row in (0, len(front) // 2, len(front) - 1):
        explorer.clicked(row)
        assert told(assert_shows_its_point(explorer)) == told(front.point(row))


@pytest.mark.parametrize("n_models", [1, 2, 3, (1, 2), (2, 3)])
def test_a_given_front_counts_for_the_lengths_that_it_holds(
    n_models: int | tuple[int, ...],
) -> None:
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
            expected = cl.pick(front, **goal, caution=0)
            assert (explorer.point.models, explorer.point.thresholds) == (
                expected.models,
                expected.thresholds,
            )
            assert n in held or len(explorer.point.models) == n
        explorer.chooser.number.value = n
        explorer.clicked(len(front) // 2)
        assert told(assert_shows_its_point(explorer)) == told(front.point(len(front) // 2))


def test_a_method_of_its_own_comes_with_its_front() -> None:
    front = cl.search(STORE, 2, cl.Method("top2_softmax_sum"))
    explorer = cl.explore(STORE, front=front)
    assert explorer.chooser.lists["method"].value == "of the given front"
    assert_shows_its_point(explorer, other=None)


def test_people_see_words_and_no_keys(explorer: Any) -> None:
    labels = [label for part in explorer.chooser.lists.values() for label, _ in part.options]
    layout = explorer.charts.figure.layout
    titles = [axis.title.text for axis in (layout.xaxis, layout.yaxis, layout.xaxis3)]
    assert titles[:2] == ["MACs per sample", "top-1 accuracy"]
    assert titles[2].endswith("max softmax")
    assert {"max softmax", "MACs per sample", "top-1 accuracy"} <= set(labels)
    assert not [text for text in labels if "_" in text or text in ("macs", "top1", "f1")]
    assert ">MACs per sample<" in explorer.numbers.value
    assert ">top-1 accuracy<" in explorer.numbers.value


def test_one_model_has_nothing_to_drag() -> None:
    alone = cl.explore(STORE.select(["m3"]), OTHER.select(["m3"]))
    assert assert_shows_its_point(alone).models == ("m3",) and alone.sliders == []


def test_it_says_what_is_certain_of_a_front() -> None:
    exact = cl.search(STORE, 2)
    assert certainty(exact) == "" and "searching" in certainty(None)
    rough = cl.search(STORE, 3, tolerance=0.5)
    cheaper = 1 - 1 / (1 + rough.gap.max())
    assert 0 < cheaper <= 1 / 3 and f"more than {cheaper:.1%} cheaper" in certainty(rough)


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="open the folder with cascadelib.LogitStore"):
        cl.explore("data/fashion-mnist/val")
    with pytest.raises(ValueError, match="held-out split 'm2'|'m2'"):
        cl.explore(STORE, OTHER.select(["m0", "m1"]))
    with pytest.raises(ValueError, match="399 images for the 400 samples"):
        cl.explore(STORE, images=np.zeros((399, 8, 8)))
