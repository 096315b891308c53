"""Method(confidence=…): searched, evaluated and replayed as slow twins have it, on tables and
stores alike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

import cascadelib as cl
from cascadelib.methods.fitted import fit_confidence
from tests.twins import brute_front

COST = [1.0, 2.5, 7.0]


def scores(seed: int, k: int = 14, **columns: Any) -> cl.ScoreTable:
    """A table of three models with heavy ties, whose confidence says more under one label than
    under another."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["a", "b"], k)
    confidence = rng.integers(0, 4, (3, k)) / 4
    correct = rng.random((3, k)) < np.where(labels == "a", confidence, 0.6)
    said = np.where(correct, labels, np.where(labels == "a", "b", "a"))
    return cl.ScoreTable(None, confidence, COST, predictions=said, labels=labels, columns=columns)


def by_hand(table: Any, chosen_on: Any) -> np.ndarray:
    """Confidences [3, k] by scikit-learn, fitted on another table, model by model and label by
    label."""
    confidence = np.empty(table.confidence.shape)
    for m in range(3):
        for label in np.unique(table.predictions[m]):
            here = table.predictions[m] == label
            there = chosen_on.predictions[m] == label
            there = there if there.any() else np.ones(len(chosen_on), bool)
            given = chosen_on.confidence[m][there], chosen_on.correct[m][there]
            fit = IsotonicRegression(out_of_bounds="clip").fit(*given)
            confidence[m, here] = fit.predict(table.confidence[m][here])
    return np.round(confidence, 9)  # scikit-learn's levels differ in the last bits


@settings(max_examples=40, deadline=None)
@example(4941, 2)  # a sample whose confidence is the threshold, but for the last bit
@given(st.integers(0, 10**6), st.sampled_from([2, 3, (1, 2, 3)]))
def test_fronts_are_those_of_a_twin_and_move_unchanged(
    seed: int, n_models: int | tuple[int, ...]
) -> None:
    table = scores(seed)
    other = scores(seed + 1, 20)
    front = cl.search(table, n_models, cl.Method(confidence="isotonic_by_label"))
    confidence = by_hand(table, table)
    lengths = n_models if isinstance(n_models, tuple) else (n_models,)
    twin = brute_front(
        lambda prefix: (table.correct[prefix[-1]], confidence[prefix[-1]]), COST, lengths
    )
    found = {round(a * 14): c for a, c in front.table[["accuracy", "cost"]].to_numpy()}
    assert found.keys() == twin.keys() and np.allclose(list(found.values()), list(twin.values()))
    point = front.point(len(front) - 1)
    moved = by_hand(other, table)
    rows = [other.names.index(name) for name in point.models]
    exits = [moved[m] >= t for m, t in zip(rows, point.thresholds)]
    apart = [abs(moved[m] - t) > 1e-8 for m, t in zip(rows, point.thresholds)]
    told = np.all([*apart, np.ones(20, bool)], axis=0)  # rounding decides nothing here
    stages = np.argmax([*exits, np.ones(20, bool)], axis=0)
    result = cl.evaluate(other, point)
    assert np.array_equal(result.exit_stage[told], stages[told])
    row = cl.replay(other, front, ranges=False).iloc[-1]
    assert (row["accuracy_moved"], row["cost_moved"]) == (result.accuracy, result.cost)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_agreement_depends_on_the_model_before(seed: int) -> None:
    table = scores(seed, 12, length=np.arange(12.0) * 40)
    columns = ("confidence", "agreement", "length")
    front = cl.search(table, (1, 2, 3), cl.Method(confidence="logistic", columns=columns))

    def stage(prefix: Any) -> tuple:
        m = prefix[-1]
        before = prefix[-2] if len(prefix) > 1 else None
        values = np.column_stack([table.confidence[m], np.arange(12.0) * 40])
        said = table.predictions[m], None if before is None else table.predictions[before]
        return table.correct[m], fit_confidence(
            "logistic", columns, values, table.correct[m], *said
        )(values, *said)

    twin = brute_front(stage, COST, (1, 2, 3))
    found = {round(a * 12): c for a, c in front.table[["accuracy", "cost"]].to_numpy()}
    assert found.keys() == twin.keys() and np.allclose(list(found.values()), list(twin.values()))
    point = front.point(len(front) - 1)
    assert (
        cl.evaluate(table, point).accuracy == point.accuracy
        and cl.evaluate(table, point).cost == point.cost
    )


def test_a_store_and_a_table_of_its_confidences_say_the_same() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = {f"m{i}": rng.normal(size=(200, 3)) + (i + 1) * np.eye(3)[labels] for i in range(3)}
    store = cl.LogitStore.from_arrays(labels, logits, dict(zip(logits, COST)), dtype="float64")
    confidence = np.stack([cl.confidence(z, "softmax_margin") for z in logits.values()])
    said = [store.predicted(name) for name in logits]
    table = cl.ScoreTable(None, confidence, COST, list(logits), predictions=said, labels=labels)
    for kind in ("isotonic_by_label", "logistic"):
        fronts = [
            cl.search(store, (1, 2, 3), cl.Method("softmax_margin", confidence=kind)),
            cl.search(table, (1, 2, 3), cl.Method(confidence=kind)),
        ]
        assert (
            fronts[0]
            .table.drop(columns="improvement")
            .equals(fronts[1].table.drop(columns="improvement"))
        )
    several = cl.Method(confidence="logistic", columns=("confidence", "entropy", "agreement"))
    assert cl.search(store, 2, several).table["accuracy"].max() <= 1


def test_monotone_calibration_leaves_a_front_as_it_is() -> None:
    table = scores(3, 40)
    given = cl.search(table, 2)
    fitted = cl.search(table, 2, cl.Method(confidence="logistic"))
    if all(weights.parameters[1] > 0 for weights in fitted.method.fitted.values()):
        assert given.table[["accuracy", "cost"]].equals(fitted.table[["accuracy", "cost"]])


def test_what_is_refused() -> None:
    table = scores(0)
    bare = cl.ScoreTable(table.correct, table.confidence, COST)
    with pytest.raises(ValueError, match="metric='entropy'"):
        cl.search(table, 2, cl.Method("entropy", confidence="logistic"))
    for wrong in ({"ensemble": "mean_logits"}, {"temperature": True}):
        with pytest.raises(ValueError, match="a fitted confidence is of one model"):
            cl.Method(confidence="logistic", **wrong)
    with pytest.raises(ValueError, match="unknown fitted confidence 'platt'"):
        cl.Method(confidence="platt")
    with pytest.raises(ValueError, match="there are no predictions"):
        cl.search(bare, 2, cl.Method(confidence="isotonic_by_label"))
    with pytest.raises(ValueError, match="unknown column 'length'"):
        cl.search(table, 2, cl.Method(confidence="logistic", columns=("confidence", "length")))
    with pytest.raises(ValueError, match="not fitted"):
        table.outcome(list(table.names), cl.Method(confidence="logistic"))((0,))
    assert cl.search(bare, 2, cl.Method(confidence="logistic")).table["accuracy"].notna().all()
