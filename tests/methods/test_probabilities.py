"""Stored probabilities are used unchanged, so that equal confidences stay equal."""

from functools import partial

import numpy as np
import pytest

from cascadelib import LogitStore, Method, ScoreTable, pair_table, search
from cascadelib.fronts.exact import search_arrays, search_outcomes
from cascadelib.fronts.pairs import pair_curve
from cascadelib.stages import log_of, stage_of

MODELS = ("a", "b", "c")
K = 300
MACS = {"a": 1.0, "b": 5.0, "c": 20.0}


def whole_parts(seed, parts, classes, k=K):
    """Labels, and {model: integers [k, classes] whose rows sum to ``parts``}."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, k)
    given = {}
    for i, name in enumerate(MODELS):
        z = rng.normal(size=(k, classes)) * 2 + (1.0 + i) * np.eye(classes)[labels]
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        q = np.floor(p * parts).astype(int)
        q[np.arange(k), p.argmax(1)] += parts - q.sum(1)
        given[name] = q
    return labels, given


def brute(row, metric):
    """Confidence of one sample, from its probabilities."""
    top = np.sort(row)[::-1]
    if metric == "max_softmax":
        return top[0]
    if metric == "softmax_margin":
        return top[0] - top[1]
    if metric == "entropy":
        return np.sum(
            sorted(v * np.log(v) if v > 0 else 0.0 for v in row)
        )  # in no order of the classes
    if metric == "top2_softmax_sum":
        return top[0] + top[1]
    return float(
        np.log(max(top[0], np.finfo(float).tiny)) - np.log(max(top[1], np.finfo(float).tiny))
    )


METRICS = ("max_softmax", "softmax_margin", "entropy", "top2_softmax_sum", "logits_margin")


def stores_of(labels, p, tmp_path):
    """The same probabilities in memory, on disk, and as a part of a larger store."""
    on_disk = LogitStore.create(tmp_path / "s", labels)
    for name, values in p.items():
        on_disk.add(name, values, macs=MACS[name], dtype="float64", probabilities=True)
    twice = {name: np.concatenate([values, values[::-1]]) for name, values in p.items()}
    whole = LogitStore.from_probabilities(np.concatenate([labels, labels[::-1]]), twice, macs=MACS)
    return (
        LogitStore.from_probabilities(labels, p, macs=MACS),
        LogitStore(on_disk.path),
        whole.take(slice(0, K)),
    )


@pytest.mark.parametrize(("parts", "classes"), [(100, 3), (255, 4), (255, 7)])
def test_the_front_equals_that_of_a_table_of_confidences(parts, classes, tmp_path):
    labels, q = whole_parts(parts + classes, parts, classes)
    p = {name: values / parts for name, values in q.items()}
    stores = stores_of(labels, p, tmp_path)
    correct = np.stack([[row.argmax() == y for row, y in zip(p[name], labels)] for name in MODELS])
    for metric in METRICS:
        confidence = np.array([[brute(row, metric) for row in p[name]] for name in MODELS])
        table = search(
            ScoreTable(correct, confidence, list(MACS.values()), MODELS), (1, 2, 3)
        ).table
        for store in stores:
            found = search(store, (1, 2, 3), Method(metric)).table
            kept = ["accuracy", "cost", "models", "exit_rates"]
            assert found[kept].equals(table[kept]), metric


@pytest.mark.parametrize("probabilities", [True, False])
@pytest.mark.parametrize("temperature", [False, True])
@pytest.mark.parametrize("ensemble", ["mean_logits", "mean_softmax", "most_confident"])
def test_the_first_stage_does_not_depend_on_the_ensemble(ensemble, temperature, probabilities):
    labels, q = whole_parts(1, 255, 5)
    p = {name: values / 255 for name, values in q.items()}
    of = LogitStore.from_probabilities if probabilities else LogitStore.from_arrays
    store = of(
        labels, p if probabilities else {n: np.round(log_of(v), 1) for n, v in p.items()}, macs=MACS
    )
    for metric in ("max_softmax", "softmax_margin", "entropy", "top2_softmax_sum"):
        alone = Method(metric, "none", temperature).fit(store).stage(store, list(MODELS))
        method = Method(metric, ensemble, temperature).fit(store)
        stage = stage_of(method.stage(store, list(MODELS)))
        stage.prepare([(0, 1), (1,)], [(0,), (1,)])
        for m in range(3):
            for own, theirs in zip(alone((m,)), stage((m,)), strict=True):
                np.testing.assert_array_equal(own, theirs)


def test_mean_softmax_averages_probabilities():
    labels, q = whole_parts(2, 100, 3)
    p = {name: values / 100 for name, values in q.items()}
    store = LogitStore.from_probabilities(labels, p, macs=MACS)
    mean = (p["a"] + p["b"]) / 2
    correct, confidence = Method("max_softmax", "mean_softmax").stage(store, list(MODELS))((0, 1))
    np.testing.assert_array_equal(confidence, mean.max(axis=1))
    np.testing.assert_array_equal(correct, mean.argmax(axis=1) == labels)
    scaled = Method(temperature=True, temperatures=dict.fromkeys(MODELS, 2.0)).stage(
        store, list(MODELS)
    )
    root = np.sqrt(np.maximum(p["b"], np.finfo(float).tiny))
    np.testing.assert_allclose(
        scaled((1,))[1], (root / root.sum(1, keepdims=True)).max(1), rtol=1e-12
    )


def masked(values):
    hidden = np.zeros(np.shape(values), bool)
    hidden.flat[1] = True
    return np.ma.MaskedArray(values, hidden)


def test_masked_values_are_refused_but_empty_masks_are_not():
    labels, q = whole_parts(4, 100, 3, k=20)
    p = {name: values / 100 for name, values in q.items()}
    confidence = np.stack([p[n].max(1) for n in MODELS])
    correct = np.ones((3, 20), bool)
    plain = LogitStore.from_arrays(labels, p, macs=MACS)
    ids = np.arange(20)
    costs = np.array([1, 2, 3])
    calls = [
        (
            lambda y, a, names: LogitStore.from_arrays(y, p | {"a": a}, MACS, sample_ids=names),
            (labels, p["a"], ids),
        ),
        (lambda a: LogitStore.from_probabilities(labels, p | {"a": a}, macs=MACS), (p["a"],)),
        (plain.take, (ids,)),
        (ScoreTable, (correct, confidence, costs)),
        (lambda a: ScoreTable(correct, [a, *confidence[1:]], costs), (confidence[0],)),
        (partial(search_arrays, n_models=2), (correct, confidence, costs)),
        (lambda *one: search_outcomes(lambda _: one, costs, 2), (correct[0], confidence[0])),
    ]
    for call, arguments in calls:
        for place, argument in enumerate(arguments):
            before = arguments[:place]
            after = arguments[place + 1 :]
            call(*before, np.ma.MaskedArray(argument), *after)
            with pytest.raises(ValueError, match="masked"):
                call(*before, masked(argument), *after)


OPTIONS = [{"score": "top5"}, {"cost": "macs"}, {"cost": "seconds"}]
OPTIONS += [
    {"method": method}
    for method in (
        "entropy",
        "max_softmax",
        Method("entropy", "most_confident"),
        Method(temperature=True),
    )
]


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_options_that_a_score_table_cannot_apply_are_refused(option):
    table = ScoreTable(
        np.eye(2, 9) > 0, np.random.default_rng(0).random((2, 9)), [1.0, 2.0], ["a", "b"]
    )
    for call in (
        search,
        lambda t, **o: pair_curve(t, "a", "b", **o),
        pair_table,
    ):
        with pytest.raises(ValueError, match="method=|unknown cost"):
            call(table, **option)
        call(table)
    search(table, score="top1", cost="cost")
