"""Each notebook runs with other parameters: another folder, swapped splits, entropy, seconds."""

from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest

from cascadelib import LogitStore
from tools import report, run

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

BUNDLED = ROOT / "data" / "fashion-mnist"
SPLITS = (
    "val test shift/noise-1 shift/noise-2 shift/blur-2 shift/movement-2 shift/exposure-2".split()
)
QUARTER = slice(None, None, 4)
METADATA = ("macs", "seconds", "family", "image_size")
MODELS = (
    "mlp@14 mlp_h256@28 small_resnet_w4@28 lenet_w300@28 resnet18_w16@52 resnet18_w16@56".split()
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a quarter of the bundled images, and stores of six of their models."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("val.npz", "test.npz"):
        with np.load(BUNDLED / name) as arrays:
            np.savez(folder / name, **{key: arrays[key][QUARTER] for key in arrays})
    for split in SPLITS:
        full = LogitStore(BUNDLED / split)
        part = full.take(QUARTER)
        origin = (part.sample_ids, full.classes, full.dataset, full.split)
        store = LogitStore.create(folder / split, part.labels, *origin)
        for name in MODELS:
            about = {key: full.metadata(name)[key] for key in METADATA}
            store.add(name, part.logits(name), **about)
    return str(folder)


def other_parameters(path, small):
    """Return other values of a notebook's parameters, with few images."""
    found = papermill.inspect_notebook(path)
    has = {name: run.parse_literal(entry["default"]) for name, entry in found.items()}
    new = {"split": has.get("held_out", "test"), "held_out": has.get("split")}
    new |= {"method": "entropy", "cost": "seconds", "paired": False, "images": 100, "samples": 64}
    if has.get("dataset") == "data/fashion-mnist" and "images" not in has:
        new["dataset"] = small
    return {name: value for name, value in new.items() if name in has}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_other_parameters(path, small, run_cells, tmp_path, monkeypatch):
    monkeypatch.setenv("CASCADELIB_QUICK", "1")
    monkeypatch.setenv("CASCADELIB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.chdir(path.parent)
    more = {"out": str(tmp_path / "logits")} if path.stem.startswith("01") else {}
    for cell in run_cells(path, other_parameters(path, small) | more):
        if "answer" in cell.metadata.get("tags", []):
            assert report.answer_of(nbformat.v4.new_notebook(cells=[cell])), "the answer is text"
