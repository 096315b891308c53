"""The guarantee: p-values are valid, the order is fixed, and certified cascades keep their
promise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom, multinomial
from tables_of_scores import status_of

from cascadelib import Baseline, LogitStore, Method, Policy, ScoreTable, certify, evaluate, search
from cascadelib.analysis.shift import front_on
from cascadelib.guarantees.certificate import grouped
from cascadelib.guarantees.few_labels import candidates
from cascadelib.guarantees.p_values import betting_p_value, paired_p_value, probability_as_extreme


def every_outcome(k):
    """All (lost, gained) of k samples."""
    return [(a, b) for a in range(k + 1) for b in range(k + 1 - a)]


def probability(a, b, k, loss, psi):
    return multinomial.pmf([a, b, k - a - b], k, [(psi + loss) / 2, (psi - loss) / 2, 1 - psi])


@pytest.mark.parametrize(("k", "epsilon"), [(12, 0.1), (24, 0.05), (24, 0.0), (20, 0.2)])
def test_no_distribution_with_that_loss_is_rejected_too_often(k, epsilon):
    """All outcomes of k samples, all distributions on a grid with a loss of ε or more: P(p ≤ δ) ≤
    δ, exactly."""
    outcomes = every_outcome(k)
    for level in (0.05, 0.2):
        rejected = [(a, b) for a, b in outcomes if paired_p_value(a, b, k, epsilon, level) <= level]
        assert rejected or (k, level) == (12, 0.05)
        for loss in (epsilon, epsilon + 0.05):
            for psi in np.linspace(max(loss, 1e-6), 1, 25):
                assert sum(probability(a, b, k, loss, psi) for a, b in rejected) <= level


# A loss below 1e-6 moves the ties of the statistic by less than what either side takes for equal.
LOSSES = st.just(0.0) | st.floats(1e-6, 0.4)


@given(st.integers(1, 25), LOSSES, st.floats(0.01, 1), st.data())
@settings(max_examples=60, deadline=None)
def test_probability_of_outcomes_as_extreme_equals_the_sum(k, loss, psi, data):
    assume(psi >= loss)
    a, b = data.draw(st.sampled_from(every_outcome(k)))

    def studentized(lost, gained):
        return (lost - gained - k * loss) / np.sqrt(max(lost + gained, k * loss) + 1 - k * loss**2)

    limit = studentized(a, b) + 1e-10
    slow = sum(
        probability(c, d, k, loss, psi) for c, d in every_outcome(k) if studentized(c, d) <= limit
    )
    assert probability_as_extreme(a - b, a + b, k, loss, np.array([psi]))[0] == pytest.approx(
        min(1, slow), abs=1e-9
    )


def test_with_no_margin_it_is_near_mcnemars_exact_test():
    for lost, gained in ((2, 15), (10, 30), (20, 21)):
        mcnemar = binom.cdf(lost, lost + gained, 0.5)
        ours = paired_p_value(lost, gained, 1000, 0.0, level=mcnemar)
        assert 0.3 * mcnemar <= ours <= 1.2 * mcnemar


def test_extremes():
    assert paired_p_value(0, 0, 5000, 0.01) == pytest.approx(0.05 / 500)
    assert paired_p_value(0, 0, 10, 0.01) > 0.5
    assert paired_p_value(100, 0, 100, 0.01) == 1
    assert paired_p_value(0, 100, 100, 0.01) < 1e-3
    assert paired_p_value(0, 0, 1, 0.0) == 1


def test_betting_p_values_are_valid_for_graded_losses():
    rng = np.random.default_rng(0)
    for epsilon in (0.0, 0.1):
        losses = rng.choice(
            [-0.5, 0.0, 1.0], p=[0.2, 0.7 - epsilon, 0.1 + epsilon], size=(1500, 400)
        )
        rejected = [
            betting_p_value(row, row_mean, 0.1) <= 0.1
            for row, row_mean in zip(losses, [epsilon] * 1500)
        ]
        assert np.mean(rejected) <= 0.1 + 3 * np.sqrt(0.09 / 1500)
    assert betting_p_value(np.zeros(2000), 0.01) < 0.05 < betting_p_value(np.full(2000, 0.02), 0.01)


def test_a_split_that_is_sorted_certifies_nothing_more():
    """Easy classes first: a gambler who bets in that order is rich before the hard ones come."""
    rng = np.random.default_rng(0)
    draws = 500
    level = 0.1
    epsilon = 0.05
    losses = np.sort(rng.choice([-0.5, 0.0, 0.5], p=[0.1, 0.7, 0.2], size=(draws, 500)), axis=1)
    rejected = [betting_p_value(row, epsilon, level) <= level for row in losses]
    assert sum(rejected) <= binom.ppf(0.999, draws, level)


def betting_slowly(losses, epsilon, level):
    """The same capital, one bet after another, in the same shuffled order."""
    losses = np.random.default_rng(0).permutation(losses)
    k = len(losses)
    capital = 1.0
    most = 1.0
    past = []
    mean_of = lambda d: sum(d) / (len(d) + 1)  # noqa: E731
    for i, d in enumerate(losses):
        squares = sum((past[j] - mean_of(past[: j + 1])) ** 2 for j in range(i))
        variance = (0.25 + squares) / (i + 1)
        bet = min(np.sqrt(2 * np.log(1 / level) / (k * variance)), 0.75 / (1 + abs(epsilon)))
        capital *= 1 + bet * (epsilon - d)
        most = max(most, capital)
        past = [*past, d]
    return min(1.0, 1 / most)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_betting_equals_a_loop(losses, epsilon):
    assert betting_p_value(np.array(losses), epsilon) == pytest.approx(
        betting_slowly(losses, epsilon, 0.05)
    )


def population(k, seed=0):
    """Outcomes of three models on k samples: (correct bool [3, k], confidence [3, k])."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    own = rng.normal(size=(3, k))
    margin = np.array([[0.8], [1.3], [1.6]]) + 0.8 * ease + 0.6 * own
    return margin > 0, margin + rng.normal(size=(3, k))


