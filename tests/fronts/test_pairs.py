"""F1 and curves of pairs, against loops over thresholds and predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import every_exit, last_of, least_cost_at
from tables_of_scores import binary_table, noisy_store, slow_f1

import cascadelib as cl
from cascadelib import LogitStore, Method, pair_table, search
from cascadelib.evaluation.pareto import Baseline, pareto_front
from cascadelib.fronts.cascades import prepare_search
from cascadelib.fronts.curves import Curve, search_pairs
from cascadelib.fronts.pairs import pair_curve, plateau


def slow_points(predicted, confidence, labels, cost, lengths):
    """Return (cost, F1) of all cascades and thresholds."""
    points = []
    for models, stages in every_exit(confidence, cost, lengths):
        answer = predicted[models][stages, np.arange(len(labels))]
        points.append((cost[models].cumsum()[stages].mean(), slow_f1(answer, labels)))
    return points


@settings(max_examples=100)
@given(
    st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 14), st.integers(1, 6),
    st.sampled_from([0.0, 0.3, 1.0]), st.sampled_from([(1,), (2,), (1, 2)]),
)  # fmt: skip
def test_the_front_under_f1_equals_a_loop(seed, models, k, levels, share, lengths):
    predicted, confidence, labels, cost = binary_table(seed, models, k, levels, share)
    correct = predicted == labels
    search = prepare_search(last_of(correct, confidence), cost, lengths)
    points = search_pairs(search, labels == 1)
    expected = slow_points(predicted, confidence, labels, cost, lengths)
    found = list(zip(points.cost, points.accuracy))
    assert (np.diff(points.accuracy) > 0).all() and (np.diff(points.cost) > 0).all()
    for _, at in [*expected, *found]:  # equal costs may differ in the last bit
        slow, fast = (least_cost_at(each, at - 1e-9) for each in (expected, found))
        assert fast == pytest.approx(slow, rel=1e-12)
    assert points.models.shape[1] == max(lengths) and points.thresholds.shape[1] == max(lengths) - 1


STORE = noisy_store()
BINARY = noisy_store(k=400, classes=2)


@pytest.mark.parametrize("method", ["max_softmax", "entropy", "softmax_margin_most_confident_ts"])
def test_search_evaluate_and_replay_agree(method):
    front = cl.search(BINARY, (1, 2), method, score="f1")
    assert front.score == "f1" and front.singles.accuracy["m3"] == pytest.approx(
        slow_f1(BINARY.logits("m3").argmax(1), BINARY.labels)
    )
    for row in range(0, len(front), 7):
        point = front.point(row)
        result = cl.evaluate(BINARY, point)
        assert result.accuracy == point.accuracy and result.cost == pytest.approx(
            point.cost, rel=1e-12
        )
        assert result.exit_rates == pytest.approx(point.exit_rates)
    moved = cl.replay(BINARY, front, ranges=False)
    assert moved.accuracy_replayed.tolist() == front.table.accuracy.tolist()


def test_a_pair_curve_has_all_boundaries():
    curve = pair_curve(STORE, "m0", "m2")
    confidence = Method().stage(STORE, ["m0"])((0,))[1]
    assert len(curve) == len(np.unique(confidence)) + 1
    for row in curve.iloc[:: len(curve) // 9].itertuples():
        exits = confidence >= row.threshold
        assert exits.mean() == pytest.approx(row.exit_rate)


@pytest.mark.parametrize("score", ["top1", "f1"])
def test_the_front_of_one_pair_is_on_its_curve(score):
    front = search(BINARY, 2, models=["m0", "m2"], score=score)
    curve = pair_curve(BINARY, "m0", "m2", score=score)
    keep = pareto_front(curve["cost"], curve["accuracy"])
    np.testing.assert_allclose(curve["cost"].to_numpy()[keep], front.table["cost"])
    np.testing.assert_array_equal(curve["accuracy"].to_numpy()[keep], front.table["accuracy"])
    ends = front.singles["accuracy"][["m2", "m0"]]
    assert curve["accuracy"].iloc[[0, -1]].tolist() == pytest.approx(ends.tolist())
    differences = pair_table(BINARY, score=score, models=["m0", "m2"])["accuracy_difference"]
    assert differences.tolist() == pytest.approx([ends["m2"] - ends["m0"]])


def test_the_plateau_ends_before_accuracy_first_falls():
    curve = Curve(
        np.zeros(5),
        np.array([0, 0.2, 0.4, 0.6, 1.0]),
        np.array([0.8, 0.81, 0.79, 0.8, 0.6]),
        np.zeros(5),
    )
    assert plateau(curve, 0.6, 0.8) == 0.6  # 5% of 0.2 below 0.8 is 0.79
    assert plateau(curve, 0.8, 0.8) == 0.2
    assert plateau(curve, -4.0, 0.8) == 1.0
    rounded = np.array([1.0, 1 - 1e-12, 0.5])  # a rounding error is no fall
    assert plateau(Curve(np.zeros(3), np.array([0, 0.4, 1]), rounded, np.zeros(3)), 1.0, 1.0) == 0.4


def slow_mean(store, first, second, low, high, steps=4000):
    """Return the mean improvement of one pair over low … high, by a loop and a fine sum."""
    names = list(store.models.index)
    costs = store.costs("macs")
    correct = {m: store.logits(m).argmax(1) == store.labels for m in names}
    confidence = Method().stage(store, [first])((0,))[1]
    places = [names.index(first), names.index(second)]
    points = []
    for t in [-np.inf, *np.unique(confidence), np.inf]:
        exits = confidence >= t if t < np.inf else np.zeros(len(store), bool)
        cost = costs[places[0]] + costs[places[1]] * (~exits).mean()
        points.append((cost, np.where(exits, correct[first], correct[second]).mean()))
    cost, accuracy = np.array(points).T
    single = Baseline(costs, [correct[m].mean() for m in names])
    at = low + (high - low) * (np.arange(steps) + 0.5) / steps
    least = [cost[accuracy >= a - 1e-12].min(initial=np.inf) for a in at]
    return float(np.mean(single.cost_at(at) / least))


@pytest.mark.parametrize("tied", [False, True])
def test_pair_table_averages_over_the_pairs_own_range(tied):
    """m1 is more accurate than m2. With ties, few confidences are distinct."""
    logits = {m: STORE.logits("m3" if m == "m1" else m)[:300] for m in STORE.models.index}
    logits = {m: np.round(z) for m, z in logits.items()} if tied else logits
    store = LogitStore.from_arrays(STORE.labels[:300], logits, macs=STORE.models["macs"].to_dict())
    top1 = store.models["top1"]
    table = pair_table(store, models="all")
    assert len(table) == 6 and (table["cost_ratio"] > 1).all()
    whole = top1.iloc[0], top1.max()
    assert (table["accuracy_difference"] < 0).any()
    for row in table.itertuples():
        own = sorted(top1[[row.first, row.second]])
        assert row.whole_range_improvement == pytest.approx(
            slow_mean(store, row.first, row.second, *whole), rel=0.01
        )
        if own[0] < own[1]:
            assert row.mean_improvement == pytest.approx(
                slow_mean(store, row.first, row.second, *own), rel=0.01
            )
    # m1 and m3 have the same logits: equally accurate, so m1 alone reaches the range
    same = table.query("first == 'm1' and second == 'm3'").iloc[0]
    assert same["accuracy_difference"] == 0 and same["mean_improvement"] >= 1
