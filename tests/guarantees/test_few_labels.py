"""Certificates by few labels, of cost and in groups hold their level, and equal those by all
labels."""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import cascadelib as cl
from cascadelib import LogitStore, Point, ScoreTable, certify, to_label
from cascadelib.guarantees.few_labels import candidates

STORE = LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28", "resnet18_w16@28"])
TUNE = STORE.take(slice(0, 4000))
CHECK = STORE.take(slice(4000, 7000))
TRUTH = dict(zip(CHECK.sample_ids.tolist(), CHECK.labels.tolist()))


@cache
def front_of(method="max_softmax", **options):
    """A front of TUNE, which is searched once."""
    return cl.search(TUNE, 2, method, **options)


def without_labels(store):
    logits = {name: store.output(name) for name in store.models.index}
    macs = store.models["macs"].to_dict()
    return LogitStore.from_arrays(None, logits, macs, sample_ids=store.sample_ids)


def known(ids):
    return {sample: TRUTH[sample] for sample in ids}


@pytest.mark.parametrize(
    "method", ["max_softmax", "max_softmax_mean_softmax", "entropy_most_confident_ts"]
)
@pytest.mark.parametrize("epsilon", [0.002, 0.01])
def test_labels_of_disagreements_give_the_p_values_of_all_labels(method, epsilon):
    front = front_of(method)
    unlabelled = without_labels(CHECK)
    ids = to_label(unlabelled, front, epsilon=epsilon)
    assert 0 < len(ids) < len(CHECK) / 5 and len(set(ids)) == len(ids)
    assert ids.tolist() == to_label(CHECK, front, epsilon=epsilon).tolist()  # labels are not read
    every = certify(CHECK, front, epsilon)
    few = certify(unlabelled, front, epsilon, labels=known(ids))
    assert few.table.equals(every.table) and (few.table["unlabelled"] == 0).all()
    remark = f"Labels are needed for the {len(ids)} samples on which a cascade and the reference"
    assert remark in str(few.terms) and remark in str(few)


@pytest.mark.soak
def test_fewer_labels_never_certify_more():
    unlabelled = without_labels(CHECK)
    ids = to_label(CHECK, front_of(), epsilon=0.02)
    every, none = (
        certify(unlabelled, front_of(), 0.02, labels=known(part)).table for part in (ids, [])
    )
    half = certify(unlabelled, front_of(), 0.02, labels=known(ids[::2])).table
    assert none.equals(certify(unlabelled, front_of(), 0.02).table)
    first = [table["p_value"].iloc[0] for table in (every, half, none)]
    assert (
        first == sorted(first)
        and every["certified"].sum() > half["certified"].sum() >= none["certified"].sum()
    )
    share = none["unlabelled"].iloc[0]
    assert none["lost"].iloc[0] == share > 0  # the disagreement rate
    assert set(to_label(unlabelled, front_of())) > set(ids)


def test_disagreements_are_of_top_1_predictions():
    with pytest.raises(ValueError, match="equal top-1"):
        to_label(CHECK, front_of(score="top2"))
    with pytest.raises(ValueError, match="equal top-1"):
        certify(without_labels(CHECK), front_of(score="top2"), 0.01)
    most = CHECK.models["macs"].idxmax()
    points = [front_of().point(0), cl.Point((most,), ())]
    assert to_label(CHECK, points).tolist() == to_label(CHECK, points, most).tolist()


def test_the_text_states_how_to_get_missing_labels_if_nothing_cheaper_holds():
    ids = to_label(CHECK, front_of(), epsilon=0.005)
    found = certify(without_labels(CHECK), front_of(), 0.005, labels=known(ids[:9]))
    assert "cl.to_label returns the samples that need one" in str(found)
    assert f"the {len(ids) - 9} of them without one count as lost" in str(found.terms)


def test_calls_that_need_labels_refuse_a_store_without_them(tmp_path):
    new = without_labels(CHECK)
    method = cl.Method("max_softmax", temperature=True)
    assert new.labels is None and new.models["top1"].isna().all() and len(new.take([1, 2])) == 2
    needing = [
        lambda: cl.search(new, 2),
        lambda: cl.search(new, 2, cl.Method(ensemble="most_confident")),
        lambda: cl.evaluate(new, front_of().point(0)),
        lambda: method.fit(new),
        lambda: cl.analysis.calibration_table(new, new),
        lambda: new.take([0, 1]).ranks("mlp@28"),
        lambda: cl.bootstrap(new, front_of().point(0), 10),
    ]
    for each in needing:
        with pytest.raises(ValueError, match="labels"):
            each()
    again = new.labelled(CHECK.labels)
    columns = ["top1", "top5", "macs"]
    assert again.models[columns].equals(CHECK.models[columns])
    with pytest.raises(ValueError, match="Pass sample_ids="):
        LogitStore.create(tmp_path / "other", None)


def as_found(certified):
    """The Point of front_of() that was certified, which has not seen the certification split."""
    return next(point for point in front_of().cascades if point == certified)


