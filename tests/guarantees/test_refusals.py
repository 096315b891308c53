"""Samples that ids or counts prove to be repeated or seen are refused, and others are not."""

import re
from dataclasses import replace

import numpy as np
import pytest

import cascadelib as cl
from cascadelib import LogitStore, Method, Policy, certify, evaluate, search, to_label
from cascadelib.analysis.shift import front_on
from cascadelib.guarantees.refusals import refuse_repeats

TEXT = np.array([f"img{row}" for row in range(600)])
NUMBERS = np.arange(600)
FIRST = slice(0, 300)
LATER = slice(150, 450)
APART = slice(300, 600)
UNKNOWN = "chosen without them (there are no ids by which to compare)"


def store_of(rows=slice(None), ids=TEXT, path=None, **names):
    """Some rows of one draw of two models on 600 samples, in memory or on disk."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 600)[rows]
    small, large = (rng.normal(size=(600, 3))[rows] + a * np.eye(3)[labels] for a in (1.0, 3.0))
    names["sample_ids"] = None if ids is None else ids[rows]
    if path is None:
        logits = {"a": small, "b": large}
        return LogitStore.from_arrays(labels, logits, macs={"a": 1.0, "b": 5.0}, **names)
    store = LogitStore.create(path, labels, **names)
    store.add("a", small, macs=1.0)
    store.add("b", large, macs=5.0)
    return LogitStore(path)


def overlap(store, cascades):
    """The number of shared samples in the error of certify. 0 if none is, None if unknown."""
    try:
        found = certify(store, cascades, 0.3, reference="b")
    except ValueError as error:
        return int(re.search(rf"at least (\d+) of the {len(store)} samples took", str(error))[1])
    return None if UNKNOWN in str(found.terms) else 0


@pytest.mark.parametrize("names", [{"split": "test"}, {"split": "val", "dataset": "D"}])
@pytest.mark.parametrize(
    "ids", [TEXT, NUMBERS, NUMBERS * 1.0, (NUMBERS * 1.0).astype(object)], ids=type
)
def test_shared_ids_are_found_for_any_names_of_the_splits(ids, names):
    front = search(store_of(FIRST, ids, split="val"))
    assert overlap(store_of(LATER, ids, **names), front) == 150
    if ids is not TEXT:
        assert overlap(store_of(LATER, NUMBERS * 1.0, **names), front) == 150


def test_numeric_ids_are_equal_in_memory_and_on_disk(tmp_path):
    front = search(store_of(FIRST, NUMBERS, tmp_path / "a"))
    assert overlap(store_of(LATER, NUMBERS, tmp_path / "b"), front) == 150
    assert overlap(store_of(LATER, NUMBERS), front) == 150


def test_the_refusal_of_numbers_says_that_files_may_number_their_samples_separately():
    for ids, said in ((NUMBERS, True), (TEXT, False)):
        with pytest.raises(ValueError, match="took part") as error:
            certify(store_of(LATER, ids), search(store_of(FIRST, ids)), 0.3)
        assert ("number their samples separately, prefix the ids" in str(error.value)) == said


@pytest.mark.parametrize(("ids", "there"), [(None, None), (TEXT, None), (None, TEXT)])
def test_without_ids_only_the_same_whole_split_is_refused(ids, there):
    front = search(store_of(FIRST, ids, dataset="d", split="val"))
    assert overlap(store_of(LATER, there, dataset="d", split="val"), front) is None
    again = overlap(store_of(FIRST, there, dataset="d", split="val"), front)
    assert again == (300 if ids is there is None else None)


@pytest.mark.parametrize("form", ["front", "points", "point", "policy", "file", "file of a split"])
@pytest.mark.parametrize("ids", [TEXT, None], ids=["ids", "rows of one split"])
def test_every_form_of_a_cascade_stores_its_samples(form, ids, tmp_path):
    whole = store_of(ids=ids, dataset="d", split="val")
    chosen = whole.take(FIRST)
    front = search(chosen, 2)
    cascades = {
        "front": front,
        "points": [front.point(-1), front.point(-2)],
        "point": front.point(-1),
        "policy": Policy(front.point(-1)),
    }.get(form)
    if cascades is None:
        point = front.point(-1)
        Policy.from_point(point, chosen if form == "file of a split" else None).save(
            tmp_path / "policy.json"
        )
        cascades = Policy.load(tmp_path / "policy.json").point
        assert len(cascades.selected_on) == 300
    if ids is not None or "file" not in form:
        assert overlap(whole.take(np.random.default_rng(1).permutation(300)), cascades) == 300
        assert overlap(whole.take(APART), cascades) == 0
        assert overlap(whole.take(np.random.default_rng(1).permutation(310) + 290), cascades) == 10
    else:
        assert overlap(chosen, cascades) == 300
        assert overlap(whole.take(APART), cascades) is None


FITTED = [
    Method(confidence="isotonic_by_label"),
    Method(temperature=True),
]


@pytest.mark.parametrize("ids", [TEXT, None], ids=["ids", "rows of one split"])
@pytest.mark.parametrize("method", FITTED)
def test_samples_on_which_a_method_was_fitted_are_found(ids, method):
    """Also if another split chose the point, or if its selected_on was replaced."""
    whole = store_of(ids=ids)
    choose, fit, new = (whole.take(slice(start, start + 200)) for start in (0, 200, 400))
    front = search(choose, 2, method.fit(fit))
    bare = replace(front.point(-1), selected_on=choose.origin)
    for cascades in (front, front.point(-1), bare):
        assert overlap(choose, cascades) == overlap(fit, cascades) == 200
        assert overlap(new, cascades) == 0


def test_a_method_with_an_unknown_fit_cannot_be_compared():
    method = Method(temperature=True, temperatures={"a": 1.5, "b": 1.2})
    assert overlap(store_of(APART), search(store_of(FIRST), 2, method)) is None


def test_a_front_evaluated_on_another_split_has_seen_its_labels():
    whole = store_of()
    choose, shifted, new = (whole.take(slice(start, start + 200)) for start in (0, 200, 400))
    front = front_on(shifted, search(choose, 2))
    assert overlap(choose, front) == overlap(shifted, front) == 200
    assert overlap(new, front) == 0


def test_measured_and_certified_points_are_not_certified_again_on_the_same_split():
    """The best of many measured points would be certified, falsely more often than δ."""
    whole = store_of()
    chosen, check, rest = (whole.take(slice(start, start + 200)) for start in (0, 200, 400))
    front = search(chosen, 2)
    assert overlap(check, evaluate(check, front.point(-1)).measured_point) == 200
    found = certify(check, front, 0.3, reference="b")
    for again in (found, found.point, list(found.certified), Policy(found.point)):
        assert overlap(check, again) == 200
    assert overlap(rest, found.point) == 0


def test_samples_of_replaced_thresholds_are_unknown(tmp_path):
    """Such thresholds may have been tried on the certification split."""
    front = search(store_of(FIRST), 2)
    point = next(point for point in front.cascades if len(point.thresholds) == 1)
    assert overlap(store_of(APART), Policy(point)) == 0
    other = (0.512,)
    moved = replace(point, thresholds=other)
    Policy.from_point(moved).save(tmp_path / "other.json")
    loaded = Policy.load(tmp_path / "other.json")
    for one in (Policy(moved), moved, loaded):
        assert overlap(store_of(APART), one) is None
        assert overlap(store_of(FIRST), one) == 300


def test_out_of_fold_outputs_certify_nothing(tmp_path):
    front = search(store_of(FIRST))
    kept = store_of(APART)
    folded = LogitStore.create(tmp_path, kept.labels, kept.sample_ids)
    for name, cost in {"a": 1.0, "b": 5.0}.items():
        folded.add(name, kept.logits(name), macs=cost, folds=2 if name == "b" else None)
    assert "folds" not in folded.cost_names
    for call in (lambda: certify(folded, front, 0.3), lambda: to_label(folded, front)):
        with pytest.raises(ValueError, match="'b' are out of fold: 2 networks .* Certify the netw"):
            call()


def test_repeated_ids_are_refused():
    twice = store_of().take(np.arange(1200) // 2)
    for call in (lambda: certify(twice, cl.Point(("b",), ()), 0.3), lambda: refuse_repeats(twice)):
        with pytest.raises(ValueError, match="600 of the 1200 samples repeat others"):
            call()


@pytest.mark.parametrize("errors", [19, 20])
@pytest.mark.parametrize("all_known", [True, False])
def test_labels_that_are_all_a_models_answers_are_refused_if_the_reference_errs(errors, all_known):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 3, 400)
    labels = numbers.astype(str)
    large = np.where(np.arange(400) < errors, (numbers + 1) % 3, numbers).astype(str)
    ids = [f"q{row}" for row in range(400)]
    confidence = rng.random((2, 400))
    predictions = [labels, large]
    table = cl.ScoreTable(None, confidence, [1, 5], ["s", "l"], ids, predictions, labels)
    point = cl.Point(("s", "l"), (0.0,), cost_kind="cost", selected_on=())
    options = {}
    if not all_known:
        options["labels"] = dict(zip(ids[:errors], labels[:errors]))
        table = cl.ScoreTable(None, confidence, [1, 5], ["s", "l"], ids, predictions)
    if errors < 20:
        assert certify(table, point, 0.02, reference="l", **options).guarantee
    else:
        with pytest.raises(ValueError, match="the labels are the answers of 's' on all"):
            certify(table, point, 0.02, reference="l", **options)
