"""Store the probabilities of classifiers with scikit-learn's interface."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import brief
from ..labels import align_values
from ..store.logit_store import LogitStore

TIMED_ROUNDS = 3  # predictions of each classifier, of which the fastest one counts


def compute_probabilities(estimator: Any, inputs: Any, classes: np.ndarray) -> np.ndarray:
    """Return the probabilities of sorted classes, float64 [k, classes]. Unseen classes get 0.

    Raises ValueError if the classifier has a class that is not in `classes`.
    """
    foreign = ~np.isin(estimator.classes_, classes)
    if foreign.any():
        raise ValueError(
            f"a classifier was trained with the class {estimator.classes_[foreign].tolist()[0]!r}, "
            f"but y has {brief(classes.tolist())}: use the same classes, and pass samples of each"
        )
    found = estimator.predict_proba(inputs)
    probabilities = np.zeros((len(found), len(classes)))
    probabilities[:, np.searchsorted(classes, estimator.classes_)] = found
    return probabilities


def extract_estimators(
    estimators: dict[str, Any], dataset: tuple, path: Path | str, macs: dict
) -> LogitStore:
    """Create a store with the probabilities of trained classifiers and measured seconds.

    dataset: (inputs, labels). The classes are those of all classifiers, sorted, as text. Raises as
    :meth:`LogitStore.create` and :meth:`LogitStore.add`.
    """
    inputs, labels = dataset
    labels = align_values(labels, "labels", *getattr(inputs, "axes", ()))
    classes = np.unique(np.concatenate([one.classes_ for one in estimators.values()]))
    store = LogitStore.create(path, np.asarray(labels).astype(str), classes=classes)
    for name, estimator in estimators.items():
        start = time.perf_counter()
        found = compute_probabilities(estimator, inputs, classes)
        seconds = (time.perf_counter() - start) / len(found)
        store.add(name, found, None, macs.get(name), seconds, probabilities=True)
    return store


def measure_seconds(estimators: Mapping[str, Any], inputs: Any) -> dict[str, float]:
    """Return the seconds per sample of each classifier on a batch, the least of several rounds."""
    least = dict.fromkeys(estimators, np.inf)
    for _ in range(TIMED_ROUNDS):
        for name, estimator in estimators.items():
            start = time.perf_counter()
            found = estimator.predict_proba(inputs)
            least[name] = min(least[name], (time.perf_counter() - start) / len(found))
    return least
