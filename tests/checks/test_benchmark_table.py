"""The collector of benchmarks, on throw-away rooms (``benchmarks/run.py`` is loaded by its
path)."""

import importlib.util
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))
import measuring  # noqa: E402 - scripts, no package
import synthetic  # noqa: E402

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
    assert "| pairs | 0.25 | s |  |  | ≤ 0.5 | yes |" in (tmp_path / "results.md").read_text(
        encoding="utf-8"
    )
    table = pd.read_parquet(tmp_path / "results.parquet")
    assert table.measured.tolist() == [0.25] and "cores" in table.machine[0]


def test_a_failing_job_or_room_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    write_room(tmp_path / "made_up_shed.py", "broken", "pairs")
    (tmp_path / "made_up_attic.py").write_text(
        "import made_up_ladder\nJOBS = {'climb': None}\n", encoding="utf-8"
    )
    assert bench.main([], tmp_path) == 1
    said = capsys.readouterr()
    assert "| pairs |" in said.out and "failed: broken, climb" in said.err
    assert pd.read_parquet(tmp_path / "results.parquet").module.tolist() == ["pairs"]


@pytest.mark.parametrize(
    ("asked", "ran"),
    [("tri", ["triples"]), ("made_up_house", ["pairs", "triples"])],
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


def test_a_whole_name_is_that_job_alone():
    jobs = {"search": "fronts", "search_long": "fronts", "texts": "methods"}
    assert list(bench.wanted(["search"], jobs)) == ["search"]
    assert list(bench.wanted(["sea", "methods"], jobs)) == list(jobs)
    assert list(bench.wanted([], jobs)) == list(jobs)
    assert bench.wanted(["searches"], jobs) == {}


def test_an_unknown_job_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        bench.main(["nothing"])
    assert "no job is called nothing" in capsys.readouterr().err


def test_a_file_a_room():
    jobs = bench.listed(ROOT / "benchmarks")
    homes = (ROOT / "cascadelib", ROOT / "notebooks" / "tools")
    subjects = {path.stem for home in homes for path in home.rglob("*")}
    assert set(jobs.values()) <= subjects  # a subpackage, or a module
    assert set(recorded().module) <= set(jobs)


def recorded():
    """The committed rows."""
    return pd.read_parquet(ROOT / "benchmarks" / "results.parquet")


def test_every_job_has_rows_or_is_said_not_to_be_measured():
    said = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    listed = re.search(r"- jobs not measured: \d+\n((?:  - .*\n)*)", said)
    assert listed is not None
    unmeasured = set(re.findall(r"  - (\S+)", listed[1]))
    assert {*recorded().module} | unmeasured == set(bench.listed(ROOT / "benchmarks"))
    assert not {*recorded().module} & unmeasured


def test_every_row_has_its_commit(tmp_path, monkeypatch):
    assert recorded().commit.str.fullmatch(r"[0-9a-f]{7,40}(, changed| or before)?").all()
    assert re.fullmatch(r"[0-9a-f]{10}(, changed)?|", bench.commit())
    monkeypatch.setattr(bench, "HERE", tmp_path / "benchmarks")
    assert bench.commit() == ""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "cascadelib").mkdir()
    (tmp_path / "cascadelib" / "a.py").write_text("1\n", encoding="utf-8")
    for what in (["init", "-q"], ["add", "cascadelib"], ["commit", "-q", "-m", "a"]):
        subprocess.run([*git, *what], check=True)
    assert re.fullmatch(r"[0-9a-f]{10}", bench.commit())
    (tmp_path / "cascadelib" / "a.py").write_text("2\n", encoding="utf-8")
    assert re.fullmatch(r"[0-9a-f]{10}, changed", bench.commit())


def test_no_two_jobs_measure_the_same_search():
    """Names such as "search: pairs of 27, k = 50000, every threshold" say what was searched."""
    lengths = {"pairs": "2", "triples": "3", "quadruples": "4"}
    jobs = {}
    rows = recorded()
    for _, row in rows[rows.unit == "s"].iterrows():
        found = re.match(r"\w+: (\w+) of (\d+), k = (\d+)(.*)", row.benchmark)
        if found is not None and "processor time" not in row.benchmark:
            n, models, samples, how = found.groups()
            plain = re.sub(r", (every threshold|exact|smooth accuracies|\d+ threads)", "", how)
            jobs.setdefault((lengths.get(n, n), models, samples, plain), set()).add(row.module)
    assert len(jobs) > 20 and all(len(found) == 1 for found in jobs.values())


def test_made_up_scores_are_of_two_kinds():
    for kind, make in synthetic.KINDS.items():
        correct, confidence, cost = make(27, 20_000)
        assert correct.shape == confidence.shape == (27, 20_000) and (np.diff(cost) > 0).all()
        accuracy = correct.mean(1)
        assert abs(accuracy[0] - 0.66) < 0.01 and abs(accuracy[-1] - 0.886) < 0.01
        distinct = np.mean([len(np.unique(row)) for row in confidence]) / 20_000
        assert (distinct == 1) == (kind == "published accuracies") and distinct > 0.9


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
def test_met(measured, target, verdict):
    assert bench.met(measured, target) == verdict


