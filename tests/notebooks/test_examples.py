"""The programs in examples/ print what the README shows."""

import re
import runpy

import numpy as np
import pandas as pd
import pytest

from cascadelib.files import ROOT

PRINTED = {
    "scores_from_elsewhere": r"\('small', 'large'\) \(0\.\d+,\) \d\d\.\d\d% on held-out data, for",
    "own_models": r"\('small', 'large'\) \(0\.\d+,\) \d+% left early",
    "two_tiers": r"confidence is at least 0\.\d+: grade 0\.\d+ at 0\.\d+ cents",
}


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Function (name, arguments) → the printed text."""

    def run(name, *arguments):
        path = ROOT / "examples" / f"{name}.py"
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
    printed = run_example("fitted_confidence", tmp_path)
    ours, random = (float(share) for share in re.findall(r"([\d.]+)%", printed))
    assert printed.startswith("1500 held-out questions") and ours > random + 4
