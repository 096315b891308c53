"""Methods on a store: outcomes of prefixes against per-sample twins; temperature; the paper's
twelve."""

from collections.abc import Callable

import numpy as np
import pytest

from cascadelib import METHODS, LogitStore, Method, search
from cascadelib.methods.confidence_metrics import confidence, softmax

NAMES = ["m0", "m1", "m2"]


def test_the_papers_twelve_are_there() -> None:
    metrics = ["entropy", "max_softmax", "softmax_margin", "logits_margin"]
    means = [f"max_softmax_mean_{what}{ts}" for what in ("logits", "softmax") for ts in ("", "_ts")]
    assert set(METHODS) == {*metrics, *(f"{m}_most_confident_ts" for m in metrics), *means}


@pytest.mark.parametrize("name", METHODS)
def test_outcomes_equal_a_loop_over_samples(store: LogitStore, name: str) -> None:
    method = METHODS[name].fit(store)
    stage = method.stage(store, NAMES)
    for prefix in [(0,), (1,), (0, 1), (0, 2), (0, 1, 2)]:
        correct, confidences = stage(prefix)
        for j in range(0, len(store), 7):
            rows = [
                store.logits(NAMES[m])[j : j + 1].astype(float) / method.temperature_of(NAMES[m])
                for m in prefix
            ]
            if method.ensemble == "none" or len(prefix) == 1:
                out = rows[-1]
                value = confidence(rows[-1], method.metric)[0]
            elif method.ensemble == "mean_logits":
                out = np.mean(rows, axis=0)
                value = confidence(out, method.metric)[0]
            elif method.ensemble == "mean_softmax":
                out = np.mean([softmax(r) for r in rows], axis=0)
                value = out.max()
            else:
                values = [confidence(r, method.metric)[0] for r in rows]
                out = rows[int(np.argmax(values))]
                value = max(values)
            assert correct[j] == (out[0].argmax() == store.labels[j])
            assert confidences[j] == pytest.approx(value, abs=1e-12)


def test_most_confident_takes_the_cheaper_at_a_tie() -> None:
    z = np.array([[2.0, 0.0]])
    store = LogitStore.from_arrays([0], {"a": z, "b": z[:, ::-1]}, macs={"a": 1, "b": 2})
    correct, _ = Method("max_softmax", "most_confident").stage(store, ["a", "b"])((0, 1))
    assert correct.tolist() == [True]


def test_top_k_counts_ties_towards_the_lower_class() -> None:
    z = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    store = LogitStore.from_arrays([1, 2], {"a": z}, macs={"a": 1})
    for score, expected in [
        ("top1", [False, False]),
        ("top2", [True, True]),
        ("top3", [True, True]),
    ]:
        assert Method().stage(store, ["a"], score)((0,))[0].tolist() == expected


def test_logits_margin_of_mean_softmax_is_refused() -> None:
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
def test_unknown_names_come_with_the_nearest(
    store: LogitStore, call: Callable, nearest: str
) -> None:
    with pytest.raises(ValueError, match=nearest):
        call(store)


def test_for_two_classes_four_metrics_give_one_front() -> None:
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
