"""The ten lines of docs/scores.md, on a CSV file with labels in words, missing rows and a free
model."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scores.md"


def answers(k=1200):
    """The file's rows, shuffled: a free model, a middling one, a dear one; 7 rows are missing."""
    rng = np.random.default_rng(0)
    truth = rng.choice(["refund", "question", "praise"], k)
    rows = []
    for name, skill, usd in (("cache", 0.75, 0.0), ("small", 0.85, 0.001), ("large", 0.97, 0.02)):
        confidence = rng.uniform(0.4, 1, k).round(2)
        correct = rng.random(k) < np.clip(skill + confidence - 0.7, 0, 1)
        answer = np.where(correct, truth, "question")
        rows.append(
            pd.DataFrame(
                {
                    "service": name,
                    "confidence": confidence,
                    "usd": usd,
                    "truth": truth,
                    "answer": answer,
                }
            )
        )
    table = pd.concat(rows).rename_axis("sample").reset_index()
    return table.sample(frac=1, random_state=0).iloc[7:]


def test_the_ten_lines_lead_from_a_file_to_a_policy_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = answers()
    table.to_csv("answers.csv", index=False)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    lines = [line for line in block.splitlines() if line and not line.startswith("import")]
    assert len(lines) <= 10
    said = table.set_index(["service", "sample"])
    inputs = (
        said.loc["large"]
        .index.intersection(said.loc["small"].index)
        .intersection(said.loc["cache"].index)
    )

    def service(name, ids):
        return [said.loc[name].loc[ids, column].tolist() for column in ("answer", "confidence")]

    calls = {name: partial(service, name) for name in ("cache", "small", "large")}
    namespace = {"calls": calls, "inputs": inputs.tolist()}
    exec(
        block.replace("run(calls", "run({name: calls[name] for name in certificate.point.models}"),
        namespace,
    )
    assert len(namespace["table"]) == len(inputs) and namespace["table"].cost.min() == 0
    correct = (
        namespace["decisions"].predictions == said.loc["large"].loc[inputs, "truth"].to_numpy()
    )
    assert correct.mean() > said.loc["large"].eval("answer == truth").mean() - 0.02
