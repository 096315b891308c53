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


def without_labels(store, path=None):
    if path is None:
        logits = {name: store.output(name) for name in store.models.index}
        return LogitStore.from_arrays(
            None, logits, store.models["macs"].to_dict(), sample_ids=store.sample_ids
        )
    new = LogitStore.create(path, None, store.sample_ids, store.classes)
    for name in store.models.index:
        new.add(name, store.output(name), macs=store.models.loc[name, "macs"])
    return LogitStore(path)


def known(ids):
    return {sample: TRUTH[sample] for sample in ids}


@pytest.mark.parametrize(
    "method", ["max_softmax", "max_softmax_mean_softmax", "entropy_most_confident_ts"]
)
@pytest.mark.parametrize("epsilon", [0.002, 0.01])
def test_labels_of_disagreements_give_the_p_values_of_all_labels(method, epsilon, tmp_path):
    front = front_of(method)
    unlabelled = without_labels(CHECK, tmp_path / "new")
    ids = to_label(unlabelled, front, epsilon=epsilon)
    assert 0 < len(ids) < len(CHECK) / 5 and len(set(ids)) == len(ids)
    assert ids.tolist() == to_label(CHECK, front, epsilon=epsilon).tolist()  # labels are not read
    every = certify(CHECK, front, epsilon)
    few = certify(unlabelled, front, epsilon, labels=known(ids))
    assert few.table.equals(every.table) and (few.table["unlabelled"] == 0).all()
    design = f"labelled by the caller ({len(ids)} of {len(ids)} labels that can matter)"
    assert design in str(few.terms) and design in str(few)


