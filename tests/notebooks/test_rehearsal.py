"""The library and the notebooks recover the effects planted in a folder of ImageNet's shape."""

import json
import os
import re
import subprocess
import sys
from html import unescape

import nbformat
import pandas as pd
import pytest
from scripts import load_script

from cascadelib.files import ROOT
from tools.claims import ledger
from tools.claims.catalogue import paper_claims

pytestmark = pytest.mark.nightly

SCRIPTS = ROOT / "data" / "imagenet-1k"
K = 2000
CLASSES = 50


rehearsal = load_script("data/imagenet-1k/rehearsal.py")
run_notebooks = load_script("data/imagenet-1k/run_notebooks.py")
benchmark = load_script("benchmarks/rehearsal.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A rehearsal of 43 models × 2,000 images × 50 classes."""
    made = tmp_path_factory.mktemp("rehearsal")
    rehearsal.write(made, K, CLASSES, "float32")
    return made


@pytest.fixture
def planted(folder):
    return json.loads((folder / "planted.json").read_text(encoding="utf-8"))


def test_the_study_finds_what_was_planted(folder, planted, tmp_path):
    """Every effect that the README lists has a row."""
    found = benchmark.find_planted(folder)
    named = [row["planted"] for row in found]
    table_1 = ("exit_rate", "macs", "published_seconds", "accuracy of")
    for pair in planted["pairs"]:
        models = " → ".join(pair["models"])
        for value in table_1:
            assert any(name.startswith(value) and models in name for name in named)
    about = ("best pair of all", "off the front", "loss", "on imagenetv2", "sign of", "expected")
    assert all(any(text in name for name in named) for text in about)
    for split in ("val", "held_out"):
        (tmp_path / split).symlink_to(folder / split)
    planted["gaps"]["held_out"] += 0.15
    (tmp_path / "planted.json").write_text(json.dumps(planted), encoding="utf-8")
    with pytest.raises(SystemExit, match="not as planted"):
        benchmark.find_planted(tmp_path)


def run_quickly(folder, *arguments):
    """Return the output of run_notebooks.py at quick parameters."""
    command = [sys.executable, SCRIPTS / "run_notebooks.py", folder, *arguments]
    environment = os.environ | {"CASCADELIB_QUICK": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_parameters_of_the_command_line_replace_those_of_the_study_also_by_none(folder):
    (path,) = run_notebooks.run.find_notebooks(run_notebooks.NOTEBOOKS, ["05"])
    chosen = {"dataset": "elsewhere", "shifted": None}
    reports = run_notebooks.plan_reports(folder, [path], chosen, {"shifted": ["a"]})
    for parameters in reports.values():
        assert parameters[path]["held_out"] == "held_out"
        assert chosen.items() <= parameters[path].items()


def verdicts_in(path):
    """Return {claim: verdict} of the last table of an executed notebook 11."""
    (cell,) = [c for c in nbformat.read(path, as_version=4).cells if c.id == "all"]
    rows = re.findall(r"<th>(.*?)</th>(.*?)</tr>", cell.outputs[0].data["text/html"], re.DOTALL)
    texts = {unescape(name): re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for name, row in rows}
    return pd.Series({name: cells[-1] for name, cells in texts.items() if cells})


# 2,000 samples and 5 resamples decide these planted effects.
SUPPORTED = ["shift-degree", "underconfident"]


def test_one_run_covers_the_notebooks_and_both_costs(folder):
    run_quickly(folder, "--preset", str(SCRIPTS / "paper.yml"))
    numbers = {path.name[:2] for path in (folder / "report").rglob("*.ipynb")}
    assert numbers >= {"01", "02", "03", "04", "05", "07", "10", "11"}
    assert list((folder / "report" / "published_seconds").glob("02_*.ipynb"))
    (path,) = (folder / "report").glob("11_*.ipynb")
    found = verdicts_in(path)
    claims = paper_claims().loc[SUPPORTED, "claim"]
    assert (ledger.word_of(found[claims]) == "supported").all()