CORRECT, CONFIDENCE = population(50_000)
WHOLE = ScoreTable(CORRECT, CONFIDENCE, [1, 5, 20], ["s", "m", "l"])


def test_a_short_study_of_the_violation_rate():
    """40 draws at δ = 0.2: the share of certificates whose cascade truly loses ε or more is at most
    δ (+ chance)."""
    rng = np.random.default_rng(0)
    epsilon = 0.01
    delta = 0.2
    violated = 0
    certified = 0
    correct = CORRECT[2].mean()
    for _ in range(40):
        drawn = rng.permutation(50_000)[:2000]
        tune = WHOLE.take(drawn[:1000])
        check = WHOLE.take(drawn[1000:])
        found = certify(check, search(tune, 2), epsilon, delta, reference="l")
        certified += found.point is not None
        violated += any(
            correct - evaluate(WHOLE, p).accuracy >= epsilon for p in found.certified[-1:]
        )
    assert certified > 10 and violated <= binom.ppf(0.999, 40, delta)


HALVES = WHOLE.take(slice(0, 8000)), WHOLE.take(slice(8000, 16000))
FRONT = search(HALVES[0], 2)


def test_the_cheapest_certified_point_and_its_promise():
    found = certify(HALVES[1], FRONT, 0.01, reference="l")
    table = found.table
    assert found.samples == 8000 and found.reference == "l"
    assert table["certified"].tolist() == (table["p_value"] <= 0.05).tolist()
    assert table["certified"].iloc[:-1].all() and (np.diff(table["cost"]) < 0).all()
    assert found.point.cost == table.loc[table["certified"], "cost"].iloc[-1] < 21
    assert "at least 95%" in str(found) and "at most 1.00%" in str(found) and "8000" in str(found)
    result = evaluate(HALVES[1], found.point)
    single = HALVES[1].models.loc["l", "top1"]
    row = table[table["certified"]].iloc[-1]
    assert row["accuracy_loss"] == pytest.approx(single - result.accuracy)
    assert row["lost"] - row["gained"] == pytest.approx(row["accuracy_loss"])


