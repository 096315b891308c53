"""Methods with a fitted confidence: searches and evaluations equal a reference implementation."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.methods.fitted import KINDS, assign_folds, fit_confidence, read_features
from cascadelib.methods.method import method_named
from tests.references import brute_front

COST = [1.0, 2.5, 7.0]
KIND = "isotonic_by_label"
LABELLED = ("confidence", "label")


def scores(seed, k=14, **columns):
    """A table of three models with many ties, whose confidence depends on the label."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["a", "b"], k)
    confidence = rng.integers(0, 4, (3, k)) / 4
    correct = rng.random((3, k)) < np.where(labels == "a", confidence, 0.6)
    said = np.where(correct, labels, np.where(labels == "a", "b", "a"))
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


def confidence_on(kind, table, other, model):
    """Confidence [k] on another table, by the fit on all samples of the first."""
    read = read_of(table, ("confidence",), model, None)
    fitted = fit_confidence(kind, read, table.correct[model])
    return fitted.apply(read_of(other, ("confidence",), model, None))


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, (1, 2, 3)]))
def test_fronts_equal_brute_force_and_apply_unchanged_to_other_tables(seed, n_models):
    table = scores(seed)
    other = scores(seed + 1, 20)
    front = cl.search(table, n_models, cl.Method(confidence=KIND))
    confidence = [chosen_by(KIND, ("confidence",), table, m, None) for m in range(3)]
    lengths = n_models if isinstance(n_models, tuple) else (n_models,)
    twin = brute_front(
        lambda prefix: (table.correct[prefix[-1]], confidence[prefix[-1]]), COST, lengths
    )
    found = {round(a * 14): c for a, c in front.table[["accuracy", "cost"]].to_numpy()}
    assert found.keys() == twin.keys() and np.allclose(list(found.values()), list(twin.values()))
    point = front.point(len(front) - 1)
    moved = [confidence_on(KIND, table, other, m) for m in range(3)]
    rows = [other.names.index(name) for name in point.models]
    exits = [moved[m] >= t for m, t in zip(rows, point.thresholds)]
    apart = [abs(moved[m] - t) > 1e-8 for m, t in zip(rows, point.thresholds)]
    clear = np.all([*apart, np.ones(20, bool)], axis=0)  # rounding cannot decide
    stages = np.argmax([*exits, np.ones(20, bool)], axis=0)
    result = cl.evaluate(other, point)
    assert np.array_equal(result.exit_stage[clear], stages[clear])
    row = cl.replay(other, front, ranges=False).iloc[-1]
    assert (row["accuracy_replayed"], row["cost_replayed"]) == (result.accuracy, result.cost)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_agreement_depends_on_the_previous_model(seed):
    table = scores(seed, 12, length=np.arange(12.0) * 40)
    columns = ("confidence", "agreement", "length")
    front = cl.search(table, (1, 2, 3), cl.Method(confidence="logistic", columns=columns))

    def stage(prefix):
        before = prefix[-2] if len(prefix) > 1 else None
        confidence = chosen_by("logistic", columns, table, prefix[-1], before)
        return table.correct[prefix[-1]], confidence

    twin = brute_front(stage, COST, (1, 2, 3))
    found = {round(a * 12): c for a, c in front.table[["accuracy", "cost"]].to_numpy()}
    assert found.keys() == twin.keys() and np.allclose(list(found.values()), list(twin.values()))
    point = front.point(len(front) - 1)
    assert (
        cl.evaluate(table, point).accuracy == point.accuracy
        and cl.evaluate(table, point).cost == point.cost
    )


def test_a_store_and_a_table_of_its_confidences_have_one_front():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = {f"m{i}": rng.normal(size=(200, 3)) + (i + 1) * np.eye(3)[labels] for i in range(3)}
    store = cl.LogitStore.from_arrays(labels, logits, dict(zip(logits, COST)), dtype="float64")
    confidence = np.stack([cl.confidence(z, "softmax_margin") for z in logits.values()])
    said = [store.predicted(name) for name in logits]
    table = cl.ScoreTable(None, confidence, COST, list(logits), predictions=said, labels=labels)
    for fitted in ({"confidence": KIND}, {"confidence": "logistic", "columns": LABELLED}):
        fronts = [
            cl.search(store, (1, 2, 3), cl.Method("softmax_margin", **fitted)),
            cl.search(table, (1, 2, 3), cl.Method(**fitted)),
        ]
        assert (
            fronts[0]
            .table.drop(columns="improvement")
            .equals(fronts[1].table.drop(columns="improvement"))
        )
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
