"""Comparisons of a running cascade with the evaluator and with the clock, for the benchmarks."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cascadelib import Cascade, LogitStore, datasets, pick, search

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cascade_runs import same_decisions, time_cascade  # noqa: E402 - benchmarks are no package

VAL, TEST = (LogitStore(f"data/fashion-mnist/{split}") for split in ("val", "test"))
SMALL = ["mlp@28", "lenet@28"]


@pytest.fixture(scope="module")
def point():
    return pick(search(VAL, 2, models=SMALL), accuracy=0.91, caution=0)


@pytest.fixture(scope="module")
def images():
    return datasets.fashion_mnist("test").batch(0, 600)


def test_the_ideal_time_follows_from_times_and_exit_rates(point, images):
    table = time_cascade(Cascade.from_point(point, store=VAL), images[:64], 32, 1)
    assert list(table.index[:3]) == [*SMALL, "cascade"]
    reach = table["share_run"].dropna()
    assert list(reach.index) == SMALL and reach.iloc[0] == 1 and 0 <= reach.iloc[1] <= 1
    assert table.loc["ideal", "seconds"] == pytest.approx((table["seconds"][SMALL] * reach).sum())
    ratio = table.loc["ideal", "seconds"] / table.loc["cascade", "seconds"]
    assert table.loc["cascade", "throughput_to_ideal"] == pytest.approx(ratio)


def test_differences_from_the_evaluator_are_counted(point, images):
    part = TEST.take(slice(0, len(images)))
    decisions = Cascade.from_point(point).run([images])
    other = replace(point, thresholds=(2.0,))
    moved = same_decisions(part, other, decisions)
    assert moved["other"] == (decisions.exit_stage == 0).sum() and moved["near"] == 0
    assert same_decisions(part, other, decisions, tolerance=2.0)["other"] == 0
    with pytest.raises(ValueError, match=f"{len(images)} decisions for a store of 10000"):
        same_decisions(TEST, point, decisions)
