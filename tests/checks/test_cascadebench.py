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
from bench.task import File, Task, reference_alone  # noqa: E402


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


def test_lost_rows_are_bought(file):
    task = Task(file, 0, 300, 0.05)
    small, large = task.pool.correct
    assert (task.lost(np.array([5, 7])) == (large & ~small)[[5, 7]]).all()
    assert task.bought == {5, 7}
    greedy = run.Rule("greedy", sys)
    run.check_labels(greedy, task)
    task.lost(np.array([300]))
    with pytest.raises(ValueError, match="greedy read labels of rows beyond its 300"):
        run.check_labels(greedy, task)


def test_kept_rows_get_the_answer_of_the_small_model(file):
    task = Task(file, 0, 300, 0.05)
    choice = task.keep(lambda confidence, predictions: confidence > 0.8)
    small, large = file.table.correct
    kept = file.table.confidence[0] > 0.8
    expected = sum(small[row] if kept[row] else large[row] for row in range(len(kept))) / len(kept)
    assert choice(file.table) == pytest.approx((expected, 1 + 50 * np.mean(~kept)))
    alone = reference_alone(file)(file.table)
    assert task.keep(lambda confidence, predictions: confidence > 0.999)(file.table) == alone
    assert task.run(None)(file.table) == alone == (1.0, 50.0)


@pytest.mark.parametrize("rule", [rule for rule in run.rules() if not hasattr(rule.module, "fits")])
def test_each_rule_is_cheaper_than_the_reference_and_near_its_bound(rule, file):
    if not rule.is_here:
        pytest.skip(f"{rule.module.NEEDS} is not installed: make cascadebench installs it")
    task = Task(file, 1, 600, 0.05)
    accuracy, cost = rule.module.choose(task)(file.table)
    run.check_labels(rule, task)
    assert 1 < cost < 50
    assert 1 - accuracy < 0.09


def test_all_models_fitted_uses_a_third_model(file):
    (rule,) = [rule for rule in run.rules() if rule.name == "all_models_fitted"]
    assert not rule.fits(file)
    pair = file.table
    table = cl.ScoreTable(
        None,
        np.insert(pair.confidence, 1, 0.9, axis=0),
        [1.0, 25.0, 50.0],
        ["small", "middle", "large"],
        predictions=np.insert(pair.predictions, 1, pair.labels, axis=0),
        labels=pair.labels,
    )
    curve = pd.DataFrame({"seed": [1], "cost": [0.5], "accuracy": [0.9]})
    market = File("market", "", table, "small", "large", curve)
    assert rule.fits(market)
    accuracy, cost = rule.module.choose(Task(market, 0, 300, 0.02))(market.table)
    assert cost < 26 and accuracy > 0.95


def test_a_published_curve_is_read_at_the_budget_that_its_other_seeds_choose(file):
    (rule,) = [rule for rule in run.rules() if rule.name == "frugalml"]
    curve = pd.DataFrame(
        {
            "seed": [1, 1, 2, 2, 3, 3],
            "cost": [0.2, 0.4] * 3,
            "accuracy": [0.90, 0.99, 0.96, 0.98, 0.96, 0.99],
        }
    )
    published = File("f", "", file.table, "small", "large", curve)
    assert not rule.fits(file) and rule.fits(published)
    tasks = [Task(published, draw, 300, 0.05) for draw in range(4)]
    costs = [rule.module.choose(task)(file.table) for task in tasks]
    assert costs[0] == pytest.approx((0.90, 0.2 * 50))  # the others reach 0.96 there
    assert costs[1] == pytest.approx((0.98, 0.4 * 50))
    assert [rule.unit(task) for task in tasks] == [1, 2, 3, 1]


def test_holm_adjusts_by_the_number_of_remaining_tests():
    adjusted = verdicts.holm(pd.Series([0.04, 0.01, 0.5, 0.015]))
    assert adjusted.tolist() == pytest.approx([0.08, 0.04, 0.5, 0.045])


@pytest.mark.parametrize(("exceeding", "breaks"), [(8, False), (9, True)])
def test_a_rule_breaks_by_the_exact_test_of_all_cells_and_rules(exceeding, breaks):
    """There are ten tests of 60 draws. P(binomial(60, 5%) ≥ 8) is 0.0098, and 0.0028 for 9."""
    cells = [records([0.5] * 60, [0.5] * 60).assign(labels=labels) for labels in range(5)]
    losses = np.where(np.arange(60) < exceeding, 0.06, 0.0)
    cells[2].loc[cells[2]["rule"] == "a", "loss"] = losses
    table = verdicts.cells_of(pd.concat(cells, ignore_index=True))
    assert table["breaks"].sum() == (10 * binom.sf(exceeding - 1, 60, 0.05) <= 0.05) == breaks
    assert table["adjusted"].min() == pytest.approx(10 * binom.sf(exceeding - 1, 60, 0.05))


