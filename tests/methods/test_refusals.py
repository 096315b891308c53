"""Each invalid metric, ensemble, method and fitted confidence is refused with its name."""

import numpy as np
import pytest
from tiny_stores import noisy_store

from cascadelib import Method, Point, ScoreTable, confidence, evaluate, search
from cascadelib.methods.confidence_metrics import metric_of
from cascadelib.methods.ensembles import ensemble_of
from cascadelib.methods.fitted import fit_confidence
from cascadelib.stages import score_of

STORE = noisy_store(k=60, models=2)
BARE = ScoreTable(np.eye(2, 9) > 0, np.random.default_rng(0).random((2, 9)), [1, 2], ["a", "b"])
KIND = "isotonic_by_label"

UNKNOWN_NAMES = [
    (lambda: confidence(np.zeros((1, 2)), "max_sofmax"), "unknown metric.*max_softmax"),
    (lambda: metric_of("top0_softmax_sum"), "unknown metric.*top5_softmax_sum"),
    (lambda: Method("entropi"), "unknown metric.*entropy"),
    (lambda: Method(ensemble="mean_logit"), "unknown ensemble.*mean_logits"),
    (lambda: ensemble_of("mean_logit"), "unknown ensemble.*mean_logits"),
    (lambda: score_of("top0"), "unknown score.*top1"),
    (lambda: search(STORE, method="max_softmx"), "unknown method.*max_softmax"),
    (lambda: search(STORE, score="top_1"), "unknown score.*top1"),
    (lambda: search(STORE, cost="mac"), "unknown cost.*macs"),
    (lambda: search(STORE, models=["m00"]), "unknown model.*m0"),
    (lambda: search(STORE, models="paretto"), "pareto"),
    (
        lambda: evaluate(STORE, Point(("m0",), (), (), 0, 0, 0, Method(), "top1", "mac")),
        "unknown cost.*macs",
    ),
    (lambda: Method(confidence="logistic"), "unknown fitted confidence 'logistic'"),
    (lambda: Method(ensemble=np.mean), "ensemble.*mean_logits.*mean_softmax.*most_confident"),
]
PARTS_THAT_DO_NOT_FIT = [
    (lambda: Method("logits_margin", "mean_softmax"), "logits_margin needs logits"),
    (lambda: Method(confidence=KIND, ensemble="mean_logits"), "uses the output of one model"),
    (lambda: Method(confidence=KIND, temperature=True), "uses the output of one model"),
    (lambda: search(BARE, 2, Method("entropy", confidence=KIND)), "metric='entropy'"),
    (lambda: Method(temperature=True).stage(STORE, ["m0"])((0,)), "not fitted: call method.fit"),
    (lambda: BARE.outcome(["a"], Method(confidence=KIND), "top1")((0,)), "not fitted: call method"),
]
VALUES_THAT_CANNOT_BE_USED = [
    (lambda: search(BARE, 2, KIND), "no predictions"),
    (lambda: fit_confidence(np.full(9, np.inf), ["a"] * 9, np.ones(9)), "must be finite"),
]


@pytest.mark.parametrize(
    ("call", "message"), UNKNOWN_NAMES + PARTS_THAT_DO_NOT_FIT + VALUES_THAT_CANNOT_BE_USED
)
def test_invalid_arguments_are_refused_with_their_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
