"""The conformance suite accepts every store and names the rule that a broken one violates."""

import numpy as np
import pytest
from user_store import Fees, with_predictions

import cascadelib as cl
from cascadelib.store.conformance import check_conformance


@pytest.fixture
def store():
    rng = np.random.default_rng(6)
    logits = {name: rng.normal(size=(90, 3)) for name in ("small", "large")}
    return cl.LogitStore.from_arrays(rng.integers(0, 3, 90), logits, macs={"small": 1, "large": 9})


def test_every_kind_of_store_conforms(table, store):
    check_conformance(lambda: store, cl.Method("max_softmax"))
    check_conformance(lambda: store.take(slice(0, 50)), cl.Method("entropy"))
    check_conformance(lambda: table)
    check_conformance(with_predictions)
    check_conformance(lambda: Fees(table))
    check_conformance(lambda: Fees(with_predictions()))


def test_a_store_with_a_custom_kind_of_cost_conforms(tmp_path):
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 30)
    logits = {name: rng.normal(size=(30, 3)) for name in ("costly", "cheap")}
    joules = {"costly": 7.5, "cheap": 0.5}
    memory = cl.LogitStore.from_arrays(labels, logits, joules=joules)
    disk = cl.LogitStore.create(tmp_path / "s", labels)
    for name in logits:
        disk.add(name, logits[name], joules=joules[name])
    for own in (memory, disk, cl.LogitStore(disk.path)):
        check_conformance(lambda own=own: own, cl.Method("max_softmax"))
        assert own.default_cost == "joules" and list(own.models.index) == ["cheap", "costly"]
        front = cl.search(own, 2)
        assert front.cost_kind == "joules"
        assert front.table.equals(cl.search(memory, 2, cost="joules").table)
        point = cl.pick(front, budget=8, caution=0)
        assert cl.evaluate(own, point).accuracy == point.accuracy


BROKEN = {
    "models goes cheapest first": {"costs": lambda self, cost: -np.sort(-self.table.costs(cost))},
    "four samples or more": {"__len__": lambda self: 3},
    "has the outcomes of its samples": {"take": lambda self, rows: Shuffled(self.table.take(rows))},
    "these models": {"select": lambda self, names: self},
    "a member of": {"outcome": None},
}


class Shuffled(Fees):
    """A part with the outcomes of other samples."""

    def outcome(self, names, method, score):
        def stage(prefix):
            correct, confidence = self.table.outcome(names, method, score)(prefix)
            return correct, np.roll(confidence, 1)

        return stage


@pytest.mark.parametrize("costs", [[-1, 4, 20], [1, 4, np.inf], [-np.inf, 4, 20], [1, 4, np.nan]])
def test_costs_that_are_negative_or_not_finite_do_not_conform(table, costs):
    own = type("Own", (Fees,), {"costs": lambda self, cost: np.array(costs)})
    with pytest.raises(AssertionError, match="costs are finite, none negative"):
        check_conformance(lambda: own(table))


def test_a_free_model_conforms(table):
    free = cl.ScoreTable(table.correct, table.confidence, [0.0, 0.5, 20.0])
    check_conformance(lambda: Fees(free))


@pytest.mark.parametrize("sentence", BROKEN)
def test_the_violated_rule_is_named(table, sentence):
    own = type("Own", (Fees,), BROKEN[sentence])
    with pytest.raises(AssertionError, match=sentence):
        check_conformance(lambda: own(table))