def test_the_text_names_what_the_point_comes_to():
    found = certify(HALVES[1], FRONT, 0.01)
    run = evaluate(HALVES[1], found.point)
    loss = HALVES[1].models.loc["l", "top1"] - run.accuracy
    wanted = f"{found.point.chain} costs {run.cost:.4g} a sample, the reference l alone 20: "
    wanted += f"a saving of {20 / run.cost:.4g} ×. Observed loss: {loss:.2%}."
    assert wanted in str(found)
    assert found.reference_cost == 20
    assert repr(found).startswith(f"<Certificate: {len(found.certified)} of {len(found.table)} ")
    assert "at most 1.00%" in repr(found) and len(repr(found)) < 150 and "\n" not in repr(found)
    within = certify(HALVES[1], FRONT, budget=15.0)
    assert "a sample, the reference " in str(within) and "Observed loss" not in str(within)


def test_a_certified_cascade_that_saves_nothing_says_so():
    dear = replace(FRONT.point(0), models=("s", "l"), thresholds=(np.inf,))
    found = certify(HALVES[1], dear, 0.01, reference="l")
    assert "costs 21 a sample, the reference l alone 20: no saving. Observed loss: 0.00%" in str(
        found
    )


def test_the_reference_loses_exactly_nothing():
    few = HALVES[1].take(slice(0, 5))
    for more in ({}, {"groups": [1, 1, 2, 2, 2]}, {"simultaneous": True}):
        found = certify(few, FRONT.reference, 0.0, reference="l", **more)
        assert found.table["p_value"].tolist() == [0.0] and found.point is not None
        assert "no saving. Observed loss: 0, it is the reference." in str(found)
    assert certify(few, FRONT.reference, 0.0, budget=19.0, reference="l").point is None
    assert certify(few, FRONT.reference, 0.0, reference="m").table["p_value"][0] > 0


def test_an_ensemble_of_one_s_own_may_differ_from_the_reference():
    store = LogitStore("data/fashion-mnist/val").select(["mlp@28"])
    point = search(store.take(slice(0, 50)), 1).point(0)
    own = replace(point, method=Method(ensemble=lambda logits: -logits[-1]))
    here = store.take(slice(50, 100))
    assert certify(here, point, 0.01, reference="mlp@28").table["p_value"][0] == 0
    assert certify(here, own, 0.01, reference="mlp@28").table["p_value"][0] > 0.5


def test_a_larger_loss_or_more_doubt_is_never_dearer():
    costs = [
        certify(HALVES[1], FRONT, epsilon, delta).point.cost
        for epsilon, delta in ((0.008, 0.05), (0.015, 0.05), (0.015, 0.3))
    ]
    assert costs == sorted(costs, reverse=True)


def test_testing_stops_at_the_first_failure():
    points = [FRONT.point(len(FRONT) - 1), FRONT.point(0), FRONT.point(len(FRONT) - 2)]
    found = certify(HALVES[1], points, 0.01, reference="l")
    assert found.table["certified"].tolist() == [True, False] and found.certified == (points[0],)


def test_where_nothing_can_be_certified():
    few = HALVES[1].take(slice(0, 20))
    found = certify(few, FRONT, 0.01)
    assert (
        found.point is None
        and found.certified == ()
        and "Nothing is certified: 20 samples" in str(found)
    )


def test_graded_scores():
    graded = ScoreTable(
        np.clip(CORRECT * 0.5 + 0.25, 0, 1), CONFIDENCE, [1, 5, 20], ["s", "m", "l"]
    )
    front = search(graded.take(slice(0, 4000)), 2)
    found = certify(graded.take(slice(4000, 12000)), front, 0.02, reference="l")
    assert found.point is not None and found.point.cost < 21


