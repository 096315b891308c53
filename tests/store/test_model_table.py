"""The table of models is sorted by cost, and only numbers that are costs can be searched by."""

import numpy as np
import pytest
from toy_store import LABELS, LOGITS

from cascadelib import search
from cascadelib.figures.cost_kinds import COSTS, Cost
from cascadelib.store.logit_store import LogitStore


def test_order_is_by_macs_then_seconds_then_age():
    def order(macs, seconds):
        return list(LogitStore.from_arrays(LABELS, LOGITS, macs, seconds).models.index)

    assert order({"a": 3, "b": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}) == ["b", "c", "a"]
    assert order({"a": 3, "b": 1}, {"a": 2, "b": 3, "c": 1}) == ["c", "a", "b"]
    assert order({"a": 3, "b": 1}, None) == ["a", "b", "c"]
    assert order({"a": 1, "b": 1, "c": 1}, None) == ["a", "b", "c"]


def test_costs_are_in_the_order_of_models_and_complete():
    store = LogitStore.from_arrays(LABELS, LOGITS, {"a": 3, "b": 1, "c": 2}, {"a": 0.5})
    assert list(store.costs("macs")) == [1, 2, 3] and store.costs("macs").dtype == np.float64
    with pytest.raises(ValueError, match="seconds.*'b'.*'c'"):
        store.costs("seconds")
    assert list(store.select(["a"]).costs("seconds")) == [0.5]
    for wrong in ("mac", "top1"):
        with pytest.raises(ValueError, match="unknown cost.*'macs'"):
            store.costs(wrong)


def test_the_only_cost_is_the_default():
    def default(**costs):
        return LogitStore.from_arrays(LABELS, LOGITS, **costs)

    values = {"a": 3, "b": 1, "c": 2}
    for kind in ("macs", "seconds", "published_seconds", "joules"):
        store = default(**{kind: values})
        assert store.default_cost == kind and list(store.models.index) == ["b", "c", "a"]
        assert store.costs(kind).tolist() == [1, 2, 3]
    assert default(joules=values, macs=values).default_cost == "macs"
    assert default(joules=values, seconds=values).default_cost == "seconds"
    assert default().default_cost == "macs"
    several = default(joules=values, euros=values)
    assert several.default_cost == "macs"
    assert list(several.models.index) == ["a", "b", "c"]
    with pytest.raises(
        ValueError, match="macs must be positive.*or pass cost=, one of .*'euros', 'joules'"
    ):
        search(several, 2)
    assert search(several, 2, cost="euros").cost_kind == "euros"


def test_metadata_that_is_not_a_cost_is_refused_as_a_cost(monkeypatch):
    store = LogitStore.from_arrays(LABELS, LOGITS, {"a": 3, "b": 1, "c": 2})
    store.add("z", LOGITS["a"], macs=9, joules=0, image_size=224)
    for wrong in ("image_size", "top1", "parameters"):
        with pytest.raises(ValueError, match="unknown cost.*'macs'"):
            search(store, 2, cost=wrong)
    with pytest.raises(ValueError, match=r"joules must be positive.*'z' \(0\)"):
        search(store, 2, cost="joules")
    monkeypatch.setitem(COSTS, "joules", Cost("J", "joules a sample"))
    with pytest.raises(ValueError, match=r"joules.*'z' \(0\)"):
        store.costs("joules")
    with pytest.raises(ValueError, match="'y': joules must be a positive number, not 'x'"):
        store.add("y", LOGITS["a"], joules="x")
