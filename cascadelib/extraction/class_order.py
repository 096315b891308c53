"""Is a model's class order the data set's? By names where there are any, else by what it
confuses."""

from collections.abc import Iterable

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..datasets.imagenet_1k import descriptions, synsets
from ..labels import Labels
from ..zoo.model import Model

# Standard errors by which another order must be better, on samples that did not choose it.
MIN_STANDARD_ERRORS = 4
MIN_SAMPLES_PER_CLASS = 4  # samples per class, on average, below which an assignment says nothing


def check_names(models: Iterable[Model], labels: Labels) -> None:
    """Raise ValueError where a model names the same classes as the data set in another order.

    ImageNet's classes go by synset (n01440764) or by description; names that are no permutation say
    nothing.
    """
    if not labels.classes:
        return
    spellings = [labels.classes]
    if labels.classes == synsets():
        spellings.append(descriptions())
    for model in models:
        named = tuple(map(str, model.metadata.get("classes") or ()))
        for own in spellings:
            if sorted(named) == sorted(own) and named != own:
                first = next(i for i, pair in enumerate(zip(named, own)) if pair[0] != pair[1])
                raise ValueError(
                    f"model {model.name!r} has its classes in another order: its class {first} is "
                    f"{named[first]!r}, the data set's is {own[first]!r}. "
                    + _format_remedy(model.name)
                )


def _format_remedy(name: str) -> str:
    """What to do where a model has its classes in another order."""
    return (
        f"Give the order yourself: {{{name!r}: cl.zoo.reordered(model, order)}}, logit j = its "
        "own logit order[j]"
    )


def check_order(model: Model, logits: np.ndarray, labels: Labels) -> None:
    """Raise ValueError where a permutation of the model's classes explains its predictions clearly
    better than none.

    The order is chosen on a random half of the samples (seeded) and judged on the other: better by
    more than 4 standard errors and by a tenth. Below 4 samples per class, and for a model with an
    explicit order, nothing is concluded.
    """
    classes = logits.shape[1]
    if "class_order" in model.metadata or len(labels) < MIN_SAMPLES_PER_CLASS * classes:
        return
    predictions = logits.argmax(1)
    chosen, judged = np.array_split(np.random.default_rng(0).permutation(len(labels)), 2)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels.needed[chosen], predictions[chosen]), 1)
    # Class → the column that makes most of its samples correct (Hungarian method).
    _, order = linear_sum_assignment(-confusion)
    predicted = predictions[judged]
    label = labels.needed[judged]
    as_is = predicted == label
    moved = predicted == order[label]
    gain = moved.mean() - as_is.mean()
    standard_error = np.std(moved.astype(float) - as_is) / np.sqrt(len(moved))
    if gain > max(0.1, MIN_STANDARD_ERRORS * standard_error):
        names = labels.classes or range(classes)
        first = int(np.flatnonzero(order != np.arange(classes))[0])
        raise ValueError(
            f"model {model.name!r} seems to have its classes in another order: accuracy "
            f"{as_is.mean():.1%} as it is, {moved.mean():.1%} with its columns reordered (class "
            f"{names[first]!r} is its column {order[first]}, …). {_format_remedy(model.name)}"
        )