def rows(**columns):
    """A table of two rows of one job, by column."""
    base = {
        "module": "job",
        "benchmark": ["a", "… b"],
        "measured": 0.25,
        "unit": "s",
        "target": "",
        "runs": 5,
    }
    return bench.completed(pd.DataFrame(base | columns))


def test_times_are_medians_with_processor_time_beside_them():
    lengths = iter([0.0, 0.5, 0.0, 0.0, 0.8])
    idle, last = measuring.seconds(lambda: time.sleep(next(lengths)), 5)
    assert idle < 0.5 and idle.runs == 5 and idle.cpu < 0.5 and last is None
    found = measuring.row("a", idle, "s")
    assert (found["measured"], found["cpu"], found["runs"]) == (idle, idle.cpu, 5)
    assert (
        measuring.row("a", idle / 2, "s")["runs"] is None
        and measuring.row("a", 1.0, "s", runs=7)["runs"] == 7
    )
    assert (
        measuring.median([(3, 1), (1, 9), (2, 2)]) == 2
        and measuring.median([(3, 1), (1, 9), (2, 2)]).cpu == 2
    )


def test_what_takes_long_runs_once(monkeypatch):
    monkeypatch.setattr(measuring, "LONG", 0.01)
    assert measuring.seconds(lambda: time.sleep(0.02), 5)[0].runs == 1


def busy(seconds=0.3):
    """Use so much processor time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_processor_time_holds_that_of_other_processes():
    assert measuring.seconds(lambda: measuring.alone(busy))[0].cpu >= 0.3


@pytest.mark.parametrize(
    ("others", "verdict"), [(0.0, "yes"), (0.1, "yes"), (0.11, "no"), (math.nan, "")]
)
def test_a_job_is_quiet_while_others_use_a_tenth_of_a_core(others, verdict):
    assert bench.quiet(others) == verdict
    said = bench.conditions(rows(load_before=0.5, load_after=1.5, others=others))
    assert ("not quiet" in said, "0.5 before, 1.5 after" in said) == (
        verdict == "no",
        verdict != "",
    )


def test_a_watch_sees_what_other_processes_use(monkeypatch):
    clocks = {
        "machine_time": [100.0, 106.0],
        "own_time": [2.0, 3.0],
        "descendants": [0.0, 4.0],
        "load": [0.5, 2.5],
    }
    for name, values in clocks.items():
        monkeypatch.setattr(measuring, name, iter(values).__next__)
    monkeypatch.setattr(measuring.time, "perf_counter", iter([10.0, 12.0]).__next__)
    with measuring.Watch() as watch:
        pass
    assert watch.seen == {"load_before": 0.5, "load_after": 2.5, "others": 0.5}


def test_a_watch_counts_what_went_with_a_process_that_nobody_waited_for(monkeypatch):
    clocks = {
        "machine_time": [100.0, 110.0],
        "own_time": [0.0] * 4,
        "descendants": [1.0, 6.0, 0.0, 2.0],
    }
    for name, values in clocks.items():
        monkeypatch.setattr(measuring, name, iter(values).__next__)
    monkeypatch.setattr(measuring.time, "perf_counter", iter([10.0, 12.0]).__next__)
    with measuring.Watch() as watch:
        watch.look()
        watch.look()
    assert watch.seen["others"] == 1.5


def test_where_the_system_does_not_tell_a_watch_says_so(monkeypatch):
    monkeypatch.setattr(measuring, "machine_time", lambda: math.nan)
    with measuring.Watch() as watch:
        pass
    assert math.isnan(watch.seen["others"])


def test_the_end_says_what_was_missed_and_what_was_not_quiet():
    said = bench.summary(rows(target=["≤ 0.3", "≤ 0.2"], others=0.5), ["job", "sold"]).splitlines()
    assert said[:2] == ["- targets met: 1, missed: 1", "  - job: a: … b: 0.25 s (≤ 0.2)"]
    assert said[2:4] == ["- jobs not quiet: 1", "  - job (others used 0.50 cores)"]
    assert [line[-3:] for line in said[4:6]] == [": 0", ": 0"]
    assert said[6:] == ["- jobs not measured: 1", "  - sold"]


@pytest.mark.parametrize(
    ("measured", "unit", "runs", "few"),
    [
        (1, "s", 5, 0),
        (1, "s", 4, 1),
        (1, "s", None, 1),
        (99, "s", 1, 0),
        (99, "ms", 1, 1),
        (1, "share", None, 0),
    ],
)
def test_few_runs_are_said(measured, unit, runs, few):
    table = rows(measured=[measured, 1], unit=[unit, "s"], runs=[runs, 5], others=0.0)
    said = bench.summary(table).splitlines()
    assert said[3].endswith(f": {few}") and said[4:-1] == ["  - job: 1"] * few


def test_rows_of_jobs_that_are_no_more_go(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write_room(tmp_path / "made_up_cellar.py", "pairs", "triples")
    bench.main([], tmp_path)
    write_room(tmp_path / "made_up_cellar.py", "triples")
    bench.main(["made_up_cellar"], tmp_path)
    assert pd.read_parquet(tmp_path / "results.parquet").module.tolist() == ["triples"]
    assert "pairs" not in (tmp_path / "results.md").read_text(encoding="utf-8")
