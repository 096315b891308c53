"""CascadeBench (``benchmarks/bench``): the input of a rule, the verdicts, and a quick run."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import cascadelib as cl

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))
from bench import run, verdicts  # noqa: E402 - scripts, no package
from bench.task import File, Task  # noqa: E402


@pytest.fixture(scope="module")
def file():
    """A small model with calibrated confidences, and a reference that is always correct."""
    rng = np.random.default_rng(0)
    rows = 2_000
    confidence = rng.uniform(0.5, 1, rows)
    labels = rng.integers(0, 2, rows).astype(str)
    small = np.where(rng.random(rows) < confidence, labels, np.where(labels == "0", "1", "0"))
    table = cl.ScoreTable(
        None,
        np.stack([confidence, np.ones(rows)]),
        [1.0, 50.0],
        ["small", "large"],
        predictions=np.stack([small, labels]),
        labels=labels,
    )
    return File("made up", "Made up.", table, "small", "large")


def records(ours, theirs, **columns):
    """Return the records of two rules, a and b, in one cell, with a cost per draw."""
    parts = []
    for rule, costs in (("a", ours), ("b", theirs)):
        part = pd.DataFrame({"rule": rule, "ours": rule == "a", "cost": costs})
        draws = np.arange(len(costs))
        parts.append(part.assign(draw=draws, unit=draws, loss=columns.get(rule, 0.0)))
    base = {"file": "f", "labels": 300, "epsilon": 0.05, "own_labels": False}
    base |= {"league": verdicts.GUARANTEE, "inputs": verdicts.DOCUMENTED}
    base |= {name: value for name, value in columns.items() if name in base}
    return pd.concat(parts, ignore_index=True).assign(**base, seconds=0.1, bought=300)


def test_a_rule_sees_no_label_beyond_its_number(file):
    task = Task(file, 3, 300, 0.05)
    order = file.order(3)
    assert len(set(order)) == len(order) == file.pool == 1_000
    assert task.pool.labels.tolist() == file.table.labels[order].tolist()
    assert len(task.labelled) == 300
    assert len(task.unlabelled) == file.pool - 300
    assert task.unlabelled.correct is None and task.unlabelled.labels is None
    assert file.labels == [300]


@pytest.mark.parametrize(("exceeding", "breaks"), [(8, False), (9, True)])
def test_a_rule_breaks_by_the_exact_test_of_all_cells_and_rules(exceeding, breaks):
    """There are ten tests of 60 draws. P(binomial(60, 5%) ≥ 8) is 0.0098, and 0.0028 for 9."""
    cells = [records([0.5] * 60, [0.5] * 60).assign(labels=labels) for labels in range(5)]
    losses = np.where(np.arange(60) < exceeding, 0.06, 0.0)
    cells[2].loc[cells[2]["rule"] == "a", "loss"] = losses
    table = verdicts.cells_of(pd.concat(cells, ignore_index=True))
    assert table["breaks"].sum() == (10 * binom.sf(exceeding - 1, 60, 0.05) <= 0.05) == breaks
    assert table["adjusted"].min() == pytest.approx(10 * binom.sf(exceeding - 1, 60, 0.05))


@pytest.mark.parametrize(
    ("ours", "theirs", "columns", "expected"),
    [
        ([0.5, 0.6, 0.6, 0.5] * 8, [0.3, 0.4] * 16, {}, "lost"),
        ([0.3, 0.4, 0.4, 0.3] * 8, [0.5, 0.6] * 16, {}, "won"),
        ([0.5] * 32, [0.5] * 32, {}, "level"),
        ([0.3] * 32, [0.5] * 32, {"a": 0.06}, "lost"),
        ([0.5] * 32, [0.3] * 32, {"b": 0.06}, "won"),
        ([0.3] * 32, [0.5] * 32, {"a": 0.06, "b": 0.06}, "level"),
        ([0.9, 0.1] * 16, [0.5] * 32, {}, "won"),  # the draws that select are not compared
    ],
)
def test_a_comparison_is_decided_by_breaks_and_then_by_cost(ours, theirs, columns, expected):
    (verdict,) = verdicts.compared(records(ours, theirs, **columns))["verdict"]
    assert verdict == expected


@pytest.mark.nightly
def test_a_quick_run_writes_no_committed_results(tmp_path, monkeypatch):
    monkeypatch.delenv("CASCADEBENCH_DATA", raising=False)
    monkeypatch.setattr(run, "QUICK_FILES", ("reviews", "boolq"))
    committed = tmp_path / "results.csv"
    arguments = ["--quick", "--draws", "2", "--out", str(tmp_path)]
    assert run.main(arguments, committed) == 0
    assert not committed.exists()
    records = run.complete(tmp_path / "some-losses", 2)
    assert set(records["file"]) == {"reviews", "boolq"}
    assert records.groupby(["file", "rule", "epsilon"]).size().min() == 2
