"""Check that a class conforms to the Protocol of stores, in the tests of any framework."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from .protocol import Store


def check_conformance(make: Callable[[], Any], method: Any = None) -> None:
    """Check that a store conforms to :class:`cascadelib.store.Store`.

    Parameters
    ----------
    make : callable
        Returns the same store at each call, with at least two models and four samples.
    method : Method, optional
        Required if the store has outputs of models.

    Raises
    ------
    AssertionError
        If the store does not conform. The message states the first violated rule.
    """
    store = make()
    assert isinstance(store, Store), "a member of cascadelib.store.Store is missing"
    assert len(store) >= 4, "make() returns four samples or more"
    names = list(store.models.index)
    rows = np.arange(len(store))
    assert len(names) >= 2, "make() returns two models or more"
    default = store.resolve_options(None, None, None)
    assert default[1:] == ("top1", store.default_cost), "the defaults are top-1 and default_cost"
    assert store.resolve_options(*default) == default, (
        "resolve_options() returns its result unchanged"
    )
    _check_part(store, store, names, rows, method, "the store")
    for indices in ([2, 0, 0], rows % 2 == 0, slice(1, 3)):
        part = store.take(indices)
        _check_part(part, store, names, rows[indices], method, f"take({indices!r})")
    for chosen in ([names[0]], [names[-1], names[0]]):
        part = store.select(chosen)
        _check_part(part, store, chosen, rows, method, f"select({chosen!r})")
        before = pd.Series(store.costs(store.default_cost), names)[list(part.models.index)]
        assert (part.costs(store.default_cost) == before).all(), "select(names) keeps the costs"
    assert list(store.select(names[0]).models.index) == names[:1], "select takes one name"
    refusals = {
        "an unknown kind of cost: ValueError": lambda: store.costs("no such cost"),
        "take of no sample: ValueError": lambda: store.take([]),
        "unknown models: ValueError": lambda: store.select(["no such model"]),
    }
    for rule, call in refusals.items():
        assert _refuses(call), rule
    _check_predictions(store, names[0], method)


def _refuses(call: Callable[[], Any]) -> bool:
    """Return whether a call raises a ValueError."""
    try:
        call()
    except ValueError:
        return True
    return False


def _check_part(
    part: Any, full: Any, names: list[str], rows: Array, method: Any, what: str
) -> None:
    """Check that a part of a store has some models and rows, with the outcomes of the full one."""
    table = part.models
    assert isinstance(table, pd.DataFrame), "models is a DataFrame"
    assert sorted(table.index) == sorted(names), f"{what} has these models"
    assert "top1" in table, "models has a column top1"
    assert table["top1"].dropna().between(0, 1).all(), "top1 is a fraction in [0, 1], or nan"
    assert len(part) == len(part.origin) == len(rows), f"{what} has {len(rows)} samples"
    ids = full.origin.sample_ids[rows]
    assert np.array_equal(part.origin.sample_ids, ids), f"{what} has its samples in this order"
    assert part.origin.source == full.origin.source, f"{what} has the origin of the full store"
    table["top1"] = -1.0
    assert (part.models["top1"] != -1.0).all(), "models is a copy that may be changed"
    _check_costs(part)
    _check_outcomes(part, full, rows, method, what)


def _check_costs(store: Any) -> None:
    """Check costs and their order."""
    costs = store.costs(store.default_cost)
    by_sample = store.sample_costs(store.default_cost)
    shapes = (costs.shape, (len(costs), len(store)))
    assert store.default_cost in store.cost_names, "the default cost is one of cost_names"
    assert costs.shape == (len(store.models),), "costs(cost) is [M]"
    assert np.isfinite(costs).all() and (costs >= 0).all(), "costs are finite, none negative"
    assert (np.diff(costs) >= 0).all(), "models goes cheapest first, by the default cost"
    assert by_sample.shape in shapes, "sample_costs(cost) is [M] or [M, k]"
    mean = by_sample.reshape(len(costs), -1).mean(axis=1)
    assert np.allclose(mean, costs), "costs(cost) is the mean of sample_costs(cost)"


def _check_outcomes(part: Any, full: Any, rows: Array, method: Any, what: str) -> None:
    """Check the stage functions of all models and of single models."""
    table = part.models
    stage = part.outcome(list(table.index), method, "top1")
    for position, name in enumerate(table.index):
        assert isinstance(part.metadata(name), dict), "metadata(name) is a dict"
        correct, confidence = stage((position,))
        assert correct.shape == confidence.shape == rows.shape, "a stage returns arrays [k]"
        assert confidence.dtype == np.float64, "confidences are float64"
        assert not np.isnan(confidence).any(), "no confidence is nan"
        single = full.outcome([name], method, "top1")((0,))
        for values, expected in zip((correct, confidence), single):
            assert np.array_equal(values, expected[rows]), (
                f"{what} has the outcomes of its samples, which depend neither on the other models "
                "nor on earlier calls"
            )
        assert np.isclose(np.mean(correct), table.loc[name, "top1"]), "top1 is the mean of correct"
    if len(table) > 1:
        correct, confidence = stage((0, 1))
        assert correct.shape == confidence.shape == rows.shape, "a prefix may have two models"


def _check_predictions(store: Any, name: str, method: Any) -> None:
    """Check predictions, and labels that equal them."""
    if not _refuses(store.positives):
        assert store.positives().dtype == bool, "positives() is bool [k]"
    is_known = not _refuses(lambda: store.predicted(name))
    assert is_known == store.has_predictions, "has_predictions is whether predicted() has a result"
    if not is_known:
        return
    predicted = store.predicted(name)
    assert predicted.shape == (len(store),), "predicted(name) is [k]"
    agreed = store.labelled(predicted)
    correct, _ = agreed.outcome([name], method, "top1")((0,))
    assert np.asarray(correct)[predicted != ""].all(), (
        "a model is correct if labelled() gets its predictions"
    )
    ids = store.origin.sample_ids
    assert np.array_equal(agreed.origin.sample_ids, ids), "labelled(labels) keeps the samples"