def test_order_of_a_front():
    points = candidates(FRONT, "l", 0.02)
    accuracies = [p.accuracy for p in points]
    assert accuracies == sorted(accuracies, reverse=True) and len(points) <= 100
    assert accuracies[0] == FRONT.table["accuracy"].max()
    assert accuracies[-1] >= FRONT.singles.loc["l", "accuracy"] - 0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be in"),
        ({"delta": 0.0}, "delta in"),
        ({"reference": "xl"}, "unknown model 'xl'"),
        ({"store": HALVES[0]}, "8000 of the 8000 samples took part"),
        ({"cascades": [FRONT.point(0)]}, "name the reference="),
        ({"cascades": [FRONT.point(0)], "reference": ["l"]}, "must be the name of a model, not"),
        ({"reference": ["l"]}, "unknown model \\['l'\\]"),
        ({"labels": [0, 1]}, "labels must be {sample id: label}, not"),
        ({"groups": np.array([1, "a"] * 4000, object)}, "groups must be all text or all numbers"),
    ],
)
def test_refused(change, message):
    given_ = {"cascades": FRONT, "store": HALVES[1], "epsilon": 0.01, "delta": 0.05} | change
    with pytest.raises(ValueError, match=message):
        certify(**given_)


def test_a_front_too_far_below_the_reference():
    low = search(HALVES[0].select(["s", "m"]), 2)
    singles = FRONT.singles
    better = Baseline(singles["cost"], singles["accuracy"] + 0.1, tuple(singles.index))
    with pytest.raises(ValueError, match="even on the selection split"):
        certify(HALVES[1], replace(low, baseline=better), 0.001, reference="l")


def test_a_store_serves_as_well():
    store = LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28", "resnet18_w16@28"])
    front = search(store.take(slice(0, 5000)), 2)
    found = certify(store.take(slice(5000, 10_000)), front, 0.01)
    assert found.point is not None and found.reference == "resnet18_w16@28"
    assert found.point.cost < store.models.loc["resnet18_w16@28", "macs"]


def test_samples_that_took_part_in_the_search_are_refused():
    store = LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28"])
    front = search(store.take(slice(0, 5000)), 2)
    with pytest.raises(
        ValueError, match="100 of the 2100 samples took part in finding.*fashion-mnist val"
    ):
        certify(store.take(slice(4900, 7000)), front, 0.01)
    logits = {name: store.logits(name) for name in store.models.index}
    unnamed = LogitStore.from_arrays(store.labels, logits, macs=store.models["macs"].to_dict())
    with pytest.raises(ValueError, match="100 of the 2100 samples took part"):
        certify(unnamed.take(slice(4900, 7000)), front, 0.01)  # by what the models said of them
    assert (
        status_of(certify(unnamed.take(slice(5000, 7000)), front, 0.01), "overlap")
        == "not verifiable"
    )


IDS = np.array([f"s{i}" for i in np.random.default_rng(0).permutation(16_000)])


def table_of(rows, ids):
    return ScoreTable(CORRECT[:, rows], CONFIDENCE[:, rows], [1, 5, 20], ["s", "m", "l"], ids)


@pytest.mark.parametrize("ids", [IDS, np.arange(16_000), np.arange(16_000).astype(str), None])
def test_any_overlap_that_can_be_seen_is_refused(ids, tmp_path):
    """Parts of one table, with ids or without; tables apart that have ids; points without their
    front; files."""
    whole = table_of(slice(0, 16_000), ids)
    here = np.arange(8000)
    there = np.arange(7990, 12_000)
    front = search(whole.take(here), 2)
    points = [front.point(len(front) - 1), front.point(len(front) - 2)]
    mixed = whole.take(np.random.default_rng(1).permutation(there))
    for asked in (front, points, points[0]):
        with pytest.raises(ValueError, match="10 of the 4010 samples took part"):
            certify(mixed, asked, 0.02, reference="l")
        apart = certify(whole.take(slice(8000, 12_000)), asked, 0.02, reference="l")
        assert status_of(apart, "overlap") == "verified" and "overlap" not in str(apart)
    other = table_of(there, None if ids is None else list(ids[there]))
    if ids is None:
        assert "overlap" in str(certify(other, points, 0.02, reference="l"))
    else:
        with pytest.raises(ValueError, match="10 of the 4010"):
            certify(other, points, 0.02, reference="l")


