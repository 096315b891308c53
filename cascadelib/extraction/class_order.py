"""Compare a model's order of classes with the data set's, by class names or by predictions."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..datasets.imagenet_1k import descriptions, synsets
from ..origin import Origin

IMAGENET_CLASSES = 1000
MIN_STANDARD_ERRORS = 4  # smallest gain of accuracy that counts, on held-out samples
MIN_SAMPLES_PER_CLASS = 4  # mean over classes; fewer samples do not determine an order


def check_names(name: str, metadata: dict, labels: Origin) -> None:
    """Raise ValueError if a model has the data set's class names in another order.

    ImageNet's classes are compared by synset (n01440764) or by description. A model whose names are
    not a permutation of the data set's names is not checked.
    """
    if not labels.classes:
        return
    spellings = [labels.classes]
    # The names of ImageNet need timm, which models of texts do not.
    if len(labels.classes) == IMAGENET_CLASSES and labels.classes == synsets():
        spellings.append(descriptions())
    found = tuple(map(str, metadata.get("classes") or ()))
    for expected in spellings:
        if sorted(found) == sorted(expected) and found != expected:
            first = next(i for i, pair in enumerate(zip(found, expected)) if len({*pair}) > 1)
            raise ValueError(
                f"model {name!r} has its classes in another order: its class {first} "
                f"is {found[first]!r}, and that of the data set is {expected[first]!r}. "
                + _format_remedy(name)
            )


def _format_remedy(name: str) -> str:
    """Return the advice that ends an error message about the order of classes."""
    return (
        f"Pass the model as {{{name!r}: cl.zoo.reordered(model, order)}}. Logit j of the result is "
        "logit order[j] of the model"
    )


def check_order(name: str, metadata: dict, logits: np.ndarray, labels: Origin) -> None:
    """Raise ValueError if a model is significantly more accurate after its classes are permuted.

    The permutation is estimated on one random half of the samples (with a fixed seed) and tested on
    the other half. The error is raised if accuracy rises by more than 4 standard errors and by more
    than 10 points. The check is skipped if there are fewer than 4 samples per class, and for models
    with an explicit order.
    """
    classes = logits.shape[1]
    if "class_order" in metadata or len(labels) < MIN_SAMPLES_PER_CLASS * classes:
        return
    predictions = logits.argmax(1)
    first_half, second_half = np.array_split(np.random.default_rng(0).permutation(len(labels)), 2)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels.required_labels[first_half], predictions[first_half]), 1)
    # Assign columns to classes so that the most samples are correct (Hungarian method).
    _, order = linear_sum_assignment(-confusion)
    predicted = predictions[second_half]
    label = labels.required_labels[second_half]
    unchanged = predicted == label
    permuted = predicted == order[label]
    gain = permuted.mean() - unchanged.mean()
    standard_error = np.std(permuted.astype(float) - unchanged) / np.sqrt(len(label))
    if gain > max(0.1, MIN_STANDARD_ERRORS * standard_error):
        raise ValueError(
            f"model {name!r} seems to have its classes in another order: its "
            f"accuracy is {unchanged.mean():.1%}, and {permuted.mean():.1%} with reordered logits. "
            + _format_remedy(name)
        )