def test_a_loss_of_exactly_epsilon_is_within_the_bound():
    assert verdicts.cells_of(records([1.0] * 60, [1.0] * 60, a=0.05))["broken"].tolist() == [0, 0]


def test_the_pooled_test_counts_one_cell_of_each_draw():
    cells = [
        records([0.5] * 60, [0.5] * 60).assign(labels=labels) for labels in (300, 1_000, 3_000)
    ]
    cells[1].loc[cells[1]["rule"] == "a", "loss"] = 0.06
    table = pd.concat(cells, ignore_index=True)
    table = pd.concat([table, table.assign(file="g")], ignore_index=True)
    pooled = verdicts.pooled(table)
    assert pooled.loc["a", ["counted", "exceeded"]].tolist() == [120, 40]
    assert pooled.loc["b", ["counted", "exceeded"]].tolist() == [120, 0]
    assert pooled.loc["a", "pooled_p_value"] == pytest.approx(binom.sf(39, 120, 0.05))
    assert pooled.loc["a", "pooled_adjusted"] == 2 * pooled.loc["a", "pooled_p_value"]


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


def test_the_false_discovery_rate_is_controlled_over_all_comparisons():
    """A p-value of 0.03 is significant among others that are small, but not among large ones."""
    rng = np.random.default_rng(2)
    noise = rng.normal(size=30)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * 0.1
    costs = np.full(60, 0.5)
    costs[1::2] += noise + 2.28 * 0.1 / np.sqrt(30)  # t = 2.28 with 29 degrees of freedom
    for others, expected in (([0.7] * 60, "lost"), ([0.5] * 60, "level")):
        cells = [records(costs, [0.5] * 60)]
        cells += [records(others, [0.5] * 60).assign(labels=labels) for labels in (1, 2, 3)]
        table = verdicts.compared(pd.concat(cells, ignore_index=True))
        row = table[table["labels"] == 300].iloc[0]
        assert row["p_value"] == pytest.approx(0.03, abs=0.001)
        assert row["verdict"] == expected


def test_draws_of_one_unit_count_once():
    table = records([0.5, 0.6] * 30, [0.5] * 60)
    table.loc[table["rule"] == "b", "unit"] %= 5
    (row,) = verdicts.compared(table).itertuples()
    assert row.mean == pytest.approx(0.1)
    table.loc[table["rule"] == "a", "cost"] = np.arange(60) % 10 / 10
    (row,) = verdicts.compared(table).itertuples()
    differences = np.array([0.1, 0.3, 0.5, 0.7, 0.9]) - 0.5
    assert row.high - row.mean == pytest.approx(2.776 * differences.std(ddof=1) / 5**0.5, rel=1e-3)


def test_the_rule_is_chosen_on_the_even_draws():
    table = records([0.2, 0.9] * 16, [0.5] * 32)
    third = table[table["rule"] == "a"].assign(rule="c", cost=[0.3, 0.1] * 16)
    (row,) = verdicts.compared(pd.concat([table, third], ignore_index=True)).itertuples()
    assert row.ours == "a"
    assert row.ours_cost == pytest.approx(0.9)
    assert row.mean == pytest.approx(0.4)


def test_an_estimate_breaks_if_its_mean_loss_is_above_epsilon():
    """Half of the draws of rule a exceed ε, but not their mean."""
    table = records([0.5] * 16, [0.3] * 16, a=[0.02, 0.07] * 8, b=[0.06, 0.07] * 8)
    breaks = verdicts.cells_of(table.assign(league="estimate")).set_index("rule")["breaks"]
    assert breaks.to_dict() == {"a": False, "b": True}


def test_a_rule_that_buys_its_labels_counts_at_the_number_that_covers_them():
    table = records([0.5] * 4, [0.3] * 4)
    for bought, labels in ((200, 300), (301, 1_000), (9_000, 1_000)):
        own = table.assign(own_labels=~table["ours"], bought=bought)
        placed = verdicts.placed(own, {"f": [300, 1_000]})
        assert placed.groupby("rule")["labels"].first().to_dict() == {"a": 300, "b": labels}


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
