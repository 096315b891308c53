"""A policy makes the decisions of the evaluator, from tables and by calls. A failure affects its
input only."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import CALLS, POINT, STAGES, TABLE, call_of, cascades, decide_by_steps, fails
from tiny_stores import noisy_store

from cascadelib import Cascade, Method, Policy, ScoreTable, evaluate, pick, search
from cascadelib.policy.decisions import FAILURES
from cascadelib.policy.form import parse_cascade, text_of

POLICY = Policy.from_point(POINT)


@settings(max_examples=40)
@given(cascades(), st.integers(1, 5), st.booleans())
def test_run_and_decide_equal_the_evaluator(cascade, batch_size, named):
    table, point = cascade
    policy = Policy(parse_cascade(text_of(Policy.from_point(point, table).point)))
    expected = evaluate(table, point)
    seen = []
    calls = [call_of(table, model, seen) for model in range(len(table.names))]
    if named:  # in any order, and with others
        calls = dict(reversed([*zip(policy.models, calls), ("another", fails)]))
    decisions = policy.run(calls, range(len(table)), batch_size=batch_size)
    stages = expected.exit_stage.tolist()
    assert decisions.exit_stage.tolist() == stages
    assert decisions.predictions.tolist() == list(zip(stages, range(len(table))))
    for model in range(len(table.names)):
        asked = sorted(row for m, rows in seen if m == model for row in rows)
        assert asked == [row for row, stage in enumerate(stages) if stage >= model]
    assert max(len(rows) for _, rows in seen) <= batch_size
    answers = [[(model, row) for row in range(len(table))] for model in range(len(table.names))]
    found = policy.decide(decisions.confidences.T, answers)
    for name in ("exit_stage", "predictions", "confidence", "confidences", "answered", "ids"):
        assert repr(getattr(found, name)) == repr(getattr(decisions, name)), name


@settings(max_examples=40)
@given(cascades(), st.sets(st.integers(0, 3)))
@pytest.mark.filterwarnings("ignore:.*failed for:RuntimeWarning")
def test_inputs_of_a_failed_model_are_deferred_or_keep_their_answer(cascade, failing):
    table, point = cascade
    thresholds = [math.inf if i in failing else t for i, t in enumerate(point.thresholds)]
    calls = [fails if i in failing else call_of(table, i) for i in range(len(table.names))]
    decisions = Policy.from_point(point).run(
        calls, range(len(table)), batch_size=3, on_error="next"
    )
    expected = evaluate(table, replace(point, thresholds=tuple(thresholds))).exit_stage
    np.testing.assert_array_equal(decisions.exit_stage, expected)
    answered = [[i for i in range(stage + 1) if i not in failing] for stage in expected]
    assert [said and said[0] for said in decisions.predictions] == [
        each[-1] if each else None for each in answered
    ]


def test_each_failed_model_gives_one_warning():
    words = r"^'m1' failed for \d+ inputs.*ConnectionError: no answer"
    with pytest.warns(RuntimeWarning, match=words):
        decisions = POLICY.run([CALLS[0], fails, CALLS[2]], range(300), on_error="next")
    assert decisions.failure_counts.tolist() == [0, np.sum(STAGES > 0), 0]
    with pytest.warns(RuntimeWarning) as told:
        decisions = POLICY.run([fails] * 3, range(300), on_error="next")
    assert len(told) == 3 and set(decisions.predictions) == {None}


@pytest.mark.parametrize("error", [LookupError("seven"), KeyboardInterrupt()])
def test_an_exception_starts_no_further_call_and_carries_the_decisions_so_far(error):
    asked = []

    def at_seven(rows):
        asked.append(rows)
        if 7 in rows:
            raise error
        return CALLS[0](rows)

    with pytest.raises(type(error)) as caught:
        POLICY.run([at_seven, CALLS[1], CALLS[2]], range(300), batch_size=5)
    assert len(asked) == 2 and caught.value is error
    decided = error.decided
    np.testing.assert_array_equal(decided.exit_stage[:5], np.where(STAGES[:5] == 0, 0, -1))
    assert (decided.exit_stage[5:] == -1).all()
    assert [said is None for said in decided.predictions] == (decided.exit_stage < 0).tolist()


def zeros_with(confidences):
    """A function that predicts 0 for all inputs, with confidences by their number."""
    return lambda rows: ([0] * len(rows), confidences(len(rows)))


ODD = {
    "nothing": lambda rows: None,
    "predictions alone": lambda rows: [0] * len(rows),
    "no predictions": lambda rows: (None, [0.5] * len(rows)),
    "fewer predictions": lambda rows: ([0] * (len(rows) - 1), [0.5] * len(rows)),
    "more confidences": zeros_with(lambda n: [0.5] * (n + 1)),
    "no confidences": zeros_with(lambda n: None),
    "a nan": zeros_with(lambda n: [0.5] * (n - 1) + [math.nan]),
    "text": zeros_with(lambda n: ["high"] * n),
    "a Series": zeros_with(lambda n: pd.Series([0.5] * n)),
    "a dict": lambda rows: (dict.fromkeys(rows), [0.5] * len(rows)),
    "masked": zeros_with(lambda n: np.ma.masked_array([0.5] * n, [True] * n)),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("ignore:.*failed for:RuntimeWarning")
def test_malformed_answers_are_refused_with_the_name_of_the_model_or_deferred(odd):
    """All answers are malformed, except that only the last of each batch is nan."""
    calls = [CALLS[0], ODD[odd], CALLS[2]]
    with pytest.raises(ValueError, match="^model 'm1'") as caught:
        POLICY.run(calls, range(300), batch_size=300)
    np.testing.assert_array_equal(caught.value.decided.exit_stage, np.where(STAGES == 0, 0, -1))
    decisions = POLICY.run(calls, range(300), on_error="next")
    malformed = decisions.failures[:, 1] == FAILURES.index("malformed")
    assert (decisions.exit_stage[malformed] == 2).all() and (decisions.exit_stage >= 0).all()
    if odd != "a nan":
        assert malformed.tolist() == (STAGES > 0).tolist()
    assert decisions.failure_counts.tolist() == [0, malformed.sum(), 0]


REFUSED = [
    ({"calls": CALLS[:1]}, "calls of 3 models are needed"),
    ({"calls": CALLS[:2]}, "model 'm2': a function that calls it"),
    ({"calls": [*CALLS[:2], "m2"]}, r"model 'm2': a function.* models are \['m0', 'm1', 'm2'\]"),
    ({"calls": dict(zip(["m0", "m1", "m3"], CALLS))}, "model 'm2': a function that calls it"),
    ({"calls": {"m7": CALLS[0]}}, "unknown model of this cascade 'm7'"),
    ({"inputs": "a text"}, "a list of inputs is needed"),
    ({"inputs": TABLE.models}, "a list of inputs is needed"),
    ({"batch_size": 0}, "batch_size must be"),
    ({"ids": ["a"]}, "3 ids are needed"),
    ({"ids": [None, 1.5, 2]}, "3 ids are needed, texts or whole numbers"),
    ({"confidence_range": (1, 0)}, "confidence_range must be"),
    ({"on_error": "ignore"}, "unknown on_error 'ignore'"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_run_refuses(given, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        POLICY.run(**({"calls": CALLS, "inputs": range(3)} | given))


def test_decide_refuses():
    confidence = TABLE.confidence.copy()
    cases = [
        (confidence[:1], None, "confidences of 3 models"),
        ([confidence[0], confidence[1, :5]], None, "confidences and predictions must have the sam"),
        ({"m0": confidence[0]}, None, "model 'm1'"),
    ]
    for confidences, predictions, message in cases:
        with pytest.raises(ValueError, match=f"^{message}"):
            POLICY.decide(confidences, predictions)
    confidence[2] = np.nan
    confidence[1, STAGES == 0] = np.nan  # not reached, or not compared
    np.testing.assert_array_equal(POLICY.decide(confidence).exit_stage, STAGES)
    row = int(np.flatnonzero(STAGES > 0)[0])
    confidence[1, row] = np.nan
    with pytest.raises(ValueError, match=f"^model 'm1': sample {row} has no confidence"):
        POLICY.decide(confidence)


def test_an_ensemble_is_not_run():
    policy = Policy(replace(POINT, method=Method(ensemble="mean_logits")))
    with pytest.raises(ValueError, match="ensemble='mean_logits'.*Cascade"):
        policy.run([fails] * 3, [1])


def test_a_fitted_confidence_is_stored_and_decides(tmp_path):
    rng = np.random.default_rng(2)
    labels = rng.choice(["a", "b"], 600)
    correct = rng.random((3, 600)) < np.where(labels == "a", [[0.6], [0.9], [0.95]], 0.8)
    said = np.where(correct, labels, np.where(labels == "a", "b", "a"))
    confidence = np.round(np.where(correct, 0.6, 0.4) + rng.normal(0, 0.15, correct.shape), 1)
    table = ScoreTable(None, confidence, [1, 5, 30], "xyz", predictions=said, labels=labels)
    chosen = table.take(slice(0, 300))
    other = table.take(slice(300, 600))
    point = pick(search(chosen, 3, "isotonic_by_label"), "max_improvement")
    policy = Policy.from_point(point, chosen, other)
    policy.save(tmp_path / "p.json")
    assert Policy.load(tmp_path / "p.json") == policy
    expected = evaluate(other, point)
    stages = expected.exit_stage.tolist()
    assert evaluate(other, policy).exit_stage.tolist() == stages and len(set(stages)) > 1
    rows = [other.row(name) for name in policy.models]
    read = other.confidence[rows].copy()
    answers = other.predictions[rows]
    decisions = policy.decide(read, answers)
    assert decisions.exit_stage.tolist() == stages
    assert (decisions.predictions == other.labels).tolist() == expected.correct.tolist()
    assert decide_by_steps(policy, answers, read)[0].tolist() == stages
    with pytest.raises(ValueError, match=f"^model {policy.models[0]!r}.*predictions"):
        policy.decide(read)


def test_a_cascade_applies_a_fitted_confidence(tmp_path):
    store = noisy_store(k=400, models=3, classes=3)
    chosen = store.take(slice(0, 200))
    held_out = store.take(slice(200, 400))
    method = Method("entropy", confidence="isotonic_by_label")
    point = pick(search(chosen, 2, method), "max_improvement")
    calls = {name: lambda rows, name=name: held_out.logits(name)[rows] for name in point.models}
    Policy.from_point(point, chosen).save(tmp_path / "p.json")
    decisions = Cascade.load(tmp_path / "p.json", calls)(np.arange(200))
    expected = evaluate(held_out, point)
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    assert 0 < np.mean(expected.exit_stage) < 1
    assert ((decisions.predictions == held_out.labels) == expected.correct).all()