def test_loss_and_cost_are_certified_together_and_separately():
    alone = certify(CHECK, front_of(), 0.02)
    budget = 1.5 * alone.point.cost
    both = certify(CHECK, front_of(), 0.02, budget=budget)
    cost = certify(without_labels(CHECK), front_of(), budget=budget)
    assert both.certified != () and {"p_value", "cost_here", "lost"} <= set(both.table)
    assert all(
        point.cost <= budget and point in candidates(front_of(), both.reference, 0.02)
        for point in both.certified
    )
    assert "loses at most 2 points of accuracy against" in str(both)
    assert "and costs at most" in str(both)
    assert cost.point.accuracy == max(
        point.accuracy for point in cost.certified
    ) and "loses" not in str(cost)
    assert cl.evaluate(CHECK, cost.point).cost < budget and cost.table["certified"].sum() > 10
    point = as_found(alone.point)
    tight = certify(CHECK, [point], 0.02, reference=alone.reference, budget=point.cost)
    assert tight.certified == () and "and costs at most" in str(tight)


def test_the_p_value_of_groups_is_the_largest_of_the_groups():
    every = certify(CHECK, front_of(), 0.1, groups=CHECK.labels)
    named = certify(CHECK, front_of(), 0.1, groups=[f"class {c}" for c in CHECK.labels])
    assert every.table["p_value"].tolist() == named.table[
        "p_value"
    ].tolist() and "in each of 10 groups" in str(named)
    point = as_found(every.certified[0])
    worst = []
    for c in range(10):
        part = CHECK.take(CHECK.labels == c)
        worst.append(certify(part, [point], 0.1, reference=every.reference).table["p_value"][0])
    assert every.table["p_value"][0] == max(worst) and every.table["group"][0] == int(
        np.argmax(worst)
    )
    few = certify(
        CHECK,
        front_of(),
        0.1,
        groups=CHECK.labels,
        labels=pd.Series(known(to_label(CHECK, front_of(), epsilon=0.1))),
    )
    assert few.table["p_value"].tolist() == every.table["p_value"].tolist()


IN_TWO = Point(("s", "l"), (0.5,), (0.5, 0.5), 0.9, 5.0, 1.0, cost_kind="cost")


def drawn_world(rng, k, loss=0.02):
    """Predictions of three classes. The cascade IN_TWO has this loss and a mean cost of 5."""
    parts = {"right": 0.9 - 2 * loss - 0.04, "wrong": 0.1, "lost": 2 * loss + 0.02, "gained": 0.02}
    kind = rng.choice(4, k, p=list(parts.values()))
    label = rng.integers(0, 3, k)
    confidence = np.stack([rng.random(k), np.zeros(k)])
    large = np.where(np.isin(kind, (0, 2)), label, (label + 1) % 3)
    small = np.where(kind == 2, (label + 2) % 3, np.where(kind == 3, label, large))
    neither = (kind == 1) & (rng.random(k) < 0.3)
    small = np.where(neither, (label + 2) % 3, small)
    return ScoreTable(
        None, confidence, [1.0, 8.0], ("s", "l"), predictions=np.stack([small, large]), labels=label
    )


def labels_of(table, ids):
    return {sample: table.labels[int(sample)] for sample in ids}


WAYS = {
    "few labels": lambda t, e: {"labels": labels_of(t, to_label(t, IN_TWO, "l"))},
    "no labels": lambda t, e: {"labels": {}},
    "and a budget": lambda t, e: {"budget": 6.0},
    "groups": lambda t, e: {"groups": np.arange(len(t)) % 2},
}


@cache
def drawn_worlds(k, draws):
    """Draws that all ways of certifying share."""
    rng = np.random.default_rng(k)
    return [drawn_world(rng, k) for _ in range(draws)]


@pytest.mark.nightly
@pytest.mark.parametrize("way", WAYS)
def test_a_loss_of_epsilon_is_certified_at_most_as_often_as_delta(way):
    draws = 60
    delta = 0.2
    tables = drawn_worlds(500, draws)
    found = [
        certify(t, IN_TWO, 0.02, delta, "l", **WAYS[way](t, 0.02)).certified != () for t in tables
    ]
    assert sum(found) <= binom.ppf(0.999, draws, delta)
    easier = [
        certify(t, IN_TWO, 0.08, delta, "l", **WAYS[way](t, 0.08)).certified != ()
        for t in tables[:10]
    ]
    assert way == "no labels" or np.mean(easier) > 0.5


def test_the_loss_of_f1_is_certified():
    three = drawn_world(np.random.default_rng(0), 6000, 0.01)
    is_first = (three.labels == "0").astype(int)
    said = (three.predictions == "0").astype(int)
    two = replace(three, labels=is_first, predictions=said, correct=None)
    point = replace(IN_TWO, score="f1")
    found = certify(two, point, 0.1, reference="l")
    assert found.point == point and "at most 10 points of F1 of class '1'" in str(found)
    alone = replace(point, models=("l",), thresholds=())
    loss = cl.evaluate(two, alone).accuracy - cl.evaluate(two, point).accuracy
    assert found.table["accuracy_loss"][0] == pytest.approx(loss)
    assert certify(two, point, 0.001, reference="l").certified == ()
    with pytest.raises(ValueError, match="equal top-1"):
        certify(two, point, 0.1, reference="l", labels={})
