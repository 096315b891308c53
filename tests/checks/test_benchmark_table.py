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
choosing = load_script("benchmarks/choosing.py")

MODULE = """
def row(name):
    return dict(benchmark=name, measured=0.25, unit='s', target='≤ 0.5')
def pairs(quick):
    return [row('pairs')]
def triples(quick):
    return [row('triples')]
def broken(quick):
    raise OSError('no')
JOBS = {%s}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def write_jobs(path, *jobs):
    path.write_text(MODULE % ", ".join(f"'{job}': {job}" for job in jobs), encoding="utf-8")


def measured_jobs(folder):
    return pd.read_parquet(folder / "results.parquet").module.tolist()


def test_only_a_full_run_writes_results(folder):
    write_jobs(folder / "made_up_garden.py", "pairs")
    assert bench.main(["--quick"], folder) == 0 and not (folder / "results.md").exists()
    assert bench.main([], folder) == 0
    page = (folder / "results.md").read_text(encoding="utf-8")
    assert "| pairs | 0.25 | s |  |  | ≤ 0.5 | yes |" in page
    table = pd.read_parquet(folder / "results.parquet")
    assert table.measured.tolist() == [0.25] and "cores" in table.machine[0]


def test_a_failing_job_or_module_does_not_stop_the_others(folder, capsys):
    write_jobs(folder / "made_up_shed.py", "broken", "pairs")
    text = "import made_up_ladder\nJOBS = {'climb': None}\n"
    (folder / "made_up_attic.py").write_text(text, encoding="utf-8")
    assert bench.main([], folder) == 1
    printed = capsys.readouterr()
    assert "| pairs |" in printed.out and "failed: broken, climb" in printed.err
    assert measured_jobs(folder) == ["pairs"]


@pytest.mark.parametrize(
    ("name", "ran"), [("tri", ["triples"]), ("made_up_house", ["pairs", "triples"])]
)
def test_jobs_are_chosen_by_the_start_of_their_name_or_by_their_module(folder, name, ran):
    write_jobs(folder / "made_up_house.py", "triples", "pairs")
    (folder / "measuring.py").write_text("JOBS = {'triples': None}\n", encoding="utf-8")
    text = "raise OSError('not requested')\nJOBS = {'rake': None}\n"
    (folder / "made_up_yard.py").write_text(text, encoding="utf-8")
    bench.main([name], folder)
    assert measured_jobs(folder) == ran


def test_a_full_name_chooses_one_job_and_an_unknown_name_is_refused(capsys):
    jobs = {"search": "fronts", "search_long": "fronts", "texts": "methods"}
    assert list(bench.wanted(["search"], jobs)) == ["search"]
    assert list(bench.wanted(["sea", "methods"], jobs)) == list(bench.wanted([], jobs)) == [*jobs]
    with pytest.raises(SystemExit):
        bench.main(["nothing"])
    assert "no job is called nothing" in capsys.readouterr().err


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


def test_a_row_of_choosing_has_the_names_of_its_cell():
    cell = dict(zip(choosing.CELL, ["images", "pairs", 500, "observed"]))
    drawn = {"draw": 0, "goal": "loss", "margin": 0, "excess": 1, "cost": 2, "reference": 6}
    (row,) = choosing.cells_of(pd.DataFrame([cell | drawn | {"falls_back": False}])).to_dict(
        "records"
    )
    assert cell.items() <= row.items() and row["saving"] == 3
