"""A study is extracted from images, and notebook 01 reads it."""

import subprocess
import sys

import pandas as pd
import pytest

from cascadelib import LogitStore
from cascadelib.files import ROOT

SCRIPTS = ROOT / "data" / "imagenet-1k"
TABLE = pd.read_csv(ROOT / "cascadelib" / "models-2022-07.csv").set_index("model")


@pytest.mark.soak
def test_a_study_is_extracted_and_read_by_notebook_01(tmp_path, monkeypatch):
    """extract.py and notebook 01 run on small synthetic images. Published times are stored."""
    monkeypatch.setenv("CASCADELIB_QUICK", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = (
        "import sys, numpy as np, stand_in as s\n"
        "from pathlib import Path; root = Path(sys.argv[1])\n"
        "s.write_images(root / 'val', 1, size=(64, 48))\n"
        "s.write_images(root / 'fit', 1, 1000, (64, 48))\n"
        "paths = [f'{x}/{x}_1000.JPEG' for x in s.synsets()]; (root / 'weights').mkdir()\n"
        "photographs = s.Photographs(s.list_files(root / 'fit', paths), np.arange(1000), paths)\n"
        "s.write_checkpoint(root / 'weights' / 'tinynet_e.safetensors', 'tinynet_e', photographs)"
    )
    subprocess.run([sys.executable, "-c", made, tmp_path], cwd=SCRIPTS, check=True)
    out = tmp_path / "study"
    command = [
        sys.executable,
        SCRIPTS / "extract.py",
        "--images",
        tmp_path / "val",
        "--out",
        out,
        "--whole",
    ]
    command += ["--models", "tinynet_e", "--checkpoints", tmp_path / "weights", "--workers", "1"]
    subprocess.run(command, check=True)
    assert not (out / "held_out").exists() and len(LogitStore(out / "val")) == 1000
    row = LogitStore(out / "val").models.loc["tinynet_e"]
    assert row["published_seconds"] == TABLE.loc["tinynet_e", "seconds"]
    command = [
        sys.executable,
        SCRIPTS / "run_notebooks.py",
        out,
        "01",
        "--preset",
        SCRIPTS / "paper.yml",
    ]
    done = subprocess.run([*command, "-p", "images", "100"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
