"""Fronts and cascades on another split: replay, the table of what holds, choosing again, and bad input."""

import numpy as np
import pytest

from cascadelib import LogitStore, ScoreTable, evaluate, pick, replay, search
from cascadelib.corruptions import SHIFTED, corrupted, fashion_mnist_shifted
from cascadelib.drift import cost_ratio_moved, holds, mean_improvement_moved, member_drops, moved_curve, own_baseline
from cascadelib.drift_signal import DriftSignal, alarm_share, false_alarm_share
from cascadelib.matching import check_same_task, matched
from cascadelib.pareto import pareto_front
from cascadelib.rechoosing import rechoose, selection_bias, won_back


def make_store(seed=0, k=600, noise=1.0, classes=tuple("abcde"), names=("m0", "m1", "m2")):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, k)
    ease = rng.normal(size=(k, 1))
    logits = {
        name: (1.0 + i) * np.eye(5)[labels] * (1.5 + ease) + noise * rng.normal(size=(k, 5))
        for i, name in enumerate(names)
    }
    macs = {name: 10.0 ** (i + 1) for i, name in enumerate(names)}
    return LogitStore.from_arrays(labels, logits, macs=macs, classes=classes, split=f"seed {seed}")


STORE, OTHER = make_store(), make_store(1, noise=1.5)


@pytest.mark.parametrize("method", ["max_softmax", "entropy", "max_softmax_mean_logits_ts"])
def test_a_replayed_point_is_the_point_evaluated_there(method):
    front = search(STORE, (1, 2, 3), method)
    moved = replay(front, OTHER)
    for row in range(0, len(front), 7):
        result = evaluate(OTHER, front.point(row))
        assert moved["accuracy_moved"][row] == result.accuracy
        assert moved["cost_moved"][row] == result.cost
        assert moved["improvement_moved"][row] == pytest.approx(result.improvement, nan_ok=True)
    changes = [a != b for a, b in zip(moved["models"], moved["models"][1:])]
    assert moved["segment"].iloc[-1] == sum(changes)


def test_a_front_replayed_where_it_was_found_is_itself():
    front = search(STORE, 2)
    moved = replay(front, STORE)
    assert moved["accuracy_moved"].equals(moved["accuracy"])
    assert moved["cost_moved"].equals(moved["cost"])
    assert mean_improvement_moved(front, STORE) == front.mean_improvement()


def test_the_moved_curve_equals_a_loop():
    front = search(STORE, 2)
    moved, baseline = replay(front, OTHER), own_baseline(front, OTHER)
    curve = moved_curve(front, moved, OTHER, points=9)
    for row in curve.itertuples():
        enough = moved.loc[moved["accuracy_moved"] >= row.accuracy, "cost_moved"]
        assert row.improvement == pytest.approx(baseline.cost_at(row.accuracy) / min(enough, default=np.inf))
    assert len(pareto_front(moved["cost_moved"], moved["accuracy_moved"])) <= len(moved)


def test_more_models_are_never_dearer_where_the_front_was_found():
    two, either = search(STORE, 2), search(STORE, (2, 3))
    assert cost_ratio_moved(two, either, STORE) <= 1
    assert cost_ratio_moved(two, two, OTHER) == pytest.approx(1)


def test_holds_has_a_row_a_split():
    point = pick(search(STORE, 2), "match_best")
    table = holds(point, {"here": STORE, "there": OTHER}, resamples=100)
    here = table.loc["here"]
    assert here["accuracy"] == point.accuracy
    assert here["difference_low"] < here["difference"] < here["difference_high"]
    assert here["improvement_low"] <= here["improvement"] <= here["improvement_high"]
    assert here["cost_ratio"] == pytest.approx(STORE.models.loc[point.models[-1], "macs"] / here["cost"])
    assert here["cost_ratio_low"] < here["cost_ratio"] < here["cost_ratio_high"]
    wider = holds(point, {"here": STORE}, resamples=100, level=0.999).loc["here"]
    for name in ("cost_ratio", "difference", "exit_rate"):
        assert wider[f"{name}_low"] < here[f"{name}_low"] and here[f"{name}_high"] < wider[f"{name}_high"]
    assert table.loc["there", "exit_rates"] == evaluate(OTHER, point).exit_rates


def test_drops_are_paired_where_the_samples_are_the_same():
    shifted = LogitStore.from_arrays(
        STORE.labels, {n: STORE.logits(n) for n in STORE.models.index}, macs=dict(STORE.models["macs"])
    )
    paired, apart = member_drops(STORE, shifted), member_drops(STORE, OTHER)
    assert (paired["drop"] == 0).all()
    assert (paired["drop_high"] < 0.01).all()
    np.testing.assert_allclose(apart["drop"], STORE.models["top1"] - OTHER.models["top1"])
    assert (apart["drop_high"] - apart["drop_low"] > 0.03).all()


