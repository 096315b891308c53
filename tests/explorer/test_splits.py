"""Splits of the explorer, and the available methods and scores."""

import numpy as np
import pytest
from explorer_stores import OTHER, STORE, made

import cascadelib as cl
from cascadelib.explorer.splits import ExploredSplits


def test_many_classes_add_top5_accuracy():
    store = made(k=60, classes=1000, models=2)
    explorer = cl.explore(store, images=np.zeros((60, 3, 8, 9), np.float32))
    assert "top5" in explorer.splits.scores and set(explorer.runs) == {"validation"}


def test_two_classes_can_be_scored_by_f1():
    store = made(k=300, classes=2)
    front = cl.search(store, 2, score="f1")
    explorer = cl.explore(store, made(1, 200, 2), front=front)
    explorer.go({"goal": "max_improvement"})
    expected = cl.pick(front, "max_improvement", caution=0)
    assert explorer.point.score == "f1" and explorer.point.thresholds == expected.thresholds
    assert explorer.point.accuracy == expected.accuracy


def test_the_method_of_a_front_is_fitted_on_all_models():
    """The page also shows models that were no candidates of the front."""
    some = list(STORE.models.index[:2])
    front = cl.search(STORE, 2, "max_softmax_most_confident_ts", models=some)
    explorer = cl.explore(STORE, OTHER, front=front)
    explorer.go({"goal": "max_improvement"})
    assert explorer.point.models == cl.pick(front, "max_improvement", caution=0).models


@pytest.mark.parametrize("graded", [False, True])
def test_a_score_table_has_one_method(graded):
    rng = np.random.default_rng(0)
    correct = rng.random((3, 50)) if graded else rng.random((3, 50)) < 0.7
    table = cl.ScoreTable(correct, rng.integers(0, 9, (3, 50)), [1.0, 3.0, 9.0], ["a", "b", "c"])
    explorer = cl.explore(table, table.take(slice(0, 30)), images=["some text"] * 50)
    explorer.sliders[0].value = 4
    result = cl.evaluate(table, explorer.point)
    assert (explorer.point.accuracy, explorer.point.cost) == (result.accuracy, result.cost)
    assert explorer.choice.method == "confidence of the table" and "some text" in explorer.details


NAMES = ("m0", "m1", "m2")


def thirds():
    """Three parts of one split."""
    store = made(k=3000, models=3)
    return tuple(store.take(slice(i, None, 3)) for i in range(3))


def test_a_held_out_split_with_samples_of_a_certificate_is_refused():
    choose, certify, held_out = thirds()
    front = cl.search(choose, 2)
    certificate = cl.certify(certify, front, 0.2, 0.1)
    assert certificate.certified
    splits = ExploredSplits(choose, held_out, certificate=certificate)
    assert splits.first == "max_softmax"
    for wrong in (certify, choose):
        with pytest.raises(
            ValueError, match="held_out shares 1000 samples with those that selected or"
        ):
            ExploredSplits(choose, wrong, certificate=certificate)
    with pytest.raises(ValueError, match="model of the certificate"):
        ExploredSplits(choose.select(["m0", "m1"]), certificate=certificate)


def test_the_page_gets_the_rows_of_certificates_with_one_guarantee():
    """Each certificate is about one second threshold."""
    choose, certify, held_out = thirds()
    method = cl.METHODS["max_softmax"].fit(choose)
    rows = [
        [cl.Point(NAMES, (first, second), method=method) for first in (0.95, 0.7, 0.4)]
        for second in (0.9, 0.6)
    ]
    certificates = [cl.certify(certify, row, 0.15, 0.05, "m2") for row in rows]
    details = cl.explore(choose, held_out, certificate=certificates).describe_certificates()
    certified = [point.thresholds for each in certificates for point in each.certified]
    assert len({second for _, second in certified}) > 1
    assert [tuple(row[1]) for row in details["rows"]] == certified
    assert sum(details["deltas"]) == pytest.approx(0.1) and details["samples"] == 1000
    foreign = cl.certify(certify, rows[0], 0.3, 0.05, "m2")
    with pytest.raises(ValueError, match="have different guarantees"):
        cl.explore(choose, certificate=[certificates[0], foreign])


def test_both_splits_may_order_their_models_differently():
    other = OTHER.select(["m4", "m0", "m2", "m1", "m3"])
    explorer = cl.explore(STORE, other)
    assert explorer.runs["held-out"].accuracy == cl.evaluate(OTHER, explorer.point).accuracy
