"""Tasks by class, and the curves of several fronts."""

import numpy as np

from cascadelib import LogitStore, search
from tools.side_by_side import class_tasks, curves_of


def make(seed, k=400):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    ease = rng.normal(size=(k, 1))
    logits = {
        f"m{i}": (1 + i) * np.eye(4)[labels] * (1 + ease) + rng.normal(size=(k, 4))
        for i in range(4)
    }
    return LogitStore.from_arrays(labels, logits, macs={f"m{i}": 10.0 ** (i + 1) for i in range(4)})


STORE = make(0)
OTHER = make(1)


def test_tasks_are_the_hardest_and_the_easiest_classes():
    tasks = class_tasks(STORE, OTHER, (0.5,))
    assert list(tasks) == ["all 4", "2 hardest", "2 easiest"]
    assert [len(pair[0]) for pair in tasks.values()] == [
        400,
        len(tasks["2 hardest"][0]),
        400 - len(tasks["2 hardest"][0]),
    ]
    correct = STORE.ranks(STORE.models["top1"].idxmax()) == 0
    recall = [correct[STORE.labels == c].mean() for c in range(4)]
    worst = np.isin(STORE.labels, np.argsort(recall)[:2])
    assert len(tasks["2 hardest"][0]) == worst.sum() and all(
        len(a) and len(b) for a, b in tasks.values()
    )


def test_curves_begin_at_the_requested_accuracy():
    fronts = {name: search(STORE, 2, name) for name in ("max_softmax", "entropy")}
    curves = curves_of(fronts, 0.6)
    for label, front in fronts.items():
        assert curves[label].equals(front.improvement_curve(0.6))