def test_a_file_knows_the_samples_that_its_point_was_found_on(tmp_path):
    whole = table_of(slice(0, 16_000), IDS)
    shuffled = np.random.default_rng(2).permutation(8000)
    point = search(whole.take(slice(0, 8000)), 2).point(-1)
    for store in (None, whole.take(slice(0, 8000))):
        Policy.from_point(point, store).save(tmp_path / "c.json")
        loaded = Policy.load(tmp_path / "c.json").point
        assert loaded.thresholds == point.thresholds and len(loaded.selected_on) == 8000
        with pytest.raises(ValueError, match="8000 of the 8000"):
            certify(whole.take(shuffled), loaded, 0.02, reference="l")
        with pytest.raises(ValueError, match="10 of the 4010"):
            certify(whole.take(slice(7990, 12_000)), loaded, 0.02, reference="l")
        apart = certify(whole.take(slice(8000, None)), loaded, 0.02, reference="l")
        assert status_of(apart, "overlap") == "verified"


def test_named_stores_and_unnamed_ones_with_ids():
    rng = np.random.default_rng(0)
    ids = [f"i{i}" for i in range(400)]
    logits = rng.normal(size=(400, 3))

    def store(rows, **names):
        arrays = {m: logits[rows] + i for i, m in enumerate("ab")}
        return LogitStore.from_arrays([0] * len(rows), arrays, macs={"a": 1, "b": 2}, **names)

    first = list(range(200))
    second = list(range(150, 400))
    front = search(store(first, sample_ids=ids[:200]), 2)
    with pytest.raises(ValueError, match="50 of the 250"):
        certify(store(second, sample_ids=ids[150:]), front, 0.3)
    with pytest.raises(ValueError, match="50 of the 250"):
        certify(store(second, sample_ids=ids[150:], dataset="d", split="s"), front, 0.3)
    with pytest.raises(ValueError, match="50 of the 250"):  # by what the models said of them
        certify(store(second), front, 0.3)
    assert status_of(certify(store(second[50:]), front, 0.3), "overlap") == "not verifiable"
    named = search(store(first, sample_ids=ids[:200], dataset="d", split="r"), 2)
    with pytest.raises(ValueError, match="50 of the 250"):  # whatever the splits are called
        certify(store(second, sample_ids=ids[150:], dataset="d", split="s"), named, 0.3)
    apart = certify(store(second[50:], sample_ids=ids[200:], dataset="d", split="s"), named, 0.3)
    assert status_of(apart, "overlap") == "verified"


