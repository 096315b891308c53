"""One step of a policy equals the stage of a run, for inputs with and without failures."""

import numpy as np
import pytest
from policies import decide_by_steps

from cascadelib import Point, Policy
from cascadelib.policy import FAILURES

POLICY = Policy(Point(("small", "middle", "large"), (0.6, 0.5)))


def test_steps_decide_like_a_run():
    rng = np.random.default_rng(0)
    confidences = rng.random((3, 500))
    confidences[0, ::50] = np.nan
    confidences[1, 3::50] = np.nan
    errors = [TimeoutError("slow"), RuntimeError("broken")]
    answers = rng.choice(["yes", "no", "perhaps", None, *errors], (3, 500))

    def call(stage):
        return lambda inputs: (answers[stage, inputs].tolist(), confidences[stage, inputs])

    calls = [call(0), call(1), call(2)]
    options = {"on_error": "next", "batch_size": 7, "labels": ["yes", "no"]}
    with pytest.warns(RuntimeWarning):
        found = POLICY.run(calls, range(500), **options)
    assert set(found.failures.ravel().tolist()) == set(range(len(FAILURES)))
    stages, failures = decide_by_steps(POLICY, answers, confidences, labels=["yes", "no"])
    assert stages.tolist() == found.exit_stage.tolist()
    assert failures.tolist() == found.failures.tolist()


def test_the_last_model_needs_no_confidence_and_a_missing_one_defers():
    exits, failures = POLICY.step(2, ["yes", None])
    assert exits.tolist() == [True, True]
    assert [FAILURES[each] for each in failures] == ["none", "malformed"]
    exits, failures = POLICY.step(0, ["yes", "no", None], [np.nan, -np.inf, 0.9])
    assert exits.tolist() == [False, False, False]
    assert [FAILURES[each] for each in failures] == ["malformed", "none", "malformed"]


def test_a_confidence_outside_of_the_stated_range_does_not_exit():
    answers = ["yes", "no"], [93.0, 0.9]
    assert POLICY.step(0, *answers)[0].tolist() == [True, True]
    exits, failures = POLICY.step(0, *answers, confidence_range=(0, 1))
    assert exits.tolist() == [False, True]
    assert [FAILURES[each] for each in failures] == ["malformed", "none"]


def test_the_checksum_names_all_that_decides_and_nothing_else(tmp_path):
    measured = Policy(Point(POLICY.models, (0.6, 0.5), (0.3, 0.3, 0.4), accuracy=0.9))
    measured.save(tmp_path / "policy.json")
    for same in (measured, Policy.load(tmp_path / "policy.json")):
        assert same.checksum == POLICY.checksum
    others = [
        Policy(Point(POLICY.models, (0.6, 0.7))),
        Policy(Point(("small", "middle", "other"), (0.6, 0.5))),
        Policy(Point(POLICY.models, (0.6, 0.5), method="max_softmax")),
    ]
    assert len({POLICY.checksum, *(each.checksum for each in others)}) == 4
