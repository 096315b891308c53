"""The code of the page about monitoring runs."""

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import cascadelib as cl
from cascadelib.monitoring import COLUMNS
from tests.logs import PAIR, row

ROOT = Path(__file__).resolve().parents[2]
RUNNING = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
MONITORING = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", MONITORING, flags=re.S)


def test_the_row_of_a_log_on_the_page_is_monitored():
    example = json.loads(re.search(r"```json\n(.*?)```", MONITORING, flags=re.S)[1])
    assert list(example) == [*COLUMNS]
    log = pd.DataFrame([example | {"policy": PAIR.checksum}])
    assert cl.monitor(log, PAIR).rows["audited"] == 1


@pytest.fixture
def audited_log(tmp_path, monkeypatch):
    """A log of 1,500 audited inputs. The small model is wrong if its confidence is low."""
    rng = np.random.default_rng(0)
    labels = {}
    rows = []
    for number, confidence in enumerate(rng.random(1500).tolist()):
        truth = str(rng.choice(["spam", "ham"]))
        other = "ham" if truth == "spam" else "spam"
        small = truth if confidence > 0.3 else other
        reached = [confidence] if confidence >= 0.5 else [confidence, None]
        answers = [small, truth][: len(reached)]
        labels[f"id {number}"] = truth
        changes = {"audited": True, "reference": truth, "costs": [1.0, 10.0][: len(reached)]}
        rows.append(row(number, PAIR, reached, answers, **changes))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").mkdir()
    lines = [json.dumps(each) + "\n" for each in rows]
    (tmp_path / "log" / "a.jsonl").write_text("".join(lines[::2]) + '{"id": "is being wri')
    (tmp_path / "log" / "b.jsonl").write_text("".join(lines[1::2]))
    return {"policy": PAIR, "labels": labels, "ids": list(labels), "start": 0.0}


def test_the_code_about_monitoring_runs_and_certifies_a_new_policy(audited_log):
    scope = audited_log
    exec(BLOCKS[0], scope)
    assert scope["audited"].dtype == bool
    assert scope["report"].rows["inputs"] == 1500
    exec(BLOCKS[1], scope)
    assert len(scope["table"]) == 1500 and len(scope["wanted"]) < 1000
    policy = cl.Policy.load("policy-new.json")
    assert 0.2 < policy.thresholds[0] < 0.4


def test_the_code_about_torch_models_runs(monkeypatch):
    """A compiled cascade makes equal decisions. The backend is one without a compiler."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    store = cl.LogitStore("data/fashion-mnist/val")
    point = cl.pick(cl.search(store, 2, models=["mlp@28", "lenet@28"]), "max_improvement")
    images = cl.datasets.fashion_mnist("test").batch(0, 300)
    scope = {"cl": cl, "store": store, "point": point, "images": images}
    first, second = re.findall(r"```python\n(.*?)```", RUNNING, flags=re.S)
    exec(first, scope)
    stages = scope["decisions"].exit_stage
    exec(second, scope)
    np.testing.assert_array_equal(scope["cascade"](images).exit_stage, stages)
