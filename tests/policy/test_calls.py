"""A policy makes the decisions of the evaluator, from tables and by calls. A failure affects its
input only."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import CALLS, POINT, STAGES, TABLE, call_of, cascades, fails

from cascadelib import (
    Cascade,
    LogitStore,
    Method,
    Point,
    Policy,
    ScoreTable,
    evaluate,
    pick,
    search,
)
from cascadelib.policy.decisions import FAILURES


@settings(max_examples=40)
@given(cascades(), st.integers(1, 5), st.booleans())
def test_run_equals_the_evaluator(cascade, batch_size, named):
    table, point = cascade
    policy = Policy.from_point(point)
    expected = evaluate(table, point)
    seen = []
    calls = [call_of(table, model, seen) for model in range(len(table.names))]
    calls = dict(reversed([*zip(policy.models, calls)])) if named else calls
    decisions = policy.run(calls, range(len(table)), batch_size=batch_size)
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    assert decisions.predictions.tolist() == list(
        zip(expected.exit_stage.tolist(), range(len(table)))
    )
    reached = [
        [i for i, stage in enumerate(expected.exit_stage) if stage >= m]
        for m in range(len(table.names))
    ]
    assert [
        sorted(row for m, rows in seen if m == model for row in rows)
        for model in range(len(reached))
    ] == reached
    assert max(len(rows) for _, rows in seen) <= batch_size
    assert (
        policy.decide(decisions.confidences.T).exit_stage.tolist() == expected.exit_stage.tolist()
    )


@settings(max_examples=40)
@given(cascades(), st.sets(st.integers(0, 3)))
@pytest.mark.filterwarnings("ignore:.*failed for:RuntimeWarning")
def test_inputs_of_a_failed_model_are_deferred(cascade, failing):
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


def test_inputs_of_a_failed_model_are_deferred_or_keep_their_answer():
    policy = Policy.from_point(POINT, TABLE)
    with pytest.warns(
        RuntimeWarning, match=r"^'m1' failed for \d+ inputs.*ConnectionError: no answer"
    ):
        decisions = policy.run([CALLS[0], fails, CALLS[2]], range(300), on_error="next")
    np.testing.assert_array_equal(decisions.exit_stage, np.where(STAGES == 1, 2, STAGES))
    assert decisions.failure_counts.tolist() == [0, np.sum(STAGES > 0), 0]
    with pytest.warns(RuntimeWarning, match="'m2' failed"):
        decisions = policy.run([CALLS[0], CALLS[1], fails], range(300), on_error="next")
    np.testing.assert_array_equal(decisions.exit_stage, STAGES)
    assert [model for model, _ in decisions.predictions] == np.minimum(STAGES, 1).tolist()
    with pytest.warns(RuntimeWarning) as told:
        decisions = policy.run([fails] * 3, range(300), on_error="next")
    assert [str(each.message).split(" inputs")[0] for each in told] == [
        f"'m{i}' failed for 300" for i in range(3)
    ]
    assert (decisions.exit_stage == 2).all() and (decisions.predictions == None).all()  # noqa: E711


def test_an_exception_carries_the_decisions_so_far():
    asked = []

    def at_seven(rows):
        asked.append(rows)
        if 7 in rows:
            raise LookupError("seven")
        return CALLS[0](rows)

    policy = Policy.from_point(POINT, TABLE)
    with pytest.raises(LookupError, match="seven") as caught:
        policy.run([at_seven, CALLS[1], CALLS[2]], range(300), batch_size=5)
    assert len(asked) == 2 and caught.value.__notes__ == ["in the call of model 'm0' for 5 inputs"]
    decided = caught.value.decided
    np.testing.assert_array_equal(decided.exit_stage[:5], np.where(STAGES[:5] == 0, 0, -1))
    assert (decided.exit_stage[5:] == -1).all()
    assert all(
        (said is None) == (stage < 0)
        for said, stage in zip(decided.predictions, decided.exit_stage)
    )


def test_an_interrupt_starts_no_further_call():
    asked = []

    def interrupted(rows):
        asked.append(rows)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        Policy.from_point(POINT).run([interrupted, *CALLS[1:]], range(300), batch_size=1)
    assert len(asked) == 1 and (caught.value.decided.exit_stage == -1).all()


ODD = {
    "nothing": lambda rows: None,
    "predictions alone": lambda rows: [0] * len(rows),
    "no predictions": lambda rows: (None, [0.5] * len(rows)),
    "three things": lambda rows: ([0] * len(rows), [0.5] * len(rows), []),
    "fewer predictions": lambda rows: ([0] * (len(rows) - 1), [0.5] * len(rows)),
    "more confidences": lambda rows: ([0] * len(rows), [0.5] * (len(rows) + 1)),
    "no confidences": lambda rows: ([0] * len(rows), None),
    "a nan": lambda rows: ([0] * len(rows), [0.5] * (len(rows) - 1) + [math.nan]),
    "text": lambda rows: ([0] * len(rows), ["high"] * len(rows)),
    "a column each": lambda rows: ([0] * len(rows), [[0.5]] * len(rows)),
    "masked": lambda rows: (
        [0] * len(rows),
        np.ma.masked_array([0.5] * len(rows), [True] * len(rows)),
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_malformed_answers_are_refused_with_the_name_of_the_model(odd):
    with pytest.raises(ValueError, match="^model 'm1'") as caught:
        Policy.from_point(POINT).run([CALLS[0], ODD[odd], CALLS[2]], range(300), batch_size=300)
    np.testing.assert_array_equal(caught.value.decided.exit_stage, np.where(STAGES == 0, 0, -1))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.filterwarnings("ignore:.*failed for:RuntimeWarning")
def test_malformed_answers_are_deferred_on_request(odd):
    """All answers are malformed, except that only the last of each batch is nan."""
    calls = [CALLS[0], ODD[odd], CALLS[2]]
    decisions = Policy.from_point(POINT).run(calls, range(300), on_error="next")
    malformed = decisions.failures[:, 1] == FAILURES.index("malformed")
    assert (decisions.exit_stage[malformed] == 2).all() and (decisions.exit_stage >= 0).all()
    if odd != "a nan":
        assert malformed.tolist() == (STAGES > 0).tolist()
    assert decisions.failure_counts.tolist() == [0, malformed.sum(), 0]


def test_the_last_model_needs_no_confidence():
    decisions = Policy.from_point(POINT, TABLE).run(
        [*CALLS[:2], lambda rows: (rows, None)], range(300)
    )
    np.testing.assert_array_equal(decisions.exit_stage, STAGES)
    assert (decisions.confidence[STAGES == 2] == -math.inf).all()


def test_async_calls_are_refused():
    async def call(rows):
        return CALLS[0](rows)

    with pytest.raises(ValueError, match="model 'm1': its call is async.*running.md"):
        Policy(POINT).run([CALLS[0], call, CALLS[2]], range(3))


def test_no_inputs_cause_no_calls():
    decisions = Policy.from_point(POINT).run([fails] * 3, [])
    assert len(decisions) == 0 and decisions.confidences.shape == (0, 3)
    assert len(Policy.from_point(POINT).decide([[], []])) == 0


REFUSED = {
    "a call too few": ({"calls": CALLS[:1]}, "calls of 3 models are needed"),
    "the last call missing": ({"calls": CALLS[:2]}, "model 'm2': a function that calls it"),
    "no function": ({"calls": [*CALLS[:2], "m2"]}, "model 'm2': a function that calls it"),
    "an unknown name": (
        {"calls": dict(zip(["m0", "m1", "m3"], CALLS))},
        "model 'm2': a function that calls it",
    ),
    "unknown names": ({"calls": {"m7": CALLS[0]}}, "unknown model of this cascade 'm7'"),
    "one text": ({"inputs": "a text"}, "a list of inputs is needed"),
    "a frame": ({"inputs": TABLE.models}, "a list of inputs is needed"),
    "no batch": ({"batch_size": 0}, "batch_size must be"),
    "too few ids": ({"ids": ["a"]}, "3 ids are needed"),
    "odd ids": ({"ids": [None, 1.5, 2]}, "3 ids are needed, texts or whole numbers"),
    "no range": ({"confidence_range": (1, 0)}, "confidence_range must be"),
    "something else": ({"on_error": "ignore"}, "unknown on_error 'ignore'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_run_refuses(case):
    given, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        Policy.from_point(POINT).run(**({"calls": CALLS, "inputs": range(3)} | given))


def test_calls_of_other_models_are_ignored():
    named = dict(zip(POINT.models, CALLS)) | {"another": fails}
    np.testing.assert_array_equal(
        Policy.from_point(POINT).run(named, range(len(TABLE))).exit_stage, STAGES
    )


def test_decide_refuses():
    policy = Policy.from_point(POINT)
    confidence = TABLE.confidence.copy()
    cases = [
        (confidence[:1], None, "of 3 models"),
        ([confidence[0], confidence[1, :5]], None, "same number of samples"),
        (confidence, [[0]] * 3, "same number of samples"),
    ]
    cases += [({"m0": confidence[0]}, None, "^model 'm1'"), ([["a"], ["b"]], None, "real numbers")]
    for confidences, predictions, message in cases:
        with pytest.raises(ValueError, match=message):
            policy.decide(confidences, predictions)
    row = int(np.flatnonzero(STAGES > 0)[0])
    confidence[2] = np.nan
    confidence[1, STAGES == 0] = np.nan  # not reached, or not compared
    np.testing.assert_array_equal(policy.decide(confidence).exit_stage, STAGES)
    confidence[1, row] = np.nan
    with pytest.raises(ValueError, match=f"^model 'm1': sample {row} has no confidence"):
        policy.decide(confidence)


def test_an_ensemble_is_decided_but_not_run():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    logits = {f"m{i}": (1 + i) * np.eye(3)[labels] + rng.normal(size=(90, 3)) for i in range(3)}
    store = LogitStore.from_arrays(labels, logits, macs={"m0": 1, "m1": 10, "m2": 100})
    point = pick(search(store, 2, "max_softmax_mean_logits"), "max_improvement")
    policy = Policy.from_point(point, store)
    stage = point.method.stage(store, point.models)
    confidence = [stage((0,))[1], stage((0, 1))[1]]
    np.testing.assert_array_equal(
        policy.decide(confidence).exit_stage, evaluate(store, point).exit_stage
    )
    with pytest.raises(ValueError, match="ensemble='mean_logits'.*Cascade"):
        policy.run([fails] * 2, [1])


def test_one_sample_at_a_time_and_a_short_repr():
    policy = Policy.from_point(POINT)
    assert policy.decide([0.1, 0.7]).exit_stage.tolist() == [1]
    assert repr(policy) == "<Policy: m0 at 0.6 → m1 at 0.6 → m2, given confidences>"


def tables():
    """Every kind of table that a search takes, by name."""
    correct = TABLE.correct
    confidence = TABLE.confidence
    cost = TABLE.cost
    rng = np.random.default_rng(1)
    without = np.where(np.arange(3)[:, None] == 2, math.nan, confidence)
    said = np.where(correct, "yes", np.where(rng.random(correct.shape) < 0.3, "", "no"))
    unsure = np.where(said == "", math.nan, confidence)
    return {
        "no confidence at the last": ScoreTable(correct, without, cost),
        "prices by query": ScoreTable(
            correct, confidence, cost[:, None] * rng.uniform(0.5, 2, correct.shape)
        ),
        "graded": ScoreTable(correct * rng.uniform(0.5, 1, correct.shape), confidence, cost),
        "a free model": ScoreTable(correct, confidence, [0, 10, 100]),
        "abstentions": ScoreTable(None, unsure, cost, predictions=said, labels=["yes"] * 300),
        "infinite": ScoreTable(correct, np.where(confidence > 0.8, math.inf, confidence), cost),
    }


@pytest.mark.parametrize("kind", tables())
@pytest.mark.parametrize("goal", [{"goal": "match_best"}, {"budget": 20.0}])
def test_every_kind_of_table_gives_a_policy(kind, goal, tmp_path):
    table = tables()[kind]
    point = pick(search(table.take(slice(0, 200)), (1, 2, 3)), **goal)
    held_out = table.take(slice(200, 300))
    policy = Policy.from_point(point, table.take(slice(0, 200)), held_out)
    policy.save(tmp_path / "p.json")
    policy = Policy.load(tmp_path / "p.json")
    expected = evaluate(held_out, point)
    confidence = [held_out.confidence[held_out.row(name)] for name in policy.models]
    assert policy.decide(confidence).exit_stage.tolist() == expected.exit_stage.tolist()
    assert policy.point.expected.accuracy.value == pytest.approx(expected.accuracy)
    calls = [lambda rows, own=own: (rows, own[rows]) for own in confidence]
    np.testing.assert_array_equal(policy.run(calls, range(100)).exit_stage, expected.exit_stage)


@pytest.mark.parametrize(
    "confidence, columns",
    [("isotonic_by_label", ["confidence"]), ("logistic", ["words", "agreement"])],
)
def test_a_fitted_confidence_is_stored_in_the_file(confidence, columns, tmp_path):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 600)
    classes = np.array(["a", "b", "c"])
    correct = (
        rng.random((3, 600)) < np.array([[0.6, 0.7, 0.95], [0.9, 0.7, 0.8], [0.95] * 3])[:, labels]
    )
    said = classes[np.where(correct, labels, (labels + 1) % 3)]
    given = np.round(np.where(correct, 0.6, 0.4) + rng.normal(0, 0.15, correct.shape), 1)
    words = np.where(correct, 3.0, 5.0) + rng.normal(size=correct.shape)
    scores = {"predictions": said, "labels": classes[labels], "columns": {"words": words}}
    table = ScoreTable(None, given, [1, 5, 30], "xyz", **scores)
    chosen = table.take(slice(0, 300))
    other = table.take(slice(300, 600))
    point = pick(
        search(chosen, 3, Method(confidence=confidence, columns=tuple(columns))), "max_improvement"
    )
    policy = Policy.from_point(point, chosen, other)
    policy.save(tmp_path / "p.json")
    assert (
        Policy.load(tmp_path / "p.json") == policy
        and policy.metric is None
        and f", {confidence}>" in repr(policy)
    )
    policy = Policy.load(tmp_path / "p.json")
    expected = evaluate(other, point)
    rows = [other.row(name) for name in policy.models]
    read = (other.confidence if columns == ["confidence"] else other.columns["words"][:, :, None])[
        rows
    ]
    decisions = policy.decide(read, other.predictions[rows])
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    assert (
        len(set(expected.exit_stage)) > 1
        and (decisions.predictions == other.labels).tolist() == expected.correct.tolist()
    )
    calls = [
        lambda at, i=i, row=row: (other.predictions[row][at], read[i][at])
        for i, row in enumerate(rows)
    ]
    np.testing.assert_array_equal(
        policy.run(calls, range(300), batch_size=7).exit_stage, expected.exit_stage
    )
    assert evaluate(other, policy).exit_stage.tolist() == expected.exit_stage.tolist()
    with pytest.raises(ValueError, match=f"^model {policy.models[0]!r}.*predictions"):
        policy.decide(read) if columns == ["confidence"] else policy.decide(read[:, :, 0], None)
    missing = [np.full((300, 2), np.nan), *read[1:]]
    with pytest.raises(ValueError, match=f"^model {policy.models[0]!r}.*no confidence .nan"):
        policy.decide(missing, other.predictions[rows])


@pytest.mark.parametrize(
    "columns", [("confidence",), ("confidence", "softmax_margin", "agreement")]
)
def test_a_cascade_applies_a_fitted_confidence(columns, tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    logits = {
        f"m{i}": ((1 + i) * np.eye(3)[labels] + rng.normal(size=(400, 3))).astype(np.float32)
        for i in range(3)
    }
    store = LogitStore.from_arrays(labels, logits, macs={"m0": 1, "m1": 10, "m2": 100})
    method = Method(
        "entropy",
        confidence="isotonic_by_label" if len(columns) == 1 else "logistic",
        columns=columns,
    )
    point = pick(search(store.take(slice(0, 200)), 2, method), "max_improvement")
    held_out = store.take(slice(200, 400))
    calls = {n: lambda rows, n=n: logits[n][rows + 200] for n in point.models}
    Policy.from_point(point, store.take(slice(0, 200))).save(tmp_path / "p.json")
    decisions = Cascade.load(tmp_path / "p.json", calls)(np.arange(200))
    expected = evaluate(held_out, point)
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    assert (
        0 < np.mean(expected.exit_stage) < 1
        and ((decisions.predictions == held_out.labels) == expected.correct).all()
    )


@pytest.mark.parametrize("place", [0, 1])
def test_answers_with_keys_in_another_order_are_refused(place):
    policy = Policy(Point(("small", "large"), (0.5,)))

    def small(inputs):
        answer = [list(inputs), [0.9] * len(inputs)]
        answer[place] = pd.Series(answer[place], index=inputs).sort_index(ascending=False)
        return tuple(answer)

    with pytest.raises(ValueError, match="have keys .*one value per input"):
        policy.run([small, small], ["a", "b", "c"])
    with pytest.raises(ValueError, match="have keys"):
        policy.run([lambda inputs: (dict.fromkeys(inputs), [0.9] * 3), small], ["a", "b", "c"])


def test_a_series_in_the_order_of_the_inputs_is_read():
    policy = Policy(Point(("small", "large"), (0.5,)))
    decisions = policy.run(
        [lambda inputs: (pd.Series(inputs), pd.Series([0.9, 0.9])), lambda inputs: (inputs, None)],
        ["a", "b"],
    )
    assert decisions.predictions.tolist() == ["a", "b"]
