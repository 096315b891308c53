"""The six faults that monitors with a state had, each planted in a log."""

import numpy as np
import pytest

import cascadelib as cl
from tests.monitoring.logs import PAIR, POLICY, frame, row
from tests.monitoring.test_audit import certify_newest, worker

SALT = b"sixteen secret b"


def test_a_loss_at_the_positions_that_a_constant_seed_skips_is_within_the_bounds():
    """40 processes of 500 inputs lose 5%, all of them where default_rng(0) would not audit."""
    is_skipped = np.random.default_rng(0).random(500) >= 0.1
    lost = np.flatnonzero(is_skipped)[:: int(is_skipped.sum() / 25)][:25]
    rows = []
    for number in range(20_000):
        answer = "no" if number % 500 in lost else "yes"
        name = f"process {number // 500} input {number}"
        audited = bool(cl.is_audited([name], 0.1, SALT)[0])
        reference = "yes" if audited else None
        rows.append(row(number, answers=[answer], id=name, audited=audited, reference=reference))
    wanted = cl.monitor(frame(rows), PAIR).to_label
    loss = cl.monitor(frame(rows), PAIR, dict.fromkeys(wanted, "yes"), epsilon=0.01).loss
    assert loss["low"] <= 0.05 <= loss["high"] and loss["alarm"]


def test_new_thresholds_use_the_newest_rows_and_not_those_of_the_last_file():
    old = worker("old", 0, 0.0, 1)
    new = worker("new", 5000, 0.5, 2)
    table, _ = certify_newest(new + old)
    assert all(name.startswith("new") for name in table.origin.sample_ids.tolist())


def test_a_long_log_that_is_read_twice_counts_once():
    rows = [row(number) for number in range(70_000)]
    found = cl.monitor(frame(rows + rows), PAIR).rows
    assert (found["inputs"], found["repeated"]) == (70_000, 70_000)


def disagreeing(count=300, **changes):
    """Audited inputs whose answer is "no" in each third, and the reference's always "yes"."""
    answers = ["no" if number % 3 == 0 else "yes" for number in range(count)]
    return [
        row(n, answers=[a], audited=True, reference="yes", **changes) for n, a in enumerate(answers)
    ]


def test_labels_that_are_spelled_otherwise_do_not_turn_losses_into_ties():
    log = frame(disagreeing())
    wanted = cl.monitor(log, PAIR).to_label
    with pytest.raises(ValueError, match="'Yes' .* differs from 'yes' only in spelling"):
        cl.monitor(log, PAIR, dict.fromkeys(wanted, "Yes"))
    assert cl.monitor(log, PAIR, dict.fromkeys(wanted, "yes")).loss["lost"] == 100


def test_records_of_another_policy_are_not_mixed_in():
    mine = disagreeing(300)
    others = [row(n, id=f"other {n}", policy=POLICY, audited=True) for n in range(500)]
    report = cl.monitor(frame(mine + others), PAIR)
    assert report.rows["other_policies"] == 500
    assert report.loss.equals(cl.monitor(frame(mine), PAIR).loss)


def test_a_malformed_record_counts_nothing_and_its_correction_counts_fully():
    rows = disagreeing()
    expected = cl.monitor(frame(rows), PAIR)
    with pytest.raises(ValueError, match="row 7 of the log .*: stage is 7"):
        cl.monitor(
            frame([each | {"stage": 7} if n == 7 else each for n, each in enumerate(rows)]), PAIR
        )
    corrected = cl.monitor(frame(rows), PAIR)
    assert corrected.loss.equals(expected.loss) and corrected.rows.equals(expected.rows)
