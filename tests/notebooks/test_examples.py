"""The examples of the README: short, and they run as they stand."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.files import ROOT

SAYS = {
    "scores_from_elsewhere": r"\('small', 'large'\) \(0\.\d+,\) \d\d\.\d\d% on held-out data, for",
    "own_models": r"\('small', 'large'\) \(0\.\d+,\) \d+% left early",
    "two_tiers": r"confidence is at least 0\.\d+: grade 0\.\d+ at 0\.\d+ cents",
}


@pytest.mark.parametrize("name", SAYS)
def test_example(name):
    path = ROOT / "examples" / f"{name}.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    said = subprocess.run([sys.executable, path], capture_output=True, text=True, cwd=ROOT)
    assert re.search(SAYS[name], said.stdout), said.stdout + said.stderr


def test_correctness_without_confidences(tmp_path):
    """Files typed after RouteLLM's: the longer the prompt, the less the small model knows."""
    rng = np.random.default_rng(0)
    length = rng.integers(10, 400, 3000)
    small = "mistralai/Mixtral-8x7B-Instruct-v0.1"
    large = "gpt-4-1106-preview"
    frame = pd.DataFrame({"prompt": ["x" * n for n in length]})
    frame[small] = rng.random(3000) < 0.95 - length / 500
    frame[large] = rng.random(3000) < 0.9
    for part in range(2):
        frame[part::2].to_csv(tmp_path / f"mmlu_{part}.csv", index=False)
    path = ROOT / "examples" / "no_confidences.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 45
    command = [sys.executable, path, tmp_path]
    said = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    ours, random = (float(share) for share in re.findall(r"([\d.]+)%", said))
    assert said.startswith("1500 held-out questions") and ours > random + 4


def test_prices_per_query_are_used_exactly():
    """The two-tier example by a loop over all thresholds, query by query."""
    log = pd.read_csv(ROOT / "examples" / "routing.csv")
    grades, prices = (log[[f"small_{k}", f"large_{k}"]].to_numpy().T for k in ("grade", "cents"))
    scores = cl.ScoreTable(
        grades, np.stack([log["small_confidence"], np.ones(len(log))]), prices, ["small", "large"]
    )
    best = {}
    for t in [*np.unique(log["small_confidence"]), np.inf]:
        stays = log["small_confidence"] >= t
        cost = (prices[0] + prices[1] * ~stays).mean()
        best[cost] = np.where(stays, *grades).mean()
    front = cl.search(scores).table
    for accuracy, cost in zip(front["accuracy"], front["cost"], strict=True):
        reachable = max(a for c, a in best.items() if c <= cost * (1 + 1e-12))
        assert accuracy == pytest.approx(reachable)
    assert front["accuracy"].max() == pytest.approx(max(best.values()))
    point = cl.pick(cl.search(scores), budget=0.6, caution=0)
    found = cl.evaluate(scores, point)
    assert (found.accuracy, found.cost) == (
        pytest.approx(point.accuracy),
        pytest.approx(point.cost),
    )
