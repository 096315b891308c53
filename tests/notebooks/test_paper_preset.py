"""The paper's settings on synthetic logits of four of its models with 1,000 classes."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from cascadelib import LogitStore
from cascadelib.datasets.imagenet_1k import synsets

ROOT = Path(__file__).resolve().parents[2]

SCRIPTS = ROOT / "data" / "imagenet-1k"
TABLE = pd.read_csv(ROOT / "cascadelib" / "models-2022-07.csv").set_index("model")
MODELS = TABLE.loc[
    ["tinynet_e", "mobilenetv3_large_100_miil", "tf_efficientnet_b3_ns", "beit_large_patch16_512"]
]
K = 1000
K_V2 = 500


def synthetic_logits(hits, labels, ease, rng):
    """Return logits, float32 [k, 1000], with ``hits`` samples correct.

    Easy samples are more often correct, with higher confidence.
    """
    score = ease + 0.5 * rng.normal(size=len(labels))
    correct = np.argsort(np.argsort(-score)) < hits
    logits = rng.normal(size=(len(labels), 1000))
    predicted = np.where(correct, labels, (labels + rng.integers(1, 1000, len(labels))) % 1000)
    margin = 3 + 2.5 * score + rng.exponential(1, len(labels))
    logits[np.arange(len(labels)), predicted] = logits.max(axis=1) + np.maximum(margin, 0.01)
    return logits.astype(np.float32)


def write_split(folder, split, dataset, accuracy, k, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(k) % 1000
    ease = rng.normal(size=k)
    names = [f"{synsets()[label]}/{split}_{i}.JPEG" for i, label in enumerate(labels)]
    store = LogitStore.create(folder / split, labels, names, synsets(), dataset, split)
    for name, row in MODELS.iterrows():
        costs = {"macs": float(row["macs"]), "seconds": 3 * float(row["seconds"])}
        about = {"published_seconds": float(row["seconds"]), "family": row["family"]}
        about["image_size"] = int(row["image_size"])
        store.add(
            name, synthetic_logits(round(k * row[accuracy]), labels, ease, rng), **costs, **about
        )
    return store


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The folder of a study after a run of all notebooks."""
    folder = tmp_path_factory.mktemp("study")
    write_split(folder, "val", "imagenet-1k", "top1", K, 0)
    write_split(folder, "held_out", "imagenetv2", "imagenetv2_top1", K_V2, 1)
    os.environ |= {"CASCADELIB_QUICK": "1", "OMP_NUM_THREADS": "1"}
    main = runpy.run_path(str(SCRIPTS / "run_notebooks.py"))["main"]
    assert main([str(folder), "--preset", str(SCRIPTS / "paper.yml")]) == 0
    return folder


def test_the_preset_has_the_papers_settings():
    preset = yaml.safe_load((SCRIPTS / "paper.yml").read_text(encoding="utf-8"))
    assert (preset["longest"], preset["top_k"], preset["prominence"]) == (3, 5, 0.3)


@pytest.mark.soak
def test_the_lessons_run_on_a_study_without_images(study):
    for number in ("01", "02", "03", "04", "05", "07"):
        assert list((study / "report").glob(f"{number}_*.ipynb"))


@pytest.mark.soak
def test_a_study_is_extracted_and_read_by_notebook_01(tmp_path, monkeypatch):
    """extract.py and notebook 01 run on small synthetic images. Published times are stored."""
    monkeypatch.setenv("CASCADELIB_QUICK", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = (
        "import sys, numpy as np; from pathlib import Path; import stand_in as s; root = Path(sys.argv[1])\n"
        "s.write_images(root / 'val', 1, size=(64, 48)); s.write_images(root / 'fit', 1, 1000, (64, 48))\n"
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
    assert "ignored" not in done.stdout
