"""`cascadelib certify --check`: a policy's file against a table of recent answers, as in CI."""

import json

import numpy as np
import pandas as pd
import pytest

from cascadelib.__main__ import main

NAMED = ["--label", "label", "--prediction", "prediction"]


def write_table(path, seed, worse=0.0):
    """Write 1,500 answers of two models. The small one errs if it is unsure."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["cat", "dog"], 1500)
    other = np.where(labels == "cat", "dog", "cat")
    confidence = rng.random(1500)
    is_correct = rng.random(1500) < 0.5 + confidence / 2 - worse
    parts = []
    for model, correct in (("small", is_correct), ("large", rng.random(1500) < 0.98)):
        columns = {"sample": [f"{seed}-{i}" for i in range(1500)], "model": model, "label": labels}
        columns["prediction"] = np.where(correct, labels, other)
        columns |= {"confidence": confidence, "cost": 1 if model == "small" else 10}
        parts.append(pd.DataFrame(columns))
    pd.concat(parts).to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    table = write_table(folder / "answers.csv", 1)
    policy = str(folder / "policy.json")
    assert main(["certify", table, *NAMED, "--epsilon", "5%", "--out", policy]) == 0
    return folder


def check(folder, table, capsys, epsilon="6%", *options):
    policy = str(folder / "policy.json")
    command = ["certify", table, *NAMED, "--epsilon", epsilon, "--check", policy, *options]
    status = main([*command, "--json"])
    found = capsys.readouterr()
    return status, json.loads(found.out) if found.out else found.err


def test_a_policy_is_certified_on_recent_answers_or_not(folder, capsys):
    good = write_table(folder / "good.csv", 2)
    worse = write_table(folder / "worse.csv", 3, worse=0.12)
    status, found = check(folder, good, capsys)
    assert status == 0 and found["certified"] and found["here"]["samples"] == 1500
    assert found["summary"].endswith(f"policy.json is certified on {good}")
    status, found = check(folder, worse, capsys)
    assert status == 1 and not found["certified"] and " is not certified on " in found["summary"]


def test_refused(folder, capsys):
    """The samples that chose the policy, and an output file."""
    status, error = check(folder, str(folder / "answers.csv"), capsys)
    assert status == 2 and "samples took part in finding the cascades" in error
    status, error = check(folder, str(folder / "answers.csv"), capsys, "6%", "--out", "p.json")
    assert status == 2 and "--check writes no policy" in error
