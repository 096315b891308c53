"""The ten lines of docs/scores.md lead from a CSV file to a policy."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

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
