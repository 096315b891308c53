"""Methods on a store: outcomes equal a loop over samples."""

import numpy as np
import pytest
from references import slow_output
from tiny_stores import noisy_store

from cascadelib import METHODS, LogitStore, Method
from cascadelib.methods.confidence_metrics import METRICS
from cascadelib.methods.ensembles import ENSEMBLES

NAMES = ["m0", "m1", "m2"]


def test_the_twelve_methods_of_the_paper_exist():
    metrics = ["entropy", "max_softmax", "softmax_margin", "logits_margin"]
    means = [f"max_softmax_mean_{what}{ts}" for what in ("logits", "softmax") for ts in ("", "_ts")]
    assert set(METHODS) == {*metrics, *(f"{m}_most_confident_ts" for m in metrics), *means}


GRID = noisy_store(k=60, models=3, classes=4, step=0.5)  # confidences tie


@pytest.mark.parametrize("metric", [*METRICS, "top2_softmax_sum"])
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_outcomes_equal_a_loop_over_samples(store, metric, ensemble):
    if metric == "logits_margin" and ensemble == "mean_softmax":
        pytest.skip("the margin of logits needs logits")
    for split, temperature in ((store, False), (store, True), (GRID, False)):
        method = Method(metric, ensemble, temperature).fit(split)
        stage = method.stage(split, NAMES)
        for prefix in [(0,), (1,), (0, 1), (2, 0), (0, 1, 2)]:
            correct, confidences = stage(prefix)
            scaled = [
                split.logits(NAMES[m]).astype(float) / method.temperature_of(NAMES[m])
                for m in prefix
            ]
            for j in range(0, len(split), 5):
                answer, confidence = slow_output([z[j] for z in scaled], metric, ensemble)
                assert correct[j] == (answer == split.labels[j])
                assert confidences[j] == pytest.approx(confidence, abs=1e-12)


def test_top_k_counts_ties_towards_the_lower_class():
    z = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    store = LogitStore.from_arrays([1, 2], {"a": z}, macs={"a": 1})
    for score, expected in {"top1": [False] * 2, "top2": [True] * 2, "top3": [True] * 2}.items():
        assert Method().stage(store, ["a"], score)((0,))[0].tolist() == expected
