"""Decisions of the library as rows of a log."""

import numpy as np
import pytest

import cascadelib as cl
from cascadelib.monitoring import log_rows, monitor
from cascadelib.monitoring.log import load_log
from cascadelib.policy import FAILURES
from tests.monitoring.logs import POLICY, write_jsonl


def run_with_failures():
    """Decisions of 300 inputs with failures of each kind, and the answers of each model."""
    rng = np.random.default_rng(0)
    confidences = rng.random((3, 300))
    errors = [TimeoutError("slow"), RuntimeError("broken")]
    chances = [0.3, 0.3, 0.1, 0.1, 0.1, 0.1]
    answers = rng.choice(["yes", "no", "perhaps", None, *errors], (3, 300), p=chances)

    def call(stage):
        return lambda rows: (answers[stage, rows].tolist(), confidences[stage, rows], stage + 1.0)

    calls = [call(0), call(1), call(2)]
    with pytest.warns(RuntimeWarning):
        return POLICY.run(calls, range(300), on_error="next", labels=["yes", "no"]), answers


def test_the_rows_of_a_run_are_its_decisions(tmp_path):
    decisions, answers = run_with_failures()
    audited = np.arange(300) % 3 == 0
    reference = ["yes" if each else None for each in audited]
    rows = log_rows(decisions, POLICY, audited, reference, time=np.arange(300.0))
    for log in (rows, write_jsonl(tmp_path / "log.jsonl", rows.to_dict("records"))):
        read = load_log(log, POLICY)
        assert read.inputs.stages.tolist() == decisions.exit_stage.tolist()
        for stage in range(3):
            is_reached = decisions.exit_stage >= stage
            found = read.inputs.failures[:, stage]
            assert (found[is_reached] == decisions.failures[is_reached, stage]).all()
        np.testing.assert_array_equal(read.inputs.confidences, decisions.confidences)
        assert read.audits["cascade"].tolist() == decisions.predictions[audited].tolist()
    for row, failures, given in zip(rows["predictions"], decisions.failures, answers.T):
        is_valid = failures[: len(row)] == 0
        assert row == [each if ok else None for each, ok in zip(given, is_valid)]
    assert set(monitor(rows, POLICY).stages[list(FAILURES)].sum().astype(bool)) == {True}


def test_the_rows_of_a_fitted_policy_have_the_fitted_confidences():
    rng = np.random.default_rng(0)
    confidence = rng.random((2, 400))
    predictions = rng.choice(["yes", "no"], (2, 400))
    labels = np.where(rng.random(400) < confidence[0], predictions[0], "maybe")
    table = cl.ScoreTable(
        None, confidence, [1, 10], ("small", "large"), predictions=predictions, labels=labels
    )
    method = cl.Method(confidence="isotonic_by_label").fit(table)
    point = cl.Point(table.names, (0.5,), method=method, cost_kind="cost")
    policy = cl.Policy.from_point(point, table)
    decisions = policy.run(table.calls(), table.origin.sample_ids)
    raw = log_rows(decisions, policy)
    report = monitor(raw, policy)
    assert report.rows["inputs"] == 400 and not report.drift["alarm"].any()
    raw["confidences"] = [[confidence[0, n], None][: k + 1] for n, k in enumerate(raw["stage"])]
    with pytest.raises(ValueError, match="confidences is .* give the row's stage"):
        monitor(raw, policy)


def test_the_rows_of_a_cascade_are_its_decisions():
    """The first model fails for nan. The second is then not called."""
    point = cl.Point(("a", "b", "c"), (0.8, 0.6), method=cl.Method())
    models = {
        name: lambda batch, scale=scale: np.stack([scale * batch, -scale * batch], axis=1)
        for name, scale in (("a", 1), ("b", 3), ("c", 9))
    }
    cascade = cl.Cascade.from_point(point, models)
    with pytest.warns(RuntimeWarning, match="nan or infinite"):
        decisions = cascade(np.array([2.0, -0.05, 0.5, np.nan]))
    rows = log_rows(decisions, cascade.policy, [True, False, True, True], [0, None, 1, None])
    assert rows["reference"].tolist() == ["0", None, "1", None]
    assert rows["predictions"].tolist() == [["0"], ["1"] * 3, ["0"] * 2, [None] * 3]
    assert rows["failures"].tolist()[3] == ["malformed"] * 3
    assert monitor(rows, cascade.policy).rows["inputs"] == 4