def labelled(ids, split, dataset="d", rows=slice(None), path=None):
    """A store of two models on 600 samples of one draw, or on some rows of it: their ids (or None)
    as given."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 600)[rows]
    small, large = (rng.normal(size=(600, 3))[rows] + a * np.eye(3)[labels] for a in (1.0, 3.0))
    options = {"sample_ids": None if ids is None else ids[rows], "dataset": dataset, "split": split}
    if path is None:
        return LogitStore.from_arrays(
            labels, {"a": small, "b": large}, macs={"a": 1.0, "b": 5.0}, **options
        )
    store = LogitStore.create(path, labels, **options)
    store.add("a", small, macs=1.0)
    store.add("b", large, macs=5.0)
    return store


NAMED = np.array([f"img{i}" for i in range(600)])
FIRST = slice(0, 300)
LATER = slice(150, 450)


@pytest.mark.parametrize(
    "other", [{"split": "test"}, {"split": "val"}, {"split": "val", "dataset": "D"}]
)
@pytest.mark.parametrize(
    "ids",
    [NAMED, np.arange(600), np.arange(600.0), np.arange(600.0).astype(object)],
    ids=["text", "int", "float", "object"],
)
def test_shared_ids_are_seen_whatever_the_splits_are_called(ids, other):
    front = search(labelled(ids, "val", rows=FIRST))
    with pytest.raises(ValueError, match="150 of the 300"):
        certify(labelled(ids, rows=LATER, **other), front, 0.3)
    with pytest.raises(ValueError, match="150 of the 300"):
        certify(
            labelled(ids if ids is NAMED else np.arange(600.0), rows=LATER, **other), front, 0.3
        )


def test_ids_of_row_numbers_are_remembered_on_disk(tmp_path):
    ids = np.arange(600)
    front = search(labelled(ids, "a", rows=FIRST, path=tmp_path / "a"))
    labelled(ids, "b", rows=LATER, path=tmp_path / "b")
    with pytest.raises(ValueError, match="150 of the 300"):
        certify(LogitStore(tmp_path / "b"), front, 0.3)


@pytest.mark.parametrize(
    "ids, there", [(None, None), (NAMED, None), (None, NAMED)], ids=["none", "first", "second"]
)
@pytest.mark.parametrize("split", ["val", "test"])
def test_where_ids_are_unknown_the_certificate_says_so(ids, there, split):
    front = search(labelled(ids, "val", rows=FIRST))
    assert (
        status_of(certify(labelled(there, split, rows=slice(300, 600)), front, 0.3), "overlap")
        == "not verifiable"
    )
    with pytest.raises(ValueError, match="150 of the 300"):  # by what the models said of them
        certify(labelled(there, split, rows=LATER), front, 0.3)
    whole = labelled(None, "val", rows=FIRST)
    with pytest.raises(ValueError, match="300 of the 300"):
        certify(labelled(None, "val", rows=FIRST), search(whole), 0.3)


def test_a_file_tells_shared_ids(tmp_path):
    selected_on = labelled(NAMED, "val", rows=FIRST)
    Policy.from_point(search(selected_on).point(0), selected_on).save(tmp_path / "policy.json")
    point = Policy.load(tmp_path / "policy.json").point
    for rows, shared in ((LATER, 150), (FIRST, 300)):
        with pytest.raises(ValueError, match=f"{shared} of the 300"):
            certify(labelled(NAMED, "test", rows=rows), [point], 0.9, reference="b")


def test_two_sorted_splits_on_disk_are_not_one(tmp_path):
    labels = np.repeat([0, 1], 50)
    rng = np.random.default_rng(0)
    stores = []
    for split in ("train", "test"):
        store = LogitStore.create(tmp_path / split, labels, dataset="d", split=split)
        store.add("a", rng.normal(size=(100, 2)), macs=1.0)
        store.add("b", rng.normal(size=(100, 2)) + np.eye(2)[labels], macs=2.0)
        stores.append(LogitStore(tmp_path / split))
    assert status_of(certify(stores[1], search(stores[0]), 0.9), "overlap") == "not verifiable"


FITTED = [Method(confidence="auto"), Method(confidence="isotonic_by_label")]


@pytest.mark.parametrize("ids", [NAMED, None], ids=["ids", "parts of one"])
@pytest.mark.parametrize("method", [*FITTED, Method(temperature=True)])
def test_samples_on_which_a_method_was_fitted_are_refused(ids, method):
    """Also where the search saw others, and where the point was made, or its selected_on
    replaced, by hand."""
    whole = labelled(ids, "val")
    choose, fit, new = (whole.take(slice(start, start + 200)) for start in (0, 200, 400))
    front = search(choose, 2, method.fit(fit))
    bare = replace(front.point(-1), selected_on=choose.origin)
    for asked in (front, front.point(-1), bare):
        for seen in (choose, fit):
            with pytest.raises(ValueError, match="200 of the 200 samples took part"):
                certify(seen, asked, 0.3, reference="b")
        assert status_of(certify(new, asked, 0.3, reference="b"), "overlap") == "verified"


def test_a_method_whose_fit_is_not_known_is_said_to_be_unchecked():
    given_ = Method(temperature=True, temperatures={"a": 1.5, "b": 1.2})
    front = search(labelled(NAMED, "val", rows=FIRST), 2, given_)
    found = certify(labelled(NAMED, "val", rows=slice(300, 600)), front, 0.3)
    assert status_of(found, "overlap") == "not verifiable" and "overlap" in str(found)


def test_a_front_moved_to_a_split_has_seen_its_labels():
    whole = labelled(NAMED, "val")
    choose, moved, new = (whole.take(slice(start, start + 200)) for start in (0, 200, 400))
    front = front_on(moved, search(choose, 2))
    for seen in (choose, moved):
        with pytest.raises(ValueError, match="200 of the 200 samples took part"):
            certify(seen, front, 0.3)
    assert status_of(certify(new, front, 0.3), "overlap") == "verified"


@pytest.mark.parametrize("name", ["epsilon", "budget", "delta"])
@pytest.mark.parametrize("value", [float("nan"), "5", [1]])
def test_what_is_no_number_is_refused_by_name(name, value):
    """The mean cost is not above nan: any cascade was certified to keep it."""
    given_ = {"epsilon": 0.01, "budget": 30, "delta": 0.05} | {name: value}
    with pytest.raises(ValueError, match=f"{name} must"):
        certify(HALVES[1], FRONT, **given_)


def test_the_promise_names_its_score():
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=2000)
    ease = np.eye(10)[labels] * rng.normal(2, 1, (2000, 1))
    logits = {name: rng.normal(size=(2000, 10)) + ease for name in "ab"}
    store = LogitStore.from_arrays(labels, logits, macs={"a": 1, "b": 2}, sample_ids=range(2000))
    first = search(store.take(slice(0, 1000)), 2, score="top5")
    rest = store.take(slice(1000, None))
    assert "of top-5 accuracy against" in certify(rest, first, 0.3).promise
    assert "of accuracy against" in certify(HALVES[1], FRONT, 0.02).promise
    graded = ScoreTable(CORRECT * 0.5 + 0.25, CONFIDENCE, [1, 5, 20], ["s", "m", "l"])
    front = search(graded.take(slice(0, 4000)), 2)
    found = certify(graded.take(slice(4000, 12000)), front, 0.02, reference="l")
    assert "of mean score against" in found.promise


def test_what_was_measured_on_a_split_is_not_certified_there():
    """The best of many measured ones was certified, falsely more often than δ; likewise the best
    that another certificate lists."""
    measured = evaluate(HALVES[1], FRONT.point(-1)).measured_point
    with pytest.raises(ValueError, match="8000 of the 8000 samples took part"):
        certify(HALVES[1], measured, 0.02, reference="l")
    found = certify(HALVES[1], FRONT, 0.02, reference="l")
    for again in (found, found.point, list(found.certified), Policy(found.point)):
        with pytest.raises(ValueError, match="8000 of the 8000 samples took part"):
            certify(HALVES[1], again, 0.01, reference="l")
    rest = WHOLE.take(slice(16000, None))
    assert status_of(certify(rest, found.point, 0.05, reference="l"), "overlap") == "verified"


def test_thresholds_that_were_put_in_are_said_to_be_unchecked(tmp_path):
    """Sixty were tried on the certification split, each said to have been found elsewhere."""
    point = next(point for point in FRONT.cascades if len(point.thresholds) == 1)
    assert status_of(certify(HALVES[1], Policy(point), 0.2, reference="l"), "overlap") == "verified"
    other = (0.512,)
    Policy.from_point(Policy(point, other)).save(tmp_path / "moved.json")
    moved = [
        Policy(point, other),
        replace(point, thresholds=other),
        Policy.load(tmp_path / "moved.json"),
    ]
    for one in moved:
        found = certify(HALVES[1], one, 0.2, reference="l")
        assert status_of(found, "overlap") == "not verifiable" and "overlap" in str(found)
        with pytest.raises(ValueError, match="of the 8000 samples took part"):
            certify(HALVES[0], one, 0.2, reference="l")


def test_masked_groups_are_refused():
    """A hidden group would be counted by the value below its mask."""
    groups = np.ma.masked_array(["x", "y", "y"], mask=[True, False, False])
    with pytest.raises(ValueError, match="groups: 1 values are masked"):
        grouped(groups, np.arange(3))
