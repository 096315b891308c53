"""All functions accept any class with the members of the Protocol of stores."""

import re
from pathlib import Path

import numpy as np
import pytest
from tiny_stores import noisy_store
from user_store import Fees, with_predictions

import cascadelib as cl
from cascadelib.analysis.generalization import check_same_task
from cascadelib.evaluation.evaluation import check_store
from cascadelib.store import Store
from cascadelib.store.score_table import ScoreTable


@pytest.fixture
def store():
    return noisy_store(k=90, models=2, classes=3)


def test_both_stores_implement_the_protocol(table, store):
    assert isinstance(table, Store) and isinstance(store, Store)
    assert not isinstance("a path", Store) and not isinstance(cl.search(table), Store)


@pytest.mark.parametrize("kind", ["table", "store", "predictions", "user's"])
def test_parts_of_a_store_have_its_outcomes_and_costs(kind, table, store):
    """Outcomes depend neither on other models nor on earlier calls."""
    kinds = {"store": store, "predictions": with_predictions(), "user's": Fees(table)}
    full = kinds.get(kind, table)
    method = cl.Method() if kind == "store" else None
    names = list(full.models.index)
    rows = np.arange(len(full))
    costs = full.costs(full.default_cost)
    assert (np.diff(costs) >= 0).all() and np.isfinite(costs).all()
    for indices in ([2, 0, 0], rows % 2 == 0, slice(1, 3)):
        for chosen in (names, names[:1], names[-2:]):
            part = full.take(indices).select(chosen)
            assert sorted(part.models.index) == sorted(chosen)
            assert part.origin.sample_ids.tolist() == full.origin.sample_ids[rows[indices]].tolist()
            stage = part.outcome(chosen, method, "top1")
            for place, name in enumerate(chosen):
                single = full.outcome([name], method, "top1")((0,))
                for values, expected in zip(stage((place,)), single):
                    np.testing.assert_array_equal(values, expected[indices])
                assert np.mean(stage((place,))[0]) == pytest.approx(part.models["top1"][name])


def test_to_label_accepts_a_custom_store():
    whole = with_predictions()
    point = cl.pick(cl.search(whole.take(slice(30)), 2), accuracy=0.7, caution=0)
    theirs = whole.take(slice(30, None))
    expected = cl.to_label(theirs, [point], reference="model 2")
    found = cl.to_label(Fees(theirs), [point], reference="model 2")
    assert len(expected) and found.tolist() == expected.tolist()


def test_confidences_are_fitted_on_a_custom_store():
    theirs = with_predictions()
    method = cl.Method(confidence="isotonic_by_label")
    found = [cl.search(store, 2, method.fit(store)) for store in (theirs, Fees(theirs))]
    assert found[0].table.equals(found[1].table)


def test_a_custom_store_gives_the_front_of_its_table(table):
    own = Fees(table)
    ours = cl.search(own, (1, 2, 3))
    theirs = cl.search(table, (1, 2, 3))
    assert ours.table.equals(theirs.table)
    point = cl.pick(ours, "max_improvement")
    assert cl.evaluate(own, point).accuracy == point.accuracy


def test_a_table_and_a_logit_store_of_the_same_models_are_of_one_task(table, store):
    names = list(store.models.index)
    given = ScoreTable(
        np.ones((len(names), 4), bool),
        np.ones((len(names), 4)),
        np.arange(1, len(names) + 1),
        names,
    )
    check_same_task(store, given)
    check_same_task(given, store)
    with pytest.raises(ValueError, match="model of the other split"):
        check_same_task(store, table)


def test_f1_of_a_table_is_refused(table):
    with pytest.raises(ValueError, match="F1 needs labels and predictions"):
        table.positives()


def test_the_package_does_not_test_for_the_type_of_a_store():
    for path in Path(cl.__file__).parent.rglob("*.py"):
        asked = re.search(
            r"isinstance\([\w.]+, (ScoreTable|LogitStore)\)|hasattr\((self\.)?store, (?!.cascades)",
            path.read_text(),
        )
        assert not asked, (path, asked)


def test_what_is_no_store_is_refused(table):
    check_store(Fees(table))
    for other in ("a path", cl.search(table)):
        with pytest.raises(TypeError, match="a LogitStore or a ScoreTable is needed"):
            check_store(other)
