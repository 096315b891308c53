"""Which rows of a log are read, and which are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascadelib import Point, Policy
from cascadelib.monitoring import monitor
from cascadelib.monitoring.log import Inputs, load_log
from cascadelib.policy import FAILURES
from tests.monitoring.logs import MODELS, PAIR, POLICY, frame, random_rows, row, write_jsonl


@pytest.mark.parametrize("seed", range(3))
def test_inputs_equal_a_loop_over_the_rows(seed):
    rows = random_rows(200, seed)
    inputs = load_log(frame(rows).sample(frac=1, random_state=seed), POLICY).inputs
    for place, each in enumerate(rows):
        assert inputs.times[place] == each["time"]
        assert inputs.is_audited[place] == each["audited"]
        for stage, name in enumerate(MODELS):
            is_reached = stage <= each["stage"]
            failure = FAILURES.index(each["failures"][stage]) if is_reached else -1
            assert inputs.failures[place, stage] == failure
            for column in ("confidences", "costs"):
                value = each[column][stage] if is_reached else None
                found = getattr(inputs, column)[place, stage]
                assert np.isnan(found) if value is None else found == value
            is_other = failure == 0 and each["models"][stage] != name
            assert inputs.is_other[place, stage] == is_other


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_order_repetitions_and_other_policies_change_nothing(random, repeated):
    rows = random_rows(40, 1)
    more = rows + rows[:repeated] + [each | {"policy": "another", "stage": 7} for each in rows[:7]]
    random.shuffle(more)
    expected = load_log(frame(rows), POLICY)
    found = load_log(frame(more), POLICY)
    assert (found.repeated, found.others) == (repeated, 7)
    without_rows = [Inputs(None, *log.inputs[1:]) for log in (expected, found)]
    for one, other in zip(*without_rows):
        np.testing.assert_array_equal(one, other)
    assert found.audits.to_dict("records") == expected.audits.to_dict("records")


def test_inputs_of_the_same_time_are_in_the_order_of_their_ids():
    rows = [row(number, time=5.0, confidences=[number + 1.0]) for number in range(9)]
    for log in (frame(rows), frame(rows[::-1])):
        assert load_log(log, PAIR).inputs.confidences[:, 0].tolist() == [n + 1 for n in range(9)]


CHANGES = {
    "time": 3.0,
    "models": ["spare"],
    "predictions": ["no"],
    "confidences": [0.8],
    "costs": [None],
    "audited": True,
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_id_that_repeats_with_other_contents_is_refused(name):
    rows = [row(number) for number in range(9)]
    rows.append(rows[3] | {name: CHANGES[name]})
    with pytest.raises(ValueError, match="^id 'id 3' repeats with other contents, in rows"):
        monitor(frame(rows), PAIR)


def test_a_window_includes_its_start_and_excludes_its_end():
    rows = frame([row(number) for number in range(10)])
    assert load_log(rows, PAIR, 1003.0, 1006.0).inputs.rows.tolist() == [3, 4, 5]


FAULTS = {
    "id is missing": {"id": None},
    "time is missing": {"time": None},
    "time is inf": {"time": np.inf},
    "policy is missing": {"policy": None},
    "stage is missing": {"stage": None},
    "stage is 7.0. Accepted: a whole number from 0 to 1": {"stage": 7},
    "stage is -1": {"stage": -1},
    "stage is 0.5": {"stage": 0.5},
    "models is missing": {"models": None},
    "models is []": {"models": []},
    "models is [None]": {"models": [None]},
    "predictions is [None]": {"predictions": [None]},
    "predictions is ['yes']": {"failures": ["error"], "confidences": [None]},
    "confidences is [0.9, 0.8]": {"confidences": [0.9, 0.8]},
    "confidences is [None]": {"confidences": [None]},
    "confidences is [0.9]": {"failures": ["error"], "predictions": [None]},
    "failures is ['broken']": {"failures": ["broken"]},
    "failures is [None]": {"failures": [None]},
    "costs is [-1.0]": {"costs": [-1.0]},
    "costs is [inf]": {"costs": [np.inf]},
    "costs is missing": {"costs": None},
    "audited is missing": {"audited": None},
    "reference is 'yes'": {"reference": "yes"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_row_is_refused_by_its_position_and_field(fault, tmp_path):
    rows = [row(number) for number in range(9)]
    rows[0]["policy"] = "another"
    rows[5] |= FAULTS[fault]
    paths = [tmp_path / "log.jsonl", tmp_path / "log.parquet"]
    write_jsonl(paths[0], rows)
    frame(rows).to_parquet(paths[1])
    for log, place in zip((frame(rows), *paths), ("row 5", "line 6", "row 5")):
        with pytest.raises(ValueError) as refused:
            monitor(log, PAIR)
        assert str(refused.value).startswith(place) and f": {fault}" in str(refused.value)
        assert "Accepted: " in str(refused.value)


def test_rows_of_other_policies_may_have_other_models_and_the_same_ids():
    rows = [row(1), row(1, policy=POLICY, confidences=[0.1] * 3, answers=["yes"] * 3)]
    assert monitor(frame(rows), PAIR).rows["other_policies"] == 1


def test_a_confidence_that_is_impossible_for_its_metric_is_refused():
    policy = Policy(Point(("small", "large"), (0.5,), method="max_softmax"))
    with pytest.raises(ValueError, match=r"confidences is \[93.0\]. Accepted: .* max_softmax"):
        monitor(frame([row(1, policy, [93.0])]), policy)


def test_a_model_that_always_exits_needs_no_confidence():
    policy = Policy(Point(("small", "large"), (-np.inf,)))
    assert monitor(frame([row(1, policy, [None])]), policy).rows["inputs"] == 1


def test_a_log_without_a_row_of_the_policy_is_refused():
    with pytest.raises(ValueError, match=f"no row of policy {PAIR.checksum}.*1 of other policies"):
        monitor(frame([row(1, policy=POLICY)]), PAIR)
    with pytest.raises(ValueError, match="no row of policy"):
        monitor(frame([row(1)])[:0], PAIR)
    with pytest.raises(ValueError, match="since must be a time in seconds since 1970, not '2026'"):
        monitor(frame([row(1)]), PAIR, since="2026")


@pytest.mark.parametrize(
    ("confidences", "policy"), [([0.49], PAIR), ([0.5001, None], PAIR), ([0.1, 0.4], POLICY)]
)
def test_a_confidence_that_contradicts_the_stage_is_refused(confidences, policy):
    rows = [row(1, policy, confidences, ["yes"] * len(confidences))]
    accepted = r"Accepted: .* values for which the thresholds \(.*\) give the row's stage"
    with pytest.raises(ValueError, match=f"row 0 of the log .*: confidences is .*{accepted}"):
        monitor(frame(rows), policy)


def test_a_confidence_next_to_the_threshold_may_be_rounded():
    rows = [row(1, confidences=[0.4999999]), row(2, PAIR, [0.5, None], ["yes", "no"])]
    assert monitor(frame(rows), PAIR).rows["inputs"] == 2


def test_failures_and_answers_of_other_models_exit_at_any_stage():
    rows = [row(1, confidences=[0.1], models=["spare"])]
    rows.append(row(2, PAIR, [0.9, None], ["yes", "no"], models=["spare", "large"]))
    rows.append(row(3, confidences=[None], answers=[None], failures=["timeout"]))
    assert monitor(frame(rows), PAIR).stages["exit_rate"].tolist() == [2 / 3, 1 / 3]