def test_matched_samples_come_in_the_order_of_the_other_split():
    rows = np.array([5, 3, 100])
    part = matched(STORE, STORE.take(rows))
    np.testing.assert_array_equal(part.sample_ids, STORE.sample_ids[rows])
    with pytest.raises(ValueError, match="lacks 1 of the 3 samples.*'900'"):
        matched(STORE, make_store(0, 1000).take([5, 900, 3]))
    with pytest.raises(ValueError, match="is labelled"):
        matched(STORE, OTHER)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_store(1, classes=("a", "b", "x", "d", "e")), "first difference at class 2"),
        (make_store(1, names=("m0", "m1")), "unknown model of the other split 'm2'"),
    ],
)
def test_splits_of_another_task_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        member_drops(STORE, other)
    if "m2" in message:
        front = search(STORE, 2, models=["m1", "m2"])
        with pytest.raises(ValueError, match="unknown model of this store 'm2'"):
            replay(front, other)


def test_other_widths_are_refused_where_classes_have_no_names():
    other = LogitStore.from_arrays([0, 1], {n: np.eye(7)[:2] for n in ("m0", "m1", "m2")})
    with pytest.raises(ValueError, match="5 classes on one split and 7"):
        check_same_task(STORE, other)


def test_rechosen_thresholds_keep_the_accuracy_where_they_were_chosen():
    point = pick(search(STORE, 2), "match_best")
    again = rechoose(point, OTHER)
    assert again.models == point.models
    assert again.accuracy >= OTHER.models.loc[point.models[-1], "top1"]
    cheaper = search(OTHER, 2, models=list(point.models)).table.query("cost < @again.cost")
    assert (cheaper["accuracy"] < OTHER.models.loc[point.models[-1], "top1"]).all()
    scores = ScoreTable(
        *(np.stack(p) for p in ([STORE.ranks(n) == 0 for n in STORE.models.index], np.eye(3, 600))), [1, 2, 3]
    )
    assert rechoose(pick(search(scores, 2), "match_best"), scores).cost_kind == "cost"


def test_won_back_measures_on_the_rest():
    point = pick(search(STORE, 2), "match_best")
    table = won_back(point, OTHER, sizes=(50, 200), repeats=3)
    assert len(table) == 6
    row, order = table.iloc[1], np.random.default_rng(0).permutation(len(OTHER))
    rest = OTHER.take(order[200:])
    again = rechoose(point, OTHER.take(order[:200]))
    assert row["improvement_rechosen"] == pytest.approx(evaluate(rest, again).improvement, nan_ok=True)
    assert row["cost_unchanged"] == evaluate(rest, point).cost
    assert (table["difference_hindsight"] >= 0).all()
    with pytest.raises(ValueError, match="leaves nothing of 600"):
        won_back(point, OTHER, sizes=(50, 600))


def test_a_front_chosen_among_noise_looks_better_than_it_is():
    rng = np.random.default_rng(0)
    noise = ScoreTable(rng.random((6, 400)) < 0.7, rng.random((6, 400)), 2.0 ** np.arange(6))
    table = selection_bias(noise, repeats=5)
    by_chance = table["single_models_chosen"] - table["single_models_measured"]
    assert (table["accuracy_chosen"] - table["accuracy_measured"] > by_chance).all()


def test_windows_alarm_on_shifted_data_and_rarely_on_unchanged():
    point = pick(search(STORE, 2), "match_best")
    signal = DriftSignal.at_selection(STORE, point, 0.01)
    assert alarm_share(signal, make_store(2, 2000, noise=3.0), point, 300, repeats=20) > 0.8
    assert false_alarm_share(make_store(3, 2000), point, 200, 0.01, repeats=100) <= 0.06
    with pytest.raises(ValueError, match="longer than the 600"):
        alarm_share(signal, OTHER, point, 601)


@pytest.mark.parametrize("name", SHIFTED)
def test_committed_logits_are_those_of_the_images_made_again(name):
    import torch

    from cascadelib import zoo

    samples, store = fashion_mnist_shifted(name), LogitStore(f"data/fashion-mnist/shift/{name}")
    np.testing.assert_array_equal(samples.sample_ids, store.sample_ids)
    np.testing.assert_array_equal(samples.labels, store.labels)
    model = zoo.load("mlp@28")
    with torch.inference_mode():
        logits = model.module(model.transform(samples.batch(0, 64))).numpy()
    np.testing.assert_allclose(logits, store.logits("mlp@28")[:64], atol=0.05)


def test_corruptions_change_images_by_severity_and_repeat_themselves():
    images = fashion_mnist_shifted("noise-1").inputs[:20]
    for kind in ("noise", "blur", "exposure", "movement", "occlusion"):
        mild, strong = (corrupted(images, f"{kind}-{severity}") for severity in (1, 2))
        assert mild.shape == images.shape
        assert mild.dtype == np.uint8
        distances = [np.abs(x.astype(int) - images).mean() for x in (mild, strong)]
        assert 0 < distances[0] < distances[1]
        np.testing.assert_array_equal(mild, corrupted(images, f"{kind}-1"))
    with pytest.raises(ValueError, match="noise-1"):
        corrupted(images, "nois-1")
