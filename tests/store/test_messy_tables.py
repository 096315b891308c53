"""No messy export leads to a false certificate, and most lead to a correct one."""

import json
import shlex
import zlib

import numpy as np
import pytest
from messy_tables import (
    FILES,
    REFUSED,
    STRANGE,
    SUFFIXES,
    WORLDS,
    options_of,
    planted,
    spelled,
)

import cascadelib as cl
from cascadelib.__main__ import main


def certify_file(path, options, folder, capsys):
    """Run the two commands, and return the printed certificate and the policy, None if refused."""
    fixed = folder / "fixed.csv"
    if main(["check", str(path), *options, "--fix", str(fixed)]):
        return None, capsys.readouterr().out
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    policy = folder / "policy.json"
    assert command[:3] == ["cascadelib", "certify", str(fixed)]
    status = main([*command[1:], "--out", str(policy), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status == 0, found
    return found | {"epsilon": float(command[-1][:-1]) / 100}, cl.Policy.load(policy)


@pytest.mark.parametrize("name", [*FILES, *STRANGE])
def test_a_messy_file_gives_a_correct_certificate_or_is_refused(name, tmp_path, capsys):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    truth = WORLDS.get(name, planted)(rng)
    path = tmp_path / f"table{SUFFIXES.get(name, '.csv')}"
    make = (FILES | STRANGE)[name]
    path.write_bytes(make(truth, rng, rng.choice([0.1, 0.5, 1.0])))
    found, policy = certify_file(path, options_of(name), tmp_path, capsys)
    assert (found is None) == (name in REFUSED)
    if name in REFUSED:
        assert "Faults that must be corrected:" in policy
        return
    models = tuple(name.strip("()") for name in policy.models)
    assert models == ("small", "large") and f"against {policy.models[1]}" in found["summary"]
    point = cl.evaluate(truth.table(models=policy.models), policy)
    loss = np.mean(truth.answers["large"] == truth.labels) - point.accuracy
    assert loss <= found["epsilon"] and point.saving > 1.5


def test_unreadable_prose_of_the_large_model_is_refused_by_name(tmp_path, capsys):
    rng = np.random.default_rng(0)
    path = tmp_path / "table.csv"
    path.write_bytes(spelled(lambda text: "I cannot tell from this text")(planted(rng), rng, 0.5))
    named = ["--prediction", "prediction", "--label", "label", "--epsilon", "2%"]
    assert main(["certify", str(path), *named]) == 2
    said = capsys.readouterr().err
    assert "answers of model 'large' that are unreadable (" in said
    assert "such as 'I cannot tell from this text'" in said and "--missing 'wrong'" in said
