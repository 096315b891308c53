"""Notebook 05 runs on a study of ImageNet by the command of data/imagenet-1k/README.md."""

import re
import shlex
from pathlib import Path

import nbformat
import numpy as np

from cascadelib import LogitStore
from cascadelib.datasets.imagenet_1k import synsets
from tools import run

ROOT = Path(__file__).resolve().parents[2]

CLASSES = 10
MODELS = {"tinynet_e": 25e6, "lcnet_050": 47e6, "tinynet_d": 53e6, "tinynet_b": 205e6}


def write_split(folder, split, per_class, noise, seed):
    """Return a store of synthetic logits. Larger models are better, and noise makes all worse."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), per_class)
    names = [f"{synsets()[label]}/{split}_{i}.JPEG" for i, label in enumerate(labels)]
    store = LogitStore.create(folder / split, labels, names, synsets()[:CLASSES], "imagenet", split)
    ease = rng.normal(1.5, 1, (len(labels), 1))
    for i, (name, macs) in enumerate(MODELS.items()):
        logits = (1 + i) * ease * np.eye(CLASSES)[labels] + noise * rng.normal(
            size=(len(labels), CLASSES)
        )
        store.add(name, logits, macs=macs)
    return store


def documented_parameters(study):
    """Return the arguments of ``make run`` in the README, with ``study`` as the folder."""
    text = (ROOT / "data" / "imagenet-1k" / "README.md").read_text(encoding="utf-8")
    (arguments,) = re.findall(r'^make run ARGS="(05 .*)"$', text, re.MULTILINE)
    return shlex.split(arguments.replace("$PWD/build/imagenet", str(study)))


def test_imagenet_v2_is_compared_with_images_that_did_not_select(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CASCADELIB_QUICK", "1")
    here = write_split(tmp_path / "study", "val", 120, 1.0, 0)
    there = write_split(tmp_path / "study", "held_out", 80, 1.7, 1)
    drops = here.models["top1"] - there.models["top1"]
    assert (drops > 0.04).all()
    out = tmp_path / "report"
    assert run.main([*documented_parameters(tmp_path / "study"), "--out", str(out)]) == 0, (
        capsys.readouterr().err
    )
    cells = nbformat.read(out / "05_distribution_shift.ipynb", as_version=4).cells
    (ledger,) = [cell for cell in cells if "ledger.table(" in cell.source]
    last = " ".join(re.sub(r"<[^>]*>", " ", ledger.outputs[-1].data["text/html"]).split())
    last = re.sub(r" \[[^]]*\]", "", last)  # without intervals
    lost = ", ".join(f"{drop:+.1%}" for drop in drops)
    assert f" 7.2% to 13.8% {lost} " in last
    unshifted = here.take(slice(1, None, 2))  # the other half selects again
    shifted = there.take(np.linspace(0, len(there) - 1, len(unshifted)).astype(int))
    beyond = unshifted.models["top1"] - shifted.models["top1"]
    assert f" all {', '.join(f'{loss:+.1%}' for loss in beyond)} " in last
    assert "shift-drops" in (out / "05_distribution_shift.html").read_text(encoding="utf-8")
