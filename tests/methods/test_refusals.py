"""Each invalid metric, ensemble, method and fitted confidence is refused with its name."""

from functools import partial

import numpy as np
import pytest
from tiny_stores import noisy_store

from cascadelib import Method, Point, ScoreTable, confidence, evaluate, search
from cascadelib.methods.confidence_metrics import metric_of
from cascadelib.methods.ensembles import ensemble_of
from cascadelib.methods.fitted import Fitted, fit_confidence, read_features
from cascadelib.scoring import score_of

STORE = noisy_store(k=60, models=2)
BARE = ScoreTable(np.eye(2, 9) > 0, np.random.default_rng(0).random((2, 9)), [1, 2], ["a", "b"])
TEXTS = np.arange(120).reshape(2, 60).astype(str)
FREE = ScoreTable(np.ones((2, 60)), np.ones((2, 60)), [1, 2], ["a", "b"], predictions=TEXTS)
TOPIC = np.array([[0.5, "law"]] * 60, object)


def fit(kind, columns, values, *others):
    read = read_features(columns, values, *others)
    return fit_confidence(kind, read, np.ones(60))


UNKNOWN_NAMES = [
    (lambda: confidence(np.zeros((1, 2)), "max_sofmax"), "unknown metric.*max_softmax"),
    (lambda: metric_of("top0_softmax_sum"), "unknown metric.*top5_softmax_sum"),
    (lambda: Method("entropi"), "unknown metric.*entropy"),
    (lambda: Method(ensemble="mean_logit"), "unknown ensemble.*mean_logits"),
    (lambda: ensemble_of("votes"), "unknown ensemble.*vote"),
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
    (lambda: Method(confidence="platt"), "unknown fitted confidence 'platt'"),
    (
        lambda: Fitted.from_json(
            {"kind": "isotonic_by", "columns": ["confidence"], "parameters": []}
        ),
        "unknown fitted confidence 'isotonic_by'; nearest: 'isotonic_by_label'",
    ),
    (
        lambda: search(BARE, 2, Method(confidence="logistic", columns=("confidence", "length"))),
        "unknown column 'length'",
    ),
]
PARTS_THAT_DO_NOT_FIT = [
    (lambda: Method("logits_margin", "mean_softmax"), "logits_margin needs logits"),
    (lambda: Method(confidence="logistic", ensemble="mean_logits"), "uses the output of one model"),
    (lambda: Method(confidence="logistic", temperature=True), "uses the output of one model"),
    (lambda: search(STORE, 2, Method(ensemble="vote"), score="top2"), "Use score='top1'"),
    (lambda: search(BARE, 2, Method("entropy", confidence="auto")), "metric='entropy'"),
    (lambda: Method(temperature=True).stage(STORE, ["m0"])((0,)), "not fitted: call method.fit"),
    (
        lambda: BARE.outcome(["a", "b"], Method(confidence="logistic"), "top1")((0,)),
        "not fitted: call method.fit",
    ),
    (
        lambda: search(STORE, 2, Method(confidence="logistic")),
        "'logistic' with the confidence as its only input keeps the order of the samples",
    ),
]
VALUES_THAT_CANNOT_BE_USED = [
    (lambda: search(BARE, 2, Method(confidence="isotonic_by_label")), "there are no predictions"),
    (
        lambda: fit("isotonic_by_label", ["confidence"], np.arange(60), np.repeat(["a", "b"], 30))(
            [0.5]
        ),
        "there are no predictions",
    ),
    (
        lambda: fit("isotonic_by_label", ["confidence"], np.ones(60), ["a"] * 60)(np.ones(60)),
        "there are no predictions",
    ),
    (lambda: fit("logistic", ["confidence"], np.full(60, np.inf)), "must be finite"),
    (
        lambda: fit("logistic", ["x", "topic", "y"], np.c_[TOPIC, TOPIC[:, 1:]], None, None, ["y"]),
        "column 'topic' must be real numbers",
    ),
    (
        lambda: fit("logistic", ["confidence"], np.ones((60, 2))),
        "values of the columns confidence are needed",
    ),
    (
        lambda: Method(confidence="isotonic_by_label").fit(FREE),
        "^model 'a': 'label' has 60 distinct values among 60 samples, and 60 occur once",
    ),
    (
        lambda: Method(confidence="logistic", columns=("confidence", "label")).fit(FREE),
        "^model 'a': 'label' has 60 distinct values among 60",
    ),
    (
        lambda: ScoreTable(np.ones((1, 3)), np.ones((1, 3)), [1], columns={"label": [1, 2, 3]}),
        "column 'label'.*Rename it",
    ),
]

for function, message in (
    (lambda z: z[0, :, :2], "shape"),
    (lambda z: z.mean(axis=0) * np.nan, "nan"),
    (lambda z: 1.0, "shape"),
):
    of_function = partial(search, STORE, 2, Method(ensemble=function))
    VALUES_THAT_CANNOT_BE_USED.append((of_function, message))


@pytest.mark.parametrize(
    ("call", "message"), UNKNOWN_NAMES + PARTS_THAT_DO_NOT_FIT + VALUES_THAT_CANNOT_BE_USED
)
def test_invalid_arguments_are_refused_with_their_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_auto_needs_neither_predictions_nor_useful_labels():
    assert search(BARE, 2, Method(confidence="auto")).table["accuracy"].notna().all()
    assert len(Method(confidence="auto").fit(FREE).fitted[("a",)].parameters) == 1
