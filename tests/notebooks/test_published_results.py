"""A change of a result turns `make run` red, and a refactoring does not.

The changes were picked from the first 400 draws of `random.Random(64).sample` over the mutants of
`analysis`, `evaluation`, `guarantees` and `notebooks/tools` (tests/checks/mutants.py): those that
reach a notebook that runs fast. Other draws survived: a comparison sees only values that a cell
prints. Each runs the notebook that it reaches, at quick parameters, in a copy of the repository.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

ROOT = Path(__file__).resolve().parents[2]
# (notebook, file, code, changed code)
CHANGES = [
    (
        "09",
        "cascadelib/evaluation/intervals.py",
        "zip(keys, map(float, (value, *ends)))",
        "zip(map(float, (value, *ends)), keys)",
    ),
    (
        "09",
        "cascadelib/analysis/findings.py",
        'holds({"": other}, cascade, resamples=2)',
        'holds(cascade, {"": other}, resamples=2)',
    ),
    (
        "02",
        "cascadelib/analysis/findings.py",
        "basic_interval(bootstrap(other, front, resamples)",
        "basic_interval(bootstrap(front, other, resamples)",
    ),
    (
        "03",
        "cascadelib/analysis/comparison.py",
        "high = min(accuracies[0][-1], accuracies[1][-1]",
        "high = min(accuracies[1][-1], accuracies[1][-1]",
    ),
]
REFACTORINGS = [
    (
        "09",
        "cascadelib/analysis/findings.py",
        "other.origin.fingerprint != selected_on",
        "not other.origin.fingerprint == selected_on",
    ),
    (
        "09",
        "cascadelib/analysis/uncertainty.py",
        "run = of_cascade[0]\n        n = len(run.outcomes)",
        "run, *_ = of_cascade\n        n = len(run.outcomes)",
    ),
    (
        "09",
        "cascadelib/evaluation/run.py",
        "totals = totals.reshape(*grid, resamples)",
        "totals = np.reshape(totals, (*grid, resamples))",
    ),
    (
        "09",
        "cascadelib/evaluation/intervals.py",
        "each = 1 - (1 - level) / max(1, len(costs) - 1)",
        "intervals = max(1, len(costs) - 1)\n    each = 1 - (1 - level) / intervals",
    ),
    (
        "09",
        "cascadelib/guarantees/p_values.py",
        "middle = (ends[1:] + ends[:-1]) / 2",
        "middle = (ends[:-1] + ends[1:]) / 2",
    ),
]


def names(rows):
    return [f"{notebook}-{Path(file).stem}-{new[:20]}" for notebook, file, _, new in rows]


@pytest.mark.parametrize("row", [*CHANGES, *REFACTORINGS], ids=names([*CHANGES, *REFACTORINGS]))
def test_a_row_still_finds_its_code(row):
    _, file, code, _ = row
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


def printed(copy, notebook):
    """Return the exit status and the errors of the runner on one notebook."""
    command = [sys.executable, "notebooks/tools/run.py", notebook, "--out", "build/report"]
    quick = {"CASCADELIB_QUICK": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
    options = {"cwd": copy, "env": os.environ | quick, "capture_output": True, "text": True}
    done = subprocess.run(command, **options)
    return done.returncode, done.stderr


def run_changed(copy, notebook, file, code, new):
    path = copy / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(code, new), encoding="utf-8")
    try:
        return printed(copy, notebook)
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.mark.soak
@pytest.mark.parametrize("row", CHANGES, ids=names(CHANGES))
def test_a_change_of_a_result_is_found(copy, row):
    status, errors = run_changed(copy, *row)
    assert status == 1
    assert "DIFFERENT" in errors or "FAILED" in errors


@pytest.mark.soak
@pytest.mark.parametrize("row", REFACTORINGS, ids=names(REFACTORINGS))
def test_a_refactoring_changes_no_result(copy, row):
    status, errors = run_changed(copy, *row)
    assert status == 0, errors
