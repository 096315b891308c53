"""The audit, the rows of a log, and the report about them."""

import hashlib
import hmac

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.evaluation.intervals import anytime_lower
from cascadelib.monitoring import COLUMNS, failure_evidence, log_rows, monitor
from cascadelib.policy import FAILURES
from tests.logs import PAIR, POLICY, disagreeing, random_rows, row

SALT = b"sixteen secret b"


def report_of(rows, policy=PAIR, **options):
    return monitor(pd.DataFrame(rows), policy, **options)


def test_an_audit_is_the_keyed_hash_of_the_id():
    digest = hmac.digest(SALT, b"id 7", "sha256")
    share = int.from_bytes(digest[:8], "big") / 2**64
    assert cl.is_audited(["id 7"], share * 1.001, SALT).tolist() == [True]
    assert cl.is_audited(["id 7"], share * 0.999, SALT).tolist() == [False]
    assert cl.is_audited([7, "7"], 0.5, SALT).tolist() in ([True, True], [False, False])
    assert cl.is_audited("id 7", 1, SALT).tolist() == [True]  # one id, not its characters
    assert cl.is_audited(range(9), 1, SALT).all() and not cl.is_audited(range(9), 0, SALT).any()


@pytest.mark.parametrize(
    ("share", "salt", "message"),
    [
        (0.1, None, "salt must be 16 secret bytes or more"),
        (0.1, b"short", "salt must be 16 secret bytes or more"),
        ("2%", SALT, "share must be a number from 0 to 1, such as 0.02 for 2%, not '2%'"),
    ],
)
def test_a_draw_without_a_salt_or_a_share_is_refused(share, salt, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        cl.is_audited(["a"], share, salt)


# {seed: (inputs, timeouts, answers of other models and cost by stage, mean cost with its interval,
# verdicts, bounds of the loss, first ids to label)}, from version 0.4
RECORDED = {
    0: (
        [[400, 270, 178], [22, 20, 12], [25, 23, 16], [183.188, 121.879, 75.818]],
        [1.018965, 0.954612, 1.083317],
        {"agreed": 51, "lost": 23, "tied": 10, "gained": 12, "open": 42, "unknown": 32},
        [-0.5335859603711541, 0.6422610267889529],
        ["id 239", "id 23"],
    ),
    1: (
        [[400, 296, 176], [19, 16, 8], [36, 21, 16], [184.64, 128.892, 84.013]],
        [1.078264, 1.019369, 1.137159],
        {"agreed": 36, "lost": 20, "tied": 13, "gained": 11, "open": 50, "unknown": 27},
        [-0.5994875057106054, 0.6925390752905818],
        ["id 29", "id 321"],
    ),
    2: (
        [[400, 289, 190], [15, 16, 12], [48, 24, 11], [171.691, 129.432, 89.23]],
        [1.050714, 0.983658, 1.117771],
        {"agreed": 40, "lost": 16, "tied": 13, "gained": 13, "open": 47, "unknown": 31},
        [-0.6248229287724633, 0.6553574622179148],
        ["id 137", "id 321"],
    ),
}


@pytest.mark.parametrize("seed", RECORDED)
def test_a_report_equals_the_recorded_one(seed):
    rows = random_rows(400, seed)
    labels = {each["id"]: "yes" if n % 3 else "no" for n, each in enumerate(rows[::2])}
    report = report_of(rows, POLICY, labels=labels, error=0.1)
    stages, cost, verdicts, bounds, first = RECORDED[seed]
    columns = report.stages[["inputs", "timeout", "other_model", "spent"]]
    np.testing.assert_allclose(columns.T, stages)
    np.testing.assert_allclose(report.cost[["mean", "low", "high"]], cost, atol=1e-6)
    assert report.loss[[*verdicts]].to_dict() == verdicts
    np.testing.assert_allclose(report.loss[["low", "high"]].astype(float), bounds, atol=1e-12)
    assert report.to_label[:2] == first and not report.loss["alarm"]


@pytest.mark.parametrize("seed", [3, 4])
def test_counts_costs_and_verdicts_equal_a_loop_over_the_rows(seed):
    rows = random_rows(300, seed)
    report = report_of(rows, POLICY)
    for stage, (name, found) in enumerate(report.stages.iterrows()):
        reached = [each for each in rows if each["stage"] >= stage]
        failures = [each["failures"][stage] for each in reached]
        assert found[[*FAILURES]].tolist() == [failures.count(each) for each in FAILURES]
        models = [each["models"][stage] for each in reached]
        valid = [model for model, failure in zip(models, failures) if failure == "none"]
        assert found["other_model"] == len(valid) - valid.count(name)
        assert found["exit_rate"] == np.mean([each["stage"] == stage for each in rows])
        assert found["exit_rate_low"] < found["exit_rate"] < found["exit_rate_high"]
    paid, wanted = [], []
    for each in rows:
        pairs = list(zip(each["failures"], each["costs"]))
        if all(failure != "none" or cost is not None for failure, cost in pairs):
            paid.append(sum(cost or 0 for _, cost in pairs))
        last = [None, *filter(lambda answer: answer is not None, each["predictions"])][-1]
        if each["audited"] and each["reference"] not in (None, last):
            wanted.append(each["id"])
    assert report.cost["priced"] == len(paid)
    assert report.cost["mean"] == pytest.approx(np.mean(paid))
    assert report.to_label == sorted(wanted, key=lambda a: hashlib.sha256(a.encode()).digest())


def test_each_bound_of_the_loss_has_half_of_the_error():
    log = disagreeing()
    labels = dict.fromkeys([f"id {n}" for n in range(150)], "yes")
    loss = monitor(log, PAIR, labels, error=0.06).loss
    assert (loss["agreed"], loss["lost"], loss["open"]) == (200, 50, 50)
    assert loss["low"] == anytime_lower(50, 200, 50, 0.03)
    assert loss["high"] == -anytime_lower(0, 200, 100, 0.03)


def test_labels_only_narrow_the_bounds_and_a_loss_alarms():
    log = disagreeing()
    before = monitor(log, PAIR, epsilon=0.1)
    labels = pd.Series("yes", before.to_label)
    labels["id 999"] = "Unaudited"
    after = monitor(log, PAIR, labels, epsilon=0.1)
    assert before.loss["low"] < after.loss["low"] < 1 / 3 < after.loss["high"]
    assert not before.loss["alarm"] and after.loss["alarm"]
    assert repr(after).endswith("alarms: loss>")


def audited_rows(is_drawn):
    """A log of 4,000 inputs. The cascade errs on half of those that exit at the first model."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (confidence, draw) in enumerate(rng.random((4000, 2)).tolist()):
        confidences = [confidence] if confidence >= 0.5 else [confidence, None]
        stages = len(confidences)
        answers = ["no" if 0.5 <= confidence < 0.75 else "yes"] * stages
        drawn = {"audited": True, "reference": "yes"} if is_drawn(number, confidence, draw) else {}
        rows.append(row(number, PAIR, confidences, answers, **drawn))
    return rows


DRAWS = {
    "uniform": lambda number, confidence, draw: draw < 0.1,
    "of confident inputs": lambda number, confidence, draw: confidence > 0.75 and draw < 0.2,
    "of the less confident half of the exits, too": lambda _, confidence, draw: (
        draw < (0.1 if confidence < 0.5 else 0.2 * (confidence > 0.75))
    ),
    "of the start": lambda number, confidence, draw: number < 400,
    "of a share that changed": lambda number, _, draw: draw < (0.05 if number < 2000 else 0.15),
}


@pytest.mark.parametrize("name", DRAWS)
def test_an_audit_that_is_not_a_uniform_draw_has_no_bounds(name):
    """The cascade loses 25 points, and an audit of confident inputs would show none of them."""
    rows = audited_rows(DRAWS[name])
    report = report_of(rows, labels={each["id"]: "yes" for each in rows}, epsilon=0.02)
    is_uniform = name == "uniform"
    assert ("the audit is not a uniform draw" in str(report)) == (not is_uniform)
    assert np.isnan(report.loss["low"]) == (not is_uniform)
    assert (report.loss["low"] <= 0.25 <= report.loss["high"]) == is_uniform
    assert repr(report).endswith(f"alarms: {'loss' if is_uniform else 'audit'}>")
    assert "assume that the log has all inputs" in str(report)


SPELLINGS = {
    "label 'Yes' of input 'id 0' is not": ("yes", {"id 0": "Yes"}),
    "label 'maybe' of input 'id 0' is not": ("yes", {"id 0": "maybe"}),
    "reference 'YES' of input 'id 0' is not": ("YES", {}),
}


@pytest.mark.parametrize("message", SPELLINGS)
def test_answers_and_labels_that_are_spelled_otherwise_are_refused(message):
    reference, labels = SPELLINGS[message]
    with pytest.raises(ValueError, match=f"^{message} spelled as an audited answer"):
        monitor(disagreeing(100, 4, reference), PAIR, labels)


def test_the_evidence_of_failures_equals_its_recursion():
    has_failed = np.random.default_rng(0).random(200) < 0.05
    values = [0.0] * 3
    for failed in has_failed:
        factors = [1 + bet * (99 if failed else -1) for bet in (0.02, 0.1, 0.5)]
        values = [(value + 1) * factor for value, factor in zip(values, factors)]
    assert failure_evidence(has_failed) == pytest.approx(np.mean(values))
    assert failure_evidence(has_failed[:0]) == 0


def test_an_outage_is_failing_until_it_ends():
    broken = {"failures": ["error", "none"], "predictions": [None, "yes"]}
    outage = [row(n, PAIR, [None, None], ["", "yes"], **broken) for n in range(20)]
    well = [row(n) for n in range(20, 1100)]
    assert report_of(outage).stages["failing"].tolist() == [True, False]
    assert "alarms: small>" in repr(report_of(outage))
    assert not report_of(outage + well).stages["failing"].any()


@settings(max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(0, 40))
def test_order_repetitions_and_other_policies_change_nothing(random, repeated):
    rows = random_rows(40, 1)
    more = rows + rows[:repeated] + [each | {"policy": "another", "stage": 7} for each in rows[:7]]
    random.shuffle(more)
    expected, found = report_of(rows, POLICY), report_of(more, POLICY)
    assert found.rows[["repeated", "other_policies"]].tolist() == [repeated, 7]
    pd.testing.assert_frame_equal(found.stages, expected.stages)
    pd.testing.assert_series_equal(found.loss, expected.loss)
    assert found.to_label == expected.to_label


def test_a_log_is_read_alike_from_parquet_and_from_json_lines(tmp_path):
    log = pd.DataFrame(random_rows(100, 0))
    log.to_parquet(tmp_path / "log.parquet")
    log.to_json(tmp_path / "log.jsonl", orient="records", lines=True)
    expected = monitor(log, POLICY)
    for read in (
        pd.read_parquet(tmp_path / "log.parquet"),
        pd.read_json(tmp_path / "log.jsonl", lines=True, dtype=False),
    ):
        pd.testing.assert_frame_equal(monitor(read, POLICY).stages, expected.stages)


FAULTS = {
    "id is nan": {"id": None},
    "id is 7": {"id": 7},
    "time is 'noon'": {"time": "noon"},
    "time is inf": {"time": np.inf},
    "policy is nan": {"policy": None},
    "stage is 7": {"stage": 7},
    "stage is 0.5": {"stage": 0.5},
    "stage is 'first'": {"stage": "first"},
    "models is None": {"models": None},
    "models is 's'": {"models": "s"},
    "models is []": {"models": []},
    "models is [None]": {"models": [None]},
    "predictions is [None]": {"predictions": [None]},
    "predictions is [1]": {"predictions": [1]},
    "predictions is ['yes']": {"failures": ["error"], "confidences": [None]},
    "confidences is [0.9, 0.8]": {"confidences": [0.9, 0.8]},
    "confidences is [None]": {"confidences": [None]},
    "confidences is ['0.9']": {"confidences": ["0.9"]},
    "confidences is [0.9]": {"failures": ["error"], "predictions": [None]},
    "confidences is [0.49]": {"confidences": [0.49]},
    "failures is ['broken']": {"failures": ["broken"]},
    "costs is [-1.0]": {"costs": [-1.0]},
    "costs is [inf]": {"costs": [np.inf]},
    "costs is [{}]": {"costs": [{}]},
    "audited is None": {"audited": None},
    "audited is 'yes'": {"audited": "yes"},
    "reference is 'yes'": {"reference": "yes"},
    "reference is 1.0": {"reference": 1, "audited": True},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_row_is_refused_by_its_position_and_field(fault):
    rows = [row(number) for number in range(9)]
    rows[0]["policy"] = "another"
    rows[5] |= FAULTS[fault]
    with pytest.raises(ValueError) as refused:
        monitor(pd.DataFrame(rows).astype(object), PAIR)
    message = f"row 5 of the log (0 = first): {fault}. Accepted: {COLUMNS[fault.split()[0]]}"
    assert str(refused.value) == message


CHANGES = {"time": 3.0, "models": ["spare"], "confidences": [0.8], "costs": [None], "audited": True}


@pytest.mark.parametrize("name", CHANGES)
def test_an_id_that_repeats_with_other_contents_is_refused(name):
    rows = [row(number) for number in range(9)]
    rows.append(rows[3] | {name: CHANGES[name]})
    with pytest.raises(ValueError, match="id is 'id 3'. Accepted: .*must be the same"):
        report_of(rows)


@pytest.mark.parametrize(
    ("log", "policy", "message"),
    [
        ("log/", PAIR, "log must be a DataFrame"),
        (pd.DataFrame([row(0)]).drop(columns="costs"), PAIR, "the log has no column 'costs': a li"),
        (pd.DataFrame([row(0)]), POLICY, "no row of policy .*, and 1 of other policies"),
        (pd.DataFrame([row(0)])[:0], PAIR, "no row of policy"),
        (
            pd.DataFrame([row(1, PAIR, [0.5001, None], ["yes", "no"])]),
            PAIR,
            "row 0 of the log .*: confidences is .0.5001, None..* gives the stage",
        ),
        (
            pd.DataFrame([row(1, cl.Policy(cl.Point(PAIR.models, (0.5,), "entropy")), [-1.0])]),
            cl.Policy(cl.Point(PAIR.models, (0.5,), "entropy")),
            r"confidences is \[-1.0\]. Accepted",
        ),
    ],
)
def test_a_log_that_contradicts_its_policy_is_refused(log, policy, message):
    with pytest.raises(ValueError, match=message):
        monitor(log, policy)


def test_a_confidence_next_to_the_threshold_may_be_rounded():
    rows = [row(1, confidences=[0.4999999]), row(2, PAIR, [0.5, None], ["yes", "no"])]
    assert report_of(rows).rows["inputs"] == 2


def test_failures_and_answers_of_other_models_exit_at_any_stage():
    rows = [row(1, confidences=[0.1], models=["spare"])]
    rows.append(row(2, PAIR, [0.9, None], ["yes", "no"], models=["spare", "large"]))
    rows.append(row(3, confidences=[None], answers=[None], failures=["timeout"]))
    assert report_of(rows).stages["exit_rate"].tolist() == [2 / 3, 1 / 3]


def test_a_model_that_always_exits_needs_no_confidence():
    policy = cl.Policy(cl.Point(PAIR.models, (-np.inf,)))
    assert report_of([row(1, policy, [None])], policy).rows["inputs"] == 1


def test_the_rows_of_a_run_are_its_decisions():
    rng = np.random.default_rng(0)
    confidences = rng.random((3, 300))
    errors = [TimeoutError("slow"), RuntimeError("broken")]
    chances = [0.3, 0.3, 0.1, 0.1, 0.1, 0.1]
    answers = rng.choice(["yes", "no", "perhaps", None, *errors], (3, 300), p=chances)

    def call(stage):
        return lambda rows: (answers[stage, rows].tolist(), confidences[stage, rows], stage + 1.0)

    with pytest.warns(RuntimeWarning):
        decisions = POLICY.run(
            [call(0), call(1), call(2)], range(300), on_error="next", labels=["yes", "no"]
        )
    audited = np.arange(300) % 3 == 0
    rows = log_rows(decisions, POLICY, audited, ["yes" if each else None for each in audited])
    report = monitor(rows, POLICY)
    assert report.stages["inputs"].tolist() == [
        np.count_nonzero(decisions.exit_stage >= stage) for stage in range(3)
    ]
    assert report.cost["mean"] == pytest.approx(np.nansum(decisions.costs, axis=1).mean())
    assert set(report.stages[[*FAILURES]].sum().astype(bool)) == {True}
    for found, failures, expected in zip(rows["predictions"], decisions.failures, answers.T):
        is_valid = failures[: len(found)] == 0
        assert found == [each if ok else None for each, ok in zip(expected, is_valid)]


def test_the_rows_of_a_cascade_are_its_decisions():
    """All models fail for nan."""
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
