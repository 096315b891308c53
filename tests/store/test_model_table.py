"""The table of a store's models, from headers: its order, and which numbers are costs."""

from cascadelib.store.model_table import cost_names_of, model_table

HEADERS = {
    "b": {"order": 1, "top1": 0.5, "top5": 1.0, "joules": 2, "image_size": 224, "amp": True},
    "a": {"order": 0, "top1": 0.7, "top5": 1.0, "joules": 3, "extraction": {"amp": False}},
}


def test_costs_are_numbers_that_are_nothing_else():
    assert cost_names_of(HEADERS.values()) == ["joules"]
    more = [*HEADERS.values(), {"seconds": 1.0, "macs": 2, "dollars": 0.1}]
    assert cost_names_of(more) == ["macs", "seconds", "dollars", "joules"]


def test_models_are_ordered_by_the_only_cost_else_as_they_were_added():
    assert list(model_table(HEADERS).index) == ["b", "a"]
    priced = {name: header | {"dollars": 1} for name, header in HEADERS.items()}
    assert list(model_table(priced).index) == ["a", "b"]


def test_nested_and_reserved_metadata_stay_in_the_headers():
    columns = set(model_table(HEADERS))
    assert {"top1", "top5", "macs", "joules", "image_size"} <= columns
    assert not columns & {"order", "extraction"}
