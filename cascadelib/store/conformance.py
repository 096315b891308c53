"""Check that a class conforms to the Protocol of stores, in the tests of any framework."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

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
    for check in (_members, _models, _costs, _outcomes, _samples, _selection, _predictions):
        check(make(), method)


def _refuses(ask: Callable[[], Any]) -> bool:
    """Return whether a call raises a ValueError."""
    try:
        ask()
    except ValueError:
        return True
    return False


def _single_outcome(store: Any, name: str, method: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the outcome of a single model: correct [k] and confidence [k]."""
    return store.outcome([name], method, "top1")((0,))


def _members(store: Any, method: Any) -> None:
    """Check that all members exist, and the sizes."""
    assert isinstance(store, Store), "a member of cascadelib.store.Store is missing"
    assert len(store) >= 4, "make() returns four samples or more"
    assert len(store.models) >= 2, "make() returns two models or more"
    assert len(store.origin) == len(store), "origin has as many samples as the store"
    by_default = store.asked(None, None, None)
    assert by_default[1:] == ("top1", store.default_cost), "by default, top-1 and the default cost"
    assert store.asked(*by_default) == by_default, "asked() answers its own answer with the same"


def _models(store: Any, method: Any) -> None:
    """Check the table of models."""
    table = store.models
    assert isinstance(table, pd.DataFrame), "models is a DataFrame"
    assert table.index.is_unique, "names of models are distinct"
    assert "top1" in table, "models has a column top1"
    assert table["top1"].dropna().between(0, 1).all(), "top1 is a fraction in [0, 1], or nan"
    table["top1"] = -1.0
    assert (store.models["top1"] != -1.0).all(), "models is a copy that may be changed"
    for name in table.index:
        assert isinstance(store.metadata(name), dict), "metadata(name) is a dict"


def _costs(store: Any, method: Any) -> None:
    """Check costs and their order."""
    costs = store.costs(store.default_cost)
    by_sample = store.sample_costs(store.default_cost)
    mean = by_sample.reshape(len(costs), -1).mean(axis=1)
    shapes = (costs.shape, (len(costs), len(store)))
    assert store.default_cost in store.cost_names, "the default cost is one of cost_names"
    assert costs.shape == (len(store.models),), "costs(cost) is [M]"
    assert np.isfinite(costs).all() and (costs >= 0).all(), "costs are finite, none negative"
    assert (np.diff(costs) >= 0).all(), "models goes cheapest first, by the default cost"
    assert by_sample.shape in shapes, "sample_costs(cost) is [M] or [M, k]"
    assert np.allclose(mean, costs), "costs(cost) is the mean of sample_costs(cost)"
    assert _refuses(lambda: store.costs("no such cost")), "an unknown kind of cost: ValueError"


def _outcomes(store: Any, method: Any) -> None:
    """Check the stage functions of all models and of single models."""
    names = list(store.models.index)
    shape = (len(store),)
    stage = store.outcome(names, method, "top1")
    for position, name in enumerate(names):
        correct, confidence = stage((position,))
        again, same = _single_outcome(store, name, method)
        assert correct.shape == shape, "a stage gives correctness [k]"
        assert confidence.shape == shape, "a stage gives confidences [k]"
        assert confidence.dtype == np.float64, "confidences are float64"
        assert not np.isnan(confidence).any(), "no confidence is nan"
        assert np.array_equal(correct, again) and np.array_equal(confidence, same), (
            f"the outcome of {name!r} depends neither on the other names nor on earlier calls"
        )
        assert np.isclose(np.mean(correct), store.models.loc[name, "top1"]), (
            f"top1 of {name!r} is its share of correct samples"
        )
    correct, confidence = stage((0, 1))
    assert correct.shape == confidence.shape == shape, "a stage takes a prefix of two models"


def _samples(store: Any, method: Any) -> None:
    """Check take() with repeated rows, a mask and a slice."""
    name = store.models.index[0]
    whole = _single_outcome(store, name, method)
    ids = store.origin.sample_ids
    for indices in ([2, 0, 0], np.arange(len(store)) % 2 == 0, slice(1, 3)):
        rows = np.arange(len(store))[indices]
        part = store.take(indices)
        assert len(part) == len(rows), f"take({indices!r}) has {len(rows)} samples"
        assert np.array_equal(part.origin.sample_ids, ids[rows]), (
            "take(indices) keeps the samples in the order asked for"
        )
        for own, all_of_it in zip(_single_outcome(part, name, method), whole):
            assert np.array_equal(own, all_of_it[rows]), (
                "take(indices) has the outcomes of its samples"
            )
        assert part.origin.source == store.origin.source, "take(indices) has the whole's origin"
    assert _refuses(lambda: store.take([])), "take of no sample: ValueError"


def _selection(store: Any, method: Any) -> None:
    """Check select()."""
    names = list(store.models.index)
    cost = store.default_cost
    part = store.select([names[-1], names[0]])
    assert set(part.models.index) == {names[0], names[-1]}, "select(names) has these models"
    assert len(part) == len(store), "select(names) has all samples"
    before = dict(zip(names, store.costs(cost)))
    for name, value in zip(part.models.index, part.costs(cost)):
        assert value == before[name], f"select(names) keeps the cost of {name!r}"
    assert list(store.select(names[0]).models.index) == names[:1], "select takes one name"
    assert _refuses(lambda: store.select(["no such model"])), "unknown models: ValueError"


def _predictions(store: Any, method: Any) -> None:
    """Check predictions, and labels that equal them."""
    name = store.models.index[0]
    if not _refuses(store.positives):
        assert store.positives().dtype == bool, "positives() is bool [k]"
    refused = _refuses(lambda: store.predicted(name))
    assert refused != store.has_predictions, "has_predictions says whether predicted() answers"
    if refused:
        return
    predicted = store.predicted(name)
    assert predicted.shape == (len(store),), "predicted(name) is [k]"
    agreed = store.labelled(predicted)
    correct, _ = _single_outcome(agreed, name, method)
    assert np.asarray(correct)[predicted != ""].all(), (
        "a model is correct wherever labelled() was given its own predictions"
    )
    assert np.array_equal(agreed.origin.sample_ids, store.origin.sample_ids), (
        "labelled(labels) keeps the samples"
    )
