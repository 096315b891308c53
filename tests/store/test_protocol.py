"""One Protocol for every store: nobody asks which kind it is, and a user's own class is one too."""

import re
from pathlib import Path

import numpy as np
import pytest

import cascadelib as cl
from cascadelib.store import Store
from cascadelib.store.score_table import ScoreTable
from tools.elsewhere import check_same_task


class Fees:
    """A user's own store: whose numbers lie in a table, here, and would be asked for elsewhere."""

    has_outputs, path = False, None

    def __init__(self, table):
        self.table, self.origin, self.models = table, table.origin, table.models

    def __len__(self):
        return len(self.table)

    def outcome(self, names, method, score):
        return self.table.outcome(names, method, score)

    def positives(self):
        return self.table.positives()

    def costs(self, kind):
        return self.table.costs(kind)

    def sample_costs(self, kind):
        return self.table.sample_costs(kind)

    def take(self, indices):
        return Fees(self.table.take(indices))

    def select(self, names):
        return Fees(self.table.select(names))


@pytest.fixture
def table():
    rng = np.random.default_rng(5)
    return ScoreTable(
        rng.random((3, 400)) < [[0.6], [0.7], [0.9]], rng.random((3, 400)).round(2), [1, 4, 20]
    )


@pytest.fixture
def store():
    rng = np.random.default_rng(6)
    logits = {name: rng.normal(size=(90, 3)) for name in ("small", "large")}
    return cl.LogitStore.from_arrays(rng.integers(0, 3, 90), logits, macs={"small": 1, "large": 9})


def test_both_stores_keep_the_protocol(table, store):
    assert isinstance(table, Store) and isinstance(store, Store)
    assert not isinstance("a path", Store) and not isinstance(cl.search(table), Store)


def test_a_class_of_ones_own_is_searched_and_evaluated_as_the_table_is(table):
    own = Fees(table)
    ours, theirs = cl.search(own, (1, 2, 3)), cl.search(table, (1, 2, 3))
    assert ours.table.equals(theirs.table)
    point = cl.pick(ours, "max_improvement")
    assert cl.evaluate(own, point).accuracy == point.accuracy
    assert (
        cl.evaluate(
            own.take([0, 3, 5]).select(["model 0", "model 2"]), cl.pick(cl.search(own, 1), budget=1)
        ).cost
        == 1
    )


def test_a_table_and_logits_of_the_same_models_can_be_compared(table, store):
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


def test_nothing_in_the_package_asks_which_kind_of_store_it_is():
    for path in Path(cl.__file__).parent.rglob("*.py"):
        asked = re.search(
            r"isinstance\([\w.]+, (ScoreTable|LogitStore)\)|hasattr\((self\.)?store,",
            path.read_text(),
        )
        assert not asked, (path, asked)
