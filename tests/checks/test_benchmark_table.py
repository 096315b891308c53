"""``benchmarks/run.py``: the choice of jobs, their rows, and the summary."""

import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))
import measuring  # noqa: E402 - scripts, no package

bench = load_script("benchmarks/run.py")

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


def test_a_new_run_drops_rows_of_deleted_jobs(folder):
    write_jobs(folder / "made_up_cellar.py", "pairs", "triples")
    bench.main([], folder)
    write_jobs(folder / "made_up_cellar.py", "triples")
    bench.main(["made_up_cellar"], folder)
    assert measured_jobs(folder) == ["triples"]
    assert "pairs" not in (folder / "results.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def recorded():
    """The committed rows."""
    return pd.read_parquet(ROOT / "benchmarks" / "results.parquet")


def test_each_job_is_named_after_a_module_and_has_rows_or_is_listed_as_not_measured(recorded):
    jobs = bench.listed(ROOT / "benchmarks")
    folders = (ROOT / "cascadelib", ROOT / "notebooks" / "tools")
    assert set(jobs.values()) <= {path.stem for folder in folders for path in folder.rglob("*")}
    page = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    listed = re.search(r"- jobs not measured: \d+\n((?:  - .*\n)*)", page)
    unmeasured = set(re.findall(r"  - (\S+)", listed[1]))
    assert {*recorded.module} | unmeasured == set(jobs)
    assert not {*recorded.module} & unmeasured


def test_every_row_has_its_commit(recorded, tmp_path, monkeypatch):
    assert recorded.commit.str.fullmatch(r"[0-9a-f]{7,40}(, changed| or before)?").all()
    monkeypatch.setattr(bench, "HERE", tmp_path / "benchmarks")
    assert bench.commit() == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    module = tmp_path / "cascadelib" / "a.py"
    module.parent.mkdir()
    module.write_text("1\n", encoding="utf-8")
    for command in (["init", "-q"], ["add", "cascadelib"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *command], check=True)
    assert re.fullmatch(r"[0-9a-f]{10}", bench.commit())
    module.write_text("2\n", encoding="utf-8")
    assert re.fullmatch(r"[0-9a-f]{10}, changed", bench.commit())


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


def rows(**columns):
    """Return a table of two rows of one job."""
    base = {"module": "job", "benchmark": ["a", "… b"], "unit": "s", "target": "", "runs": 5}
    return bench.completed(pd.DataFrame(base | {"measured": 0.25} | columns))


def test_times_are_medians_with_their_processor_time(monkeypatch):
    lengths = iter([0.0, 0.5, 0.0, 0.0, 0.8])
    idle, last = measuring.seconds(lambda: time.sleep(next(lengths)), 5)
    assert idle < 0.5 and idle.runs == 5 and idle.cpu < 0.5 and last is None
    found = measuring.row("a", idle, "s")
    assert (found["measured"], found["cpu"], found["runs"]) == (idle, idle.cpu, 5)
    middle = measuring.median([(3, 1), (1, 9), (2, 2)])
    assert middle == middle.cpu == 2
    monkeypatch.setattr(measuring, "LONG", 0.01)
    assert measuring.seconds(lambda: time.sleep(0.02), 5)[0].runs == 1


def busy(seconds=0.3):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_processor_time_includes_that_of_other_processes():
    assert measuring.seconds(lambda: measuring.alone(busy))[0].cpu >= 0.3


@pytest.mark.parametrize(
    ("others", "verdict"), [(0.0, "yes"), (0.1, "yes"), (0.11, "no"), (math.nan, "")]
)
def test_a_job_is_quiet_while_others_use_a_tenth_of_a_core(others, verdict):
    assert bench.quiet(others) == verdict
    text = bench.conditions(rows(load_before=0.5, load_after=1.5, others=others))
    assert ("not quiet" in text) == (verdict == "no")
    assert ("0.5 before, 1.5 after" in text) == (verdict != "")


def test_the_summary_lists_missed_targets_and_jobs_that_were_not_quiet():
    table = rows(target=["≤ 0.3", "≤ 0.2"], others=0.5)
    lines = bench.summary(table, ["job", "sold"]).splitlines()
    assert lines[:2] == ["- targets met: 1, missed: 1", "  - job: a: … b: 0.25 s (≤ 0.2)"]
    assert lines[2:4] == ["- jobs not quiet: 1", "  - job (others used 0.50 cores)"]
    assert lines[6:] == ["- jobs not measured: 1", "  - sold"]
