"""A kind of cost is one object: its words, and everything that takes it."""

import pytest
from tables_of_scores import noisy_store

import cascadelib as cl
from cascadelib.cost_kinds import COSTS, Cost


def test_one_object_adds_a_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COSTS, "joules", Cost("joules", "J", "joules a sample"))
    other = noisy_store(k=240)
    store = cl.LogitStore.from_arrays(other.labels, {})
    for i, name in enumerate(other.models.index):
        store.add(name, other.logits(name), macs=10.0**i, joules=3.0 ** (3 - i))
    front = cl.search(store, 2, cost="joules")
    assert front.cost_kind == "joules"
    assert front.singles.index[0] == "m3"
    figure = cl.figures.front_figure({"pairs": front.table}, front.singles, "joules")
    assert figure.layout.xaxis.title.text == "joules a sample"
    assert cl.explore(store).splits.costs == ["macs", "joules"]


def test_a_kind_is_found_by_its_name() -> None:
    assert all(name == kind.name for name, kind in COSTS.items())
