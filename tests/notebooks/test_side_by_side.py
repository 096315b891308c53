"""The ranking of the paper's methods on splits that did not choose, and its tasks; curves of
several fronts."""

import numpy as np
import pytest

from cascadelib import METHODS, LogitStore, search
from cascadelib.analysis.shift import mean_improvement_moved, replay
from tools.side_by_side import class_tasks, curves_of, fronts_of, ranking, select_classes


def make(seed: int, k: int = 400) -> LogitStore:
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


def test_ranking_judges_each_split_by_the_fronts_of_the_other() -> None:
    table = ranking({"a": (STORE, OTHER)}, 2, upper=0.5, cost="macs")
    assert len(table) == 2 * len(METHODS)
    for row in table.itertuples():
        here, there = (STORE, OTHER) if row.fold == 0 else (OTHER, STORE)
        front = search(here, 2, row.method)
        single = search(there, 1).baseline
        low = (single.accuracy[single.front[0]] + single.best) / 2
        assert row.mean_improvement == mean_improvement_moved(there, front)
        assert row.upper_improvement == pytest.approx(mean_improvement_moved(there, front, low))
        assert row.top_accuracy == replay(there, front)["accuracy_moved"].max()
        assert row.accuracy_of_best_model == there.models["top1"].max()
        others = table.loc[table["fold"] == row.fold, "mean_improvement"]
        assert (
            row.place
            == (others > row.mean_improvement).sum()
            + ((others == row.mean_improvement).sum() + 1) / 2
        )


def test_two_classes_and_two_models_have_one_ensemble() -> None:
    """The sign of a sum is that of its larger term: with temperatures, all ensembles of a pair are
    one."""
    pair = select_classes(STORE, [0, 1]), select_classes(OTHER, [0, 1])
    table = ranking({"two": pair})
    table = table[table["fold"] == 0].set_index("method")["mean_improvement"]
    alike = [n for n in METHODS if n.endswith("_ts") and "entropy" not in n]
    np.testing.assert_allclose(
        table[["softmax_margin", "logits_margin"]], table["max_softmax"], rtol=1e-9
    )
    np.testing.assert_allclose(table[alike], table["max_softmax_mean_logits_ts"], rtol=1e-9)


def test_tasks_are_the_hardest_and_the_easiest_classes() -> None:
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


def test_curves_begin_where_they_are_asked_to() -> None:
    fronts = fronts_of(STORE, {"a": "max_softmax", "b": "entropy"}, 2)
    curves = curves_of(fronts, 0.6)
    for label, front in fronts.items():
        assert curves[label].equals(front.improvement_curve(0.6))
