"""Methods on a store: outcomes of prefixes against per-sample twins; temperature; the paper's twelve."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import METHODS, LogitStore, Method, fit_temperature, search
from cascadelib.methods.confidence_metrics import confidence, softmax


@pytest.fixture(scope="module")
def store():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    signal = np.eye(4)[labels]
    logits = {f"m{i}": (i + 1.5) * signal + rng.normal(size=(300, 4)) * 1.2 for i in range(3)}
    return LogitStore.from_arrays(labels, logits, macs={"m0": 10, "m1": 100, "m2": 1000})


NAMES = ["m0", "m1", "m2"]


def test_the_papers_twelve_are_there():
    metrics = ["entropy", "max_softmax", "softmax_margin", "logits_margin"]
    means = [f"max_softmax_mean_{what}{ts}" for what in ("logits", "softmax") for ts in ("", "_ts")]
    assert set(METHODS) == {*metrics, *(f"{m}_most_confident_ts" for m in metrics), *means}


@pytest.mark.parametrize("name", METHODS)
def test_outcomes_equal_a_loop_over_samples(store, name):
    method = METHODS[name].fit(store)
    stage = method.stage(store, NAMES)
    for prefix in [(0,), (1,), (0, 1), (0, 2), (0, 1, 2)]:
        right, sure = stage(prefix)
        for j in range(0, len(store), 7):
            rows = [
                store.logits(NAMES[m])[j : j + 1].astype(float) / method.temperature_of(NAMES[m])
                for m in prefix
            ]
            if method.ensemble == "none" or len(prefix) == 1:
                out, value = rows[-1], confidence(rows[-1], method.metric)[0]
            elif method.ensemble == "mean_logits":
                out = np.mean(rows, axis=0)
                value = confidence(out, method.metric)[0]
            elif method.ensemble == "mean_softmax":
                out = np.mean([softmax(r) for r in rows], axis=0)
                value = out.max()
            else:
                values = [confidence(r, method.metric)[0] for r in rows]
                out, value = rows[int(np.argmax(values))], max(values)
            assert right[j] == (out[0].argmax() == store.labels[j])
            assert sure[j] == pytest.approx(value, abs=1e-12)


def test_most_confident_takes_the_cheaper_at_a_tie():
    z = np.array([[2.0, 0.0]])
    store = LogitStore.from_arrays([0], {"a": z, "b": z[:, ::-1]}, macs={"a": 1, "b": 2})
    right, _ = Method("max_softmax", "most_confident").stage(store, ["a", "b"])((0, 1))
    assert right.tolist() == [True]


def test_top_k_counts_ties_towards_the_lower_class():
    z = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    store = LogitStore.from_arrays([1, 2], {"a": z}, macs={"a": 1})
    for score, expected in [
        ("top1", [False, False]),
        ("top2", [True, True]),
        ("top3", [True, True]),
    ]:
        assert Method().stage(store, ["a"], score)((0,))[0].tolist() == expected


def negative_log_likelihood(logits, labels, temperature):
    return -np.log(softmax(logits, temperature)[np.arange(len(labels)), labels]).mean()


def test_temperature_is_the_minimum_of_the_likelihood(store):
    z, labels = store.logits("m1"), store.labels
    t = fit_temperature(z, labels)
    here = negative_log_likelihood(z, labels, t)
    grid = [negative_log_likelihood(z, labels, g) for g in np.geomspace(0.05, 20, 2001)]
    assert here <= min(grid) + 1e-9


def test_temperature_undoes_a_known_scale():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(20000, 3)) * 2
    labels = (softmax(z).cumsum(1) < rng.random((20000, 1))).sum(1)
    assert fit_temperature(z * 3, labels) == pytest.approx(3, rel=0.05)


def test_temperature_never_changes_a_single_models_predictions(store):
    scaled = Method(temperature=True).fit(store)
    for m in range(3):
        plain = Method().stage(store, NAMES)((m,))[0]
        np.testing.assert_array_equal(plain, scaled.stage(store, NAMES)((m,))[0])


def test_a_model_that_is_never_wrong_has_no_temperature():
    with pytest.warns(RuntimeWarning, match="never wrong"):
        t = fit_temperature(np.array([[5.0, 0.0], [0.0, 5.0]]), [0, 1])
    assert t == 1.0


def test_at_a_bound_the_bound_is_the_temperature():
    misleading, labels = np.array([[5.0, 0.0]] * 4), [0, 1, 1, 1]
    for scale in (1.0, 1e-3):
        with pytest.warns(RuntimeWarning, match="only grows up to this bound"):
            assert fit_temperature(misleading * scale, labels) == pytest.approx(2.5 * scale * 100)
    with pytest.warns(RuntimeWarning, match="only grows"):
        assert fit_temperature(np.zeros((4, 2)), labels) == 1.0  # nothing to scale


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(-6, 6), st.integers(2, 30))
def test_a_temperature_goes_with_the_scale_of_the_logits_and_scipy_is_silent(seed, power, k):
    """Cosines of CLIP want T ≈ 0.002, other logits 1: the same model in other units has the same probabilities."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, k)
    z = rng.normal(size=(k, 3)) + np.eye(3)[labels]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = [fit_temperature(z * scale, labels) for scale in (1.0, 10.0**power)]
    assert all("temperature of the model" in str(w.message) for w in caught)
    if fitted[0] != 1.0:
        assert fitted[1] == pytest.approx(fitted[0] * 10.0**power, rel=1e-6)


def test_unfitted_temperature_is_refused(store):
    with pytest.raises(ValueError, match="fit"):
        Method(temperature=True).stage(store, NAMES)((0,))


def test_logits_margin_of_mean_softmax_is_refused():
    with pytest.raises(ValueError, match="logits"):
        Method("logits_margin", "mean_softmax")


@pytest.mark.parametrize(
    ("call", "nearest"),
    [
        (lambda s: search(s, method="max_softmx"), "max_softmax"),
        (lambda s: Method("entropi"), "entropy"),
        (lambda s: Method(ensemble="mean_logit"), "mean_logits"),
        (lambda s: search(s, score="top_1"), "top1"),
        (lambda s: search(s, cost="mac"), "macs"),
        (lambda s: search(s, models=["m00"]), "m0"),
        (lambda s: search(s, models="paretto"), "pareto"),
    ],
)
def test_unknown_names_come_with_the_nearest(store, call, nearest):
    with pytest.raises(ValueError, match=nearest):
        call(store)


def test_for_two_classes_four_metrics_give_one_front():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 400)
    logits = {
        n: np.stack([np.zeros(400), rng.uniform(-7, 7, 400) + s * (2 * labels - 1)], 1)
        for n, s in zip("ab", (2, 6))
    }
    store = LogitStore.from_arrays(labels, logits, macs={"a": 1, "b": 9})
    fronts = [
        search(store, method=m).table[["accuracy", "cost"]]
        for m in ("entropy", "max_softmax", "softmax_margin", "logits_margin")
    ]
    for other in fronts[1:]:
        assert other.equals(fronts[0])
