"""Compare the class order of models and data set, by names or by predictions."""

from collections.abc import Iterable

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..datasets.imagenet_1k import descriptions, synsets
from ..origin import Origin
from ..zoo.model import Model

MIN_STANDARD_ERRORS = 4  # by which another order must be better, on held-out samples
MIN_SAMPLES_PER_CLASS = 4  # on average, to estimate an order


def check_names(models: Iterable[Model], labels: Origin) -> None:
    """Raise ValueError if a model names the classes of the data set in another order.

    ImageNet's classes are compared by synset (n01440764) or by description. Names that are not a
    permutation are not compared.
    """
    if not labels.classes:
        return
    spellings = [labels.classes]
    if labels.classes == synsets():
        spellings.append(descriptions())
    for model in models:
        found = tuple(map(str, model.metadata.get("classes") or ()))
        for expected in spellings:
            if sorted(found) == sorted(expected) and found != expected:
                first = next(i for i, pair in enumerate(zip(found, expected)) if len({*pair}) > 1)
                raise ValueError(
                    f"model {model.name!r} has its classes in another order: its class {first} is "
                    f"{found[first]!r}, the data set's is {expected[first]!r}. "
                    + _format_remedy(model.name)
                )


def _format_remedy(name: str) -> str:
    """Format the remedy for another order of classes."""
    return (
        f"Pass the order yourself: {{{name!r}: cl.zoo.reordered(model, order)}}, where logit j "
        "becomes the model's logit order[j]"
    )


def check_order(model: Model, logits: np.ndarray, labels: Origin) -> None:
    """Raise ValueError if permuted classes explain a model's predictions significantly better.

    The order is estimated on a random half of the samples (seeded) and tested on the other half.
    Accuracy must rise by more than 4 standard errors and by more than 10 points. The check is
    skipped below 4 samples per class and for models with an explicit order.
    """
    classes = logits.shape[1]
    if "class_order" in model.metadata or len(labels) < MIN_SAMPLES_PER_CLASS * classes:
        return
    predictions = logits.argmax(1)
    first_half, second_half = np.array_split(np.random.default_rng(0).permutation(len(labels)), 2)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels.required_labels[first_half], predictions[first_half]), 1)
    # The assignment of columns to classes with the most correct samples (Hungarian method).
    _, order = linear_sum_assignment(-confusion)
    predicted = predictions[second_half]
    label = labels.required_labels[second_half]
    unchanged = predicted == label
    permuted = predicted == order[label]
    gain = permuted.mean() - unchanged.mean()
    standard_error = np.std(permuted.astype(float) - unchanged) / np.sqrt(len(label))
    if gain > max(0.1, MIN_STANDARD_ERRORS * standard_error):
        names = labels.classes or range(classes)
        first = int(np.flatnonzero(order != np.arange(classes))[0])
        raise ValueError(
            f"model {model.name!r} seems to have its classes in another order: accuracy "
            f"{unchanged.mean():.1%} unchanged, {permuted.mean():.1%} with reordered columns ("
            f"class {names[first]!r} is its column {order[first]}, …). {_format_remedy(model.name)}"
        )
