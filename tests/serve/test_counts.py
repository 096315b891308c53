"""States of monitoring have an identity: merging one twice changes nothing, and a file that no
monitoring can have written is refused when it is loaded."""

import json
import os
import pickle
from copy import deepcopy
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from watched_policy import WATCHED, ask

from cascadelib.files import digest_of
from cascadelib.serve import Monitor

LABELS = {str(label) for label in range(8)}


def worker(number, inputs=400):
    """A monitor that has counted inputs with ids that begin with its number."""
    monitor = Monitor(WATCHED)
    more(monitor, number, 0, inputs)
    return monitor


def more(monitor, number, first, inputs):
    names = [f"{number}-{row}" for row in range(first, first + inputs)]
    ask(monitor, first, inputs, names, shift=0.02 * number)


def report(monitor):
    """Everything that a monitoring reports, as plain values."""
    loss = monitor.loss(0.02)
    assert -1 <= loss["low"] <= loss["high"] <= 1 and -1 <= loss["now_low"] <= loss["now_high"] <= 1
    return {
        "loss": loss.to_dict(),
        "drift": monitor.drift().tests.to_dict(),
        "table": monitor.table.drop(columns=["model_seconds", "decision_seconds"]).to_dict(),
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
    for order in permutations(states):
        whole = Monitor(WATCHED)
        for state in order:
            whole.merge(state)
        reports.append(report(copied(whole, tmp_path)))
    expected = reports[0]
    assert expected["inputs"] == 1200 and all(each == expected for each in reports)
    assert expected["loss"]["audited"] == first.audited + second.audited


def test_labels_given_to_a_report_of_workers_outlast_their_newer_states(tmp_path):
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


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_a_copy_that_decides_has_an_identity_of_its_own(how):
    monitor = worker(0)
    twin = deepcopy(monitor) if how == "deepcopy" else pickle.loads(pickle.dumps(monitor))
    more(monitor, 0, 400, 50)
    more(twin, 0, 500, 70)
    for whole in (monitor, twin, Monitor(WATCHED)):
        assert deepcopy(whole).merge(twin).merge(monitor).inputs == 520


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_an_identity_of_its_own(tmp_path):
    monitor = worker(0)
    child = os.fork()
    if not child:
        monitor.enter(30)
        monitor.save(tmp_path / "child.json")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    more(monitor, 0, 400, 50)
    monitor.merge(Monitor.load(tmp_path / "child.json"))
    assert monitor.came == 480 and monitor.inputs == 450


def places(value, at=()):
    """The path of each part of a value of JSON, the parts of a part included."""
    inner = ()
    if isinstance(value, dict):
        inner = value.items()
    elif isinstance(value, list):
        inner = enumerate(value)
    found = [at] if at else []
    for key, part in inner:
        found += places(part, (*at, key))
    return found


def kinds_of(state):
    """The paths of its parts by kind: each kind is drawn with equal probability, however many parts
    it has."""
    found = {}
    for path in places(state):
        found.setdefault(tuple(key for key in path if isinstance(key, str)), []).append(path)
    return list(found.values())


def mutate(state, kinds, rng):
    """Change, drop or double one part of a state, or exchange it for something else."""
    paths = kinds[rng.integers(len(kinds))]
    *way, last = paths[rng.integers(len(paths))]
    parent = state
    for key in way:
        parent = parent[key]
    old = parent[last]
    values = [None, "x", "", -1, 0, 1, 7, 10**9, 2**63, 10**400, 0.5, -0.5, 1e308, [], {}, [old]]
    values += [float("nan"), float("inf"), True, [[old]], {"x": old}, str(old)]
    if isinstance(old, int | float):
        values += [old + 1, old - 1, -old, old * 1000, old / 3]
    if isinstance(old, list):
        values += [old[:-1], [*old, *old[-1:]], old[::-1]]
    choice = rng.integers(len(values) + 1)
    if choice == len(values):
        del parent[last]
    else:
        parent[last] = values[choice]


def use(loaded):
    """Everything that is done with a monitoring that was loaded, more inputs included."""
    report(loaded)
    monitor = Monitor(WATCHED).merge(loaded)
    more(monitor, 9, 0, 40)
    wanted = monitor.to_label()
    monitor.label(dict.fromkeys(wanted.index[:3], "0"))
    seen = report(monitor)
    assert seen["inputs"] == loaded.inputs + 40 == monitor.exits.sum()
    assert sum(seen["verdicts"].values()) <= monitor.audited <= monitor.came


@pytest.mark.filterwarnings("error")
def test_mutated_states_are_refused_when_loaded_or_work(tmp_path):
    """500 states in each of which one part differs; the checksum fits."""
    path = tmp_path / "state.json"
    monitor = worker(0, 1200)
    wanted = monitor.to_label().index
    monitor.label(dict.fromkeys(wanted[::2], "0"))
    whole = monitor.merge(worker(1, 100))
    whole.label(dict.fromkeys([name for name in whole.to_label().index if name[0] == "1"][:9], "0"))
    whole.save(path)
    saved = json.loads(path.read_text())
    use(Monitor.load(path))
    kinds = kinds_of(json.loads(saved["state"]))
    rng = np.random.default_rng(0)
    faults = []
    refused = 0
    for _ in range(500):
        state = json.loads(saved["state"])
        mutate(state, kinds, rng)
        text = json.dumps(state)
        path.write_text(json.dumps(saved | {"state": text, "checksum": digest_of(text)}))
        try:
            monitor = Monitor.load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
            continue
        except Exception as error:
            faults.append(f"load: {error!r}")
            continue
        try:
            use(monitor)
        except Exception as error:
            faults.append(f"use: {error!r}")
    assert not faults, f"{len(faults)}: {pd.Series(faults).value_counts().to_string()}"
    assert 300 < refused < 500
