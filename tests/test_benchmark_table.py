"""The collector of benchmarks, on throw-away rooms (``benchmarks/run.py`` is loaded by its path)."""

import importlib.util
import math
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("benchmarks_run", ROOT / "benchmarks" / "run.py")
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

ROOM = """
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


def write_room(path, *jobs):
    path.write_text(ROOM % ", ".join(f"'{job}': {job}" for job in jobs), encoding="utf-8")


def test_results_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    write_room(tmp_path / "made_up_garden.py", "pairs")
    assert bench.main(["--quick"], tmp_path) == 0 and not (tmp_path / "results.md").exists()
    assert bench.main([], tmp_path) == 0
    assert "| pairs | 0.25 | s | ≤ 0.5 | yes |" in (tmp_path / "results.md").read_text(encoding="utf-8")
    table = pd.read_parquet(tmp_path / "results.parquet")
    assert table.measured.tolist() == [0.25] and "cores" in table.machine[0]


def test_a_failing_job_or_room_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    write_room(tmp_path / "made_up_shed.py", "broken", "pairs")
    (tmp_path / "made_up_attic.py").write_text("import made_up_ladder\nJOBS = {'climb': None}\n", encoding="utf-8")
    assert bench.main([], tmp_path) == 1
    said = capsys.readouterr()
    assert "| pairs |" in said.out and "failed: broken, climb" in said.err
    assert not (tmp_path / "results.md").exists()


@pytest.mark.parametrize(
    ("asked", "ran"),
    [("tri", ["triples"]), ("made_up_house", ["pairs", "triples"]), ("made_up", [])],
)
def test_jobs_are_named_by_how_they_start_or_by_their_room(tmp_path, monkeypatch, asked, ran):
    monkeypatch.syspath_prepend(tmp_path)
    write_room(tmp_path / "made_up_house.py", "triples", "pairs")
    (tmp_path / "measuring.py").write_text("JOBS = {'triples': None}\n", encoding="utf-8")
    (tmp_path / "made_up_yard.py").write_text(
        "raise OSError('not asked for')\nJOBS = {'rake': None}\n", encoding="utf-8"
    )
    bench.main([asked], tmp_path)
    assert pd.read_parquet(tmp_path / "results.parquet").module.tolist() == ran


def test_a_file_a_room():
    jobs = bench.listed(ROOT / "benchmarks")
    assert all((ROOT / "cascadelib" / room / "__init__.py").exists() for room in jobs.values())
    assert set(pd.read_parquet(ROOT / "benchmarks" / "results.parquet").module) <= set(jobs)


@pytest.mark.parametrize(
    ("measured", "target", "verdict"),
    [(0.5, "≤ 0.5", "yes"), (0.6, "≤ 0.5", "no"), (0.9, "≥ 0.85", "yes"), (math.nan, "≥ 0.85", "no"), (1.0, "", "")],
)
def test_met(measured, target, verdict):
    assert bench.met(measured, target) == verdict
