"""States of monitors have an identity: merging one twice changes nothing."""

import os
import pickle
import random
from copy import deepcopy
from itertools import permutations

import pytest
from watched_policy import WATCHED, count_inputs

from cascadelib.serve import Monitor


def worker(number, inputs=400):
    """A monitor that has counted inputs with ids that begin with its number."""
    monitor = Monitor(WATCHED)
    more(monitor, number, 0, inputs)
    return monitor


def more(monitor, number, first, inputs):
    names = [f"{number}-{row}" for row in range(first, first + inputs)]
    count_inputs(monitor, first, inputs, names, shift=0.02 * number)


def report(monitor):
    """Everything that a monitoring reports, as plain values."""
    loss = monitor.loss(0.02)
    assert -1 <= loss["low"] <= loss["high"] <= 1 and -1 <= loss["now_low"] <= loss["now_high"] <= 1
    return {
        "loss": loss.to_dict(),
        "drift": monitor.drift().tests.to_dict(),
        "table": monitor.table.drop(columns="model_seconds").to_dict(),
        "failing": monitor.failing().to_dict(),
        "cost": [round(value, 9) for value in monitor.cost()],
        "to_label": monitor.to_label().sort_index(key=lambda names: names.astype(str)).to_dict(),
        "verdicts": monitor.verdicts,
        "inputs": monitor.inputs,
    }


def same(one, other):
    return repr(report(one)) == repr(report(other))


def copied(monitor, folder):
    monitor.save(folder / "state.json")
    return Monitor.load(folder / "state.json")


def test_a_state_that_is_merged_again_counts_once(tmp_path):
    monitor = worker(1)
    whole = Monitor(WATCHED)
    whole.merge(worker(0)).merge(monitor)
    once = report(whole)
    for _ in range(3):
        whole.merge(copied(monitor, tmp_path)).merge(monitor)
    whole.merge(whole).merge(copied(whole, tmp_path))
    assert report(whole) == once and whole.inputs == 800


def test_states_of_several_workers_merge_in_any_order_and_only_the_newest_of_each_counts(tmp_path):
    first = worker(0)
    second = worker(1)
    states = [copied(first, tmp_path), copied(second, tmp_path)]
    states.append(Monitor(WATCHED).merge(states[0]).merge(states[1]))
    for number, monitor in enumerate((first, second)):
        more(monitor, number, 400, 200)
        states.append(copied(monitor, tmp_path))
    reports = []
    for order in random.Random(0).sample(list(permutations(states)), 12):
        whole = Monitor(WATCHED)
        for state in order:
            whole.merge(state)
        reports.append(report(copied(whole, tmp_path)))
    expected = reports[0]
    assert expected["inputs"] == 1200 and all(each == expected for each in reports)
    assert expected["loss"]["audited"] == first.audited + second.audited


def test_labels_of_a_report_outlast_newer_states_of_its_workers(tmp_path):
    monitor = worker(0)
    whole = Monitor(WATCHED).merge(worker(1)).merge(monitor)
    wanted = whole.to_label().index
    whole.label(dict.fromkeys(wanted, "0"))
    verdicts = whole.verdicts
    assert whole.to_label().empty and sum(verdicts.values()) == len(wanted) > 20
    old = copied(monitor, tmp_path)
    more(monitor, 0, 400, 200)
    new = monitor.to_label().index.difference(wanted)
    for state in (monitor, old, copied(whole, tmp_path)):
        whole.merge(state)
        assert set(whole.to_label().index) == set(new) and whole.verdicts == verdicts
    monitor.merge(whole)  # the worker learns the labels
    assert set(monitor.to_label().index) == set(new)
    assert monitor.verdicts == verdicts and monitor.inputs == 1000
    assert same(Monitor(WATCHED).merge(monitor), whole.merge(monitor))


def test_a_state_does_not_change_while_it_is_written():
    """A thread may write it while inputs are counted."""
    monitor = worker(0)
    state = monitor.local.to_json()
    before = repr(state)
    more(monitor, 0, 400, 50)
    assert repr(state) == before != repr(monitor.local.to_json())


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_counts_under_another_identity(how):
    monitor = worker(0)
    twin = deepcopy(monitor) if how == "deepcopy" else pickle.loads(pickle.dumps(monitor))
    more(monitor, 0, 400, 50)
    more(twin, 0, 500, 70)
    for whole in (monitor, twin, Monitor(WATCHED)):
        assert deepcopy(whole).merge(twin).merge(monitor).inputs == 520


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_counts_under_another_identity(tmp_path):
    monitor = worker(0)
    child = os.fork()
    if not child:
        monitor.enter(30)
        monitor.save(tmp_path / "child.json")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    more(monitor, 0, 400, 50)
    monitor.merge(Monitor.load(tmp_path / "child.json"))
    assert monitor.arrivals == 480 and monitor.inputs == 450
