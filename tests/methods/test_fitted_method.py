"""Methods with a fitted confidence: searches and evaluations equal a reference implementation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from references import brute_front
from tiny_stores import noisy_store

import cascadelib as cl
from cascadelib.methods.fitted import KINDS, assign_folds, fit_confidence, read_features
from cascadelib.methods.method import method_named

COST = [1.0, 2.5, 7.0]
KIND = "isotonic_by_label"
LABELLED = ("confidence", "label")


def scores(seed, k=14):
    """A table of three models with many ties, whose confidence depends on the label."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["a", "b"], k)
    confidence = rng.integers(0, 4, (3, k)) / 4
    correct = rng.random((3, k)) < np.where(labels == "a", confidence, 0.6)
    said = np.where(correct, labels, np.where(labels == "a", "b", "a"))
    columns = {"length": np.arange(k) * 40.0}
    return cl.ScoreTable(None, confidence, COST, predictions=said, labels=labels, columns=columns)


def read_of(table, columns, model, before):
    """Features of a table after ``model``, and after the model ``before`` it if not None."""
    of_column = {"confidence": table.confidence[model]}
    of_column |= {name: values[model] for name, values in table.columns.items()}
    values = np.column_stack([of_column[name] for name in columns if name != "agreement"])
    said_before = None if before is None else table.predictions[before]
    return read_features(columns, values, table.predictions[model], said_before)


def chosen_by(kind, columns, table, model, before):
    """Confidence [k] on the samples of the fit, each by the fit without its fold."""
    read = read_of(table, columns, model, before)
    fold = assign_folds(table.origin.sample_ids)
    confidence = np.empty(len(table))
    for one in set(fold.tolist()):
        fitted = fit_confidence(kind, read.take(fold != one), table.correct[model][fold != one])
        confidence[fold == one] = fitted.apply(read.take(fold == one))
    return confidence


def confidence_on(kind, columns, table, other, model, before):
    """Confidence [k] on another table, by the fit on all samples of the first."""
    read = read_of(table, columns, model, before)
    fitted = fit_confidence(kind, read, table.correct[model])
    return fitted.apply(read_of(other, columns, model, before))


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.sampled_from([(2,), (3,), (1, 2, 3)]),
    st.sampled_from([(KIND, ("confidence",)), ("logistic", ("confidence", "agreement", "length"))]),
)
def test_fronts_equal_brute_force_and_apply_unchanged_to_other_tables(seed, lengths, fit):
    table = scores(seed)
    other = scores(seed + 1, 20)
    front = cl.search(table, lengths, cl.Method(confidence=fit[0], columns=fit[1]))

    def stage(prefix):
        before = prefix[-2] if len(prefix) > 1 else None
        return table.correct[prefix[-1]], chosen_by(*fit, table, prefix[-1], before)

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
        moved = confidence_on(*fit, table, other, rows[i], rows[i - 1] if i else None)
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
    for fitted in ({"confidence": KIND}, {"confidence": "logistic", "columns": LABELLED}):
        method = cl.Method("softmax_margin", **fitted)
        of_store = cl.search(store, (1, 2, 3), method).table.drop(columns="improvement")
        of_table = cl.search(table, (1, 2, 3), cl.Method(**fitted)).table
        assert of_store.equals(of_table.drop(columns="improvement"))
    several = cl.Method(confidence="logistic", columns=("confidence", "entropy", "agreement"))
    assert cl.search(store, 2, several).table["accuracy"].max() <= 1


def test_each_kind_of_fitted_confidence_is_a_method():
    for kind in ("auto", *KINDS):
        assert method_named(kind) == cl.Method(confidence=kind)


def test_rare_classes_of_outputs_are_no_free_text():
    """As in a study of ImageNet with one sample per class."""
    labels = np.arange(150)
    logits = {f"m{i}": np.random.default_rng(i).normal(size=(150, 150)) for i in range(2)}
    store = cl.LogitStore.from_arrays(labels, logits, dict(zip(logits, COST)))
    fitted = cl.Method("max_softmax", confidence="isotonic_by_label").fit(store)
    assert set(fitted.fitted) == {("m0",), ("m1",)}
