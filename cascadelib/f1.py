"""F1 of the positive class 1 of a task with two classes (paper, section 4.2: MRPC and QQP)."""

import numpy as np

F1 = "f1"


def positives(store) -> np.ndarray:
    """Bool [k]: the samples of class 1 of a LogitStore. Raises ValueError where F1 is not defined: other than two
    classes, or a table of scores, which knows who is right but not of which class."""
    if not hasattr(store, "labels"):
        raise ValueError("F1 needs the classes of the samples: use a LogitStore, or score='top1'")
    names = list(store.models.index)
    classes = len(store.classes) if store.classes else store.logits(names[0]).shape[1] if names else 2
    if classes != 2:
        raise ValueError(f"F1 is that of class 1 of two; this store has {classes} classes: use score='top1'")
    return store.labels == 1


def f1_of(true_positives, wrong):
    """2 TP ÷ (2 TP + FP + FN), from counts (numbers or arrays); FP + FN are all that is wrong. 0 where TP = 0."""
    hits = 2 * np.asarray(true_positives, np.float64)
    return np.divide(hits, hits + wrong, out=np.zeros_like(hits), where=hits > 0)[()]


def f1(correct, positive) -> float:
    """F1 of predictions of which correct bool [k] is known, with positive bool [k] the samples of class 1."""
    return float(f1_of(np.count_nonzero(correct & positive), np.count_nonzero(~correct)))
