"""Methods with a fitted confidence: searches and evaluations equal a reference implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import brute_front
from tiny_stores import noisy_store

import cascadelib as cl
from cascadelib.methods.fitted import assign_folds, fit_confidence
from cascadelib.methods.method import method_named

COST = [1.0, 2.5, 7.0]
KIND = "isotonic_by_label"


def scores(seed, k=14):
    """A table of three models with many ties, whose confidence depends on the label."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["a", "b"], k)
    confidence = rng.integers(0, 4, (3, k)) / 4
    correct = rng.random((3, k)) < np.where(labels == "a", confidence, 0.6)
    said = np.where(correct, labels, np.where(labels == "a", "b", "a"))
    ids = [f"{seed} {row}" for row in range(k)]
    return cl.ScoreTable(None, confidence, COST, None, ids, predictions=said, labels=labels)


def fit_of(table, model, rows=slice(None)):
    """The fit of a model on some rows."""
    parts = table.confidence[model], table.predictions[model], table.correct[model]
    return fit_confidence(*(part[rows] for part in parts))


def out_of_fold(table, model):
    """Confidence [k] on the samples of the fit, each by the fit without its fold."""
    fold = assign_folds(table.origin.sample_ids)
    confidence = np.empty(len(table))
    for one in set(fold.tolist()):
        fitted = fit_of(table, model, fold != one)
        rows = fold == one
        confidence[rows] = fitted(table.confidence[model][rows], table.predictions[model][rows])
    return confidence


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([(2,), (3,), (1, 2, 3)]))
def test_fronts_equal_brute_force_and_apply_unchanged_to_other_tables(seed, lengths):
    table = scores(seed)
    other = scores(seed + 1, 20)
    front = cl.search(table, lengths, KIND)

    def stage(prefix):
        return table.correct[prefix[-1]], out_of_fold(table, prefix[-1])

    twin = brute_front(stage, COST, lengths)
    found = {round(a * 14): c for a, c in front.table[["accuracy", "cost"]].to_numpy()}
    assert found.keys() == twin.keys() and np.allclose(list(found.values()), list(twin.values()))
    point = front.point(len(front) - 1)
    here = cl.evaluate(table, point)
    assert (here.accuracy, here.cost) == (point.accuracy, point.cost)
    rows = [other.names.index(name) for name in point.models]
    stages = np.full(20, len(rows) - 1)
    is_clear = np.ones(20, bool)  # rounding cannot decide
    for i in reversed(range(len(rows) - 1)):
        model = rows[i]
        moved = fit_of(table, model)(other.confidence[model], other.predictions[model])
        stages[moved >= point.thresholds[i]] = i
        is_clear &= abs(moved - point.thresholds[i]) > 1e-8
    result = cl.evaluate(other, point)
    assert np.array_equal(result.exit_stage[is_clear], stages[is_clear])
    row = cl.replay(other, front, ranges=False).iloc[-1]
    assert (row["accuracy_replayed"], row["cost_replayed"]) == (result.accuracy, result.cost)


def test_a_store_and_a_table_of_its_confidences_have_one_front():
    store = noisy_store(k=200, models=3, classes=3, costs=COST, dtype="float64")
    names = list(store.models.index)
    confidence = np.stack([cl.confidence(store.logits(name), "softmax_margin") for name in names])
    said = [store.predicted(name) for name in names]
    table = cl.ScoreTable(None, confidence, COST, names, predictions=said, labels=store.labels)
    method = cl.Method("softmax_margin", confidence=KIND)
    of_store = cl.search(store, (1, 2, 3), method).table.drop(columns="improvement")
    of_table = cl.search(table, (1, 2, 3), KIND).table
    assert of_store.equals(of_table.drop(columns="improvement"))


def test_the_kind_of_fitted_confidence_is_a_method():
    assert method_named(KIND) == cl.Method(confidence=KIND)


@pytest.mark.parametrize("samples", ["ids", "row numbers"])
def test_samples_of_the_fit_are_answered_out_of_fold(samples):
    table = scores(0, 400)
    if samples == "row numbers":
        table = cl.ScoreTable(
            None, table.confidence, COST, predictions=table.predictions, labels=table.labels
        )
    front = cl.search(table, 2, KIND)
    point = front.point(len(front) // 2)
    model = table.names.index(point.models[0])
    run = cl.evaluate(table, point)
    assert run.accuracy == point.accuracy
    np.testing.assert_array_equal(run.confidences[0], out_of_fold(table, model))
    part = cl.evaluate(table.take(slice(9, 50)), point)
    np.testing.assert_array_equal(part.confidences[0], run.confidences[0][9:50])
    full = fit_of(table, model)(table.confidence[model], table.predictions[model])
    assert (run.confidences[0] != full).any()


def test_free_text_gets_the_common_curve():
    """Also the rare classes of a study of ImageNet with one sample per class."""
    labels = np.arange(150)
    logits = {f"m{i}": np.random.default_rng(i).normal(size=(150, 150)) for i in range(2)}
    store = cl.LogitStore.from_arrays(labels, logits, dict(zip(logits, COST)))
    fitted = cl.Method("max_softmax", confidence=KIND).fit(store).fitted
    assert {name: len(one.curves) for name, one in fitted.confidences.items()} == {"m0": 1, "m1": 1}
