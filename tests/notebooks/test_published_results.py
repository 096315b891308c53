"""A change of a result turns `make run` red, and a refactoring does not.

The changes are the first three draws of `mutants.py --seed 64 --folder FOLDER` that change a
published result, for each of `cascadelib/analysis`, `evaluation`, `guarantees` and
`notebooks/tools`, of the code at commit 694f75d7. These draws were replaced by the next one:

- `analysis` 1: a refusal that no notebook meets.
- `guarantees` 0, 1, 2, 4, 5, 7, 8, 12, 13, 14 and 15: ladders, labels of disagreements, answered
  tables, clusters, F1 and budgets, which no notebook certifies.
- `guarantees` 3, 9 and 10: equivalent if all samples have ids, if no certified cascade costs as
  much as the reference, and if the reference has all answers.
- `guarantees` 6: a tenth of a p-value. No notebook prints p-values, and no published threshold
  moves.
- `notebooks/tools` 0 and 3: the layout of a figure. 2 and 6: deleted code. 4: the runner starts no
  notebook at all. 5: the same model is chosen.

Each change runs the cheapest notebook that it reaches, at quick parameters, in a copy of the
repository. All refactorings that reach a notebook share one run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

from cascadelib.files import ROOT

# (notebook, file, code, changed code), with the number of the draw.
CHANGES = [
    (  # 0
        "09",
        "cascadelib/analysis/shift.py",
        "(least / high, most / low)",
        "(least * high, most / low)",
    ),
    (  # 2
        "09",
        "cascadelib/analysis/shift.py",
        "two_model_curve(confidence, correct_1, correct_2",
        "two_model_curve(correct_1, confidence, correct_2",
    ),
    (  # 3
        "09",
        "cascadelib/analysis/uncertainty.py",
        "[(1 - level) / 2, (1 + level) / 2]",
        "[(1 - level) / 2, (1 + level * 2)]",
    ),
    (  # of a later commit
        "09",
        "cascadelib/evaluation/point.py",
        "if len(points) > 1:",
        "if len(points) >= 1:",
    ),
    (  # 1
        "09",
        "cascadelib/evaluation/intervals.py",
        "or not np.isin(correct, (0, 1)).all()",
        "or np.isin(correct, (0, 1)).all()",
    ),
    (  # 2
        "03",
        "cascadelib/evaluation/pareto.py",
        "return float(self.accuracy[self.hull[-1]])",
        "return float(self.accuracy[self.hull[-2]])",
    ),
    (  # of a later commit
        "09",
        "cascadelib/guarantees/refusals.py",
        "len(ids) - len(np.unique(ids))",
        "len(ids) + len(np.unique(ids))",
    ),
    (  # 16
        "09",
        "cascadelib/guarantees/case.py",
        "if groups is not None:\n        values",
        "if groups is None:\n        values",
    ),
    (  # 17
        "09",
        "cascadelib/guarantees/certificate.py",
        "if not delta:",
        "if delta:",
    ),
    (  # 1
        "11",
        "notebooks/tools/claims/methods.py",
        "zip(edges, edges[1:])",
        "zip(edges, edges[2:])",
    ),
]
# Refactorings, {notebook: (file, code, changed code)}.
REFACTORINGS = {
    "09": [
        (
            "cascadelib/analysis/findings.py",
            "other.origin.fingerprint != selected_on",
            "not other.origin.fingerprint == selected_on",
        ),
        (
            "cascadelib/analysis/uncertainty.py",
            "run = of_cascade[0]\n        n = len(run.outcomes)",
            "run, *_ = of_cascade\n        n = len(run.outcomes)",
        ),
        (
            "cascadelib/evaluation/run.py",
            "totals = totals.reshape(*grid, resamples)",
            "totals = np.reshape(totals, (*grid, resamples))",
        ),
        (
            "cascadelib/evaluation/intervals.py",
            "each = 1 - (1 - level) / max(1, len(costs) - 1)",
            "intervals = max(1, len(costs) - 1)\n    each = 1 - (1 - level) / intervals",
        ),
        (
            "cascadelib/evaluation/pareto.py",
            "return order[accuracy[order] > best_before]",
            "return order[best_before < accuracy[order]]",
        ),
        (
            "cascadelib/guarantees/p_values.py",
            "middle = (ends[1:] + ends[:-1]) / 2",
            "middle = (ends[:-1] + ends[1:]) / 2",
        ),
        (
            "cascadelib/guarantees/certificate.py",
            "np.flatnonzero(costs < self.reference_alone.cost)",
            "np.flatnonzero(self.reference_alone.cost > costs)",
        ),
    ],
    "11": [
        (
            "notebooks/tools/claims/methods.py",
            "zip(edges, edges[1:])",
            "zip(edges[:-1], edges[1:])",
        ),
        (
            "notebooks/tools/claims/evidence.py",
            'is_of_pairs = {"first", "second"} <= set(table)',
            'is_of_pairs = set(table) >= {"first", "second"}',
        ),
        (
            "notebooks/tools/claims/calibration.py",
            "half = len(gains) // 2",
            "half = int(len(gains) / 2)",
        ),
    ],
}
ROWS = [row[1:] for row in CHANGES] + [row for rows in REFACTORINGS.values() for row in rows]


def names(rows):
    return [f"{Path(file).stem}-{new[:20]}" for file, _, new in rows]


@pytest.mark.parametrize("row", ROWS, ids=names(ROWS))
def test_a_row_still_finds_its_code(row):
    file, code, _ = row
    assert (ROOT / file).read_text(encoding="utf-8").count(code) == 1


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the repository with the compiled kernels."""
    folder = tmp_path_factory.mktemp("copy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutants, "COPY", folder / "repository")
        mutants.copy_tree()
    for kernels in (ROOT / "cascadelib" / "__pycache__").glob("kernels-*"):
        target = folder / "repository" / kernels.relative_to(ROOT)
        shutil.copytree(kernels, target, dirs_exist_ok=True)
    return folder / "repository"


def run_changed(copy, notebook, rows):
    """Return the exit status and the errors of the runner on one notebook, with changed files."""
    before = {copy / file: (copy / file).read_text(encoding="utf-8") for file, _, _ in rows}
    command = [sys.executable, "notebooks/tools/report/run.py", notebook, "--out", "build/report"]
    quick = {"CASCADELIB_QUICK": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
    options = {"cwd": copy, "env": os.environ | quick, "capture_output": True, "text": True}
    try:
        for file, code, new in rows:
            text = (copy / file).read_text(encoding="utf-8")
            (copy / file).write_text(text.replace(code, new), encoding="utf-8")
        done = subprocess.run(command, **options)
    finally:
        for path, text in before.items():
            path.write_text(text, encoding="utf-8")
    return done.returncode, done.stderr


def tier(row):
    """The first change of each notebook is tested by CI, the others every night."""
    is_first = row == next(other for other in CHANGES if other[0] == row[0])
    marks = [pytest.mark.soak if is_first else pytest.mark.nightly]
    return pytest.param(row, marks=marks, id=f"{row[0]}-{row[3][:20]}")


@pytest.mark.timeout(1800)  # a busy machine is no failure
@pytest.mark.parametrize("row", [tier(row) for row in CHANGES])
def test_a_change_of_a_result_is_found(copy, row):
    notebook, *change = row
    status, errors = run_changed(copy, notebook, [change])
    assert status == 1
    assert "DIFFERENT" in errors or "FAILED" in errors


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("notebook", REFACTORINGS)
def test_refactorings_change_no_result(copy, notebook):
    status, errors = run_changed(copy, notebook, REFACTORINGS[notebook])
    assert status == 0, errors
