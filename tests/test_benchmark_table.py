"""The collector of benchmarks, on throw-away modules (``benchmarks/run.py`` is loaded by its path)."""

import importlib.util
import math
from pathlib import Path

import pandas as pd
import pytest

SPEC = importlib.util.spec_from_file_location(
    "benchmarks_run", Path(__file__).resolve().parents[1] / "benchmarks" / "run.py"
)
bench = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bench)

ROW = "def run(quick=False):\n    return [dict(benchmark='pairs', measured=0.25, unit='s', target='≤ 0.5')]\n"


def test_results_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "made_up_pairs.py").write_text(ROW, encoding="utf-8")
    assert bench.main(["--quick"], tmp_path) == 0 and not (tmp_path / "results.md").exists()
    assert bench.main([], tmp_path) == 0
    assert "| pairs | 0.25 | s | ≤ 0.5 | yes |" in (tmp_path / "results.md").read_text(encoding="utf-8")
    table = pd.read_parquet(tmp_path / "results.parquet")
    assert table.measured.tolist() == [0.25] and "cores" in table.machine[0]


def test_a_failing_module_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "made_up_broken.py").write_text("def run(quick):\n    raise OSError('no')\n", encoding="utf-8")
    (tmp_path / "made_up_works.py").write_text(ROW, encoding="utf-8")
    assert bench.main([], tmp_path) == 1
    said = capsys.readouterr()
    assert "| pairs |" in said.out and "failed: made_up_broken" in said.err
    assert not (tmp_path / "results.md").exists()


@pytest.mark.parametrize(
    ("measured", "target", "verdict"),
    [(0.5, "≤ 0.5", "yes"), (0.6, "≤ 0.5", "no"), (0.9, "≥ 0.85", "yes"), (math.nan, "≥ 0.85", "no"), (1.0, "", "")],
)
def test_met(measured, target, verdict):
    assert bench.met(measured, target) == verdict
