"""The code of docs/scores.md runs: ten lines on a CSV file, and a front from a log."""

import re
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.serve import AuditRecord, Record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scores.md"


def answers(k=1200):
    """Return the shuffled rows of three models, of which one is free. Seven rows are missing."""
    rng = np.random.default_rng(0)
    truth = rng.choice(["refund", "question", "praise"], k)
    rows = []
    for name, skill, usd in (("cache", 0.75, 0.0), ("small", 0.85, 0.001), ("large", 0.97, 0.02)):
        confidence = rng.uniform(0.4, 1, k).round(2)
        correct = rng.random(k) < np.clip(skill + confidence - 0.7, 0, 1)
        answer = np.where(correct, truth, "question")
        columns = {"service": name, "confidence": confidence, "usd": usd}
        rows.append(pd.DataFrame(columns | {"truth": truth, "answer": answer}))
    table = pd.concat(rows).rename_axis("sample").reset_index()
    return table.sample(frac=1, random_state=0).iloc[7:]


def test_the_ten_lines_lead_from_a_file_to_a_policy_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = answers()
    table.to_csv("answers.csv", index=False)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    lines = [line for line in block.splitlines() if line and not line.startswith("import")]
    assert len(lines) <= 10
    table = table.set_index(["service", "sample"])
    answered_by = {name: table.loc[name] for name in ("cache", "small", "large")}
    inputs = sorted(set.intersection(*(set(rows.index) for rows in answered_by.values())))

    def service(name, ids):
        return [answered_by[name].loc[ids, column].tolist() for column in ("answer", "confidence")]

    namespace = {"calls": {name: partial(service, name) for name in answered_by}, "inputs": inputs}
    chosen = "run({name: calls[name] for name in certificate.point.models}"
    exec(block.replace("run(calls", chosen), namespace)
    assert len(namespace["table"]) == len(inputs) and namespace["table"].cost.min() == 0
    large = answered_by["large"]
    correct = namespace["decisions"].predictions == large.loc[inputs, "truth"].to_numpy()
    assert correct.mean() > large.eval("answer == truth").mean() - 0.02


def test_the_log_of_a_service_gives_the_front_of_its_audited_inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cl.Policy(cl.Point(("small", "large"), (0.5,), (0.5, 0.5))).save("policy.json")
    rng = np.random.default_rng(0)
    small = rng.uniform(size=200).round(3)
    truth, guess = rng.choice(["yes", "no"], (2, 200)).tolist()
    lines = []
    for row, confidence in enumerate(small.tolist()):
        defers = confidence < 0.5
        answers = [guess[row], truth[row]][: 1 + defers]
        decision = Record(f"q{row}", predictions=answers, costs=[1.0, 10.0][: 1 + defers])
        decision.confidences = [confidence, 0.9][: 1 + defers]
        lines.append(decision.to_json())
        if row % 2:  # the large model of a deferred input is not called again
            lines.append(AuditRecord(f"q{row}", truth[row], cost=0.0 if defers else 10.0).to_json())
    Path("decisions.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    section = PAGE.read_text(encoding="utf-8").split("## From the log of a service")[1]
    block = re.findall(r"(?:^    .*\n|^\n)+", section.split("\n## ")[0], flags=re.M)
    labels = {f"q{row}": label for row, label in enumerate(truth)}
    namespace = {"labels": labels}
    exec(textwrap.dedent("".join(block)), namespace)
    correct = np.array([np.equal(guess, truth), np.ones(200, bool)])[:, 1::2]
    audited = cl.ScoreTable(correct, [small[1::2], np.full(100, -np.inf)], [1, 10])
    expected = cl.search(audited).table
    found = namespace["front"].table
    assert found["accuracy"].tolist() == expected["accuracy"].tolist()
    assert np.allclose(found["cost"], expected["cost"])
