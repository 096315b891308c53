"""Rows of a log for tests, and a report computed row by row."""

import json

import numpy as np
import pandas as pd

from cascadelib import Point, Policy, ScoreTable
from cascadelib.policy import FAILURES

MODELS = ("small", "middle", "large")
POLICY = Policy(Point(MODELS, (0.6, 0.5)))
PAIR = Policy(Point(("small", "large"), (0.5,)))


def policy_with_figures(seed=0, k=800):
    """A policy of two models whose expected confidences are uniform."""
    confidence = np.random.default_rng(seed).random(k)
    table = ScoreTable(np.ones((2, k), bool), [confidence, np.zeros(k)], [1, 10], PAIR.models)
    return Policy.from_point(Point(PAIR.models, (0.5,), cost_kind="cost"), table)


def row(number, policy=PAIR, confidences=(0.9,), answers=("yes",), **changes):
    """A row of an input without failures."""
    stages = len(confidences)
    return {
        "id": f"id {number}",
        "time": 1000.0 + number,
        "policy": policy.checksum,
        "stage": stages - 1,
        "models": list(policy.models[:stages]),
        "predictions": list(answers),
        "confidences": list(confidences),
        "failures": ["none"] * stages,
        "costs": [1.0, 3.0, 9.0][:stages],
        "audited": False,
        "reference": None,
    } | changes


def random_rows(count, seed, policy=POLICY):
    """Rows with every kind of failure, unknown costs, other models, audits and lost references."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        stages = int(rng.integers(1, len(policy.models) + 1))
        failures = rng.choice(FAILURES, stages, p=[0.8, 0.05, 0.05, 0.05, 0.05]).tolist()
        has_answer = [failure == "none" for failure in failures]
        values = rng.random((3, stages)).round(3)
        answers = rng.choice(["yes", "no", ""], stages).tolist()
        models = [name if rng.random() < 0.9 else "spare" for name in policy.models[:stages]]
        is_audited = bool(rng.random() < 0.4)
        reference = str(rng.choice(["yes", "no"])) if is_audited and rng.random() < 0.8 else None
        changes = {
            "models": models,
            "predictions": [each if ok else None for each, ok in zip(answers, has_answer)],
            "failures": failures,
            "costs": [value if rng.random() < 0.9 else None for value in values[1].tolist()],
            "audited": is_audited,
            "reference": reference,
        }
        confidences = [value if ok else None for value, ok in zip(values[0].tolist(), has_answer)]
        rows.append(row(number, policy, confidences, answers, **changes))
    return rows


def frame(rows):
    return pd.DataFrame(rows)


def write_jsonl(path, rows, end=""):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows) + end)
    return path
