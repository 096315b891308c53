"""CascadeBench (``benchmarks/bench``): the inputs of rules, their losses, and a quick run."""

import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

import cascadelib as cl

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))
from bench import page, run, verdicts  # noqa: E402 - scripts, no package
from bench.task import File, Task, reference_alone  # noqa: E402


@pytest.fixture(scope="module")
def file():
    """A small model that is correct with its confidence, and a reference that always is."""
    rng = np.random.default_rng(0)
    rows = 2_000
    confidence = rng.uniform(0.5, 1, rows)
    labels = rng.integers(0, 2, rows).astype(str)
    small = np.where(rng.random(rows) < confidence, labels, "other")
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
    """Return the records of two rules in one cell, with a cost per draw."""
    parts = []
    for rule, costs in (("a", ours), ("b", theirs)):
        part = pd.DataFrame({"rule": rule, "ours": rule == "a", "cost": costs})
        parts.append(part.assign(draw=range(len(costs)), loss=columns.get(rule, 0.0)))
    base = {"file": "f", "labels": 300, "epsilon": 0.05, "own_labels": False}
    league = columns.get("league", verdicts.PROMISE)
    return pd.concat(parts, ignore_index=True).assign(
        **base, league=league, seconds=0.1, bought=300
    )


def test_a_rule_reads_only_the_labels_of_its_budget(file):
    task = Task(file, 3, 300, 0.05)
    order = file.order(3)
    assert len(set(order)) == len(order) == 2_000
    assert task.pool.labels.tolist() == file.table.labels[order[: file.pool]].tolist()
    assert file.judges(3).labels.tolist() == file.table.labels[order[file.pool :]].tolist()
    assert len(task.labelled) == 300
    assert len(task.unlabelled) == file.pool - 300
    assert task.unlabelled.correct is None and task.unlabelled.labels is None
    assert file.labels == [300]


def test_a_row_whose_loss_is_read_counts_as_labelled(file):
    task = Task(file, 0, 300, 0.05)
    small, large = task.pool.correct
    assert (task.lost(np.array([5, 7])) == (large & ~small)[[5, 7]]).all()
    assert task.bought == {5, 7}
    greedy = run.Rule("greedy", sys)
    run.check_labels(greedy, task)
    task.lost(np.array([300]))
    with pytest.raises(ValueError, match="greedy read labels of rows beyond its 300"):
        run.check_labels(greedy, task)


def test_a_pair_that_is_not_cheapest_first_is_refused(file):
    with pytest.raises(ValueError, match="list its models cheapest first"):
        File("turned", "", file.table, "large", "small")


def test_the_accuracy_of_a_rule_is_that_of_a_loop_over_rows(file):
    task = Task(file, 0, 300, 0.05)
    judges = file.judges(0)
    judge = task.keep(lambda confidence, predictions: confidence > 0.8)
    small, large = judges.correct
    kept = judges.confidence[0] > 0.8
    expected = sum(small[row] if kept[row] else large[row] for row in range(len(kept))) / len(kept)
    assert judge(judges) == pytest.approx((expected, 1 + 50 * np.mean(~kept)))
    alone = reference_alone(file)(judges)
    assert task.keep(lambda confidence, predictions: confidence > 0.999)(judges) == alone
    assert task.run(None)(judges) == alone == (1.0, 50.0)


@pytest.mark.parametrize("rule", [rule for rule in run.rules() if not hasattr(rule.module, "fits")])
def test_each_rule_saves_cost_near_its_guarantee(rule, file):
    """600 labels are enough for every rule."""
    if not rule.is_here:
        pytest.skip(f"{rule.module.NEEDS} is not installed: make cascadebench brings it")
    task = Task(file, 1, 600, 0.05)
    judges = file.judges(1)
    accuracy, cost = rule.module.choose(task)(judges)
    run.check_labels(rule, task)
    assert 1 < cost < 50
    assert 1 - accuracy < 0.09


def test_all_models_fitted_uses_a_third_model(file):
    """The third model is always correct and costs half as much as the reference."""
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
    market = File("market", "", table, "small", "large")
    assert rule.fits(market)
    judges = market.judges(0)
    accuracy, cost = rule.module.choose(Task(market, 0, 300, 0.02))(judges)
    assert cost < 26 and accuracy > 0.95


def test_a_published_curve_is_read_at_the_budget_that_its_other_seeds_choose(file):
    (rule,) = [rule for rule in run.rules() if rule.name == "frugalml"]
    columns = {"seed": [1, 1, 2, 2, 3, 3], "cost": [0.2, 0.4] * 3}
    columns["accuracy"] = [0.90, 0.99, 0.96, 0.98, 0.96, 0.99]
    curve = pd.DataFrame(columns)
    published = File("f", "", file.table, "small", "large", curve)
    assert not rule.fits(file) and rule.fits(published)
    judges = published.judges(0)
    costs = [rule.module.choose(Task(published, draw, 300, 0.05))(judges) for draw in range(3)]
    assert costs[0] == pytest.approx((0.90, 0.2 * 50))  # the others reach 0.96 there
    assert costs[1] == pytest.approx((0.98, 0.4 * 50))


