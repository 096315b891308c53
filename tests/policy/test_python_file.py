"""The Python file of a policy is safe and short, and its check finds edits.

test_exit_rule.py compares its decisions with those of the policy.
"""

import runpy
import subprocess
import sys

import numpy as np
import pytest

from cascadelib import Method, Point, Policy, ScoreTable, search
from cascadelib.methods.fitted import BY_LABEL, CONFIDENCE, Fitted, label_digest
from cascadelib.policy.python_file import MOST_LINES


def test_names_of_models_are_no_code(tmp_path):
    name = '"""\nraise SystemExit(1)\n$version ${models} \u2028'
    path = tmp_path / "policy.py"
    Policy(Point((name, "b\\"), (0.5,))).to_python(path)
    assert runpy.run_path(str(path))["MODELS"] == (name, "b\\")
    done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True)
    assert done.returncode == 0 and "decisions are those of cascadelib" in done.stdout


def test_an_edited_threshold_is_found_by_the_check(tmp_path):
    path = tmp_path / "policy.py"
    Policy(Point(("a", "b"), (0.5,))).to_python(path)
    path.write_text(path.read_text().replace("THRESHOLDS = (0.5", "THRESHOLDS = (0.6"))
    with pytest.raises(SystemExit, match="exits is False, and should be True"):
        runpy.run_path(str(path))["check"]()


def test_a_thousand_thresholds_fit_into_the_lines(tmp_path):
    curve = {"knots": [0.2, 0.8], "values": [0.0, 1.0]}
    curves = [curve | {"digest": label_digest(str(label))} for label in range(1000)]
    fitted = Fitted(BY_LABEL, (CONFIDENCE,), [curve | {"digest": None}, *curves])
    method = Method(confidence=BY_LABEL, fitted={("a",): fitted, ("b",): fitted})
    Policy(Point(("a", "b"), (0.5,), method=method)).to_python(tmp_path / "policy.py")
    text = (tmp_path / "policy.py").read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    code = runpy.run_path(str(tmp_path / "policy.py"))
    assert len(code["THRESHOLDS"][0]) == 1001 and len(code["CHECKS"]) > 2000
    code["check"]()


def test_a_formula_of_several_columns_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    table = ScoreTable(
        None,
        rng.random((2, 90)),
        [1, 9],
        predictions=rng.choice(["x", "y"], (2, 90)),
        labels=rng.choice(["x", "y"], 90),
    )
    method = Method(confidence="logistic", columns=("confidence", "label"))
    policy = Policy.from_point(search(table, 2, method).point(-1))
    with pytest.raises(ValueError, match="no threshold per class. Run the policy file"):
        policy.to_python(tmp_path / "policy.py")
    assert not (tmp_path / "policy.py").exists()
