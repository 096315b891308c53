"""Samples that took part in finding a cascade are found, by their ids or by the models' answers."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tables_of_scores import status_of

from cascadelib import LogitStore, Method, Policy, certify, evaluate, pick, search, to_label
from cascadelib.analysis.shift import front_on

TEXT = np.array([f"img{row}" for row in range(600)])
NUMBERS = np.arange(600)
FIRST = slice(0, 300)
LATER = slice(150, 450)
APART = slice(300, 600)


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
    """The number of shared samples in the error of certify, or the status of its premise."""
    try:
        found = certify(store, cascades, 0.3, reference="b")
    except ValueError as error:
        return int(re.search(rf"(\d+) of the {len(store)} samples took part", str(error))[1])
    status = status_of(found, "overlap")
    assert ("overlap" in str(found)) == (status != "verified")
    return status


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


@pytest.mark.parametrize(("ids", "there"), [(None, None), (TEXT, None), (None, TEXT)])
@pytest.mark.parametrize("split", ["", "val", "test"])
def test_without_ids_the_answers_are_compared(ids, there, split):
    front = search(store_of(FIRST, ids, dataset="d", split="val"))
    assert overlap(store_of(LATER, there, dataset="d", split=split), front) == 150
    assert overlap(store_of(APART, there, dataset="d", split=split), front) == "not verifiable"


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
    assert overlap(whole.take(np.random.default_rng(1).permutation(300)), cascades) == 300
    if ids is not None or "file" not in form:
        assert overlap(whole.take(APART), cascades) == "verified"
        assert overlap(whole.take(np.random.default_rng(1).permutation(310) + 290), cascades) == 10


FITTED = [
    Method(confidence="auto"),
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
        assert overlap(new, cascades) == "verified"


def test_a_method_with_an_unknown_fit_is_not_verifiable():
    method = Method(temperature=True, temperatures={"a": 1.5, "b": 1.2})
    assert overlap(store_of(APART), search(store_of(FIRST), 2, method)) == "not verifiable"


def test_a_front_evaluated_on_another_split_has_seen_its_labels():
    whole = store_of()
    choose, shifted, new = (whole.take(slice(start, start + 200)) for start in (0, 200, 400))
    front = front_on(shifted, search(choose, 2))
    assert overlap(choose, front) == overlap(shifted, front) == 200
    assert overlap(new, front) == "verified"


def test_measured_and_certified_points_are_not_certified_again_on_the_same_split():
    """The best of many measured points would be certified, falsely more often than δ."""
    whole = store_of()
    chosen, check, rest = (whole.take(slice(start, start + 200)) for start in (0, 200, 400))
    front = search(chosen, 2)
    assert overlap(check, evaluate(check, front.point(-1)).measured_point) == 200
    found = certify(check, front, 0.3, reference="b")
    for again in (found, found.point, list(found.certified), Policy(found.point)):
        assert overlap(check, again) == 200
    assert overlap(rest, found.point) == "verified"


def test_replaced_thresholds_are_not_verifiable(tmp_path):
    """Such thresholds may have been tried on the certification split."""
    front = search(store_of(FIRST), 2)
    point = next(point for point in front.cascades if len(point.thresholds) == 1)
    assert overlap(store_of(APART), Policy(point)) == "verified"
    other = (0.512,)
    Policy.from_point(Policy(point, other)).save(tmp_path / "other.json")
    loaded = Policy.load(tmp_path / "other.json")
    for one in (Policy(point, other), replace(point, thresholds=other), loaded):
        assert overlap(store_of(APART), one) == "not verifiable"
        assert overlap(store_of(FIRST), one) == 300


def test_out_of_fold_outputs_certify_nothing(tmp_path):
    front = search(store_of(FIRST))
    kept = store_of(APART)
    folded = LogitStore.create(tmp_path, kept.labels, kept.sample_ids)
    for name, cost in {"a": 1.0, "b": 5.0}.items():
        folded.add(name, kept.logits(name), macs=cost, folds=2 if name == "b" else None)
    assert "folds" not in folded.cost_names
    for call in (lambda: certify(folded, front, 0.3), lambda: to_label(folded, front)):
        with pytest.raises(ValueError, match="'b' are out of fold: 2 networks .* certify the netw"):
            call()
    accepted = certify(folded, front, 0.3, accept=("overlap",))
    assert status_of(accepted, "overlap") == "violated"


def test_a_cascade_that_labels_of_a_draw_chose_names_this_draw(tmp_path):
    """If draw= is forgotten, since other samples are not needed."""
    store = store_of()
    draw = to_label(store, models="all", seed=5)
    label_of = dict(zip(store.sample_ids.tolist(), store.labels.tolist()))
    labels = {name: label_of[name] for name in draw.ids.tolist()}
    front = search(store, labels={name: labels[name] for name in draw.ids[:40]}, draw=draw)
    point = pick(front, loss=0.1, caution=0)
    Policy.from_point(point).save(tmp_path / "policy.json")
    again = re.escape("pass draw=cl.to_label(store, models=['a', 'b'], seed=5)")
    for cascades in (front, point, Policy.load(tmp_path / "policy.json")):
        with pytest.raises(ValueError, match=again):
            certify(store, cascades, 0.3, labels=labels)
        with pytest.raises(ValueError, match=again):
            to_label(store, cascades)
