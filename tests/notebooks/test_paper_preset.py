"""The paper's settings on synthetic logits of four of its models with 1,000 classes."""

import os
import re
import runpy
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from cascadelib import LogitStore
from cascadelib.datasets.imagenet_1k import synsets
from tools import ledger, ranges

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


QUICKLY = ("01", "02")


@pytest.fixture(scope="module", params=[QUICKLY, pytest.param((), marks=pytest.mark.soak)], ids=len)
def study(request, tmp_path_factory):
    """The folder of a study, its two stores, and the numbers of its notebooks (none: all)."""
    folder = tmp_path_factory.mktemp("study")
    stores = [
        write_split(folder, "val", "imagenet-1k", "top1", K, 0),
        write_split(folder, "held_out", "imagenetv2", "imagenetv2_top1", K_V2, 1),
    ]
    os.environ |= {"CASCADELIB_QUICK": "1", "OMP_NUM_THREADS": "1"}
    main = runpy.run_path(str(SCRIPTS / "run_notebooks.py"))["main"]
    assert main([str(folder), *request.param, "--preset", str(SCRIPTS / "paper.yml")]) == 0
    return folder, *stores, request.param


def claims(report, number):
    """Return {id of a claim: its numbers in the ledger} of an executed notebook."""
    (path,) = report.glob(f"{number}_*.ipynb")
    (cell,) = [
        cell for cell in nbformat.read(path, as_version=4).cells if "ledger.table(" in cell.source
    ]
    rows = re.findall(r"<tr>(.*?)</tr>", cell.outputs[-1].data["text/html"], re.DOTALL)[1:]
    ids = ledger.paper_claims().query(f"notebook == '{number}'").index
    assert len(ids) == len(rows)
    found = {}
    for name, row in zip(ids, rows):
        shown = re.sub(r"<[^>]*>", "", re.findall(r"<td>(.*?)</td>", row, re.DOTALL)[-2])
        values = re.sub(r"\[[^]]*\]", "", shown)  # without their intervals
        found[name] = [float(n) for n in re.findall(r"(?<!\w)[+-]?\d+\.?\d*", values)]
    return found


def outcomes(store):
    """Return correctness and largest softmax, [M, k], from the stored logits."""
    z = np.stack([store.logits(name) for name in MODELS.index]).astype(np.float64)
    p = np.exp(z - z.max(axis=2, keepdims=True))
    return z.argmax(axis=2) == store.labels, 1 / p.sum(axis=2)


def hull_cost(accuracy, cost):
    """Return a function accuracy → least cost of random routing between any two models."""
    pairs = [
        (i, j) for i in range(len(cost)) for j in range(len(cost)) if accuracy[i] < accuracy[j]
    ]

    def at(a):
        ways = [cost[i] for i in range(len(cost)) if accuracy[i] >= a]
        for i, j in pairs:
            share = (a - accuracy[i]) / (accuracy[j] - accuracy[i])
            ways += [(1 - share) * cost[i] + share * cost[j]] if 0 <= share <= 1 else []
        return min(ways, default=np.nan)

    return at


def front_of_pairs(correct, confidence, cost):
    """Return the non-dominated (accuracy, cost) of all pairs at all thresholds, in order."""
    found = {}
    for i, j in combinations(range(len(cost)), 2):
        for t in [np.inf, *confidence[i]]:
            stay = confidence[i] >= t
            hits = int(np.where(stay, correct[i], correct[j]).sum())
            found[hits] = min(found.get(hits, np.inf), cost[i] + cost[j] * (~stay).mean())
    rows = []
    least = np.inf
    for hits in sorted(found, reverse=True):
        if found[hits] < least * (1 - 1e-12):
            least = found[hits]
            rows.append((hits / correct.shape[1], least))
    return np.array(rows[::-1]).T


def test_the_preset_has_the_papers_settings():
    preset = yaml.safe_load((SCRIPTS / "paper.yml").read_text(encoding="utf-8"))
    at = [ranges.LOW + share * (ranges.BEST - ranges.LOW) for share in preset["shares"]]
    assert at == pytest.approx([0.80, 0.86, 0.87], abs=5e-5)
    assert (preset["images"], preset["top_k"], preset["prominence"]) == (50_000, 5, 0.3)


def test_notebook_01_extracts_nothing_from_a_study_without_images(study):
    text = (study[0] / "report" / "01_extraction.ipynb").read_text(encoding="utf-8")
    assert "Nothing was extracted" in text and not (study[0] / "again").exists()


def mean_factor(front, at, low, high, points=200_001):
    """Return the mean over accuracies of the baseline's cost ÷ the least cost of the front.

    It counts as 0 at an accuracy that the front does not reach.
    """
    grid = np.linspace(low, high, points)
    there = np.searchsorted(front[0], grid - 1e-12)
    least = np.append(front[1], np.inf)[there]
    corners = np.unique(np.concatenate([[low, high], np.linspace(low, high, 2001)]))
    return np.mean(np.interp(grid, corners, [at(a) for a in corners]) / least)


def test_claims_on_triples_equal_a_loop(study):
    """Loop over the thresholds of the first model, and sort by the confidence of the second."""
    folder, store, _, notebooks = study
    if notebooks:
        pytest.skip("notebook 03 runs in `make soak`")
    correct, confidence = outcomes(store)
    cost = MODELS["macs"].to_numpy(float)
    at = hull_cost(correct.mean(axis=1), cost)
    least = np.full(K + 1, np.inf)
    for a, b, c in combinations(range(len(cost)), 3):
        first = np.argsort(-confidence[a])
        second = np.argsort(-confidence[b])
        place = np.argsort(first)
        for n in range(K + 1):
            goes = second[place[second] >= n]
            left = correct[a, first[:n]].sum()
            hits = left + np.cumsum(
                [correct[c, goes].sum(), *(correct[b, goes].astype(int) - correct[c, goes])]
            )
            total = (
                cost[a]
                + cost[b] * (1 - n / K)
                + cost[c] * (len(goes) - np.arange(len(goes) + 1)) / K
            )
            np.minimum.at(least, hits, total)
    factors = [at(n / K) / total for n, total in enumerate(least) if np.isfinite(total)]
    found = claims(folder / "report", "03")
    assert found["triple-factor"] == [pytest.approx(np.nanmax(factors), abs=0.006)] and found[
        "triples"
    ] == [4]


def test_claims_on_shift_and_calibration_equal_the_stores(study):
    folder, _, other, notebooks = study
    if notebooks:
        pytest.skip("notebooks 05 and 07 run in `make soak`")
    drops = 100 * (MODELS["top1"] - MODELS["imagenetv2_top1"])
    assert claims(folder / "report", "05")["shift-drops"] == pytest.approx(list(drops), abs=0.11)
    correct, confidence = outcomes(other)
    gaps = np.abs(correct.mean(axis=1) - confidence.mean(axis=1))
    large = MODELS.index.str.contains("beit|convnext|deit3")
    found = claims(folder / "report", "07")
    assert found["large-families"] == [pytest.approx(gaps[large].mean() / gaps.mean(), abs=0.006)]


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
