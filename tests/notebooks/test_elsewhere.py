"""Tables of notebooks 05 and 08: drops in short, exit rates that change."""

from functools import partial

import pytest
from tiny_stores import three_models

from cascadelib.analysis import accuracy_drops, selection_bias
from tools.elsewhere import (
    by_kind,
    drops_table,
    open_splits,
    selection_bias_table,
)

make_store = partial(three_models, ids=False, classes=5)
STORE = make_store()
OTHER = make_store(1, noise=1.5)


def test_the_summary_of_drops_has_a_row_per_split():
    splits = {"b": OTHER, "a": make_store(2, noise=2.5)}
    drops = accuracy_drops(STORE, splits)
    table = drops_table(drops)
    assert table.index.tolist() == ["b", "a"]
    for split, row in table.iterrows():
        rows = drops.loc[split]
        assert row["drop_mean"] == pytest.approx(rows["drop"].mean())
        assert row["hit_hardest"] == rows["drop"].idxmax()
        assert row["significant_losses"] == (rows["drop_low"] > 0).sum()
        correlation = rows["accuracy"].corr(rows["accuracy_replayed"], "spearman")
        assert row["rank_correlation"] == pytest.approx(correlation)
        assert row["best_model"] == splits[split].models["top1"].idxmax()


def test_splits_are_opened_by_pattern_and_share_a_panel_by_kind():
    found = open_splits("data/fashion-mnist", ["shift/noise-*", "val"])
    assert list(found) == ["noise-1", "noise-2", "val"]
    with pytest.raises(FileNotFoundError, match="no store 'nothing' in data/fashion-mnist"):
        open_splits("data/fashion-mnist", "nothing")
    grouped = by_kind({"val": 0, "noise-1": 1, "noise-2": 2, "v2": 3}, "val")
    assert grouped == {
        "noise": {"val": 0, "severity 1": 1, "severity 2": 2},
        "v2": {"val": 0, "other split": 3},
    }


def test_the_summary_of_selection_bias():
    bias = selection_bias(STORE, repeats=3)
    row = selection_bias_table(bias).loc["best_improvement"]
    chosen = bias["best_improvement_chosen"]
    measured = bias["best_improvement_measured"]
    assert row.iloc[:2].tolist() == pytest.approx([chosen.mean(), measured.mean()])
    assert row.iloc[2:].tolist() == pytest.approx(
        (chosen - measured).quantile([0.05, 0.5, 0.95]).tolist()
    )
