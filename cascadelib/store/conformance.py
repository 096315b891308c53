"""Does a class of one's own keep the Protocol of stores? Plain functions for anybody's tests, in any framework."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from .protocol import Store


def check_store(make: Callable[[], Any], method: Any = None) -> None:
    """Check that a store keeps what :class:`cascadelib.store.Store` promises.

    Parameters
    ----------
    make
        Returns a store of two models or more on four samples or more, the same at each call.
    method
        A :class:`cascadelib.Method`, needed where the store has the models' outputs.

    Raises
    ------
    AssertionError
        The first promise that is not kept, in a sentence.
    """
    _check_members(make())
    _check_models(make())
    _check_costs(make())
    _check_outcomes(make(), method)
    _check_samples(make(), method)
    _check_selection(make())
    _check_predictions(make(), method)
    _check_refusals(make())


def _promise(kept: Any, sentence: str) -> None:
    """AssertionError with the sentence unless it is kept; also where Python runs without assertions."""
    if not kept:
        raise AssertionError(sentence)


def _refuses(ask: Callable[[], Any]) -> bool:
    """Whether a question is answered with a ValueError."""
    try:
        ask()
    except ValueError:
        return True
    return False


def _alone(store: Any, name: str, method: Any) -> tuple[np.ndarray, np.ndarray]:
    """Outcome of one model by itself: correct [k] and confidence [k]."""
    return store.outcome([name], method, "top1")((0,))


def _check_members(store: Any) -> None:
    """All members are there, and there is enough to look at."""
    _promise(isinstance(store, Store), "a member of cascadelib.store.Store is missing")
    _promise(isinstance(store.has_outputs, bool), "has_outputs is True or False")
    _promise(len(store) >= 4, "make() returns four samples or more")
    _promise(len(store.models) >= 2, "make() returns two models or more")
    _promise(len(store.origin) == len(store), "origin has as many samples as the store")


def _check_models(store: Any) -> None:
    """The table of models."""
    table = store.models
    _promise(isinstance(table, pd.DataFrame), "models is a DataFrame")
    _promise(table.index.is_unique, "names of models are distinct")
    _promise("top1" in table, "models has a column top1")
    _promise(table["top1"].dropna().between(0, 1).all(), "top1 is a fraction in [0, 1], or nan")
    table["top1"] = -1.0
    _promise((store.models["top1"] != -1.0).all(), "models is a copy that may be changed")


def _check_costs(store: Any) -> None:
    """Costs, and the order that they give."""
    costs = store.costs(store.default_cost)
    by_sample = store.sample_costs(store.default_cost)
    _promise(costs.shape == (len(store.models),), "costs(cost) is [M]")
    _promise(np.isfinite(costs).all() and (costs >= 0).all(), "costs are finite, none negative")
    _promise((np.diff(costs) >= 0).all(), "models goes cheapest first, by the default cost")
    _promise(
        by_sample.shape in (costs.shape, (len(costs), len(store))),
        "sample_costs(cost) is [M] or [M, k]",
    )
    mean = by_sample.reshape(len(costs), -1).mean(axis=1)
    _promise(np.allclose(mean, costs), "costs(cost) is the mean of sample_costs(cost)")


def _check_outcomes(store: Any, method: Any) -> None:
    """The stage function of all models, and of each by itself."""
    names = list(store.models.index)
    stage = store.outcome(names, method, "top1")
    for position, name in enumerate(names):
        correct, confidence = stage((position,))
        again, same = _alone(store, name, method)
        _promise(correct.shape == (len(store),), "a stage gives correctness [k]")
        _promise(confidence.shape == (len(store),), "a stage gives confidences [k]")
        _promise(confidence.dtype == np.float64, "confidences are float64")
        _promise(not np.isnan(confidence).any(), "no confidence is nan")
        _promise(
            np.array_equal(correct, again) and np.array_equal(confidence, same),
            f"the outcome of {name!r} depends neither on the other names nor on earlier calls",
        )
        _promise(
            np.isclose(np.mean(correct), store.models.loc[name, "top1"]),
            f"top1 of {name!r} is its share of correct samples",
        )
    correct, confidence = stage((0, 1))
    _promise(
        correct.shape == confidence.shape == (len(store),),
        "a stage takes a prefix of two models",
    )


def _check_samples(store: Any, method: Any) -> None:
    """Parts of the samples: rows, also repeated ones, a mask and a slice."""
    name = store.models.index[0]
    correct, confidence = _alone(store, name, method)
    mask = np.arange(len(store)) % 2 == 0
    for indices in ([2, 0, 0], mask, slice(1, 3)):
        rows = np.arange(len(store))[indices]
        part = store.take(indices)
        own_correct, own_confidence = _alone(part, name, method)
        _promise(len(part) == len(rows), f"take({indices!r}) has {len(rows)} samples")
        _promise(
            np.array_equal(part.origin.sample_ids, store.origin.sample_ids[rows]),
            "take(indices) keeps the samples in the order asked for",
        )
        _promise(
            np.array_equal(own_correct, correct[rows])
            and np.array_equal(own_confidence, confidence[rows]),
            "take(indices) has the outcomes of its samples",
        )
        _promise(
            part.origin.source == store.origin.source, "take(indices) has the origin of the whole"
        )


def _check_selection(store: Any) -> None:
    """Some of the models."""
    names = list(store.models.index)
    cost = store.default_cost
    part = store.select([names[-1], names[0]])
    _promise(set(part.models.index) == {names[0], names[-1]}, "select(names) has these models")
    _promise(len(part) == len(store), "select(names) has all samples")
    before = dict(zip(names, store.costs(cost)))
    for name, value in zip(part.models.index, part.costs(cost)):
        _promise(value == before[name], f"select(names) keeps the cost of {name!r}")
    _promise(list(store.select(names[0]).models.index) == names[:1], "select takes one name")


def _check_predictions(store: Any, method: Any) -> None:
    """Predictions, where they are known, and labels made of them."""
    name = store.models.index[0]
    if _refuses(lambda: store.predicted(name)):
        return
    predicted = store.predicted(name)
    _promise(predicted.shape == (len(store),), "predicted(name) is [k]")
    agreed = store.labelled(predicted)
    correct, _ = _alone(agreed, name, method)
    answered = predicted != ""
    _promise(
        np.asarray(correct)[answered].all(),
        "a model is correct wherever labelled() was given its own predictions",
    )
    _promise(
        np.array_equal(agreed.origin.sample_ids, store.origin.sample_ids),
        "labelled(labels) keeps the samples",
    )


def _check_refusals(store: Any) -> None:
    """What is not there is refused."""
    _promise(_refuses(lambda: store.select(["no such model"])), "unknown models: ValueError")
    _promise(_refuses(lambda: store.costs("no such cost")), "an unknown kind of cost: ValueError")
    _promise(_refuses(lambda: store.take([])), "take of no sample: ValueError")
    if not _refuses(store.positives):
        _promise(store.positives().dtype == bool, "positives() is bool [k]")
