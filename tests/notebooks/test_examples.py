"""The programs in examples/ are short, and print what the README shows."""

import re
import runpy

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.files import ROOT

PRINTED = {
    "scores_from_elsewhere": r"\('small', 'large'\) \(0\.\d+,\) \d\d\.\d\d% on held-out data, for",
    "own_models": r"\('small', 'large'\) \(0\.\d+,\) \d+% left early",
    "two_tiers": r"confidence is at least 0\.\d+: grade 0\.\d+ at 0\.\d+ cents",
}


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Function (name, arguments) → the printed text. An example has at most 45 lines."""

    def run(name, *arguments):
        path = ROOT / "examples" / f"{name}.py"
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 45
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr("sys.argv", [str(path), *map(str, arguments)])
        runpy.run_path(str(path), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_its_result(name, run_example):
    printed = run_example(name)
    assert re.search(PRINTED[name], printed), printed


def test_prompt_lengths_route_better_than_chance(tmp_path, run_example):
    """Files have the form of RouteLLM's. The small model is worse on longer prompts."""
    rng = np.random.default_rng(0)
    length = rng.integers(10, 400, 3000)
    small = "mistralai/Mixtral-8x7B-Instruct-v0.1"
    large = "gpt-4-1106-preview"
    frame = pd.DataFrame({"prompt": ["x" * n for n in length]})
    frame[small] = rng.random(3000) < 0.95 - length / 500
    frame[large] = rng.random(3000) < 0.9
    for part in range(2):
        frame[part::2].to_csv(tmp_path / f"mmlu_{part}.csv", index=False)
    printed = run_example("no_confidences", tmp_path)
    ours, random = (float(share) for share in re.findall(r"([\d.]+)%", printed))
    assert printed.startswith("1500 held-out questions") and ours > random + 4


def test_prices_per_query_equal_a_loop_over_all_thresholds():
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
    assert (found.accuracy, found.cost) == pytest.approx((point.accuracy, point.cost))
