"""One Protocol for every store: nobody asks which kind it is, and a user's own class is one too."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import cascadelib as cl
from cascadelib.analysis.generalization import check_same_task
from cascadelib.store import Store
from cascadelib.store.conformance import check_store
from cascadelib.store.score_table import ScoreTable


class Fees:
    """A user's own store: whose numbers lie in a table, here, and would be asked for elsewhere."""

    has_outputs = False
    path = None
    class_count = None
    cost_names = ["cost"]
    default_cost = "cost"

    def __init__(self, table):
        self.table = table
        self.origin = table.origin

    @property
    def models(self):
        return self.table.models

    def __len__(self):
        return len(self.table)

    @property
    def has_predictions(self):
        return self.table.has_predictions

    def metadata(self, name):
        return {}

    def asked(self, method, score, cost):
        return method, "top1", "cost"

    def column(self, name, what):
        return self.table.column(name, what)

    def predicted(self, name):
        return self.table.predicted(name)

    def labelled(self, labels):
        return Fees(self.table.labelled(labels))

    def outcome(self, names, method, score):
        return self.table.outcome(names, method, score)

    def positives(self):
        return self.table.positives()

    def costs(self, cost):
        return self.table.costs(cost)

    def sample_costs(self, cost):
        return self.table.sample_costs(cost)

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


def with_predictions():
    rng = np.random.default_rng(7)
    labels = rng.choice(["yes", "no", "maybe"], 60)
    wrong = rng.choice(["yes", "no", ""], (3, 60))
    known = rng.random((3, 60)) < [[0.5], [0.7], [0.8]]
    return ScoreTable(
        None,
        rng.random((3, 60)),
        rng.random((3, 60)) + [[1], [4], [9]],
        sample_ids=[f"q{i}" for i in range(60)],
        predictions=np.where(known, labels, wrong),
        labels=labels,
    )


def test_every_kind_of_store_conforms(table, store):
    check_store(lambda: store, cl.Method("max_softmax"))
    check_store(lambda: store.take(slice(0, 50)), cl.Method("entropy"))
    check_store(lambda: table)
    check_store(with_predictions)
    check_store(lambda: Fees(table))
    check_store(lambda: Fees(with_predictions()))


def test_a_store_of_a_kind_of_cost_of_its_users_own_conforms(tmp_path):
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 30)
    logits = {name: rng.normal(size=(30, 3)) for name in ("costly", "cheap")}
    joules = {"costly": 7.5, "cheap": 0.5}
    memory = cl.LogitStore.from_arrays(labels, logits, joules=joules)
    disk = cl.LogitStore.create(tmp_path / "s", labels)
    for name in logits:
        disk.add(name, logits[name], joules=joules[name])
    for own in (memory, disk, cl.LogitStore(disk.path)):
        check_store(lambda own=own: own, cl.Method("max_softmax"))
        assert own.default_cost == "joules" and list(own.models.index) == ["cheap", "costly"]
        front = cl.search(own, 2)
        assert front.cost_kind == "joules"
        assert front.table.equals(cl.search(memory, 2, cost="joules").table)
        point = cl.pick(front, budget=8)
        assert cl.evaluate(own, point).accuracy == point.accuracy


BROKEN = {
    "models goes cheapest first": {"costs": lambda self, cost: -np.sort(-self.table.costs(cost))},
    "four samples or more": {"__len__": lambda self: 3},
    "has the outcomes of its samples": {"take": lambda self, rows: Shuffled(self.table.take(rows))},
    "these models": {"select": lambda self, names: self},
    "a member of": {"outcome": None},
}


class Shuffled(Fees):
    """A part whose outcomes are those of other samples."""

    def outcome(self, names, method, score):
        def stage(prefix):
            correct, confidence = self.table.outcome(names, method, score)(prefix)
            return correct, np.roll(confidence, 1)

        return stage


@pytest.mark.parametrize("sentence", BROKEN)
def test_a_store_that_breaks_a_promise_is_told_which(table, sentence):
    own = type("Own", (Fees,), BROKEN[sentence])
    with pytest.raises(AssertionError, match=sentence):
        check_store(lambda: own(table))


def test_labels_to_ask_for_are_found_for_a_class_of_ones_own():
    whole = with_predictions()
    point = cl.pick(cl.search(whole.take(slice(30)), 2), accuracy=0.7)
    theirs = whole.take(slice(30, None))
    expected = cl.to_label(theirs, [point], reference="model 2")
    found = cl.to_label(Fees(theirs), [point], reference="model 2")
    assert len(expected) and found.tolist() == expected.tolist()


COLUMNS_OF = {"logistic": ("confidence", "length", "agreement"), "isotonic_by_label": ("length",)}


@pytest.mark.parametrize("kind", COLUMNS_OF)
def test_confidences_are_fitted_for_a_class_of_ones_own(kind):
    rng = np.random.default_rng(9)
    given = with_predictions()
    theirs = dataclasses.replace(given, columns={"length": rng.integers(1, 9, (3, 60))})
    method = cl.Method(confidence=kind, columns=COLUMNS_OF[kind])
    found = [cl.search(store, 2, method.fit(store)) for store in (theirs, Fees(theirs))]
    assert found[0].table.equals(found[1].table)
    with pytest.raises(ValueError, match="unknown column 'lenght'; nearest: 'length'"):
        cl.Method(confidence=kind, columns=("lenght",)).fit(Fees(theirs))


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
