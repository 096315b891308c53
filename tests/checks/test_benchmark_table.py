"""``benchmarks/run.py``: the choice of jobs, their rows, and the summary."""

import math
import sys
from pathlib import Path

import pandas as pd
import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

bench = load_script("benchmarks/run.py")

MODULE = """
def row(name):
    return dict(benchmark=name, measured=0.25, unit='s', target='≤ 0.5')
def pairs(quick):
    return [row('pairs')]
JOBS = {%s}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write_jobs(path, *jobs):
    path.write_text(MODULE % ", ".join(f"'{job}': {job}" for job in jobs), encoding="utf-8")


def test_only_a_full_run_writes_results(folder):
    write_jobs(folder / "made_up_garden.py", "pairs")
    assert bench.main(["--quick"], folder) == 0 and not (folder / "results.md").exists()
    assert bench.main([], folder) == 0
    page = (folder / "results.md").read_text(encoding="utf-8")
    assert "| pairs | 0.25 | s |  |  | ≤ 0.5 | yes |" in page
    table = pd.read_parquet(folder / "results.parquet")
    assert table.measured.tolist() == [0.25] and "cores" in table.machine[0]


@pytest.mark.parametrize(
    ("measured", "target", "verdict"),
    [
        (0.5, "≤ 0.5", "yes"),
        (0.6, "≤ 0.5", "no"),
        (0.9, "≥ 0.85", "yes"),
        (math.nan, "≥ 0.85", "no"),
        (1.0, "", ""),
    ],
)
def test_a_row_meets_its_target(measured, target, verdict):
    assert bench.met(measured, target) == verdict
