"""The ten lines of docs/scores.md lead from a CSV file to a policy."""

import re
from functools import partial
from pathlib import Path

import cascadelib as cl

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scores.md"
NAMES = {"model": "service", "cost": "usd", "label": "truth", "prediction": "answer"}


def test_the_ten_lines_lead_from_a_file_to_a_policy_that_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = cl.datasets.llm_answers().rename(columns=NAMES).iloc[7:]
    table.to_csv("answers.csv", index=False)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
    table = table.set_index(["service", "sample"])
    answered_by = {name: table.loc[name] for name in table.index.unique("service")}
    inputs = sorted(set.intersection(*(set(rows.index) for rows in answered_by.values())))

    def service(name, ids):
        return [answered_by[name].loc[ids, column].tolist() for column in ("answer", "confidence")]

    namespace = {"calls": {name: partial(service, name) for name in answered_by}, "inputs": inputs}
    chosen = "run({name: calls[name] for name in certificate.point.models}"
    exec(block.replace("run(calls", chosen), namespace)
    assert len(namespace["table"]) == len(inputs)
    large = answered_by["llama-3.3-70b"]
    correct = namespace["decisions"].predictions == large.loc[inputs, "truth"].to_numpy()
    assert correct.mean() > large.eval("answer == truth").mean() - 0.02