def test_the_interval_of_a_share_is_exact():
    low, high = verdicts.share_interval(3, 20)
    assert binom.sf(2, 20, low) == pytest.approx(0.025)
    assert binom.cdf(3, 20, high) == pytest.approx(0.025)
    assert verdicts.share_interval(0, 20)[0] == 0
    assert verdicts.share_interval(20, 20)[1] == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "columns", "expected"),
    [
        ([0.5, 0.6] * 8, [0.3, 0.4] * 8, {}, "lost"),
        ([0.3, 0.4] * 8, [0.5, 0.6] * 8, {}, "won"),
        ([0.5] * 16, [0.5] * 16, {}, "level"),
        ([0.3] * 16, [0.5] * 16, {"a": 0.06}, "lost"),
        ([0.5] * 16, [0.3] * 16, {"b": 0.06}, "won"),
        ([0.3] * 16, [0.5] * 16, {"a": 0.06, "b": 0.06}, "level"),
        (
            [0.3] * 16,
            [0.5] * 16,
            {"a": [0.0, 0.06] * 8},
            "lost",
        ),  # breaks its guarantee on odd draws only
        ([0.9, 0.1] * 8, [0.5] * 16, {}, "won"),  # even draws choose, odd draws are reported
    ],
)
def test_the_cheaper_rule_that_keeps_its_guarantee_wins(ours, theirs, columns, expected):
    (verdict,) = verdicts.compared(records(ours, theirs, **columns))["verdict"]
    assert verdict == expected


def test_rules_are_chosen_on_even_draws_and_reported_on_odd_draws():
    table = records([0.2, 0.9] * 8, [0.5] * 16)
    third = table[table["rule"] == "a"].assign(rule="c", cost=[0.3, 0.1] * 8)
    (row,) = verdicts.compared(pd.concat([table, third], ignore_index=True)).itertuples()
    assert row.ours == "a"
    assert row.ours_cost == pytest.approx(0.9)
    assert row.mean == pytest.approx(0.4)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_cell_without_a_rule_is_marked(missing):
    assert page.name_or_dash(missing) == "none"
    assert page.name_or_dash("ladder") == "ladder"


def test_rules_of_different_leagues_are_not_compared():
    table = records([0.5] * 4, [0.3] * 4)
    assert len(verdicts.compared(table)) == 1
    assert verdicts.compared(table.assign(league=table["rule"])).empty


def test_an_estimate_keeps_its_bound_if_its_mean_loss_may_be_within_epsilon():
    half = [0.02, 0.07] * 8
    table = records([0.5] * 16, [0.3] * 16, a=half, b=[0.06, 0.07] * 8, league="estimate")
    assert verdicts.cells_of(table).set_index("rule")["keeps"].to_dict() == {"a": True, "b": False}
    table = records([0.5] * 16, [0.3] * 16, a=half)
    assert not verdicts.cells_of(table).set_index("rule").loc["a", "keeps"]


def test_a_rule_that_buys_labels_is_placed_by_their_number():
    table = records([0.5] * 4, [0.3] * 4)
    for bought, labels in ((200, 300), (301, 1_000), (9_000, 1_000)):
        own = table.assign(own_labels=~table["ours"], bought=bought)
        placed = verdicts.placed(own, {"f": [300, 1_000]})
        assert placed.groupby("rule")["labels"].first().to_dict() == {"a": 300, "b": labels}


def test_lines_of_code_do_not_depend_on_layout(tmp_path):
    script = tmp_path / "rule.py"
    script.write_text('"""One.\n\nTwo."""\n\n\ndef f(\n    a,\n):\n    """It."""\n    return a\n')
    assert run.lines_of_code(script) == 2


def test_a_quick_run_writes_one_page_and_no_committed_file(tmp_path, monkeypatch):
    monkeypatch.delenv("CASCADEBENCH_DATA", raising=False)
    monkeypatch.setattr(run, "QUICK_FILES", ("reviews",))
    before = (ROOT / "docs" / "bench.md").read_text(encoding="utf-8")
    committed = tmp_path / "results.csv"
    assert run.main(["--quick", "--draws", "2", "--out", str(tmp_path)], committed) == 0
    assert not committed.exists()
    assert (ROOT / "docs" / "bench.md").read_text(encoding="utf-8") == before
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=|https?:|@import|\{\{", page)
    assert "of which no --data folder has a file" in page
    kept = pd.read_parquet(tmp_path / "records.parquet")
    assert set(kept["file"]) == {"reviews"}
    assert kept.groupby(["rule", "epsilon"]).size().min() == 2
    assert run.main(["--quick", "--again", "--out", str(tmp_path)], committed) == 0
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page


def test_the_committed_table_has_a_row_per_cell_and_rule():
    table = pd.read_csv(ROOT / "benchmarks" / "bench" / "results.csv")
    assert not table.duplicated(["file", "labels", "epsilon", "rule"]).any()
    assert set(table["rule"]) <= {rule.title for rule in run.rules()}
    assert table["cost"].between(0, 1.1).all()
    promising = table[table["league"] == verdicts.PROMISE]
    assert (promising["keeps"] == (promising["broken_low"] <= 0.05)).all()