@pytest.mark.soak
def test_fewer_labels_never_certify_more():
    unlabelled = without_labels(CHECK)
    ids = to_label(CHECK, front_of(), epsilon=0.02)
    every, none = (
        certify(unlabelled, front_of(), 0.02, labels=known(part)).table for part in (ids, [])
    )
    order = to_label(unlabelled, models="all", seed=0)
    first = to_label(unlabelled, front_of(), epsilon=0.02, draw=order)[: len(ids) // 2]
    draw = certify(unlabelled, front_of(), 0.02, labels=known(first), draw=order).table
    assert none.equals(certify(unlabelled, front_of(), 0.02).table)
    first = [table["p_value"].iloc[0] for table in (every, draw, none)]
    assert (
        first == sorted(first)
        and every["certified"].sum() > draw["certified"].sum() > none["certified"].sum()
    )
    share = none["unlabelled"].iloc[0]
    assert none["lost"].iloc[0] == share > 0  # the disagreement rate
    all_of_front = set(to_label(unlabelled, front_of()))
    assert (
        all_of_front > set(ids)
        and to_label(unlabelled, front_of().point(0), "resnet18_w16@28").size > 100
    )


def test_labels_of_a_draw_are_the_first_that_to_label_returns():
    draw = to_label(CHECK, models="all")
    ids = to_label(CHECK, front_of(), epsilon=0.01, draw=draw)
    gaps = f"first ones that to_label .*: 2 of the first 7 have no label, such as '{ids[1]}'"
    with pytest.raises(ValueError, match=gaps):
        certify(CHECK, front_of(), 0.01, labels=known(ids[[0, *range(2, 6), 8, 9]]), draw=draw)
    with pytest.raises(ValueError, match="equal top-1"):
        to_label(CHECK, front_of(score="top2"))
    with pytest.raises(ValueError, match="equal top-1"):
        certify(without_labels(CHECK), front_of(score="top2"), 0.01)
    most = CHECK.models["macs"].idxmax()
    points = [front_of().point(0), cl.Point((most,), ())]
    assert to_label(CHECK, points).tolist() == to_label(CHECK, points, most).tolist()


def test_the_text_states_how_to_get_missing_labels_if_nothing_cheaper_holds():
    draw = to_label(CHECK, models="all")
    for options in ({}, {"draw": draw}):
        ids = to_label(CHECK, front_of(), epsilon=0.005, **options)
        found = certify(without_labels(CHECK), front_of(), 0.005, labels=known(ids[:9]), **options)
        assert "cl.to_label returns the samples that need one" in str(found)
        assert f"labelled by the caller (9 of {len(ids)} labels that can matter" in str(found)


def test_calls_that_need_labels_refuse_a_store_without_them(tmp_path):
    new = without_labels(CHECK, tmp_path / "new")
    method = cl.Method("max_softmax", temperature=True)
    assert new.labels is None and new.models["top1"].isna().all() and len(new.take([1, 2])) == 2
    new.verify()
    needing = [
        lambda: cl.search(new, 2),
        lambda: cl.search(new, 2, cl.Method(ensemble="vote")),
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
    assert cl.search(again, 2).table.equals(cl.search(CHECK, 2).table)
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


def table_of(costs=(1.0, 8.0), **options):
    """300 samples, of which the cascade at threshold t defers t."""
    confidence = np.stack([np.arange(300.0), np.zeros(300)])
    points = [
        Point(("s", "l"), (t,), (1 - t / 300, t / 300), 0.9, 2.0, 1.0, cost_kind="cost")
        for t in (20, 24, 27, 29, 31, 33, 36, 40)
    ]
    return ScoreTable(np.ones((2, 300), bool), confidence, costs, ("s", "l"), **options), points


def test_p_values_and_selected_points_equal_those_of_mapie():
    """Numbers of mapie 1.6.0: ltt_procedure(passed / 300, 0.15, 0.1, 300, binary=True) selects
    the first six points with "bonferroni_holm", and the first seven with "fixed_sequence"."""
    theirs = [
        7.064318180056557e-06,
        1.8679935515825255e-04,
        1.3788108849478533e-03,
        4.310431283654064e-03,
    ]
    theirs += [
        1.1701366722833298e-02,
        2.7863453916562253e-02,
        8.173339345092942e-02,
        2.361752478464963e-01,
    ]
    table, points = table_of()
    simultaneous = certify(table, points, delta=0.1, budget=1 + 8 * 0.15, simultaneous=True)
    in_turn = certify(table, points, delta=0.1, budget=1 + 8 * 0.15)
    for found, count in ((simultaneous, 6), (in_turn, 7)):
        np.testing.assert_allclose(found.table["p_value"], theirs, rtol=1e-9)
        assert found.certified == tuple(points[:count])
    backwards = certify(table, points[::-1], delta=0.1, budget=1 + 8 * 0.15, simultaneous=True)
    assert (
        set(backwards.certified) == set(points[:6])
        and not backwards.table["certified"].iloc[:2].any()
    )


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


def drawn_labels(table, count):
    draw = to_label(table, models="all")
    return {"labels": labels_of(table, draw.ids[:count]), "draw": draw}


WAYS = {
    "few labels": lambda t, e: {"labels": labels_of(t, to_label(t, IN_TWO, "l"))},
    "no labels": lambda t, e: {"labels": {}},
    "60 drawn": lambda t, e: drawn_labels(t, 60),
    "and a budget": lambda t, e: {"budget": 6.0},
    "groups": lambda t, e: {"groups": np.arange(len(t)) % 2},
}


@cache
def drawn_worlds(k, draws):
    """Draws that all ways of certifying share."""
    rng = np.random.default_rng(k)
    return [drawn_world(rng, k) for _ in range(draws)]


@pytest.mark.soak
@pytest.mark.parametrize("way", WAYS)
def test_a_loss_of_epsilon_is_certified_at_most_as_often_as_delta(way):
    """A short run of the study in benchmarks/analysis.py, which also has 2,000 samples."""
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
    rng = np.random.default_rng(0)
    halves = [drawn_world(rng, 6000, 0.01) for _ in range(2)]
    two = [
        replace(
            t,
            labels=np.array(t.labels == "0", int),
            predictions=(t.predictions == "0").astype(int),
            correct=None,
        )
        for t in halves
    ]
    point = replace(IN_TWO, score="f1")
    found = certify(two[0], point, 0.1, reference="l")
    assert found.point == point and "at most 10 points of F1 of class '1'" in str(found)
    hits, correct = (evaluate_f1(two[0], names) for names in (("l",), ("s", "l")))
    assert found.table["accuracy_loss"][0] == pytest.approx(hits - correct)
    assert certify(two[0], point, 0.001, reference="l").certified == ()
    with pytest.raises(ValueError, match="equal top-1"):
        certify(two[1], point, 0.1, reference="l", labels={})


def evaluate_f1(table, names):
    point = Point(
        names, (0.5,) * (len(names) - 1), (1.0,), 0.9, 5.0, 1.0, score="f1", cost_kind="cost"
    )
    return cl.evaluate(table, point).accuracy
